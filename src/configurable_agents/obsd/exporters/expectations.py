"""What MLflow should hold, by the ledger: the same projection that the exporter writes."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from configurable_agents.obsd import limits
from configurable_agents.obsd.exporters import projection
from configurable_agents.obsd.ledger import accounts, export_queries, queries
from configurable_agents.obsd.ledger.export_queries import NodePoint, RunHead
from configurable_agents.obsd.ledger.scopes import IN_SCOPE, resolve
from configurable_agents.observability.verification import Balance, ExpectedPoint, ExpectedRun
from configurable_agents.telemetry import Status
from configurable_agents.wire.report_records import ExporterStatus, Scope

_ROWS = """
SELECT (SELECT COUNT(*) FROM node_executions) + (SELECT COUNT(*) FROM llm_calls)
    + (SELECT COUNT(*) FROM run_events)
"""
_ROWS_OF_RETIRED = """
SELECT COALESCE(SUM(
    (SELECT COUNT(*) FROM node_executions x WHERE x.run = r.id)
    + (SELECT COUNT(*) FROM llm_calls c WHERE c.run = r.id)
), 0) + (SELECT COUNT(*) FROM run_events v JOIN runs o ON o.id = v.run WHERE o.retired_seq > 0)
FROM runs r WHERE r.retired_seq > 0
"""
_ROWS_EXPECTED = "SELECT COALESCE(SUM(events), 0) FROM runs WHERE retired_seq = 0"

_EXPORTED = f"""
SELECT r.id, r.retired_seq = 0,
    (SELECT COUNT(*) FROM dead_letters d WHERE d.run = r.id AND d.exporter = :exporter)
FROM runs r JOIN exported_runs x ON x.run = r.id AND x.exporter = :exporter
WHERE {IN_SCOPE} AND r.id > :after AND x.foreign_id <> '' ORDER BY r.id LIMIT 1
"""
_EXPORTED_COUNT = f"""
SELECT COUNT(*) FROM runs r JOIN exported_runs x ON x.run = r.id AND x.exporter = :exporter
WHERE {IN_SCOPE} AND x.foreign_id <> ''
"""

_POINTS = """
SELECT x.seq, x.run, n.name, x.call_index,
    MIN(x.started_unix_ns, 9223372036854775807 - x.duration_ns) + x.duration_ns, x.duration_ns,
    EXISTS (SELECT 1 FROM dead_letters d WHERE d.exporter = :exporter AND d.seq = x.seq)
FROM node_executions x JOIN names n ON n.id = x.node
WHERE x.run = :run AND x.seq > :after AND x.seq <= (SELECT cursor FROM exporters WHERE name = :exporter)
ORDER BY x.seq LIMIT :limit
"""


def balance(connection: sqlite3.Connection, scope: Scope, exporter: ExporterStatus) -> Balance:
    """Counts every row: about a second for 10^7 events. The runs to compare are those of the scope."""
    found = resolve(connection, scope)
    counts = queries.counts(connection)
    status = accounts.with_accounts(connection, exporter)
    [rows] = connection.execute(_ROWS).fetchone()
    [rows_of_retired] = connection.execute(_ROWS_OF_RETIRED).fetchone()
    [expected] = connection.execute(_ROWS_EXPECTED).fetchone()
    [runs] = connection.execute(_EXPORTED_COUNT, {**found.parameters, "exporter": exporter.name}).fetchone()
    return Balance(
        events_committed=counts.events_committed,
        events_kept=accounts.events_kept(connection),
        events_removed=counts.events_removed,
        events_purged=counts.events_purged,
        rows_expected=expected,
        rows_counted=rows - rows_of_retired,
        exporter=status.name,
        tracking_uri=status.target,
        state=status.state,
        events_exported=status.events_exported,
        events_waiting=status.events_waiting,
        events_set_aside=status.events_set_aside,
        events_dropped=status.events_dropped,
        runs_to_compare=runs,
    )


def next_run(
    connection: sqlite3.Connection, scope: Scope, exporter: str, after_row: int
) -> ExpectedRun | None:
    """The exported run of a scope that follows a row; `None` after the last."""
    parameters = {**resolve(connection, scope).parameters, "exporter": exporter, "after": after_row}
    row = connection.execute(_EXPORTED, parameters).fetchone()
    if row is None:
        return None
    run, has_rows, dead_letters = row
    head = export_queries.read_run(connection, exporter, run)
    expected = ExpectedRun(
        run,
        head.run_id,
        projection.experiment_name(head),
        head.foreign_id,
        is_attached=bool(head.attach_id),
        events=head.events,
        dead_letters=dead_letters,
        has_rows=bool(has_rows),
    )
    return _with_figures(connection, expected, head) if _is_final(head) else expected


def _is_final(head: RunHead) -> bool:
    return head.status is not Status.RUNNING and head.final_events == head.events


def _with_figures(connection: sqlite3.Connection, expected: ExpectedRun, head: RunHead) -> ExpectedRun:
    figures = projection.final_figures(connection, head)
    tags = figures.tags if head.attach_id else projection.start_tags(head) | figures.tags
    return replace(
        expected,
        status=projection.ENDINGS[head.status],
        totals={point.name: point.value for point in figures.totals},
        params=figures.params,
        tags=tags,
    )


def points_after(
    connection: sqlite3.Connection, exporter: str, run: int, after_seq: int
) -> tuple[list[ExpectedPoint], int]:
    """Points of a run that MLflow should have, in the order of commit, and where to go on; 0: that is all.

    What is set aside, dropped or to be tried again is left out.
    """
    limit = limits.POINTS_LISTED_MAX
    parameters = {"exporter": exporter, "run": run, "after": after_seq, "limit": limit}
    rows = connection.execute(_POINTS, parameters).fetchall()
    executions = [NodePoint(*row[:-1]) for row in rows if not row[-1]]
    points = [
        ExpectedPoint(point.seq, point.name, point.step, point.at_ms, point.value)
        for point in projection.node_points(executions)
    ]
    return points, rows[-1][0] if len(rows) == limit else 0
