"""What the time on the critical path was spent on. The classes sum to the wall of the run."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from configurable_agents.runtime.critical_path import CriticalPath, Segment
from configurable_agents.runtime.schedule import NONE, RUN, Schedule
from configurable_agents.runtime.self_time import Interval, Span
from configurable_agents.runtime.time_report import TimeClasses

WAIT_SUFFIX = "/wait"
"""Of the node as which a runner records its wait before another attempt, under the number of that attempt."""


class ModelCall(NamedTuple):
    """When a model was asked, and the execution it was asked in (0: in none)."""

    span_id: int
    started_unix_ns: int
    duration_ns: int


def time_classes(schedule: Schedule, path: CriticalPath, calls: Iterable[ModelCall]) -> TimeClasses:
    """Calls that overlap count once. Time: O((n + calls) log calls)."""
    asked = _Calls(schedule, calls)
    sums = {"model": 0, "python": 0, "retry_wait": 0, "queue": 0, "framework": 0}
    for segment in path.segments:
        model_ns = asked.within(segment)
        sums["model"] += model_ns
        sums[_class_of(schedule, segment)] += segment.duration_ns - model_ns
    return TimeClasses(**{f"{name}_ns": value for name, value in sums.items()})


def _class_of(schedule: Schedule, segment: Segment) -> str:
    """What a piece outside of model calls is."""
    following = segment.before
    if segment.execution != RUN and _is_wait(schedule.spans[segment.execution]):
        return "retry_wait"
    if following != NONE and schedule.spans[following].attempt > 1:
        return "retry_wait"
    if segment.execution != RUN:
        return "python"
    if following != NONE and schedule.waits_for and schedule.causes_of_start[following] != NONE:
        return "queue"
    return "framework"


def _is_wait(span: Span) -> bool:
    return span.attempt > 1 and span.node_id.endswith(WAIT_SUFFIX)


class _Calls:
    """The model calls of each execution as disjoint intervals, with running sums."""

    def __init__(self, schedule: Schedule, calls: Iterable[ModelCall]) -> None:
        by_span: dict[int, list[Interval]] = {}
        for span_id, started_ns, duration_ns in calls:
            by_span.setdefault(span_id, []).append((started_ns, started_ns + duration_ns))
        by_index: dict[int, list[Interval]] = {}
        for index, span in enumerate(schedule.spans):
            if span.span_id in by_span:
                by_index[index] = by_span.pop(span.span_id)
        by_index[RUN] = [interval for found in by_span.values() for interval in found]
        self._intervals = {index: disjoint(found) for index, found in by_index.items()}
        self._starts = {index: [start for start, _ in found] for index, found in self._intervals.items()}
        self._sums = {index: _running_sums(found) for index, found in self._intervals.items()}

    def within(self, segment: Segment) -> int:
        if segment.execution not in self._intervals:
            return 0
        return self._before(segment.execution, segment.ended_ns) - self._before(
            segment.execution, segment.started_ns
        )

    def _before(self, index: int, at_ns: int) -> int:
        """Time in calls up to a moment."""
        position = bisect_right(self._starts[index], at_ns) - 1
        if position < 0:
            return 0
        start, end = self._intervals[index][position]
        return self._sums[index][position] + min(at_ns, end) - start


def disjoint(intervals: Iterable[Interval]) -> list[Interval]:
    """The union as intervals that neither touch nor overlap, in the order of time; without empty ones."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if end <= start:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _running_sums(intervals: list[Interval]) -> list[int]:
    """For each interval, the length of all before it."""
    sums: list[int] = []
    total = 0
    for start, end in intervals:
        sums.append(total)
        total += end - start
    return sums
