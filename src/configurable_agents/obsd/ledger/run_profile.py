"""The whole profile of one run, made from its rows: nodes, models, critical path."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

from configurable_agents.obsd import limits
from configurable_agents.obsd.latency_sketch import LatencySketch
from configurable_agents.obsd.profiles import ModelSketches, RunProfile, with_percentiles
from configurable_agents.runtime.concurrency import concurrency_profile
from configurable_agents.runtime.critical_path import critical_path
from configurable_agents.runtime.profile_report import NodeProfile, sorted_profiles
from configurable_agents.runtime.schedule import Schedule
from configurable_agents.runtime.self_time import Span, node_profiles
from configurable_agents.runtime.slack import node_slacks
from configurable_agents.runtime.time_classes import ModelCall, time_classes
from configurable_agents.runtime.time_report import SPEEDUPS_MAX, ModelProfile, RunTimes, ordered_speedups
from configurable_agents.runtime.what_if import one_more_slot, wall_with
from configurable_agents.telemetry import Graph, Status

_COUNT = "SELECT node_executions FROM runs WHERE id = ?"

_SPANS = """
SELECT span_id, parent_span_id, node, started_unix_ns, duration_ns, status <> 1, attempt
FROM node_executions WHERE run = ? LIMIT ?
"""

_TOTALS_OF_RUN = """
SELECT n.name, t.calls, t.total_ns, t.total_ns, t.max_ns, t.errors
FROM node_totals t JOIN names n ON n.id = t.node WHERE t.run = ?
"""

_CALLS = """
SELECT provider, model, span_id, started_unix_ns, duration_ns, time_to_first_token_ns,
    COALESCE(output_tokens + reasoning_tokens + audio_output_tokens, 0), status, counted,
    counted OR EXISTS (
        SELECT 1 FROM llm_calls o
        WHERE o.run = c.run AND o.response_id = c.response_id AND o.response_id <> '' AND o.counted
            AND o.duration_ns = 0
    )
FROM llm_calls c WHERE run = ? LIMIT ?
"""

_RUN = """
SELECT started_unix_ns, COALESCE(duration_ns, MAX(0, last_event_unix_ns - started_unix_ns)), graph, status
FROM runs WHERE id = ?
"""


NO_TURN: AbstractContextManager[Any] = nullcontext()
"""For who profiles one run after the other anyway."""


class CallTiming(NamedTuple):
    """One model call as far as its time goes."""

    provider: str
    model: str
    span_id: int
    started_unix_ns: int
    duration_ns: int
    first_token_ns: int
    """0 when unknown."""
    output_tokens: int
    status: int
    counted: bool
    """False: another report of the same response is counted instead."""
    tells_time: bool
    """Whether it is counted, or was measured where the report that is counted was not."""


def run_profile(
    connection: sqlite3.Connection, run: int, turn: AbstractContextManager[Any] = NO_TURN
) -> RunProfile:
    """From the rows of the run; of one too long for that, from its totals.

    A long run is profiled within `turn`, so that memory is taken for one of them at a time.
    """
    executions = connection.execute(_COUNT, (run,)).fetchone()[0]
    with turn if executions > limits.LIVE_ROWS_MAX else NO_TURN:
        calls = calls_of(connection, run)
        models = model_sketches(calls)
        if executions > limits.PROFILED_SPANS_MAX:
            totals = [NodeProfile(*row) for row in connection.execute(_TOTALS_OF_RUN, (run,))]
            return RunProfile(sorted_profiles(totals), None, models)
        spans = spans_of(connection, run)
        return _of_rows(schedule_of(connection, run, spans), spans, calls, models)


def _of_rows(
    schedule: Schedule, spans: list[Span], calls: list[CallTiming], models: tuple[ModelSketches, ...]
) -> RunProfile:
    times, critical_ns = run_times(schedule, calls)
    slack_ns = node_slacks(schedule)
    nodes = tuple(
        replace(node, critical_ns=critical_ns.get(node.node_id, 0), slack_ns=slack_ns[node.node_id])
        for node in node_profiles(spans)
    )
    return RunProfile(nodes, times, models, node_sketches(spans))


def run_times(schedule: Schedule, calls: Iterable[CallTiming]) -> tuple[RunTimes, dict[str, int]]:
    """The critical path of a run, and the time of each node on it."""
    path = critical_path(schedule)
    first = list(path.by_node_ns)[:SPEEDUPS_MAX]
    saved_ns = {node: path.wall_ns - wall_with(schedule, {node: 0.5}) for node in first}
    slot = one_more_slot(schedule)
    asked = (ModelCall(call.span_id, call.started_unix_ns, call.duration_ns) for call in calls)
    times = RunTimes(
        path.wall_ns,
        path.between_ns,
        time_classes(schedule, path, asked),
        concurrency_profile(schedule),
        ordered_speedups(saved_ns),
        None if slot is None else slot.saved_ns,
        dict.fromkeys(first[:1], 1),
    )
    return times, path.by_node_ns


def schedule_of(connection: sqlite3.Connection, run: int, spans: Iterable[Span]) -> Schedule:
    started, wall_ns, graph, _ = connection.execute(_RUN, (run,)).fetchone()
    return Schedule(spans, started, started + wall_ns, declared_graph(graph))


def declared_graph(stored: str | None) -> Graph | None:
    if stored is None:
        return None
    known: dict[str, Any] = json.loads(stored)
    return Graph(tuple(known["nodes"]), tuple((source, target) for source, target in known["edges"]))


def spans_of(connection: sqlite3.Connection, run: int) -> list[Span]:
    name = NamesOfIds(connection)
    return [
        Span(span, parent, name[node], started, duration, bool(failed), attempt)
        for span, parent, node, started, duration, failed, attempt in connection.execute(
            _SPANS, (run, limits.PROFILED_SPANS_MAX)
        )
    ]


def calls_of(connection: sqlite3.Connection, run: int) -> list[CallTiming]:
    name = NamesOfIds(connection)
    return [
        CallTiming(name[provider], name[model], *rest)
        for provider, model, *rest in connection.execute(_CALLS, (run, limits.PROFILED_SPANS_MAX))
    ]


class NamesOfIds(dict[int, str]):
    """Names by their id in the ledger, each looked up once and held once, however many rows have it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __missing__(self, name_id: int) -> str:
        (name,) = self._connection.execute("SELECT name FROM names WHERE id = ?", (name_id,)).fetchone()
        self[name_id] = name
        return str(name)


def node_sketches(spans: Iterable[Span]) -> dict[str, LatencySketch]:
    durations: dict[str, array[int]] = {}
    for span in spans:
        durations.setdefault(span.node_id, array("q")).append(span.duration_ns)
    return {node_id: LatencySketch(values) for node_id, values in durations.items()}


def model_sketches(calls: Iterable[CallTiming]) -> tuple[ModelSketches, ...]:
    by_model: dict[tuple[str, str], list[CallTiming]] = {}
    for call in calls:
        by_model.setdefault((call.provider, call.model), []).append(call)
    return tuple(_model_sketches(*model, found) for model, found in sorted(by_model.items()))


def _model_sketches(provider: str, model: str, calls: list[CallTiming]) -> ModelSketches:
    """A duration of 0 is one that nobody measured."""
    timed = [call for call in calls if call.tells_time]
    measured = [call for call in timed if call.duration_ns]
    told = [call for call in measured if call.status == Status.OK and call.output_tokens > 0]
    profile = ModelProfile(
        provider,
        model,
        sum(call.counted for call in calls),
        max((call.duration_ns for call in measured), default=0),
        timed_output_tokens=sum(call.output_tokens for call in told),
        generation_ns=sum(max(0, call.duration_ns - call.first_token_ns) for call in told),
    )
    duration = LatencySketch(call.duration_ns for call in measured)
    first_token = LatencySketch(call.first_token_ns for call in timed if call.first_token_ns)
    return ModelSketches(with_percentiles(profile, duration, first_token), duration, first_token)
