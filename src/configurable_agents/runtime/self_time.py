"""What the spans of one run say about its time. Pure functions; the order of arrival never matters.

Self time of an execution: its duration less the union of its children's intervals, clipped to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from configurable_agents.runtime.profile_report import NodeProfile, sorted_profiles

Interval = tuple[int, int]
"""Start and end, in ns of one clock."""


class Span(NamedTuple):
    """One finished execution of a node."""

    span_id: int
    """Unique in its run."""
    parent_span_id: int
    """The enclosing execution; 0 or an unknown id: none."""
    node_id: str
    started_unix_ns: int
    duration_ns: int
    failed: bool = False
    """Ended with `error` or `cancelled`."""
    attempt: int = 1
    """1 for the first try, 2 for its first retry."""

    @property
    def ended_unix_ns(self) -> int:
        return self.started_unix_ns + self.duration_ns


def self_times(spans: Iterable[Span]) -> dict[int, int]:
    """Self time in ns by span id. Children may be missing, overlap each other or outlive their parent."""
    known = list(spans)
    self_ns: dict[int, int] = {}
    ends: dict[int, int] = {}
    reached: dict[int, int] = {}  # how far into each span its children are accounted for
    for span_id, _, _, start, duration, _, _ in known:
        self_ns[span_id] = duration
        ends[span_id] = start + duration
        reached[span_id] = start
    known.sort(key=attrgetter("started_unix_ns"))  # so each child only adds what lies behind `reached`
    for span_id, parent_span_id, _, start, duration, _, _ in known:
        if parent_span_id in ends and parent_span_id != span_id:
            covered_from = max(start, reached[parent_span_id])
            covered_to = min(start + duration, ends[parent_span_id])
            if covered_to > covered_from:
                self_ns[parent_span_id] -= covered_to - covered_from
                reached[parent_span_id] = covered_to
    return self_ns


def node_profiles(spans: Iterable[Span]) -> tuple[NodeProfile, ...]:
    """The profile of each node, with exact percentiles (nearest rank). Highest total first."""
    known = list(spans)
    own_ns = self_times(known)
    durations: dict[str, list[int]] = {}
    self_ns: dict[str, int] = {}
    errors: dict[str, int] = {}
    for span_id, _, node_id, _, duration, failed, _ in known:
        if node_id not in durations:
            durations[node_id] = []
            self_ns[node_id] = errors[node_id] = 0
        durations[node_id].append(duration)
        self_ns[node_id] += own_ns[span_id]
        errors[node_id] += failed
    return sorted_profiles(
        [
            _profile(node_id, sorted(values), self_ns[node_id], errors[node_id])
            for node_id, values in durations.items()
        ]
    )


def _profile(node_id: str, ordered_ns: list[int], self_ns: int, errors: int) -> NodeProfile:
    return NodeProfile(
        node_id=node_id,
        calls=len(ordered_ns),
        total_ns=sum(ordered_ns),
        self_ns=self_ns,
        max_ns=ordered_ns[-1],
        errors=errors,
        p50_ns=nearest_rank(ordered_ns, 50),
        p90_ns=nearest_rank(ordered_ns, 90),
        p95_ns=nearest_rank(ordered_ns, 95),
        p99_ns=nearest_rank(ordered_ns, 99),
    )


def union_ns(intervals: Iterable[Interval]) -> int:
    """Length of the union. An interval that ends before it starts counts as empty."""
    covered_ns = 0
    reached: int | None = None
    for start, end in sorted(intervals):
        if reached is None or start > reached:
            covered_ns += max(0, end - start)
            reached = max(start, end)
        elif end > reached:
            covered_ns += end - reached
            reached = end
    return covered_ns


def percentile_ns(values: Sequence[int], percent: int) -> int:
    """The smallest of `values` that at least `percent` of them do not exceed (nearest rank)."""
    return nearest_rank(sorted(values), percent)


def nearest_rank(ordered: Sequence[int], percent: int) -> int:
    """The same of values that are in ascending order."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]
