"""Finished runs added up by the hundred, so that a report over many runs does not read each of them.

Runs whose rows have all but the last `BLOCK_BITS` bits in common are a block. What a block of an experiment
adds up to is kept; it holds while there are still as many of its runs with as many events. Whoever changes
a run need not know of blocks, therefore: late events, removed runs and runs in flight have a report read
the runs of that block one by one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from configurable_agents.obsd.ledger.scopes import IN_SCOPE, RUN_LAST, ResolvedScope
from configurable_agents.obsd.profiles import BlockKey, ModelSketches, ProfileBlock, WantedBlock
from configurable_agents.runtime import bounds
from configurable_agents.runtime.time_report import ModelProfile, RunTimes

BLOCK_BITS = 7
BLOCK_RUNS = 1 << BLOCK_BITS

BLOCK_RUNS_MIN = 8
"""Fewer runs of an experiment in a block are as quickly read one by one."""

_BLOCKS_OF_SCOPE = f"""
SELECT s.experiment, s.block, s.runs, s.wall_ns, b.experiment IS NOT NULL
FROM (
    SELECT r.experiment AS experiment, r.id >> {BLOCK_BITS} AS block, COUNT(*) AS runs,
        SUM(r.events) AS events,
        SUM(COALESCE(r.duration_ns, MAX(0, r.last_event_unix_ns - r.started_unix_ns))) AS wall_ns
    FROM runs r WHERE {IN_SCOPE} GROUP BY 1, 2
) s LEFT JOIN profile_blocks b
    ON b.experiment = s.experiment AND b.block = s.block AND b.runs = s.runs AND b.events = s.events
"""

_WANTED = f"""
SELECT s.experiment, s.block, s.runs, s.events
FROM (
    SELECT r.experiment AS experiment, r.id >> {BLOCK_BITS} AS block, COUNT(*) AS runs,
        SUM(r.events) AS events, SUM(r.profiled_events = r.events OR r.retired_seq > 0) AS profiled
    FROM runs r WHERE r.id BETWEEN :first AND :last GROUP BY 1, 2
) s LEFT JOIN profile_blocks b
    ON b.experiment = s.experiment AND b.block = s.block AND b.runs = s.runs AND b.events = s.events
WHERE b.experiment IS NULL AND s.profiled = s.runs AND s.runs >= {BLOCK_RUNS_MIN}
    AND (s.block + 1) << {BLOCK_BITS} <= (SELECT MAX(id) + 1 FROM runs)
"""
"""Blocks that are full and whose runs are all over, and of which nothing is kept that still holds."""

_NODES = """
SELECT n.name, b.calls, b.total_ns, b.self_ns, b.max_ns, b.errors, b.critical_ns, b.slack_ns, b.sketch
FROM profile_block_nodes b JOIN names n ON n.id = b.node WHERE b.experiment = ? AND b.block = ?
"""

_MODELS = """
SELECT p.name, m.name, b.calls, b.max_ns, b.timed_output_tokens, b.generation_ns, b.duration, b.first_token
FROM profile_block_models b JOIN names p ON p.id = b.provider JOIN names m ON m.id = b.model
WHERE b.experiment = ? AND b.block = ?
"""

_TIMES = "SELECT times FROM profile_blocks WHERE experiment = ? AND block = ?"

_TABLES = ("profile_blocks", "profile_block_nodes", "profile_block_models")

_FORGET = tuple(
    f"""
    WITH RECURSIVE known(experiment) AS (
        SELECT MIN(experiment) FROM profile_blocks UNION ALL
        SELECT (SELECT MIN(b.experiment) FROM profile_blocks b WHERE b.experiment > known.experiment)
        FROM known WHERE known.experiment IS NOT NULL
    ) DELETE FROM {table} WHERE experiment IN (SELECT experiment FROM known) AND block = ?"""
    for table in reversed(_TABLES)
)
"""From one experiment to the next, for there are few: a look at the blocks of all would be a long one. That
of `profile_blocks` is the last, for it says which there are."""


class ScopeBlocks(NamedTuple):
    """A scope by blocks."""

    kept: list[BlockKey]
    """Those of which the sums hold; the newest first."""
    ranges: list[dict[str, Any]]
    """Parameters of `scopes.IN_SCOPE` for all other runs; the newest first."""
    run_count: int
    wall_ns: int


def blocks_of(connection: sqlite3.Connection, found: ResolvedScope) -> ScopeBlocks:
    kept: list[BlockKey] = []
    others: list[BlockKey] = []
    run_count = wall_ns = 0
    for experiment, block, runs, block_wall_ns, holds in connection.execute(
        _BLOCKS_OF_SCOPE, found.parameters
    ):
        (kept if holds else others).append(BlockKey(experiment, block))
        run_count += runs
        wall_ns += block_wall_ns
    kept.sort(key=lambda key: -key.block)
    return ScopeBlocks(kept, _ranges(found, others, of_all=not kept), run_count, wall_ns)


def wanted(connection: sqlite3.Connection, first_run: int, last_run: int) -> list[WantedBlock]:
    """Blocks that can be added up, among those of some runs."""
    first = first_run >> BLOCK_BITS << BLOCK_BITS
    last = last_run | (BLOCK_RUNS - 1)
    rows = connection.execute(_WANTED, {"first": first, "last": last})
    return [
        WantedBlock(BlockKey(experiment, block), runs, events) for experiment, block, runs, events in rows
    ]


def nodes_of(connection: sqlite3.Connection, key: BlockKey) -> Iterator[tuple[tuple[Any, ...], bytes | None]]:
    """Its nodes as rows of sums, each with its sketch."""
    return ((row[:-1], row[-1]) for row in connection.execute(_NODES, key))


def models_of(connection: sqlite3.Connection, key: BlockKey) -> Iterator[tuple[Any, ...]]:
    return connection.execute(_MODELS, key)


def times_of(connection: sqlite3.Connection, key: BlockKey) -> RunTimes | None:
    (text,) = connection.execute(_TIMES, key).fetchone()
    return None if text is None else RunTimes.from_record(json.loads(text))


def store(connection: sqlite3.Connection, found: ProfileBlock, name_id: Callable[[str], int]) -> None:
    """Within the caller's transaction; what was kept of the block before is replaced."""
    key = found.of.key
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table} WHERE experiment = ? AND block = ?", key)
    times = None if found.times is None else json.dumps(found.times.to_record(), ensure_ascii=False)
    connection.execute(
        "INSERT INTO profile_blocks VALUES (?,?,?,?,?)", (*key, found.of.runs, found.of.events, times)
    )
    connection.executemany(
        "INSERT INTO profile_block_nodes VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        [
            (
                *key,
                name_id(node.node_id),
                *map(bounds.in_int64, (node.calls, node.total_ns, node.self_ns, node.max_ns, node.errors)),
                *map(bounds.in_int64, (node.critical_ns, node.slack_ns)),
                found.sketches[node.node_id].to_bytes() if node.node_id in found.sketches else None,
            )
            for node in found.nodes
        ],
    )
    connection.executemany(
        "INSERT INTO profile_block_models VALUES (?,?,?,?,?,?,?,?,?,?)",
        [(*key, *_model_figures(model, name_id)) for model in found.models],
    )


def forget_block_of(connection: sqlite3.Connection, run: int) -> None:
    """Within the caller's transaction: nothing is kept of the blocks that a run is in, with its names."""
    for sql in _FORGET:
        connection.execute(sql, (run >> BLOCK_BITS,))


def _model_figures(model: ModelSketches, name_id: Callable[[str], int]) -> tuple[object, ...]:
    profile: ModelProfile = model.profile
    return (
        *(name_id(profile.provider), name_id(profile.model)),
        *(profile.calls, profile.max_ns),
        *map(bounds.in_int64, (profile.timed_output_tokens, profile.generation_ns)),
        *(model.duration.to_bytes(), model.first_token.to_bytes()),
    )


def parameters_of(key: BlockKey) -> dict[str, Any]:
    """Those of `scopes.IN_SCOPE` for its runs."""
    return _range_parameters(ResolvedScope(key.experiment, None, -RUN_LAST, "", ""), key.block, key.block)


def _range_parameters(found: ResolvedScope, first_block: int, last_block: int) -> dict[str, Any]:
    return {
        **found.parameters,
        "run_first": first_block << BLOCK_BITS,
        "run_last": (last_block << BLOCK_BITS) + BLOCK_RUNS - 1,
    }


def _ranges(found: ResolvedScope, others: list[BlockKey], *, of_all: bool) -> list[dict[str, Any]]:
    if of_all:
        return [found.parameters]
    ranges: list[list[int]] = []
    for experiment, block in sorted(others):
        if ranges and ranges[-1][0] == experiment and ranges[-1][2] == block - 1:
            ranges[-1][2] = block
        else:
            ranges.append([experiment, block, block])
    ranges.sort(key=lambda each: -each[2])
    return [
        _range_parameters(found._replace(experiment=experiment), first, last)
        for experiment, first, last in ranges
    ]
