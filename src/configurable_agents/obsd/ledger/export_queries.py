"""What an exporter reads: the events after its cursor, and the runs that it can finish."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

from configurable_agents.obsd.ledger import cost_groups, queries, timeline_queries
from configurable_agents.obsd.ledger.dead_letters import LetterState
from configurable_agents.observability.cost_summary import CostSummary
from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.runtime.timeline import Timeline
from configurable_agents.telemetry import Status
from configurable_agents.wire.report_records import Scope

RUN_ENDS = (2, 3)
"""`run_events.kind` of finished and interrupted."""

_NEW_EXECUTIONS = """
SELECT x.seq, x.run, n.name, x.call_index,
    MIN(x.started_unix_ns, 9223372036854775807 - x.duration_ns) + x.duration_ns, x.duration_ns
FROM node_executions x JOIN names n ON n.id = x.node WHERE x.seq > ? AND x.seq <= ? ORDER BY x.seq
"""

_NEW_OTHERS = """
SELECT seq, run FROM llm_calls WHERE seq > :after AND seq <= :upto
UNION ALL SELECT seq, run FROM run_events WHERE seq > :after AND seq <= :upto
"""

_RUN = """
SELECT r.id, r.run_id, e.name, w.name, r.status, r.started_unix_ns, r.finished_unix_ns,
    COALESCE(r.duration_ns, MAX(0, r.last_event_unix_ns - r.started_unix_ns)), r.last_event_unix_ns, r.tags,
    r.attach_mlflow_run_id, r.events, COALESCE(x.foreign_id, ''), COALESCE(x.final_events, -1),
    r.repriced, r.repriced_events
FROM runs r JOIN names e ON e.id = r.experiment JOIN names w ON w.id = r.workflow
LEFT JOIN exported_runs x ON x.run = r.id AND x.exporter = ?
WHERE r.id = ?
"""

_FINALS_DUE = f"""
SELECT DISTINCT r.id FROM runs r JOIN run_events v ON v.run = r.id
LEFT JOIN exported_runs x ON x.run = r.id AND x.exporter = :exporter
WHERE r.status <> {int(Status.RUNNING)} AND r.profiled_events = r.events
    AND COALESCE(x.final_events, -1) <> r.events AND v.kind IN {RUN_ENDS} AND v.seq <= :cursor
ORDER BY v.seq LIMIT :limit
"""

_RETRIES = f"""
SELECT d.seq, d.run, n.name, x.call_index,
    MIN(x.started_unix_ns, 9223372036854775807 - x.duration_ns) + x.duration_ns, x.duration_ns
FROM dead_letters d LEFT JOIN node_executions x ON x.seq = d.seq LEFT JOIN names n ON n.id = x.node
WHERE d.exporter = ? AND d.state = {int(LetterState.RETRYING)} ORDER BY d.seq LIMIT ?
"""

_END_OF_RUN = f"SELECT MAX(seq) FROM run_events WHERE run = ? AND kind IN {RUN_ENDS}"

_START_OF_RUN = "SELECT MIN(seq) FROM run_events WHERE run = ? AND kind = 1"

_LAST_SEQ = "SELECT COALESCE((SELECT value FROM counters WHERE name = 'events_committed'), 0)"


class NodePoint(NamedTuple):
    """One finished execution, as a point of a metric."""

    seq: int
    run: int
    node_id: str
    call_index: int
    ended_unix_ns: int
    duration_ns: int


class Page(NamedTuple):
    """The events after a cursor, up to a limit."""

    upto: int
    """The last event of the page."""
    points: list[NodePoint]
    others: list[tuple[int, int]]
    """(seq, run) of all other events."""
    more: bool

    def runs(self) -> list[int]:
        """The runs that have events here, in the order of their first."""
        firsts: dict[int, int] = {}
        for seq, run in sorted([(point.seq, point.run) for point in self.points] + self.others):
            firsts.setdefault(run, seq)
        return list(firsts)

    def seqs(self) -> list[int]:
        return [point.seq for point in self.points] + [seq for seq, _ in self.others]

    def seqs_of(self, run: int) -> list[int]:
        points = [point.seq for point in self.points if point.run == run]
        return points + [seq for seq, each in self.others if each == run]


class RunHead(NamedTuple):
    """A run as an exporter sees it."""

    run: int
    run_id: str
    experiment: str
    workflow: str
    status: Status
    started_unix_ns: int
    finished_unix_ns: int | None
    duration_ns: int
    """So far, for a run in flight."""
    last_event_unix_ns: int
    tags: dict[str, str]
    attach_id: str
    events: int
    foreign_id: str
    """The other side's id, once known."""
    final_events: int
    """`events` when it was exported as final; -1: not yet."""
    repriced: str = ""
    """JSON: when and why its prices were last changed; empty: never."""
    repriced_events: int = -1
    """`events` after that."""


def read_page(connection: sqlite3.Connection, cursor: int, *, limit: int) -> Page:
    last_seq = connection.execute(_LAST_SEQ).fetchone()[0]
    upto = min(last_seq, cursor + limit)
    points = [NodePoint(*row) for row in connection.execute(_NEW_EXECUTIONS, (cursor, upto))]
    others = connection.execute(_NEW_OTHERS, {"after": cursor, "upto": upto}).fetchall()
    return Page(max(upto, cursor), points, others, more=last_seq > upto)


def read_retries(connection: sqlite3.Connection, exporter: str, *, limit: int) -> Page:
    """Events that were set aside and are to be tried again, oldest first."""
    points, others = [], []
    rows = connection.execute(_RETRIES, (exporter, limit)).fetchall()
    for row in rows:
        if row[2] is None:
            others.append((row[0], row[1]))
        else:
            points.append(NodePoint(*row))
    return Page(rows[-1][0] if rows else 0, points, others, more=len(rows) == limit)


def end_of_run(connection: sqlite3.Connection, run: int) -> list[int]:
    """The event of its last end, if it has ended."""
    return [seq for (seq,) in connection.execute(_END_OF_RUN, (run,)) if seq is not None]


def start_of_run(connection: sqlite3.Connection, run: int) -> list[int]:
    """The event of its start, if it has come."""
    return [seq for (seq,) in connection.execute(_START_OF_RUN, (run,)) if seq is not None]


def read_run(connection: sqlite3.Connection, exporter: str, run: int) -> RunHead:
    values: list[Any] = list(connection.execute(_RUN, (exporter, run)).fetchone())
    values[4] = Status(values[4])
    values[9] = json.loads(values[9])
    return RunHead(*values)


def finals_due(connection: sqlite3.Connection, exporter: str, cursor: int, *, limit: int) -> list[int]:
    """Runs that are over and profiled, whose end the cursor has passed, and that are not exported so."""
    rows = connection.execute(_FINALS_DUE, {"exporter": exporter, "cursor": cursor, "limit": limit})
    return [run for (run,) in rows]


def run_cost(connection: sqlite3.Connection, run_id: str) -> CostSummary:
    """So far; what of it was thrown away is left open."""
    return queries.cost_summary(connection, Scope(run_id=run_id))


def final_cost(connection: sqlite3.Connection, run_id: str) -> CostSummary:
    return cost_groups.cost_with_wasted(connection, Scope(run_id=run_id))


def run_profile(connection: sqlite3.Connection, run_id: str) -> ProfileReport:
    return queries.profile_report(connection, Scope(run_id=run_id))


def run_timeline(connection: sqlite3.Connection, run_id: str) -> Timeline | None:
    """Of a run that is over; `None` for one whose rows are removed."""
    retired = connection.execute("SELECT retired_seq FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0]
    return None if retired else timeline_queries.timeline(connection, Scope(run_id=run_id), 0)
