"""Runs that are over, each with its figures, to be laid side by side. Pure records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from configurable_agents.observability.cost_summary import ModelCost
from configurable_agents.telemetry import Status, WorkflowRunRecord


class PastNode(NamedTuple):
    node_id: str
    calls: int
    total_ns: int
    p95_ns: int
    errors: int


@dataclass(frozen=True, slots=True)
class PastRun:
    run_id: str
    started_unix_ns: int
    status: Status
    wall_ns: int
    nodes: tuple[PastNode, ...] = ()
    models: tuple[ModelCost, ...] = ()


class OpenNode(NamedTuple):
    """A node that runs now; the time is of its oldest execution."""

    node_id: str
    started_unix_ns: int
    executions: int


@dataclass(frozen=True, slots=True)
class LiveRun:
    run: WorkflowRunRecord
    nodes: tuple[OpenNode, ...] = ()
