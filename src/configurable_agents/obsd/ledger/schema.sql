-- The ledger: the truth of what was received. Version 1.
--
-- Times are Unix nanoseconds, durations nanoseconds, money integer nano-dollars. Span ids are 64-bit
-- and stored as SQLite's signed integers with the same bits. `seq` numbers every committed event
-- across all tables, in the order of commit; exporters remember how far they have read by it.

CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE producers (
    id                INTEGER PRIMARY KEY,
    producer_id       BLOB NOT NULL UNIQUE,
    next_sequence     INTEGER NOT NULL,            -- every event below it is committed or refused
    events_missing    INTEGER NOT NULL DEFAULT 0,  -- sequences that never arrived (a spool was lost)
    last_seen_unix_ns INTEGER NOT NULL
);

CREATE TABLE runs (
    id                    INTEGER PRIMARY KEY AUTOINCREMENT,  -- exporters remember it, also of a removed run
    run_id                TEXT NOT NULL UNIQUE,
    experiment            INTEGER NOT NULL REFERENCES names,
    workflow              INTEGER NOT NULL REFERENCES names,
    producer              INTEGER NOT NULL REFERENCES producers,
    status                INTEGER NOT NULL,        -- telemetry.Status
    started_unix_ns       INTEGER NOT NULL,
    finished_unix_ns      INTEGER,
    duration_ns           INTEGER,
    error_type            TEXT NOT NULL DEFAULT '',
    tags                  TEXT NOT NULL DEFAULT '{}',   -- JSON object
    graph                 TEXT,                          -- JSON: nodes, edges
    attach_mlflow_run_id  TEXT NOT NULL DEFAULT '',      -- the MLflow run the workflow asked for
    repriced              TEXT NOT NULL DEFAULT '',      -- JSON: when, why, from what to what
    repriced_events       INTEGER NOT NULL DEFAULT -1,   -- `events` when its prices were last changed
    events                INTEGER NOT NULL DEFAULT 0,
    node_executions       INTEGER NOT NULL DEFAULT 0,
    last_event_unix_ns    INTEGER NOT NULL,
    last_received_unix_ns INTEGER NOT NULL,
    profiled_events       INTEGER NOT NULL DEFAULT -1,   -- `events` when the stored profile was made
    bottleneck_info       TEXT NOT NULL DEFAULT '',      -- JSON
    times                 TEXT,                          -- JSON: runtime.time_report.RunTimes
    -- Rows of executions and calls up to this `seq` are removed, or are being removed: `call_groups` and
    -- `cache_totals` hold what they said. 0: all rows are there.
    retired_seq           INTEGER NOT NULL DEFAULT 0,
    retired_unix_ns       INTEGER                        -- when that was
);
CREATE INDEX runs_by_experiment ON runs (experiment, started_unix_ns);
CREATE INDEX runs_by_start ON runs (started_unix_ns);
CREATE INDEX runs_with_rows ON runs (started_unix_ns) WHERE retired_seq = 0;
-- The few that are looked at every few seconds, in a ledger of any length.
CREATE INDEX runs_unfinished ON runs (last_received_unix_ns) WHERE status = 4 OR profiled_events <> events;

-- Starts and ends of runs, in the order of commit with everything else.
CREATE TABLE run_events (
    seq  INTEGER PRIMARY KEY,
    run  INTEGER NOT NULL,
    kind INTEGER NOT NULL                          -- 1 started, 2 finished, 3 interrupted, 4 repriced
);
CREATE INDEX run_events_by_run ON run_events (run);

CREATE TABLE node_executions (
    seq             INTEGER PRIMARY KEY,
    run             INTEGER NOT NULL,
    node            INTEGER NOT NULL,
    call_index      INTEGER NOT NULL,              -- 1, 2, 3 … of this node in this run
    span_id         INTEGER NOT NULL,
    parent_span_id  INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    started_unix_ns INTEGER NOT NULL,
    duration_ns     INTEGER NOT NULL,
    status          INTEGER NOT NULL,
    error_type      INTEGER                        -- names; NULL for none
);
CREATE INDEX node_executions_by_run ON node_executions (run);
CREATE INDEX failed_executions ON node_executions (run, span_id) WHERE status <> 1;

CREATE TABLE llm_calls (
    seq                     INTEGER PRIMARY KEY,
    run                     INTEGER NOT NULL,
    call_id                 TEXT NOT NULL,
    span_id                 INTEGER NOT NULL,
    node                    INTEGER NOT NULL,
    provider                INTEGER NOT NULL,
    model                   INTEGER NOT NULL,
    input_tokens            INTEGER,               -- all classes NULL: the response carried no usage
    cache_read_tokens       INTEGER,
    cache_write_tokens      INTEGER,
    cache_write_1h_tokens   INTEGER,
    output_tokens           INTEGER,
    reasoning_tokens        INTEGER,
    audio_input_tokens      INTEGER,
    audio_output_tokens     INTEGER,
    web_searches            INTEGER,
    started_unix_ns         INTEGER NOT NULL,
    duration_ns             INTEGER NOT NULL,
    time_to_first_token_ns  INTEGER NOT NULL,
    status                  INTEGER NOT NULL,
    attempt                 INTEGER NOT NULL,
    service_tier            TEXT NOT NULL,
    batch                   INTEGER NOT NULL,
    response_id             TEXT NOT NULL,
    error_type              TEXT NOT NULL,
    anomalies               TEXT NOT NULL,         -- codes joined by spaces
    price_status            TEXT NOT NULL,         -- telemetry.PriceStatus
    cost_nanos              INTEGER NOT NULL,
    table_cost_nanos        INTEGER,               -- the table's price, kept beside a stated one
    stated_cost_nanos       INTEGER,
    rate_card               INTEGER REFERENCES rate_cards,
    price_reason            TEXT NOT NULL,
    provider_known_by       TEXT NOT NULL,
    model_known_by          TEXT NOT NULL,
    model_as_given          TEXT NOT NULL,         -- empty: the same as the model
    counted                 INTEGER NOT NULL       -- 0: another report of the same response stands for it
);
CREATE INDEX llm_calls_by_span ON llm_calls (run, span_id);
CREATE INDEX llm_calls_by_response ON llm_calls (run, response_id) WHERE response_id <> '';
CREATE INDEX failed_llm_calls ON llm_calls (run) WHERE status <> 1;

-- What calls cost before they were repriced, oldest first.
CREATE TABLE price_history (
    call                INTEGER NOT NULL,          -- llm_calls.seq
    replaced_at_unix_ns INTEGER NOT NULL,
    reason              TEXT NOT NULL,             -- why it was replaced
    price_status        TEXT NOT NULL,
    cost_nanos          INTEGER NOT NULL,
    table_cost_nanos    INTEGER,
    rate_card           INTEGER,
    price_reason        TEXT NOT NULL
);
CREATE INDEX price_history_by_call ON price_history (call);

CREATE TABLE rate_cards (
    id   INTEGER PRIMARY KEY,
    card TEXT NOT NULL UNIQUE                      -- JSON: rates per token class, table version, tier, date
);

-- Executions that were announced and have not ended.
CREATE TABLE open_nodes (
    run             INTEGER NOT NULL,
    span_id         INTEGER NOT NULL,
    parent_span_id  INTEGER NOT NULL,
    node            INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    started_unix_ns INTEGER NOT NULL,
    PRIMARY KEY (run, span_id)
) WITHOUT ROWID;

-- Running totals, kept in the transaction of the events themselves.
CREATE TABLE node_totals (
    run      INTEGER NOT NULL,
    node     INTEGER NOT NULL,
    calls    INTEGER NOT NULL,
    errors   INTEGER NOT NULL,
    total_ns INTEGER NOT NULL,
    max_ns   INTEGER NOT NULL,
    self_ns  INTEGER,                              -- made from the rows when the run is final
    p50_ns   INTEGER,
    p90_ns   INTEGER,
    p95_ns   INTEGER,
    p99_ns   INTEGER,
    critical_ns INTEGER,
    slack_ns INTEGER,
    sketch   BLOB,                                 -- ledger.latency_sketch, to merge runs
    PRIMARY KEY (run, node)
) WITHOUT ROWID;

CREATE TABLE call_totals (
    run                   INTEGER NOT NULL,
    node                  INTEGER NOT NULL,
    provider              INTEGER NOT NULL,
    model                 INTEGER NOT NULL,
    calls                 INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    cache_write_tokens    INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    reasoning_tokens      INTEGER NOT NULL,
    audio_input_tokens    INTEGER NOT NULL,
    audio_output_tokens   INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    priced_calls          INTEGER NOT NULL,
    stated_calls          INTEGER NOT NULL,
    free_calls            INTEGER NOT NULL,
    unpriced_calls        INTEGER NOT NULL,
    no_usage_calls        INTEGER NOT NULL,
    unpriced_tokens       INTEGER NOT NULL,
    failed_calls          INTEGER NOT NULL,
    stated_tokens         INTEGER NOT NULL,
    free_tokens           INTEGER NOT NULL,
    merged_calls          INTEGER NOT NULL,        -- further reports of calls that are counted once
    PRIMARY KEY (run, node, provider, model)
) WITHOUT ROWID;

-- How long the calls of a model took in a run; made from the rows when the run is final.
CREATE TABLE model_times (
    run                 INTEGER NOT NULL,
    provider            INTEGER NOT NULL,
    model               INTEGER NOT NULL,
    calls               INTEGER NOT NULL,
    max_ns              INTEGER NOT NULL,
    timed_output_tokens INTEGER NOT NULL,
    generation_ns       INTEGER NOT NULL,
    duration            BLOB NOT NULL,             -- ledger.latency_sketch
    first_token         BLOB NOT NULL,
    PRIMARY KEY (run, provider, model)
) WITHOUT ROWID;

-- What the rows of calls said that are removed: their totals by all that costs can be grouped by.
CREATE TABLE call_groups (
    run                   INTEGER NOT NULL,
    node                  INTEGER NOT NULL,
    provider              INTEGER NOT NULL,
    model                 INTEGER NOT NULL,
    day                   INTEGER NOT NULL,        -- since 1970-01-01, UTC
    attempt               INTEGER NOT NULL,
    status                INTEGER NOT NULL,
    price_status          TEXT NOT NULL,
    wasted                INTEGER NOT NULL,
    anomalies             TEXT NOT NULL,           -- codes joined by spaces
    token_class           TEXT NOT NULL,           -- empty: the whole calls
    calls                 INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    cache_write_tokens    INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    reasoning_tokens      INTEGER NOT NULL,
    audio_input_tokens    INTEGER NOT NULL,
    audio_output_tokens   INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    priced_calls          INTEGER NOT NULL,
    stated_calls          INTEGER NOT NULL,
    free_calls            INTEGER NOT NULL,
    unpriced_calls        INTEGER NOT NULL,
    no_usage_calls        INTEGER NOT NULL,
    unpriced_tokens       INTEGER NOT NULL,
    failed_calls          INTEGER NOT NULL,
    stated_tokens         INTEGER NOT NULL,
    free_tokens           INTEGER NOT NULL,
    merged_calls          INTEGER NOT NULL,
    PRIMARY KEY (run, node, provider, model, day, attempt, status, price_status, wasted, anomalies, token_class)
) WITHOUT ROWID;

-- What they said of prompt caches. Yocto-dollars do not fit into 64 bits.
CREATE TABLE cache_totals (
    run             INTEGER NOT NULL,
    node            INTEGER NOT NULL,
    provider        INTEGER NOT NULL,
    model           INTEGER NOT NULL,
    calls           INTEGER NOT NULL,
    input_tokens    INTEGER NOT NULL,
    read_tokens     INTEGER NOT NULL,
    written_tokens  INTEGER NOT NULL,
    saved_yoctos    TEXT NOT NULL,
    unread_tokens   INTEGER NOT NULL,
    unread_yoctos   TEXT NOT NULL,
    rateless_read_tokens   INTEGER NOT NULL,
    rateless_unread_tokens INTEGER NOT NULL,
    PRIMARY KEY (run, node, provider, model)
) WITHOUT ROWID;

-- What the runs of an experiment add up to, by blocks of their ids: see ledger.profile_blocks.
CREATE TABLE profile_blocks (
    experiment INTEGER NOT NULL,
    block      INTEGER NOT NULL,
    runs       INTEGER NOT NULL,                   -- both as they were when the block was added up:
    events     INTEGER NOT NULL,                   -- while they are the same, it holds
    times      TEXT,                               -- JSON: runtime.time_report.RunTimes
    PRIMARY KEY (experiment, block)
) WITHOUT ROWID;

CREATE TABLE profile_block_nodes (
    experiment  INTEGER NOT NULL,
    block       INTEGER NOT NULL,
    node        INTEGER NOT NULL,
    calls       INTEGER NOT NULL,
    total_ns    INTEGER NOT NULL,
    self_ns     INTEGER NOT NULL,
    max_ns      INTEGER NOT NULL,
    errors      INTEGER NOT NULL,
    critical_ns INTEGER,
    slack_ns    INTEGER,
    sketch      BLOB,                              -- ledger.latency_sketch
    PRIMARY KEY (experiment, block, node)
) WITHOUT ROWID;

CREATE TABLE profile_block_models (
    experiment          INTEGER NOT NULL,
    block               INTEGER NOT NULL,
    provider            INTEGER NOT NULL,
    model               INTEGER NOT NULL,
    calls               INTEGER NOT NULL,
    max_ns              INTEGER NOT NULL,
    timed_output_tokens INTEGER NOT NULL,
    generation_ns       INTEGER NOT NULL,
    duration            BLOB NOT NULL,             -- ledger.latency_sketch
    first_token         BLOB NOT NULL,
    PRIMARY KEY (experiment, block, provider, model)
) WITHOUT ROWID;

-- Counts that outlive a restart.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,                        -- events_committed, events_duplicate, events_purged,
                                                   -- events_removed, events_retired, names_folded,
                                                   -- refused:<reason>, runs_retired,
                                                   -- runs_retired_for_size, runs_removed
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE exporters (
    name                 TEXT PRIMARY KEY,
    cursor               INTEGER NOT NULL,         -- the last `seq` that the other side has taken
    last_success_unix_ns INTEGER NOT NULL
) WITHOUT ROWID;

-- What an exporter has made of a run: the other side's id, and up to where it was final.
CREATE TABLE exported_runs (
    exporter     TEXT NOT NULL,
    run          INTEGER NOT NULL,
    foreign_id   TEXT NOT NULL,
    final_events INTEGER NOT NULL DEFAULT -1,      -- `runs.events` when it was exported as final
    PRIMARY KEY (exporter, run)
) WITHOUT ROWID;

-- Events behind the cursor that an exporter's other side does not have, with the reason.
CREATE TABLE dead_letters (
    exporter    TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    run         INTEGER NOT NULL,
    state       INTEGER NOT NULL,                  -- 1 set aside, 2 to be tried again, 3 dropped
    reason      TEXT NOT NULL,
    at_unix_ns  INTEGER NOT NULL,
    PRIMARY KEY (exporter, seq)
) WITHOUT ROWID;
CREATE INDEX dead_letters_by_run ON dead_letters (run);
CREATE INDEX dead_letters_by_state ON dead_letters (exporter, state, seq);

-- Events that were purged before an exporter's cursor had passed them. Forgotten when all have.
CREATE TABLE purged_ahead (
    seq INTEGER PRIMARY KEY
);

-- What was purged does not come back with an event that arrives late. One row per purged run.
CREATE TABLE purged_runs (
    run_id_digest BLOB PRIMARY KEY                 -- BLAKE2b, 16 bytes: the id itself is gone
) WITHOUT ROWID;
