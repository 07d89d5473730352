"""What the ledger answers. Pure functions of its content: the same ledger gives the same answer.

Each takes a reading connection (see `database.open_for_reading`) and is one consistent look at it,
when called within `snapshot`.
"""

from __future__ import annotations

import difflib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from configurable_agents.errors import InvalidValueError, NotFoundError
from configurable_agents.obsd import limits
from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost
from configurable_agents.runtime.critical_path import Span, node_profiles
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport, sorted_profiles
from configurable_agents.telemetry import NodeFinished, Status, Usage, WorkflowRunRecord
from configurable_agents.wire.report_records import Scope

LATEST = "latest"
"""The run id that means the newest run of the scope."""

NAMES_SUGGESTED_MAX = 8

_TOTALS = """
    SUM(t.calls), SUM(t.cost_nanos), SUM(t.input_tokens), SUM(t.cache_read_tokens), SUM(t.cache_write_tokens),
    SUM(t.cache_write_1h_tokens), SUM(t.output_tokens), SUM(t.reasoning_tokens), SUM(t.audio_input_tokens),
    SUM(t.audio_output_tokens), SUM(t.web_searches), SUM(t.priced_calls), SUM(t.stated_calls),
    SUM(t.free_calls), SUM(t.unpriced_calls), SUM(t.no_usage_calls), SUM(t.unpriced_tokens),
    SUM(t.failed_calls), SUM(t.stated_tokens), SUM(t.free_tokens), SUM(t.merged_calls)
"""

_IN_SCOPE = """
    (:experiment IS NULL OR r.experiment = :experiment) AND (:run IS NULL OR r.id = :run)
    AND r.started_unix_ns >= :since
"""

_COST = f"""
SELECT p.name, m.name, {_TOTALS}
FROM runs r JOIN call_totals t ON t.run = r.id
JOIN names p ON p.id = t.provider JOIN names m ON m.id = t.model
WHERE {_IN_SCOPE} GROUP BY t.provider, t.model
"""

_RUN_COUNT = f"SELECT COUNT(*) FROM runs r WHERE {_IN_SCOPE}"

_RUN_COLUMNS = """
    r.run_id, e.name, w.name, r.status, r.started_unix_ns, r.finished_unix_ns, r.tags,
    COALESCE(c.cost_nanos, 0), COALESCE(c.tokens, 0), COALESCE(c.calls, 0), COALESCE(c.unpriced, 0),
    r.node_executions, r.bottleneck_info, COALESCE(x.foreign_id, '')
"""

_RUNS = f"""
SELECT {_RUN_COLUMNS}
FROM (SELECT * FROM runs r WHERE {_IN_SCOPE} ORDER BY r.started_unix_ns DESC, r.id DESC LIMIT :limit) r
JOIN names e ON e.id = r.experiment JOIN names w ON w.id = r.workflow
LEFT JOIN exported_runs x ON x.run = r.id AND x.exporter = 'mlflow'
LEFT JOIN (
    SELECT run, SUM(cost_nanos) AS cost_nanos, SUM(calls) AS calls,
        SUM(unpriced_calls + no_usage_calls) AS unpriced,
        SUM(input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens + output_tokens
            + reasoning_tokens + audio_input_tokens + audio_output_tokens) AS tokens
    FROM call_totals GROUP BY run
) c ON c.run = r.id
ORDER BY r.started_unix_ns DESC, r.id DESC
"""

_STORED_PROFILE = f"""
SELECT n.name, SUM(t.calls), SUM(t.total_ns), SUM(t.self_ns), MAX(t.max_ns), SUM(t.errors),
    CASE WHEN COUNT(*) = 1 THEN MAX(t.p95_ns) END
FROM runs r JOIN node_totals t ON t.run = r.id JOIN names n ON n.id = t.node
WHERE {_IN_SCOPE} AND r.profiled_events = r.events GROUP BY t.node
"""

_SPANS = """
SELECT x.span_id, x.parent_span_id, n.name, x.started_unix_ns, x.duration_ns, x.status <> 1
FROM node_executions x JOIN names n ON n.id = x.node WHERE x.run = ? LIMIT ?
"""

_EXECUTIONS = """
SELECT x.span_id, x.parent_span_id, n.name, x.attempt, x.started_unix_ns, x.duration_ns, x.status
FROM runs r JOIN node_executions x ON x.run = r.id JOIN names n ON n.id = x.node
WHERE r.run_id = ? ORDER BY x.seq LIMIT ?
"""

_TOTALS_OF_RUN = """
SELECT n.name, t.calls, t.total_ns, t.total_ns, t.max_ns, t.errors
FROM node_totals t JOIN names n ON n.id = t.node WHERE t.run = ?
"""

_UNPROFILED = f"""
SELECT r.id, r.run_id, r.node_executions FROM runs r WHERE {_IN_SCOPE} AND r.profiled_events <> r.events
"""

_WALL = f"""
SELECT COALESCE(SUM(COALESCE(r.duration_ns, MAX(0, r.last_event_unix_ns - r.started_unix_ns))), 0), COUNT(*)
FROM runs r WHERE {_IN_SCOPE}
"""


_RUNS_WAITING = """
SELECT COUNT(*) FROM runs r LEFT JOIN exported_runs x ON x.run = r.id AND x.exporter = :exporter
WHERE r.status <> :running AND COALESCE(x.final_events, -1) <> r.events
"""

LiveProfiles = Callable[[str], tuple[NodeProfile, ...] | None]


class ResolvedScope(NamedTuple):
    """A scope with its names found in the ledger."""

    experiment: int | None
    run: int | None
    since: int
    experiment_name: str
    run_id: str

    @property
    def parameters(self) -> dict[str, Any]:
        return {"experiment": self.experiment, "run": self.run, "since": self.since}


class LedgerCounts(NamedTuple):
    events_committed: int
    events_duplicate: int
    events_refused: dict[str, int]
    runs_total: int
    runs_live: int


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All queries within see the ledger at the same moment."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        connection.execute("ROLLBACK")


def resolve(connection: sqlite3.Connection, scope: Scope) -> ResolvedScope:
    """Finds the names of a scope. Raises `NotFoundError`, which says what there is instead."""
    experiment = _experiment(connection, scope.experiment) if scope.experiment else None
    found = ResolvedScope(experiment, None, scope.since_unix_ns, scope.experiment, "")
    if not scope.run_id:
        return found
    run, run_id = _run(connection, scope, found)
    return found._replace(run=run, run_id=run_id)


def cost_summary(connection: sqlite3.Connection, scope: Scope) -> CostSummary:
    found = resolve(connection, scope)
    entries = [
        ModelCost(provider, model, _call_totals(totals))
        for provider, model, *totals in connection.execute(_COST, found.parameters)
    ]
    count = connection.execute(_RUN_COUNT, found.parameters).fetchone()[0]
    return CostSummary.of(
        entries,
        experiment=_experiment_of(connection, found),
        run_id=found.run_id,
        since_unix_ns=scope.since_unix_ns,
        run_count=count,
    )


def profile_report(
    connection: sqlite3.Connection, scope: Scope, live: LiveProfiles = lambda _: None
) -> ProfileReport:
    """Finished runs from their stored profiles, the others from their rows, and long runs in flight
    from their analyzers, which `live` knows by run id."""
    found = resolve(connection, scope)
    parts = [NodeProfile(*row) for row in connection.execute(_STORED_PROFILE, found.parameters)]
    unprofiled = connection.execute(_UNPROFILED, found.parameters).fetchall()
    for run, run_id, executions in unprofiled:
        known = live(run_id) if executions > limits.LIVE_ROWS_MAX else None
        parts.extend(run_profile(connection, run) if known is None else known)
    wall_ns, run_count = connection.execute(_WALL, found.parameters).fetchone()
    workflow, status = _run_heading(connection, found.run)
    return ProfileReport(
        nodes=merged_profiles(parts),
        experiment=_experiment_of(connection, found),
        workflow=workflow,
        run_id=found.run_id,
        since_unix_ns=scope.since_unix_ns,
        run_count=run_count,
        status=status,
        wall_ns=wall_ns,
    )


def run_profile(connection: sqlite3.Connection, run: int) -> tuple[NodeProfile, ...]:
    """The nodes of one run from its rows; of one too long for that from its totals."""
    spans = [
        Span(span_id, parent_span_id, node_id, started, duration, bool(failed))
        for span_id, parent_span_id, node_id, started, duration, failed in connection.execute(
            _SPANS, (run, limits.PROFILED_SPANS_MAX + 1)
        )
    ]
    if len(spans) <= limits.PROFILED_SPANS_MAX:
        return node_profiles(spans)
    return sorted_profiles([NodeProfile(*row) for row in connection.execute(_TOTALS_OF_RUN, (run,))])


def final_profile(connection: sqlite3.Connection, run_id: str) -> tuple[ProfileReport, int]:
    """The profile of a run that is over, and how many of its events it was made from."""
    run, events = connection.execute("SELECT id, events FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    return ProfileReport(nodes=run_profile(connection, run), run_id=run_id, run_count=1), events


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
        runs_total=connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0],
        runs_live=connection.execute(
            "SELECT COUNT(*) FROM runs WHERE status = ?", (Status.RUNNING,)
        ).fetchone()[0],
    )


def runs_waiting(connection: sqlite3.Connection, exporter: str) -> int:
    """Runs that are over and not yet exported as final."""
    parameters = {"exporter": exporter, "running": Status.RUNNING}
    return int(connection.execute(_RUNS_WAITING, parameters).fetchone()[0])


def merged_profiles(parts: list[NodeProfile]) -> tuple[NodeProfile, ...]:
    """Adds up profiles of the same node. A percentile of one part alone stays, of several is unknown."""
    merged: dict[str, NodeProfile] = {}
    for part in parts:
        known = merged.get(part.node_id)
        merged[part.node_id] = (
            part
            if known is None
            else NodeProfile(
                part.node_id,
                known.calls + part.calls,
                known.total_ns + part.total_ns,
                known.self_ns + part.self_ns,
                max(known.max_ns, part.max_ns),
                known.errors + part.errors,
            )
        )
    return sorted_profiles(list(merged.values()))


def _call_totals(row: list[int]) -> CallTotals:
    return CallTotals(row[0], row[1], Usage(*row[2:11]), *row[11:])


def _run_record(row: tuple[Any, ...]) -> WorkflowRunRecord:
    values = list(row)
    values[3] = Status(values[3])
    values[6] = json.loads(values[6])
    return WorkflowRunRecord(*values)


def _run_heading(connection: sqlite3.Connection, run: int | None) -> tuple[str, Status]:
    if run is None:
        return "", Status.UNSPECIFIED
    workflow, status = connection.execute(
        "SELECT w.name, r.status FROM runs r JOIN names w ON w.id = r.workflow WHERE r.id = ?", (run,)
    ).fetchone()
    return workflow, Status(status)


def _experiment_of(connection: sqlite3.Connection, found: ResolvedScope) -> str:
    """The experiment asked for, or the one of the run asked for."""
    if found.run is None:
        return found.experiment_name
    row = connection.execute(
        "SELECT e.name FROM runs r JOIN names e ON e.id = r.experiment WHERE r.id = ?", (found.run,)
    ).fetchone()
    return str(row[0])


def _experiment(connection: sqlite3.Connection, name: str) -> int:
    known = dict(
        connection.execute(
            "SELECT e.name, e.id FROM names e WHERE e.id IN (SELECT DISTINCT experiment FROM runs)"
        )
    )
    if name not in known:
        raise NotFoundError(
            f"no experiment is called {name!r}; {_what_there_is(name, sorted(filter(None, known)))}"
        )
    return int(known[name])


def _what_there_is(name: str, known: list[str]) -> str:
    if not known:
        return "the ledger is empty"
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = ", ".join(repr(each) for each in known[:NAMES_SUGGESTED_MAX])
    more = len(known) - NAMES_SUGGESTED_MAX
    return f"there are: {shown}{f' and {more} more' if more > 0 else ''}"


def _run(connection: sqlite3.Connection, scope: Scope, found: ResolvedScope) -> tuple[int, str]:
    if scope.run_id == LATEST:
        rows = connection.execute(
            f"SELECT r.id, r.run_id FROM runs r WHERE {_IN_SCOPE}"
            " ORDER BY r.started_unix_ns DESC, r.id DESC LIMIT 1",
            found.parameters,
        ).fetchall()
    else:
        rows = connection.execute("SELECT id, run_id FROM runs WHERE run_id = ?", (scope.run_id,)).fetchall()
    if not rows:
        rows = connection.execute(
            "SELECT id, run_id FROM runs WHERE substr(run_id, 1, length(:start)) = :start LIMIT 2",
            {"start": scope.run_id},
        ).fetchall()
    if len(rows) > 1:
        raise InvalidValueError(f"several runs begin with {scope.run_id!r}; give more of the id")
    if not rows:
        raise NotFoundError(f"no run is called {scope.run_id!r}; {_newest_runs(connection, found)}")
    run, run_id = rows[0]
    if found.experiment is not None:
        _check_experiment_of(connection, run, run_id, found)
    return int(run), str(run_id)


def _check_experiment_of(connection: sqlite3.Connection, run: int, run_id: str, found: ResolvedScope) -> None:
    experiment = connection.execute("SELECT experiment FROM runs WHERE id = ?", (run,)).fetchone()[0]
    if experiment != found.experiment:
        raise NotFoundError(f"run {run_id} is not of the experiment {found.experiment_name!r}")


def _newest_runs(connection: sqlite3.Connection, found: ResolvedScope) -> str:
    rows = connection.execute(
        "SELECT run_id FROM runs WHERE :experiment IS NULL OR experiment = :experiment"
        " ORDER BY started_unix_ns DESC LIMIT 3",
        {"experiment": found.experiment},
    ).fetchall()
    if not rows:
        return "the ledger is empty"
    return f"the newest are: {', '.join(run_id for (run_id,) in rows)}"
