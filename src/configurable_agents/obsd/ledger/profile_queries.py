"""The profile of a scope: stored profiles of finished runs, the rows of the others, merged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from configurable_agents.errors import NotFoundError
from configurable_agents.obsd import limits
from configurable_agents.obsd.latency_sketch import LatencySketch
from configurable_agents.obsd.ledger import profile_blocks
from configurable_agents.obsd.ledger.profile_blocks import blocks_of
from configurable_agents.obsd.ledger.run_profile import NO_TURN, run_profile
from configurable_agents.obsd.ledger.scopes import (
    IN_SCOPE,
    IN_SCOPE_BY_START,
    ResolvedScope,
    experiment_of,
    resolve,
)
from configurable_agents.obsd.profiles import (
    BlockKey,
    FinalProfile,
    ModelSketches,
    ProfileBlock,
    RunProfile,
    WantedBlock,
    with_percentiles,
)
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport, sorted_profiles
from configurable_agents.runtime.time_report import ModelProfile, RunTimes, sum_of_times
from configurable_agents.telemetry import OTHER_NAME, Status
from configurable_agents.wire.report_records import Scope

LiveProfiles = Callable[[str], tuple[NodeProfile, ...] | None]

_PROFILED = f"{IN_SCOPE} AND (r.profiled_events = r.events OR r.retired_seq > 0)"
"""A run whose rows are removed keeps the profile it had: it cannot be made again."""

_NEWEST_PROFILED = f"""
SELECT r.id, r.started_unix_ns FROM runs r WHERE {_PROFILED}
ORDER BY r.started_unix_ns DESC, r.id DESC LIMIT :limit
"""

_STORED_NODES = f"""
SELECT n.name, SUM(t.calls), SUM(t.total_ns), SUM(COALESCE(t.self_ns, t.total_ns)), MAX(t.max_ns),
    SUM(t.errors), SUM(t.critical_ns), MIN(t.slack_ns)
FROM runs r JOIN node_totals t ON t.run = r.id JOIN names n ON n.id = t.node
WHERE {_PROFILED} GROUP BY t.node
"""

_STORED_PERCENTILES = f"""
SELECT n.name, t.p95_ns, t.p50_ns, t.p90_ns, t.p99_ns
FROM runs r JOIN node_totals t ON t.run = r.id JOIN names n ON n.id = t.node WHERE {_PROFILED}
"""

_STORED_SKETCHES = f"""
SELECT n.name, t.sketch FROM ({_NEWEST_PROFILED}) r
JOIN node_totals t ON t.run = r.id JOIN names n ON n.id = t.node
WHERE t.sketch IS NOT NULL ORDER BY r.started_unix_ns DESC, r.id DESC LIMIT :rows
"""

_NEWEST_P95 = f"""
SELECT n.name, r.started_unix_ns, r.id, t.p95_ns
FROM (
    SELECT r.id, r.started_unix_ns FROM runs r WHERE {_PROFILED.replace(IN_SCOPE, IN_SCOPE_BY_START)}
    ORDER BY r.started_unix_ns DESC, r.id DESC LIMIT :limit
) r JOIN node_totals t ON t.run = r.id JOIN names n ON n.id = t.node
WHERE t.p95_ns IS NOT NULL ORDER BY r.started_unix_ns DESC, r.id DESC LIMIT :rows
"""

_STORED_TIMES = f"""
SELECT r.times FROM runs r WHERE {_PROFILED} AND r.times IS NOT NULL
ORDER BY r.started_unix_ns DESC, r.id DESC LIMIT :limit
"""

_STORED_MODELS = f"""
SELECT p.name, m.name, t.calls, t.max_ns, t.timed_output_tokens, t.generation_ns, t.duration, t.first_token
FROM ({_NEWEST_PROFILED}) r JOIN model_times t ON t.run = r.id
JOIN names p ON p.id = t.provider JOIN names m ON m.id = t.model
"""

_UNPROFILED = f"""
SELECT r.id, r.run_id, r.node_executions, r.started_unix_ns FROM runs r
WHERE {IN_SCOPE} AND r.profiled_events <> r.events AND r.retired_seq = 0
"""

_LONG_ONE_ENDED = f"""
SELECT 1 FROM runs r WHERE {IN_SCOPE} AND r.profiled_events <> r.events
    AND r.status <> :running AND r.node_executions > :long LIMIT 1
"""


@dataclass(slots=True)
class _Parts:
    """What is known of a scope, before it is one report."""

    nodes: dict[str, NodeProfile] = field(default_factory=dict)
    """By name: at most `REPORT_NODES_MAX`, and `__other__`."""
    sketches: dict[str, LatencySketch] = field(default_factory=dict)
    histories: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """By node: start of the run, its row, and the node's p95 in it."""
    times: list[RunTimes] = field(default_factory=list)
    models: dict[tuple[str, str], ModelSketches] = field(default_factory=dict)

    def take(self, profile: RunProfile) -> None:
        for node in profile.nodes:
            self.take_node(node)
        if profile.times is not None:
            self.times.append(profile.times)
        for node_id, sketch in profile.sketches.items():
            self.take_sketch(self.kept_name(node_id), sketch)
        for model in profile.models:
            self.take_model(model)

    def take_node(self, node: NodeProfile) -> None:
        name = self.kept_name(node.node_id)
        known = self.nodes.get(name)
        self.nodes[name] = replace(node, node_id=name) if known is None else _sum_of(known, node)

    def kept_name(self, node_id: str) -> str:
        """Under which a node is added up: runs may have very many nodes between them."""
        kept_apart = len(self.nodes) - (OTHER_NAME in self.nodes)
        return node_id if node_id in self.nodes or kept_apart < limits.REPORT_NODES_MAX else OTHER_NAME

    def take_sketch(self, node_id: str, sketch: LatencySketch) -> None:
        self.sketches.setdefault(node_id, LatencySketch()).merge(sketch)

    def take_model(self, model: ModelSketches) -> None:
        key = (model.profile.provider, model.profile.model)
        known = self.models.get(key)
        self.models[key] = model if known is None else _both(known, model)

    def take_p95(self, node_id: str, started_unix_ns: int, run: int, p95_ns: int | None) -> None:
        if p95_ns is not None:
            self.histories.setdefault(node_id, []).append((started_unix_ns, run, p95_ns))

    def p95_histories(self) -> dict[str, tuple[int, ...]]:
        return {
            node_id: tuple(p95_ns for _, _, p95_ns in sorted(known)[-limits.HISTORY_RUNS_MAX :])
            for node_id, known in self.histories.items()
        }

    def model_profiles(self) -> tuple[ModelProfile, ...]:
        found = [
            with_percentiles(each.profile, each.duration, each.first_token) for each in self.models.values()
        ]
        return tuple(sorted(found, key=lambda model: (-model.calls, model.provider, model.model)))


def waits_for_profile(connection: sqlite3.Connection, scope: Scope) -> bool:
    """Whether a long run of the scope has ended and has no profile yet: making it takes seconds."""
    parameters = resolve(connection, scope).parameters
    more = {"running": int(Status.RUNNING), "long": limits.LIVE_ROWS_MAX}
    return connection.execute(_LONG_ONE_ENDED, parameters | more).fetchone() is not None


def profile_report(
    connection: sqlite3.Connection,
    scope: Scope,
    live: LiveProfiles = lambda _: None,
    turn: AbstractContextManager[Any] = NO_TURN,
) -> ProfileReport:
    """Finished runs from their stored profiles, the others from their rows, and long runs in flight
    from their analyzers, which `live` knows by run id.

    Over several runs, percentiles, critical path and models are of the newest ones: see `MERGED_RUNS_MAX`.
    """
    found = resolve(connection, scope)
    parts = _Parts()
    blocks = blocks_of(connection, found)
    if found.run is None:
        _take_blocks(connection, blocks.kept, parts)
        _take_newest_p95(connection, found, parts)
    left = limits.MERGED_RUNS_MAX
    for parameters in blocks.ranges:
        _take_runs(connection, parameters, parts, limit=max(0, left))
        left -= parameters["run_last"] - parameters["run_first"] + 1
    if found.run is not None:
        _take_exact_percentiles(connection, found, parts)
    for run, run_id, executions, started in _unprofiled(connection, blocks.ranges):
        known = live(run_id) if executions > limits.LIVE_ROWS_MAX else None
        profile = run_profile(connection, run, turn) if known is None else RunProfile(known)
        parts.take(profile)
        if found.run is None:
            for node in profile.nodes:
                parts.take_p95(node.node_id, started, run, node.p95_ns)
    workflow, status = _run_heading(connection, found.run)
    return ProfileReport(
        nodes=merged_profiles(parts.nodes.values(), parts.sketches, parts.p95_histories()),
        experiment=experiment_of(connection, found),
        workflow=workflow,
        run_id=found.run_id,
        since_unix_ns=scope.since_unix_ns,
        run_count=blocks.run_count,
        status=status,
        wall_ns=blocks.wall_ns,
        times=sum_of_times(parts.times),
        models=parts.model_profiles(),
    )


def final_profile(
    connection: sqlite3.Connection, run_id: str, turn: AbstractContextManager[Any] = NO_TURN
) -> tuple[FinalProfile, int]:
    """The profile of a run that is over, and how many of its events it was made from.

    Raises `NotFoundError` for a run that is not there (any more).
    """
    row = connection.execute("SELECT id, events FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"no run is called {run_id!r}")
    run, events = row
    profile = run_profile(connection, run, turn)
    report = ProfileReport(nodes=profile.nodes, run_id=run_id, run_count=1, times=profile.times)
    return FinalProfile(report, profile), events


def summed_block(connection: sqlite3.Connection, wanted: WantedBlock) -> ProfileBlock:
    """What the runs of a block add up to."""
    parts = _Parts()
    parameters = profile_blocks.parameters_of(wanted.key)
    _take_runs(connection, parameters, parts, limit=profile_blocks.BLOCK_RUNS)
    return ProfileBlock(
        wanted,
        merged_profiles(parts.nodes.values()),
        parts.sketches,
        tuple(parts.models.values()),
        sum_of_times(parts.times),
    )


def _take_blocks(connection: sqlite3.Connection, kept: list[BlockKey], parts: _Parts) -> None:
    for number, key in enumerate(kept):
        is_merged = number < limits.MERGED_BLOCKS_MAX
        for sums, sketch in profile_blocks.nodes_of(connection, key):
            node = _stored_node(sums)
            parts.take_node(node)
            if is_merged and sketch is not None:
                parts.take_sketch(parts.kept_name(node.node_id), LatencySketch.from_bytes(sketch))
        times = profile_blocks.times_of(connection, key) if is_merged else None
        if times is not None:
            parts.times.append(times)
        for model in profile_blocks.models_of(connection, key) if is_merged else ():
            parts.take_model(_stored_model(model))


def _take_runs(
    connection: sqlite3.Connection, parameters: dict[str, Any], parts: _Parts, *, limit: int
) -> None:
    """The stored profiles of some runs: sums of all of them, the rest of the `limit` newest."""
    limited = {**parameters, "limit": limit, "rows": limits.MERGED_ROWS_MAX}
    for row in connection.execute(_STORED_NODES, parameters):
        parts.take_node(_stored_node(row))
    parts.times.extend(
        RunTimes.from_record(json.loads(text)) for (text,) in connection.execute(_STORED_TIMES, limited)
    )
    for model in connection.execute(_STORED_MODELS, limited):
        parts.take_model(_stored_model(model))
    for name, sketch in connection.execute(_STORED_SKETCHES, limited):
        parts.take_sketch(parts.kept_name(name), LatencySketch.from_bytes(sketch))


def _take_newest_p95(connection: sqlite3.Connection, found: ResolvedScope, parts: _Parts) -> None:
    limited = {"limit": limits.HISTORY_LOOKED_AT_MAX, "rows": limits.MERGED_ROWS_MAX}
    for row in connection.execute(_NEWEST_P95, found.parameters | limited):
        parts.take_p95(*row)


def _take_exact_percentiles(connection: sqlite3.Connection, found: ResolvedScope, parts: _Parts) -> None:
    rows = connection.execute(_STORED_PERCENTILES, found.parameters)
    percentiles = {name: rest for name, *rest in rows}
    parts.nodes = {name: _with_exact(node, percentiles[name]) for name, node in parts.nodes.items()}


def _unprofiled(
    connection: sqlite3.Connection, ranges: Iterable[dict[str, Any]]
) -> Iterator[tuple[int, str, int, int]]:
    for parameters in ranges:
        yield from connection.execute(_UNPROFILED, parameters).fetchall()


def _with_exact(node: NodeProfile, percentiles_ns: list[int | None]) -> NodeProfile:
    p95_ns, p50_ns, p90_ns, p99_ns = percentiles_ns
    return replace(node, p95_ns=p95_ns, p50_ns=p50_ns, p90_ns=p90_ns, p99_ns=p99_ns)


def _stored_node(row: tuple[Any, ...]) -> NodeProfile:
    critical_ns, slack_ns = row[6:]
    return replace(NodeProfile(*row[:6]), critical_ns=critical_ns, slack_ns=slack_ns)


def _stored_model(row: tuple[Any, ...]) -> ModelSketches:
    tokens, generation_ns, duration, first_token = row[4:]
    profile = replace(ModelProfile(*row[:4]), timed_output_tokens=tokens, generation_ns=generation_ns)
    return ModelSketches(profile, LatencySketch.from_bytes(duration), LatencySketch.from_bytes(first_token))


def _both(one: ModelSketches, other: ModelSketches) -> ModelSketches:
    profile = replace(
        one.profile,
        calls=one.profile.calls + other.profile.calls,
        max_ns=max(one.profile.max_ns, other.profile.max_ns),
        timed_output_tokens=one.profile.timed_output_tokens + other.profile.timed_output_tokens,
        generation_ns=one.profile.generation_ns + other.profile.generation_ns,
    )
    one.duration.merge(other.duration)
    one.first_token.merge(other.first_token)
    return ModelSketches(profile, one.duration, one.first_token)


def merged_profiles(
    parts: Iterable[NodeProfile],
    sketches: dict[str, LatencySketch] | None = None,
    histories: dict[str, tuple[int, ...]] | None = None,
) -> tuple[NodeProfile, ...]:
    """Adds up profiles of the same node; percentiles come from its sketch, where it has none already."""
    merged: dict[str, NodeProfile] = {}
    for part in parts:
        known = merged.get(part.node_id)
        merged[part.node_id] = part if known is None else _sum_of(known, part)
    for node_id, sketch in (sketches or {}).items():
        if merged[node_id].p95_ns is None:
            merged[node_id] = with_sketch(merged[node_id], sketch)
    for node_id, history_ns in (histories or {}).items():
        if node_id in merged:
            merged[node_id] = replace(merged[node_id], p95_history_ns=history_ns)
    return sorted_profiles(list(merged.values()))


def with_sketch(node: NodeProfile, sketch: LatencySketch) -> NodeProfile:
    """A percentile within the sketch's error may lie beyond the longest execution, which is exact."""

    def within(percent: int) -> int | None:
        found = sketch.percentile_ns(percent)
        return None if found is None else min(found, node.max_ns)

    return replace(node, p50_ns=within(50), p90_ns=within(90), p95_ns=within(95), p99_ns=within(99))


def _sum_of(one: NodeProfile, other: NodeProfile) -> NodeProfile:
    """Both together, without percentiles."""
    return NodeProfile(
        one.node_id,
        one.calls + other.calls,
        one.total_ns + other.total_ns,
        one.self_ns + other.self_ns,
        max(one.max_ns, other.max_ns),
        one.errors + other.errors,
        critical_ns=_known(sum, one.critical_ns, other.critical_ns),
        slack_ns=_known(min, one.slack_ns, other.slack_ns),
    )


def _known(combine: Callable[[list[int]], int], *values: int | None) -> int | None:
    found = [value for value in values if value is not None]
    return combine(found) if found else None


def _run_heading(connection: sqlite3.Connection, run: int | None) -> tuple[str, Status]:
    if run is None:
        return "", Status.UNSPECIFIED
    row: tuple[Any, ...] = connection.execute(
        "SELECT w.name, r.status FROM runs r JOIN names w ON w.id = r.workflow WHERE r.id = ?", (run,)
    ).fetchone()
    return row[0], Status(row[1])
