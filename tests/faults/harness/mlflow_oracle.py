"""The oracle's look at MLflow: its tables, read without MLflow, beside those of the ledger."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harness.oracle import Verdict

RUN_ID_TAG = "agents_obs.run_id"

MLFLOW_STATUS = {1: "FINISHED", 2: "FAILED", 3: "KILLED", 4: "RUNNING", 5: "KILLED"}
"""By `telemetry.Status`."""

_LEDGER_RUNS = "SELECT id, run_id, status, attach_mlflow_run_id FROM runs"

_LEDGER_POINTS = """
SELECT r.run_id, n.name, x.call_index, x.duration_ns, x.started_unix_ns, x.seq
FROM node_executions x JOIN runs r ON r.id = x.run JOIN names n ON n.id = x.node
"""

_LEDGER_CALLS = """
SELECT r.run_id, coalesce(sum(t.calls), 0), coalesce(sum(t.input_tokens + t.cache_read_tokens +
    t.cache_write_tokens + t.cache_write_1h_tokens + t.output_tokens + t.reasoning_tokens +
    t.audio_input_tokens + t.audio_output_tokens), 0),
    CASE WHEN sum(t.priced_calls + t.stated_calls + t.free_calls) > 0 THEN sum(t.cost_nanos) / 1e9 END
FROM runs r LEFT JOIN call_totals t ON t.run = r.id GROUP BY r.id
"""

_STORE_RUNS = "SELECT run_uuid, status, lifecycle_stage FROM runs"
_STORE_TAGS = f"SELECT run_uuid, value FROM tags WHERE key = '{RUN_ID_TAG}'"
_STORE_POINTS = "SELECT run_uuid, key, value, timestamp, step FROM metrics"
_STORE_LATEST = "SELECT run_uuid, key, value FROM latest_metrics"


class Point(NamedTuple):
    run_id: str
    metric: str
    step: int
    value: float
    timestamp_ms: int


def check_mlflow(ledger: Path, store_uri: str, *, exporter: str = "mlflow") -> Verdict:
    """One MLflow run for each run, ended as it ended; one point for each execution; the totals of the ledger.

    What was set aside, with a reason, must not be there. Runs of the store that carry no tag of ours, or
    that of a run which the ledger does not have, are invented: orphans. For nodes with names that need no
    encoding, and fewer than 10,000 calls in a run.
    """
    verdict = Verdict()
    with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        runs = connection.execute(_LEDGER_RUNS).fetchall()
        executions = connection.execute(_LEDGER_POINTS).fetchall()
        totals = {run_id: figures for run_id, *figures in connection.execute(_LEDGER_CALLS)}
        aside = {
            seq
            for (seq,) in connection.execute("SELECT seq FROM dead_letters WHERE exporter = ?", (exporter,))
        }
    with open_store(store_uri) as ask:
        ours = _check_runs(verdict, runs, ask(_STORE_RUNS), ask(_STORE_TAGS))
        expected = Counter(_point(*execution) for *execution, seq in executions if seq not in aside)
        _check_points(verdict, expected, ask(_STORE_POINTS), ours)
        _check_totals(verdict, totals, ask(_STORE_LATEST), ours)
    return verdict


def count_runs(store_uri: str) -> int:
    with open_store(store_uri) as ask:
        return len(ask(_STORE_RUNS))


@contextmanager
def open_store(uri: str) -> Iterator[Any]:
    """A function that runs a query on the store's database and returns its rows."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            yield lambda query: connection.execute(sqlalchemy.text(query)).fetchall()
    finally:
        engine.dispose()


def _point(run_id: str, node: str, call_index: int, duration_ns: int, started_unix_ns: int) -> Point:
    ended_ms = (started_unix_ns + duration_ns) // 1_000_000
    return Point(run_id, f"node_{node}_duration_ms", call_index, duration_ns / 1e6, ended_ms)


def _check_runs(verdict: Verdict, runs: list[Any], stored: list[Any], tags: list[Any]) -> dict[str, str]:
    """Finds orphans, twins and wrong endings. Returns the run of each MLflow run."""
    run_of = dict(map(tuple, tags))
    twins: dict[str, list[str]] = defaultdict(list)
    status_of = {uuid: status for uuid, status, _ in stored}
    known = {run_id: status for _, run_id, status, _ in runs}
    for uuid in status_of:
        if run_of.get(uuid) not in known:
            verdict.find("invented", f"MLflow run {uuid} of {run_of.get(uuid, 'nobody')}")
        else:
            twins[run_of[uuid]].append(uuid)
    for run_id, status in known.items():
        found = twins.get(run_id, [])
        verdict.looked_at += 1
        if not found:
            verdict.find("lost", f"run {run_id} has no MLflow run")
        elif len(found) > 1:
            verdict.find("duplicated", f"run {run_id} has {len(found)} MLflow runs")
        elif status_of[found[0]] != MLFLOW_STATUS[status]:
            verdict.find("altered", f"run {run_id} with status {status} is {status_of[found[0]]} in MLflow")
    return {uuid: run_id for uuid, run_id in run_of.items() if run_id in known}


def _check_points(
    verdict: Verdict, expected: Counter[Point], stored: list[Any], ours: dict[str, str]
) -> None:
    found = Counter(
        Point(ours[uuid], key, step, value, timestamp)
        for uuid, key, value, timestamp, step in stored
        if uuid in ours and key.startswith("node_")
    )
    verdict.looked_at += len(expected)
    for point in expected - found:
        verdict.find("lost", point)
    for point in found - expected:
        verdict.find("duplicated" if point in expected else "invented", point)


def _check_totals(verdict: Verdict, totals: dict[str, Any], latest: list[Any], ours: dict[str, str]) -> None:
    known: dict[str, dict[str, float]] = defaultdict(dict)
    for uuid, key, value in latest:
        if uuid in ours:
            known[ours[uuid]][key] = value
    for run_id, (calls, tokens, cost_usd) in totals.items():
        figures = known.get(run_id, {})
        expected = {"llm_calls": calls, "total_tokens": tokens, "total_cost_usd": cost_usd}
        for name, value in expected.items():
            if calls and figures.get(name) != value:
                verdict.find("altered", f"{name} of run {run_id}: {value} is {figures.get(name)} in MLflow")
