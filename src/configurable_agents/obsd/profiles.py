"""The profile of a run with what is kept of it, so that runs can be merged without their events."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from configurable_agents.obsd.latency_sketch import LatencySketch
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport
from configurable_agents.runtime.time_report import ModelProfile, RunTimes


@dataclass(frozen=True, slots=True)
class ModelSketches:
    """What is kept of a model's calls so that runs can be merged."""

    profile: ModelProfile
    duration: LatencySketch
    first_token: LatencySketch


@dataclass(frozen=True, slots=True)
class RunProfile:
    nodes: tuple[NodeProfile, ...]
    times: RunTimes | None = None
    """`None` for a run too long to be looked at whole."""
    models: tuple[ModelSketches, ...] = ()
    sketches: dict[str, LatencySketch] = field(default_factory=dict)
    """By node."""


@dataclass(frozen=True, slots=True)
class FinalProfile:
    """The profile of a run that is over, as it is reported and as it is kept."""

    report: ProfileReport
    profile: RunProfile


class BlockKey(NamedTuple):
    """Runs of an experiment that are added up together: see `ledger.profile_blocks`."""

    experiment: int
    block: int


class WantedBlock(NamedTuple):
    """A block that can be added up: all its runs are over."""

    key: BlockKey
    runs: int
    events: int
    """Of its runs altogether, when it was looked at."""


class ProfileBlock(NamedTuple):
    """What the runs of a block add up to."""

    of: WantedBlock
    nodes: Collection[NodeProfile]
    sketches: dict[str, LatencySketch]
    """By node."""
    models: Collection[ModelSketches]
    times: RunTimes | None


class MadeProfile(NamedTuple):
    """The profile of a run, made from its first `events` events."""

    run_id: str
    profile: FinalProfile
    events: int


def with_percentiles(
    profile: ModelProfile, duration: LatencySketch, first_token: LatencySketch
) -> ModelProfile:
    return replace(
        profile,
        timed_calls=min(profile.calls, duration.count),
        p50_ns=duration.percentile_ns(50),
        p90_ns=duration.percentile_ns(90),
        p95_ns=duration.percentile_ns(95),
        p99_ns=duration.percentile_ns(99),
        first_token_p50_ns=first_token.percentile_ns(50),
        first_token_p95_ns=first_token.percentile_ns(95),
    )
