"""Which executions determined when the run ended: its critical path, and how it sums to the wall.

The path is walked from the end of the run to its beginning along the causes of a `Schedule`. What each
step passes is the time of the execution that was waited for, so the parts sum to the wall exactly.
Time of the run in which none of the path's executions ran is `between nodes`: the workflow's own code,
waiting, or an execution nobody waited for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from configurable_agents.runtime.schedule import NONE, RUN, Schedule
from configurable_agents.runtime.self_time import (
    Interval,
    Span,
    node_profiles,
    percentile_ns,
    self_times,
    union_ns,
)
from configurable_agents.telemetry import Graph

__all__ = [
    "CriticalPath",
    "Interval",
    "Segment",
    "Span",
    "critical_path",
    "node_profiles",
    "percentile_ns",
    "self_times",
    "union_ns",
]


class Segment(NamedTuple):
    """A piece of the critical path. Pieces follow each other without gaps or overlaps."""

    execution: int
    """Of the execution in `Schedule.spans`; `RUN` between nodes."""
    started_ns: int
    ended_ns: int
    before: int
    """The execution that began when the piece ended; `NONE` when it was the end of one."""

    @property
    def duration_ns(self) -> int:
        return self.ended_ns - self.started_ns


@dataclass(frozen=True, slots=True)
class CriticalPath:
    numbers: array[int]
    """The fields of all segments, last segment first: a long run has as many as executions."""
    wall_ns: int
    between_ns: int
    """Time of the run on which no execution of the path ran."""
    by_node_ns: dict[str, int] = field(default_factory=dict)
    """Nodes with time on the path, most first, ties by name. With `between_ns` they sum to `wall_ns`."""

    @property
    def segments(self) -> Iterator[Segment]:
        """In the order of time; none is empty."""
        width = len(Segment._fields)
        for at in range(len(self.numbers) - width, -1, -width):
            yield Segment(*self.numbers[at : at + width])


def critical_path(schedule: Schedule) -> CriticalPath:
    """Time: O(n)."""
    numbers = array("q")
    by_node: dict[str, int] = {}
    between_ns = 0
    for segment in _walk(schedule):
        numbers.extend(segment)
        node = schedule.node_of(segment.execution)
        if node is None:
            between_ns += segment.duration_ns
        else:
            by_node[node] = by_node.get(node, 0) + segment.duration_ns
    ordered = sorted(by_node.items(), key=lambda item: (-item[1], item[0]))
    return CriticalPath(numbers, schedule.wall_ns, between_ns, dict(ordered))


def critical_path_of(
    spans: Iterable[Span], started_ns: int, ended_ns: int, graph: Graph | None = None
) -> CriticalPath:
    """The same from spans in any order."""
    return critical_path(Schedule(spans, started_ns, ended_ns, graph))


def _walk(schedule: Schedule) -> Iterable[Segment]:
    """From the end backwards. Each step goes to an earlier event, so it comes to an end."""
    at_ns, last = schedule.ended_ns, schedule.last
    owner, follower = RUN, NONE
    while True:
        since_ns = schedule.start_of(owner) if last == NONE else schedule.ends[last]
        if at_ns > since_ns:
            yield Segment(owner, since_ns, at_ns, follower)
        at_ns = since_ns
        if last != NONE:  # into the execution that was waited for
            owner, follower, last = last, NONE, schedule.causes_of_end[last]
        elif owner == RUN:
            return
        else:  # out of this one, to what its beginning waited for
            follower, last = owner, schedule.causes_of_start[owner]
            owner = schedule.launchers[owner]
