"""What the ledger answers. Pure functions of its content: the same ledger gives the same answer.

Each takes a reading connection (see `database.open_for_reading`) and is one consistent look at it,
when called within `snapshot`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger.profile_queries import (
    final_profile,
    profile_report,
    summed_block,
    waits_for_profile,
)
from configurable_agents.obsd.ledger.scopes import (
    IN_SCOPE,
    IN_SCOPE_BY_START,
    LATEST,
    experiment_of,
    resolve,
)
from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost
from configurable_agents.telemetry import NodeFinished, Status, Usage, WorkflowRunRecord
from configurable_agents.wire.report_records import Scope

__all__ = [
    "LATEST",
    "LedgerCounts",
    "cost_summary",
    "counts",
    "executions",
    "final_profile",
    "list_runs",
    "profile_report",
    "resolve",
    "runs_waiting",
    "snapshot",
    "summed_block",
    "waits_for_profile",
]

_TOTALS = """
    SUM(t.calls), SUM(t.cost_nanos), SUM(t.input_tokens), SUM(t.cache_read_tokens), SUM(t.cache_write_tokens),
    SUM(t.cache_write_1h_tokens), SUM(t.output_tokens), SUM(t.reasoning_tokens), SUM(t.audio_input_tokens),
    SUM(t.audio_output_tokens), SUM(t.web_searches), SUM(t.priced_calls), SUM(t.stated_calls),
    SUM(t.free_calls), SUM(t.unpriced_calls), SUM(t.no_usage_calls), SUM(t.unpriced_tokens),
    SUM(t.failed_calls), SUM(t.stated_tokens), SUM(t.free_tokens), SUM(t.merged_calls)
"""

_COST = f"""
SELECT p.name, m.name, {_TOTALS}
FROM runs r JOIN call_totals t ON t.run = r.id
JOIN names p ON p.id = t.provider JOIN names m ON m.id = t.model
WHERE {IN_SCOPE} GROUP BY t.provider, t.model
"""

_RUN_COUNT = f"SELECT COUNT(*) FROM runs r WHERE {IN_SCOPE}"

_LIVE_COUNT = f"SELECT COUNT(*) FROM runs r WHERE r.status = {int(Status.RUNNING)}"

_RUN_COLUMNS = """
    r.run_id, e.name, w.name, r.status, r.started_unix_ns, r.finished_unix_ns, r.tags,
    COALESCE(c.cost_nanos, 0), COALESCE(c.tokens, 0), COALESCE(c.calls, 0), COALESCE(c.unpriced, 0),
    r.node_executions, r.bottleneck_info, COALESCE(x.foreign_id, ''), COALESCE(c.no_usage, 0)
"""

_RUNS = f"""
WITH newest AS MATERIALIZED (
    SELECT r.id AS id FROM runs r WHERE {IN_SCOPE_BY_START}
    ORDER BY r.started_unix_ns DESC, r.id DESC LIMIT :limit
)
SELECT {_RUN_COLUMNS}
FROM newest CROSS JOIN runs r ON r.id = newest.id
JOIN names e ON e.id = r.experiment JOIN names w ON w.id = r.workflow
LEFT JOIN exported_runs x ON x.run = r.id AND x.exporter = 'mlflow'
LEFT JOIN (
    SELECT run, SUM(cost_nanos) AS cost_nanos, SUM(calls) AS calls,
        SUM(unpriced_calls + no_usage_calls) AS unpriced, SUM(no_usage_calls) AS no_usage,
        SUM(input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens + output_tokens
            + reasoning_tokens + audio_input_tokens + audio_output_tokens) AS tokens
    FROM call_totals WHERE run IN (SELECT id FROM newest) GROUP BY run
) c ON c.run = r.id
ORDER BY r.started_unix_ns DESC, r.id DESC
"""

_EXECUTIONS = """
SELECT x.span_id, x.parent_span_id, n.name, x.attempt, x.started_unix_ns, x.duration_ns, x.status
FROM runs r JOIN node_executions x ON x.run = r.id JOIN names n ON n.id = x.node
WHERE r.run_id = ? ORDER BY x.seq LIMIT ?
"""

_RUNS_WAITING = """
SELECT COUNT(*) FROM runs r LEFT JOIN exported_runs x ON x.run = r.id AND x.exporter = :exporter
WHERE r.status <> :running AND COALESCE(x.final_events, -1) <> r.events
"""


RETENTION_COUNTERS = ("events_retired", "runs_retired", "runs_retired_for_size", "runs_removed")


class LedgerCounts(NamedTuple):
    events_committed: int
    events_duplicate: int
    events_refused: dict[str, int]
    names_folded: int
    events_purged: int
    events_removed: int
    runs_total: int
    runs_live: int
    events_retired: int = 0
    """Rows removed after their time; they were exported before."""
    runs_retired: int = 0
    runs_retired_for_size: int = 0
    runs_removed: int = 0


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All queries within see the ledger at the same moment."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        connection.execute("ROLLBACK")


def cost_summary(connection: sqlite3.Connection, scope: Scope) -> CostSummary:
    found = resolve(connection, scope)
    entries = [
        ModelCost(provider, model, _call_totals(totals))
        for provider, model, *totals in connection.execute(_COST, found.parameters)
    ]
    count = connection.execute(_RUN_COUNT, found.parameters).fetchone()[0]
    return CostSummary.of(
        entries,
        experiment=experiment_of(connection, found),
        run_id=found.run_id,
        since_unix_ns=scope.since_unix_ns,
        run_count=count,
    )


def executions(connection: sqlite3.Connection, run_id: str) -> list[NodeFinished]:
    """The executions of one run in the order of commit, at most `LIVE_ROWS_MAX`, to rebuild its analyzer."""
    rows = connection.execute(_EXECUTIONS, (run_id, limits.LIVE_ROWS_MAX))
    return [
        NodeFinished(run_id, span, parent, node, attempt, started, duration, Status(status), "")
        for span, parent, node, attempt, started, duration, status in rows
    ]


def list_runs(
    connection: sqlite3.Connection, scope: Scope, *, limit: int
) -> tuple[list[WorkflowRunRecord], int]:
    """The newest runs of a scope, and how many it holds altogether."""
    found = resolve(connection, scope)
    shown = min(limit if limit > 0 else limits.RUNS_LISTED_DEFAULT, limits.RUNS_LISTED_MAX)
    rows = connection.execute(_RUNS, {**found.parameters, "limit": shown}).fetchall()
    matching = connection.execute(_RUN_COUNT, found.parameters).fetchone()[0]
    return [_run_record(row) for row in rows], matching


def counts(connection: sqlite3.Connection) -> LedgerCounts:
    named = dict(connection.execute("SELECT name, value FROM counters"))
    return LedgerCounts(
        events_committed=named.get("events_committed", 0),
        events_duplicate=named.get("events_duplicate", 0),
        events_refused={
            name.removeprefix("refused:"): value
            for name, value in named.items()
            if name.startswith("refused:")
        },
        names_folded=named.get("names_folded", 0),
        events_purged=named.get("events_purged", 0),
        events_removed=named.get("events_removed", 0),
        runs_total=connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0],
        runs_live=connection.execute(_LIVE_COUNT).fetchone()[0],
        **{name: named.get(name, 0) for name in RETENTION_COUNTERS},
    )


def repair_note(connection: sqlite3.Connection) -> str:
    """When the ledger was made from a damaged one, and what that cost; empty: it was not."""
    known = dict(connection.execute("SELECT name, value FROM counters WHERE name LIKE 'repair%'"))
    if "repaired_unix_ns" not in known:
        return ""
    day = datetime.fromtimestamp(known["repaired_unix_ns"] // 10**9, UTC).date().isoformat()
    lost, doubtful = known.get("repair_rows_lost", 0), known.get("repair_runs_doubtful", 0)
    return (
        f"made on {day} from a damaged one: {lost:,} events are known to be lost, and the figures of"
        f" {doubtful:,} runs may be wrong"
    )


def runs_waiting(connection: sqlite3.Connection, exporter: str) -> int:
    """Runs that are over and not yet exported as final."""
    parameters = {"exporter": exporter, "running": Status.RUNNING}
    return int(connection.execute(_RUNS_WAITING, parameters).fetchone()[0])


def _call_totals(row: list[int]) -> CallTotals:
    return CallTotals(row[0], row[1], Usage(*row[2:11]), *row[11:])


def _run_record(row: tuple[Any, ...]) -> WorkflowRunRecord:
    values = list(row)
    values[3] = Status(values[3])
    values[6] = json.loads(values[6])
    return WorkflowRunRecord(*values)
