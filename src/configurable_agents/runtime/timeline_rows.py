"""The executions of a timeline in the order in which a waterfall shows them, with what it says of each."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from configurable_agents.runtime.critical_path import CriticalPath, Segment, critical_path
from configurable_agents.runtime.schedule import RUN, Schedule
from configurable_agents.runtime.self_time import self_times
from configurable_agents.runtime.timeline import Timeline, TimelineSpan


class WaterfallRow(NamedTuple):
    span: TimelineSpan
    depth: int
    """How many shown executions enclose it."""
    self_ns: int
    critical: tuple[tuple[int, int], ...]
    """The pieces of it on the critical path: from and to, in ns since the start of the run."""
    cost_nanos: int
    """Known cost of the calls made in it."""

    @property
    def critical_ns(self) -> int:
        return sum(end - start for start, end in self.critical)


class Waterfall(NamedTuple):
    rows: list[WaterfallRow]
    path: CriticalPath
    schedule: Schedule
    left_out: int
    """Executions that are not shown because there are too many: the shortest ones off the path."""


def waterfall(timeline: Timeline, *, rows_max: int) -> Waterfall:
    """At most `rows_max` rows, each after the one that encloses it, in the order of their beginning."""
    schedule = timeline.schedule()
    path = critical_path(schedule)
    pieces = _pieces(schedule, path.segments)
    own_ns = self_times(schedule.spans)
    costs = timeline.costs_nanos()
    kept = _kept(schedule, pieces, rows_max)
    by_id = {span.span_id: span for span in timeline.spans}
    rows = [
        WaterfallRow(
            by_id[schedule.spans[index].span_id],
            depth,
            own_ns[schedule.spans[index].span_id],
            tuple(pieces.get(index, ())),
            costs.get(schedule.spans[index].span_id, 0),
        )
        for index, depth in _in_tree_order(schedule, kept)
    ]
    return Waterfall(rows, path, schedule, len(schedule.spans) - len(rows))


def _pieces(schedule: Schedule, segments: Iterable[Segment]) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for segment in segments:
        if segment.execution != RUN:
            since = schedule.started_ns
            found.setdefault(segment.execution, []).append(
                (segment.started_ns - since, segment.ended_ns - since)
            )
    return found


def _kept(schedule: Schedule, pieces: dict[int, list[tuple[int, int]]], rows_max: int) -> set[int]:
    everything = range(len(schedule.spans))
    if len(everything) <= rows_max:
        return set(everything)

    starts, ends = schedule.starts, schedule.ends

    def weight(index: int) -> tuple[int, int]:
        lasted_ns = ends[index] - starts[index]
        return lasted_ns * 2 if index in pieces else lasted_ns, -index

    return set(heapq.nlargest(rows_max, everything, key=weight))


def _in_tree_order(schedule: Schedule, kept: set[int]) -> Iterable[tuple[int, int]]:
    """Index and depth. An execution whose parent is not kept stands below the next one that is."""
    children: dict[int, list[int]] = {}
    for index in sorted(kept, key=lambda each: (schedule.starts[each], -schedule.ends[each], each)):
        owner = schedule.launchers[index]
        while owner != RUN and owner not in kept:
            owner = schedule.launchers[owner]
        children.setdefault(owner, []).append(index)
    waiting = [(index, 0) for index in reversed(children.get(RUN, []))]
    while waiting:
        index, depth = waiting.pop()
        yield index, depth
        waiting.extend((child, depth + 1) for child in reversed(children.get(index, [])))
