"""Which executions determined when the run ended: its critical path, and how it sums to the wall.

The path is walked from the end of the run to its beginning along the causes of a `Schedule`. What each
step passes is the time of the execution that was waited for, so the parts sum to the wall exactly.
Time of the run in which none of the path's executions ran is `between nodes`: the workflow's own code,
waiting, or an execution nobody waited for.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Iterator
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


SEGMENT_WIDTH = len(Segment._fields)


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
        for at in range(len(self.numbers) - SEGMENT_WIDTH, -1, -SEGMENT_WIDTH):
            yield Segment(*self.numbers[at : at + SEGMENT_WIDTH])

    def executions(self) -> set[int]:
        """Those that the path goes through, by their index in `Schedule.spans`."""
        return set(self.numbers[::SEGMENT_WIDTH]) - {RUN}

    def pieces(self, executions: Container[int]) -> dict[int, list[Interval]]:
        """Of each of `executions` that the path goes through, from when to when, in the order of time."""
        columns = (self.numbers[column::SEGMENT_WIDTH] for column in range(3))
        found: dict[int, list[Interval]] = {}
        for execution, started_ns, ended_ns in zip(*columns, strict=True):
            if execution in executions:
                found.setdefault(execution, []).append((started_ns, ended_ns))
        for pieces in found.values():
            pieces.reverse()
        return found


def critical_path(schedule: Schedule) -> CriticalPath:
    """Time: O(n)."""
    numbers = _walk(schedule)
    passed_ns = array("q", [0]) * (len(schedule.spans) + 1)
    columns = (numbers[column::SEGMENT_WIDTH] for column in range(3))
    for execution, started_ns, ended_ns in zip(*columns, strict=True):
        passed_ns[execution] += ended_ns - started_ns
    between_ns = passed_ns.pop()
    by_node: dict[str, int] = {}
    for span, ns in zip(schedule.spans, passed_ns, strict=True):
        if ns:
            by_node[span.node_id] = by_node.get(span.node_id, 0) + ns
    ordered = sorted(by_node.items(), key=lambda item: (-item[1], item[0]))
    return CriticalPath(numbers, schedule.wall_ns, between_ns, dict(ordered))


def critical_path_of(
    spans: Iterable[Span], started_ns: int, ended_ns: int, graph: Graph | None = None
) -> CriticalPath:
    """The same from spans in any order."""
    return critical_path(Schedule(spans, started_ns, ended_ns, graph))


def _walk(schedule: Schedule) -> array[int]:
    """From the end backwards. Each step goes to an earlier event, so it comes to an end."""
    passed = array("q")
    at_ns, last = schedule.ended_ns, schedule.last
    owner, follower = RUN, NONE
    while True:
        since_ns = schedule.start_of(owner) if last == NONE else schedule.ends[last]
        if at_ns > since_ns:
            passed.extend((owner, since_ns, at_ns, follower))
        at_ns = since_ns
        if last != NONE:  # into the execution that was waited for
            owner, follower, last = last, NONE, schedule.causes_of_end[last]
        elif owner == RUN:
            return passed
        else:  # out of this one, to what its beginning waited for
            follower, last = owner, schedule.causes_of_start[owner]
            owner = schedule.launchers[owner]
