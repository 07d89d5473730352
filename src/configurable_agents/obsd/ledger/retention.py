"""Rows that are no longer needed: which they are, what is kept of them, and their removal in small steps.

The single calls and executions of a run go first (the run is *retired*): what they said is summed up in
`call_groups` and `cache_totals`, so that money, tokens and profiles stay what they were, to the last
digit. Long after, the run itself goes. Producers and their positions stay for ever: that is what makes a
resent event a duplicate, and there is no age after which a spool cannot turn up again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import NamedTuple

from configurable_agents.obsd.ledger.cache_queries import CacheSums, cache_sums
from configurable_agents.obsd.ledger.calls import figures_of
from configurable_agents.obsd.ledger.cost_groups import Part, PartKey, parts
from configurable_agents.obsd.ledger.dead_letters import LetterState
from configurable_agents.obsd.ledger.profile_blocks import forget_block_of
from configurable_agents.obsd.ledger.scopes import RUN_LAST
from configurable_agents.observability.cost_summary import CallTotals, sum_totals
from configurable_agents.runtime import bounds
from configurable_agents.telemetry import Status

_OVER_AND_EXPORTED = f"""
r.status <> {int(Status.RUNNING)} AND r.profiled_events = r.events AND r.last_received_unix_ns < :before
AND (:exporter = '' OR EXISTS (
    SELECT 1 FROM exported_runs x WHERE x.run = r.id AND x.exporter = :exporter AND x.final_events = r.events
)) AND r.id NOT IN (SELECT run FROM dead_letters WHERE state <> {int(LetterState.DROPPED)})
"""
"""Late events make `events` differ from what was profiled and exported; set-aside ones may be retried."""

_TO_RETIRE = f"""
SELECT r.id FROM runs r INDEXED BY runs_with_rows
WHERE r.retired_seq = 0 AND {_OVER_AND_EXPORTED} ORDER BY r.started_unix_ns LIMIT :limit
"""

_TO_REMOVE = f"""
SELECT r.id FROM runs r WHERE r.retired_seq > 0 AND {_OVER_AND_EXPORTED}
ORDER BY r.started_unix_ns LIMIT :limit
"""

_LAST_SEQ_OF_RUN = """
SELECT max(coalesce((SELECT max(seq) FROM node_executions WHERE run = :run), 0),
    coalesce((SELECT max(seq) FROM llm_calls WHERE run = :run), 0))
"""

_STILL_HAVE_ROWS = """
SELECT r.id FROM runs r WHERE r.retired_seq > 0 AND (
    EXISTS (SELECT 1 FROM node_executions x WHERE x.run = r.id AND x.seq <= r.retired_seq)
    OR EXISTS (SELECT 1 FROM llm_calls c WHERE c.run = r.id AND c.seq <= r.retired_seq)
)
"""

_BACKLOG = """
SELECT coalesce((SELECT value FROM counters WHERE name = 'events_committed'), 0),
    coalesce((SELECT SUM(value) FROM counters WHERE name IN ('events_retired', 'events_purged')), 0),
    coalesce((SELECT cursor FROM exporters WHERE name = ?), 0)
"""

_TOTAL_COLUMNS = (
    "calls", "cost_nanos",
    "input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens",
    "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "web_searches",
    "priced_calls", "stated_calls", "free_calls", "unpriced_calls", "no_usage_calls", "unpriced_tokens",
    "failed_calls", "stated_tokens", "free_tokens", "merged_calls",
)  # fmt: skip
_ADD_GROUP = f"""
INSERT INTO call_groups VALUES ({",".join("?" * (11 + len(_TOTAL_COLUMNS)))})
ON CONFLICT (run, node, provider, model, day, attempt, status, price_status, wasted, anomalies, token_class)
DO UPDATE SET {", ".join(f"{column} = {column} + excluded.{column}" for column in _TOTAL_COLUMNS)}
"""
_ADD_CACHE_TOTALS = "INSERT INTO cache_totals VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"

_RETIRE = """
UPDATE runs SET retired_seq = max(1, :upto), retired_unix_ns = :now
WHERE id = :run AND retired_seq = 0 AND events = :events AND repriced_events = :repriced_events
"""
_COUNT = "INSERT INTO counters VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"

_SOME_EXECUTIONS = """
DELETE FROM node_executions WHERE seq IN (
    SELECT x.seq FROM node_executions x JOIN runs r ON r.id = x.run
    WHERE x.run = :run AND x.seq <= r.retired_seq LIMIT :limit
)
"""
_SOME_CALLS = """
SELECT c.seq FROM llm_calls c JOIN runs r ON r.id = c.run WHERE c.run = :run AND c.seq <= r.retired_seq
LIMIT :limit
"""

_TABLES_OF_A_RUN = (
    "node_executions", "llm_calls", "open_nodes", "node_totals", "call_totals", "model_times",
    "call_groups", "cache_totals", "run_events",
)  # fmt: skip
_DELETE_RUN = (
    "DELETE FROM price_history WHERE call IN (SELECT seq FROM llm_calls WHERE run = ?)",
    *(f"DELETE FROM {table} WHERE run = ?" for table in _TABLES_OF_A_RUN),
    "DELETE FROM exported_runs WHERE exporter IN (SELECT name FROM exporters) AND run = ?",
)


class Backlog(NamedTuple):
    """What an exporter has not taken yet."""

    events_waiting: int = 0
    events_held: int = 0
    """All events whose rows are there."""


class RetiredRun(NamedTuple):
    """What is kept of the rows of a run: see `call_groups` and `cache_totals`."""

    run: int
    events: int
    repriced_events: int
    """Both as they were when this was summed up."""
    upto_seq: int
    whole: list[Part]
    classes: list[Part]
    caches: dict[tuple[str, str, str], CacheSums]


def backlog(connection: sqlite3.Connection, exporter: str) -> Backlog:
    """`exporter` is empty where nothing is exported: then nothing waits."""
    committed, gone, cursor = connection.execute(_BACKLOG, (exporter,)).fetchone()
    return Backlog(max(0, committed - cursor) if exporter else 0, committed - gone)


def to_retire(connection: sqlite3.Connection, exporter: str, before_unix_ns: int, *, limit: int) -> list[int]:
    """Runs that are over, profiled, exported as they are, and not heard of since; the oldest first.

    `exporter` is empty where none is wanted.
    """
    return _runs(connection, _TO_RETIRE, exporter, before_unix_ns, limit)


def to_remove(connection: sqlite3.Connection, exporter: str, before_unix_ns: int, *, limit: int) -> list[int]:
    """Retired runs not heard of since, the oldest first."""
    return _runs(connection, _TO_REMOVE, exporter, before_unix_ns, limit)


def _runs(connection: sqlite3.Connection, sql: str, exporter: str, before: int, limit: int) -> list[int]:
    parameters = {"exporter": exporter, "before": before, "limit": limit}
    return [run for (run,) in connection.execute(sql, parameters)]


def still_have_rows(connection: sqlite3.Connection) -> list[int]:
    """Retired runs whose removal was cut short."""
    return [run for (run,) in connection.execute(_STILL_HAVE_ROWS)]


def summed_up(connection: sqlite3.Connection, run: int, exporter: str) -> RetiredRun | None:
    """What is to be kept of the rows of a run; `None` while its last ones are not exported.

    `None` as well where its figures, each of which is allowed, add up to more than 64 bits hold.
    """
    [upto] = connection.execute(_LAST_SEQ_OF_RUN, {"run": run}).fetchone()
    if exporter and upto > _cursor(connection, exporter):
        return None
    events, repriced_events = connection.execute(
        "SELECT events, repriced_events FROM runs WHERE id = ?", (run,)
    ).fetchone()
    parameters = {"experiment": None, "run_first": run, "run_last": run, "since": -RUN_LAST}
    try:
        whole = _added_up(
            part._replace(token_class="") for part in parts(connection, parameters, classes=False)
        )
        classes = _added_up(parts(connection, parameters, classes=True))
        caches = cache_sums(connection, parameters)
    except sqlite3.OperationalError as error:
        if str(error) != "integer overflow":
            raise
        return None
    return RetiredRun(run, events, repriced_events, upto, whole, classes, caches)


def _added_up(found: Iterable[Part]) -> list[Part]:
    totals: dict[tuple[PartKey, str], list[CallTotals]] = {}
    for part in found:
        totals.setdefault((part.key, part.token_class), []).append(part.totals)
    return [Part(*key, sum_totals(some)) for key, some in totals.items()]


def _cursor(connection: sqlite3.Connection, exporter: str) -> int:
    row = connection.execute("SELECT cursor FROM exporters WHERE name = ?", (exporter,)).fetchone()
    return 0 if row is None else int(row[0])


def retire(
    connection: sqlite3.Connection, kept: RetiredRun, now_unix_ns: int, name_id: Callable[[str], int]
) -> bool:
    """Within a transaction: from now on the run is told of by what is kept. Its rows are still there.

    False when the run has changed since it was summed up; then nothing was done.
    """
    parameters = {"run": kept.run, "events": kept.events, "repriced_events": kept.repriced_events}
    retired = connection.execute(_RETIRE, {**parameters, "upto": kept.upto_seq, "now": now_unix_ns})
    if retired.rowcount == 0:
        return False
    for some in (kept.whole, kept.classes):
        connection.executemany(_ADD_GROUP, [_group_row(kept.run, part, name_id) for part in some])
    caches = [(kept.run, *map(name_id, key), *_cache_figures(sums)) for key, sums in kept.caches.items()]
    connection.executemany(_ADD_CACHE_TOTALS, caches)
    connection.execute(_COUNT, ("runs_retired", 1))
    return True


def _group_row(run: int, part: Part, name_id: Callable[[str], int]) -> tuple[object, ...]:
    key = part.key
    names = (name_id(key.node), name_id(key.provider), name_id(key.model))
    about = (key.day, key.attempt, key.status, key.price_status, key.wasted, key.anomalies)
    return (run, *names, *about, part.token_class, *map(bounds.in_int64, figures_of(part.totals)))


def _cache_figures(sums: CacheSums) -> tuple[object, ...]:
    return (
        *map(bounds.in_int64, (sums.calls, sums.input_tokens, sums.read_tokens, sums.written_tokens)),
        str(sums.saved_yoctos),
        bounds.in_int64(sums.unread_tokens),
        str(sums.unread_yoctos),
        bounds.in_int64(sums.rateless_read_tokens),
        bounds.in_int64(sums.rateless_unread_tokens),
    )


def remove_some_rows(connection: sqlite3.Connection, run: int, *, limit: int) -> int:
    """Within a transaction: removes up to `limit` rows of each kind of a retired run. Returns how many."""
    parameters = {"run": run, "limit": limit}
    removed = connection.execute(_SOME_EXECUTIONS, parameters).rowcount
    calls = connection.execute(_SOME_CALLS, parameters).fetchall()
    connection.executemany("DELETE FROM price_history WHERE call = ?", calls)
    connection.executemany("DELETE FROM llm_calls WHERE seq = ?", calls)
    removed += len(calls)
    connection.execute(_COUNT, ("events_retired", removed))
    return removed


def remove_runs(connection: sqlite3.Connection, runs: Iterable[int]) -> int:
    """Within a transaction: removes runs with all that is kept of them. Returns how many."""
    events = [had for had in (delete_run(connection, run) for run in runs) if had is not None]
    connection.execute(_COUNT, ("runs_removed", len(events)))
    connection.execute(_COUNT, ("events_removed", sum(events)))
    return len(events)


def delete_run(connection: sqlite3.Connection, run: int) -> int | None:
    """Within a transaction: removes a run from every table. Returns how many events it had, if it was there.

    What was dropped of it (`dead_letters`) stays in the accounts.
    """
    for sql in _DELETE_RUN:
        connection.execute(sql, (run,))
    forget_block_of(connection, run)
    row = connection.execute("DELETE FROM runs WHERE id = ? RETURNING events", (run,)).fetchone()
    return None if row is None else int(row[0])


def return_space(connection: sqlite3.Connection, *, pages_max: int) -> int:
    """Gives free pages at the end of the file back to the file system. Returns how many remain free.

    Outside of a transaction; SQLite makes its own. The file shrinks with the next checkpoint.
    """
    # Not `execute`: it steps once through a statement without columns, and each step frees one page.
    connection.executescript(f"PRAGMA incremental_vacuum({int(pages_max)})")
    return free_pages(connection)


def free_pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the ledger's rows take, without pages that are free."""
    [page_bytes] = connection.execute("PRAGMA page_size").fetchone()
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    return int(page_bytes) * (int(pages) - free_pages(connection))
