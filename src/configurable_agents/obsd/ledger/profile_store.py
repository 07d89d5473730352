"""Keeps the profile of a run that is over, so that no report has to make it again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from configurable_agents.obsd.profiles import FinalProfile, ModelSketches
from configurable_agents.runtime import bounds

_UPDATE_NODE = """
UPDATE node_totals SET self_ns = ?, p50_ns = ?, p90_ns = ?, p95_ns = ?, p99_ns = ?, critical_ns = ?,
    slack_ns = ?, sketch = ?
WHERE run = ? AND node = ?
"""

_UPDATE_RUN = "UPDATE runs SET profiled_events = ?, bottleneck_info = ?, times = ? WHERE id = ?"

_INSERT_MODEL = "INSERT OR REPLACE INTO model_times VALUES (?,?,?,?,?,?,?,?,?)"


def store(
    connection: sqlite3.Connection, run: int, final: FinalProfile, events: int, name_id: Callable[[str], int]
) -> None:
    """Within the caller's transaction. A run whose rows are removed keeps the profile it had."""
    retired_seq = connection.execute("SELECT retired_seq FROM runs WHERE id = ?", (run,)).fetchone()[0]
    if retired_seq:
        connection.execute("UPDATE runs SET profiled_events = ? WHERE id = ?", (events, run))
        return
    report, profile = final.report, final.profile
    connection.executemany(
        _UPDATE_NODE,
        [
            (
                bounds.in_int64(node.self_ns),
                *(node.p50_ns, node.p90_ns, node.p95_ns, node.p99_ns),
                *map(bounds.in_int64, (node.critical_ns, node.slack_ns)),
                profile.sketches[node.node_id].to_bytes() if node.node_id in profile.sketches else None,
                run,
                name_id(node.node_id),
            )
            for node in report.nodes
        ],
    )
    connection.executemany(_INSERT_MODEL, [_model_row(run, model, name_id) for model in profile.models])
    info = json.dumps(report.bottleneck_info(), ensure_ascii=False) if report.nodes else ""
    times = None if report.times is None else json.dumps(report.times.to_record(), ensure_ascii=False)
    connection.execute(_UPDATE_RUN, (events, info, times, run))


def _model_row(run: int, model: ModelSketches, name_id: Callable[[str], int]) -> tuple[object, ...]:
    profile = model.profile
    return (
        run,
        name_id(profile.provider),
        name_id(profile.model),
        profile.calls,
        profile.max_ns,
        bounds.in_int64(profile.timed_output_tokens),
        bounds.in_int64(profile.generation_ns),
        model.duration.to_bytes(),
        model.first_token.to_bytes(),
    )
