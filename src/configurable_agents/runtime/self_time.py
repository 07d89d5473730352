"""What the spans of one run say about its time. Pure functions; the order of arrival never matters.

Self time of an execution: its duration less the union of its children's intervals, clipped to it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from configurable_agents.runtime.bounds import INT64_MAX
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
    ordered = sorted(spans, key=_by_start)
    return dict(zip((span.span_id for span in ordered), self_times_in_order(ordered), strict=True))


def self_times_in_order(ordered: Sequence[Span]) -> array[int]:
    """Self time in ns of each of `ordered`, which are in the order of their beginning."""
    index_of = {span.span_id: index for index, span in enumerate(ordered)}
    self_ns = array("q", [span.duration_ns for span in ordered])
    # An end may lie beyond the last number that a time can have.
    ends = array("q", [min(span.started_unix_ns + span.duration_ns, INT64_MAX) for span in ordered])
    reached = array("q", [span.started_unix_ns for span in ordered])
    """How far into each its children are accounted for, so that each child only adds what lies behind."""
    for index, (_, parent_span_id, _, start, _, _, _) in enumerate(ordered):
        parent = index_of.get(parent_span_id, index)
        if parent != index:
            covered_from = max(start, reached[parent])
            covered_to = min(ends[index], ends[parent])
            if covered_to > covered_from:
                self_ns[parent] -= covered_to - covered_from
                reached[parent] = covered_to
    return self_ns


def node_profiles(spans: Iterable[Span]) -> tuple[NodeProfile, ...]:
    """The profile of each node, with exact percentiles (nearest rank). Highest total first."""
    ordered = sorted(spans, key=_by_start)
    durations: dict[str, array[int]] = {}
    self_ns: dict[str, int] = {}
    errors: dict[str, int] = {}
    for span, own_ns in zip(ordered, self_times_in_order(ordered), strict=True):
        node_id = span.node_id
        if node_id not in durations:
            durations[node_id] = array("q")
            self_ns[node_id] = errors[node_id] = 0
        durations[node_id].append(span.duration_ns)
        self_ns[node_id] += own_ns
        errors[node_id] += span.failed
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


_by_start = attrgetter("started_unix_ns")
