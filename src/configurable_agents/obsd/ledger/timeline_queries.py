"""What the ledger answers about single executions: one run in detail, what runs now, runs one by one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from configurable_agents.errors import InvalidValueError
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.ledger.run_profile import declared_graph
from configurable_agents.obsd.ledger.scopes import IN_SCOPE, resolve, retired_runs
from configurable_agents.observability.known_cost import KnownCost
from configurable_agents.runtime.past_runs import LiveRun, OpenNode, PastNode, PastRun
from configurable_agents.runtime.timeline import Timeline, TimelineCall, TimelineRows, TimelineSpan
from configurable_agents.telemetry import Status, WorkflowRunRecord
from configurable_agents.wire.report_records import Scope

_HEAD = """
SELECT r.graph, r.node_executions, r.started_unix_ns
    + COALESCE(r.duration_ns, MAX(0, r.last_event_unix_ns - r.started_unix_ns))
FROM runs r WHERE r.id = ?
"""

_RUN_RECORD = """
SELECT r.run_id, e.name, w.name, r.status, r.started_unix_ns, r.finished_unix_ns, r.tags,
    COALESCE(SUM(c.cost_nanos), 0),
    COALESCE(SUM(c.input_tokens + c.cache_read_tokens + c.cache_write_tokens + c.cache_write_1h_tokens
        + c.output_tokens + c.reasoning_tokens + c.audio_input_tokens + c.audio_output_tokens), 0),
    COALESCE(SUM(c.calls), 0), COALESCE(SUM(c.unpriced_calls + c.no_usage_calls), 0),
    r.node_executions, r.bottleneck_info, '', COALESCE(SUM(c.no_usage_calls), 0)
FROM runs r JOIN names e ON e.id = r.experiment JOIN names w ON w.id = r.workflow
LEFT JOIN call_totals c ON c.run = r.id WHERE r.run_id = ? GROUP BY r.id
"""

_SPANS = """
SELECT x.span_id, x.parent_span_id, n.name, x.started_unix_ns, x.duration_ns, x.status, x.attempt
FROM node_executions x JOIN names n ON n.id = x.node WHERE x.run = ? LIMIT ?
"""

_OPEN = """
SELECT o.span_id, o.parent_span_id, n.name, o.started_unix_ns, 0, 4, o.attempt
FROM open_nodes o JOIN names n ON n.id = o.node WHERE o.run = ? LIMIT ?
"""

_CALLS = """
SELECT c.span_id, n.name, p.name, m.name, c.started_unix_ns, c.duration_ns, c.time_to_first_token_ns,
    c.cost_nanos, c.price_status NOT IN ('unpriced', 'no_usage'),
    COALESCE(c.input_tokens + c.cache_read_tokens + c.cache_write_tokens + c.cache_write_1h_tokens
        + c.output_tokens + c.reasoning_tokens + c.audio_input_tokens + c.audio_output_tokens, 0), c.status,
    c.counted
FROM llm_calls c JOIN names n ON n.id = c.node JOIN names p ON p.id = c.provider
JOIN names m ON m.id = c.model WHERE c.run = ? LIMIT ?
"""

_STATUSES = {int(status): status for status in Status}

_NEWEST_LIVE = """
SELECT id, run_id FROM runs WHERE status = 4 ORDER BY +started_unix_ns DESC, id DESC LIMIT ?
"""
"""The plus has SQLite look at runs in flight only, and not at all in the order of their start."""

_OPEN_NODES = """
SELECT n.name, MIN(o.started_unix_ns), COUNT(*) FROM open_nodes o JOIN names n ON n.id = o.node
WHERE o.run = ? GROUP BY o.node ORDER BY 2, 1 LIMIT ?
"""

_COST = """
SELECT COALESCE(SUM(cost_nanos), 0), COALESCE(SUM(calls), 0),
    COALESCE(SUM(unpriced_calls + no_usage_calls), 0)
FROM call_totals
"""

_PAST = f"""
SELECT r.id, r.run_id, r.started_unix_ns, r.status, r.duration_ns FROM runs r
WHERE {IN_SCOPE} AND r.status <> 4 AND r.duration_ns IS NOT NULL
    AND (:before = 0 OR r.started_unix_ns < :before)
ORDER BY r.started_unix_ns DESC, r.id DESC LIMIT :limit
"""

_PAST_NODES = """
SELECT n.name, t.calls, t.total_ns, COALESCE(t.p95_ns, t.max_ns), t.errors
FROM node_totals t JOIN names n ON n.id = t.node WHERE t.run = ? ORDER BY t.total_ns DESC, n.name LIMIT ?
"""


def timeline(connection: sqlite3.Connection, scope: Scope, now_unix_ns: int) -> Timeline:
    """The one run of the scope. What still runs ends, in this picture, now.

    Raises `InvalidValueError` for a scope that names no run, `RowsRetiredError` for one whose rows are
    removed.
    """
    head, rows = timeline_in_rows(connection, scope, now_unix_ns)
    return head.with_rows(rows)


def timeline_in_rows(
    connection: sqlite3.Connection, scope: Scope, now_unix_ns: int
) -> tuple[Timeline, Iterator[TimelineRows]]:
    """The same in portions, to be read on this connection one after the other, in no order."""
    if not scope.run_id:
        raise InvalidValueError("a timeline is of one run; give its id, a unique beginning of it, or latest")
    found = resolve(connection, scope)
    retired_runs(connection, found)
    run = run_record(connection, found.run_id)
    graph, executions, ended_unix_ns = connection.execute(_HEAD, (found.run,)).fetchone()
    is_live = run.status is Status.RUNNING
    ended_unix_ns = max(ended_unix_ns, now_unix_ns) if is_live else ended_unix_ns
    is_cut = max(executions, run.llm_calls) > limits.PROFILED_SPANS_MAX
    head = Timeline(run, ended_unix_ns, graph=declared_graph(graph), cut=is_cut)
    return head, _rows(connection, (found.run, limits.PROFILED_SPANS_MAX), ended_unix_ns, is_live=is_live)


def _rows(
    connection: sqlite3.Connection, limited: tuple[int | None, int], ended_unix_ns: int, *, is_live: bool
) -> Iterator[TimelineRows]:
    for rows in _portions(connection, _SPANS, limited):
        yield TimelineRows(
            spans=[
                TimelineSpan(span, parent, node, started, duration, _STATUSES[status], attempt)
                for span, parent, node, started, duration, status, attempt in rows
            ]
        )
    for rows in _portions(connection, _OPEN, limited) if is_live else ():
        yield TimelineRows(spans=[_open_span(TimelineSpan(*row), ended_unix_ns) for row in rows])
    for rows in _portions(connection, _CALLS, limited):
        yield TimelineRows(calls=[_call(TimelineCall(*row)) for row in rows])


def _portions(
    connection: sqlite3.Connection, sql: str, limited: tuple[int | None, int]
) -> Iterator[list[tuple[Any, ...]]]:
    cursor = connection.execute(sql, limited)
    while rows := cursor.fetchmany(limits.TIMELINE_PART_ROWS):
        yield rows


def run_record(connection: sqlite3.Connection, run_id: str) -> WorkflowRunRecord:
    values = list(connection.execute(_RUN_RECORD, (run_id,)).fetchone())
    values[3] = Status(values[3])
    values[6] = json.loads(values[6])
    return WorkflowRunRecord(*values)


def _call(row: TimelineCall) -> TimelineCall:
    return row._replace(cost_known=bool(row.cost_known), status=Status(row.status), counted=bool(row.counted))


def _open_span(row: TimelineSpan, now_unix_ns: int) -> TimelineSpan:
    duration_ns = max(0, now_unix_ns - row.started_unix_ns)
    return row._replace(duration_ns=duration_ns, status=Status.RUNNING)


def live_runs(connection: sqlite3.Connection) -> list[LiveRun]:
    """The newest runs in flight, each with the nodes that were told to be running."""
    found = connection.execute(_NEWEST_LIVE, (limits.WATCHED_RUNS_MAX,)).fetchall()
    return [
        LiveRun(
            run_record(connection, run_id),
            tuple(OpenNode(*row) for row in connection.execute(_OPEN_NODES, (run, limits.WATCHED_NODES_MAX))),
        )
        for run, run_id in found
    ]


def known_cost(connection: sqlite3.Connection) -> KnownCost:
    """Of everything."""
    return KnownCost(*connection.execute(_COST).fetchone())


def past_runs(
    connection: sqlite3.Connection, scope: Scope, *, limit: int = 0, before_unix_ns: int = 0
) -> list[PastRun]:
    """The newest runs of the scope that are over, newest first."""
    found = resolve(connection, scope)
    shown = min(limit if limit > 0 else limits.PAST_RUNS_MAX, limits.PAST_RUNS_MAX)
    rows = connection.execute(
        _PAST, {**found.parameters, "limit": shown, "before": before_unix_ns}
    ).fetchall()
    return [
        PastRun(
            run_id,
            started,
            Status(status),
            wall_ns,
            tuple(PastNode(*row) for row in connection.execute(_PAST_NODES, (run, limits.PAST_NODES_MAX))),
            tuple(queries.cost_summary(connection, Scope(run_id=run_id)).models),
        )
        for run, run_id, started, status, wall_ns in rows
    ]
