"""What MLflow is to hold of a run, made from the ledger. Knows MLflow's names and not MLflow itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from configurable_agents.obsd.exporters.thinning import keeps_point, thinned_tag
from configurable_agents.obsd.ledger import export_queries
from configurable_agents.obsd.ledger.export_queries import NodePoint, RunHead
from configurable_agents.observability import mlflow_names as names
from configurable_agents.observability.cost_summary import CostSummary
from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.telemetry import Status

NO_NAME = "(unknown)"
"""Stands for the experiment or workflow of a run whose start never arrived."""

ENDINGS = {
    Status.OK: "FINISHED",
    Status.ERROR: "FAILED",
    Status.CANCELLED: "KILLED",
    Status.INTERRUPTED: "KILLED",
}
"""MLflow's status of a run that is over."""


class Point(NamedTuple):
    """A value of a metric. `seq` is its event; 0 for totals, which have none."""

    seq: int
    name: str
    value: float
    at_ms: int
    step: int


class FinalFigures(NamedTuple):
    """What MLflow holds of a run that is over, besides its nodes' points."""

    totals: list[Point]
    params: dict[str, str]
    tags: dict[str, str]
    summary: CostSummary
    profile: ProfileReport


def experiment_name(head: RunHead) -> str:
    return head.experiment or NO_NAME


def start_tags(head: RunHead) -> dict[str, str]:
    """Tags that a run of ours is created with."""
    return {
        **{names.encode_name(key): value for key, value in head.tags.items()},
        names.TAG_RUN_ID: head.run_id,
        names.TAG_WORKFLOW: head.workflow or NO_NAME,
    }


def node_points(executions: Iterable[NodePoint]) -> list[Point]:
    return [
        Point(
            each.seq,
            names.node_metric(each.node_id),
            each.duration_ns / 1e6,
            milliseconds(each.ended_unix_ns),
            each.call_index,
        )
        for each in executions
        if keeps_point(each.call_index)
    ]


def node_tags(executions: Iterable[NodePoint]) -> dict[str, str]:
    """The originals of encoded names, and what was left out of a node with very many calls."""
    calls_max: dict[str, int] = {}
    for each in executions:
        calls_max[each.node_id] = max(calls_max.get(each.node_id, 0), each.call_index)
    return _tags_of_nodes(calls_max)


def _tags_of_nodes(calls_max: Mapping[str, int]) -> dict[str, str]:
    tags = dict(filter(None, map(names.name_tag, calls_max)))
    thinned = thinned_tag(max(calls_max.values(), default=0))
    return {**tags, names.TAG_THINNED: thinned} if thinned else tags


def totals(connection: sqlite3.Connection, head: RunHead) -> list[Point]:
    """As of this moment; step = events of the run so far, so a repetition is the same."""
    return _totals(head, export_queries.run_cost(connection, head.run_id))


def final_figures(connection: sqlite3.Connection, head: RunHead) -> FinalFigures:
    summary = export_queries.final_cost(connection, head.run_id)
    profile = export_queries.run_profile(connection, head.run_id)
    tags = names.cost_tags(summary) | names.profile_tags(profile) | {names.TAG_RUN_ID: head.run_id}
    tags |= _tags_of_nodes({node.node_id: node.calls for node in profile.nodes})
    if head.repriced:
        tags[names.TAG_REPRICED] = head.repriced
    params = names.cost_params(summary) | names.profile_params(profile)
    return FinalFigures(_totals(head, summary), params, tags, summary, profile)


def _totals(head: RunHead, summary: CostSummary) -> list[Point]:
    figures = names.cost_metrics(summary, repriced=bool(head.repriced)) | names.profile_metrics(
        head.duration_ns / 1e6
    )
    at_ms = milliseconds(head.last_event_unix_ns)
    return [Point(0, name, float(value), at_ms, head.events) for name, value in figures.items()]


def milliseconds(unix_ns: int) -> int:
    return unix_ns // 1_000_000
