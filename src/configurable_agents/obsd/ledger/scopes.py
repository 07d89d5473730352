"""Which runs a question is about: names found in the ledger, or an answer that says what there is instead."""

from __future__ import annotations

import difflib
import sqlite3
from datetime import UTC, datetime
from typing import Any, NamedTuple

from configurable_agents.errors import InvalidValueError, NotFoundError, RowsRetiredError
from configurable_agents.wire.report_records import Scope

LATEST = "latest"
"""The run id that means the newest run of the scope."""

NAMES_SUGGESTED_MAX = 8

IN_SCOPE = """
    (:experiment IS NULL OR r.experiment = :experiment) AND r.id BETWEEN :run_first AND :run_last
    AND r.started_unix_ns >= :since
"""
"""One run is a range of one row, where SQLite goes at once; a condition with OR has it look at all runs."""

IN_SCOPE_BY_START = IN_SCOPE.replace("r.id BETWEEN", "+r.id BETWEEN")
"""The same for the newest few runs: the plus has SQLite take them in the order of their start."""

_RETIRED_RUNS = f"SELECT COUNT(*) FROM runs r WHERE {IN_SCOPE} AND r.retired_seq > 0"

RUN_LAST = 2**63 - 1


class ResolvedScope(NamedTuple):
    """A scope with its names found in the ledger."""

    experiment: int | None
    run: int | None
    since: int
    experiment_name: str
    run_id: str

    @property
    def parameters(self) -> dict[str, Any]:
        first, last = (0, RUN_LAST) if self.run is None else (self.run, self.run)
        return {"experiment": self.experiment, "run_first": first, "run_last": last, "since": self.since}


def resolve(connection: sqlite3.Connection, scope: Scope) -> ResolvedScope:
    """Finds the names of a scope. Raises `NotFoundError`, which says what there is instead."""
    experiment = _experiment(connection, scope.experiment) if scope.experiment else None
    found = ResolvedScope(experiment, None, scope.since_unix_ns, scope.experiment, "")
    if not scope.run_id:
        return found
    run, run_id = _run(connection, scope, found)
    return found._replace(run=run, run_id=run_id)


def experiment_of(connection: sqlite3.Connection, found: ResolvedScope) -> str:
    """The experiment asked for, or the one of the run asked for."""
    if found.run is None:
        return found.experiment_name
    row = connection.execute(
        "SELECT e.name FROM runs r JOIN names e ON e.id = r.experiment WHERE r.id = ?", (found.run,)
    ).fetchone()
    return str(row[0])


def retired_runs(connection: sqlite3.Connection, found: ResolvedScope) -> int:
    """How many runs of a scope have lost rows to retention.

    Raises `RowsRetiredError` when the scope is one run, and that has.
    """
    if found.run is None:
        return int(connection.execute(_RETIRED_RUNS, found.parameters).fetchone()[0])
    retired_unix_ns = connection.execute(
        "SELECT retired_unix_ns FROM runs WHERE id = ?", (found.run,)
    ).fetchone()[0]
    if retired_unix_ns is not None:
        day = datetime.fromtimestamp(retired_unix_ns // 10**9, UTC).date().isoformat()
        raise RowsRetiredError(
            f"the single calls and executions of run {found.run_id} were removed on {day} by the daemon's"
            " retention; its totals are kept: see cost-report and profile-report"
        )
    return 0


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
            f"SELECT r.id, r.run_id FROM runs r WHERE {IN_SCOPE_BY_START}"
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
