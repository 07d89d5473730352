"""The executions of a timeline in the order in which a waterfall shows them, with what it says of each."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable
from functools import reduce
from itertools import islice
from operator import sub
from typing import NamedTuple

from configurable_agents.observability.known_cost import NO_COST, KnownCost
from configurable_agents.runtime.critical_path import CriticalPath, critical_path
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
    cost: KnownCost
    """Of the calls made in it, without those of the executions inside it."""

    @property
    def critical_ns(self) -> int:
        return sum(end - start for start, end in self.critical)


class Waterfall(NamedTuple):
    rows: list[WaterfallRow]
    path: CriticalPath
    schedule: Schedule
    left_out: int
    """Executions that are not shown because there are too many: the shortest ones off the path."""
    cost_elsewhere: KnownCost
    """Of calls made in no row: with those of the rows it sums to the cost of the run."""


def waterfall(timeline: Timeline, *, rows_max: int) -> Waterfall:
    """At most `rows_max` rows, each after the one that encloses it, in the order of their beginning."""
    schedule = timeline.schedule()
    path = critical_path(schedule)
    kept = _kept(schedule, path, rows_max)
    pieces = path.pieces(kept)
    span_ids = {schedule.spans[index].span_id for index in kept}
    by_id = {span.span_id: span for span in timeline.spans if span.span_id in span_ids}
    own_ns = self_times(span for span in schedule.spans if not span_ids.isdisjoint(span[:2]))
    costs = timeline.costs()
    rows = [
        WaterfallRow(
            by_id[schedule.spans[index].span_id],
            depth,
            own_ns[schedule.spans[index].span_id],
            _since(schedule.started_ns, pieces.get(index, ())),
            costs.pop(schedule.spans[index].span_id, NO_COST),
        )
        for index, depth in _in_tree_order(schedule, kept)
    ]
    elsewhere = reduce(KnownCost.plus, costs.values(), NO_COST)
    return Waterfall(rows, path, schedule, len(schedule.spans) - len(rows), elsewhere)


def _since(started_ns: int, pieces: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((since - started_ns, until - started_ns) for since, until in pieces)


def _kept(schedule: Schedule, path: CriticalPath, rows_max: int) -> set[int]:
    """The longest, the earliest of equals; what is on the critical path counts as twice as long."""
    if len(schedule.spans) <= rows_max:
        return set(range(len(schedule.spans)))
    weights = array("q", map(sub, schedule.ends, schedule.starts))
    for index in path.executions():
        weights[index] *= 2
    least = heapq.nlargest(rows_max, weights)[-1]
    heavier = {index for index, weight in enumerate(weights) if weight > least}
    equal = (index for index, weight in enumerate(weights) if weight == least)
    return heavier.union(islice(equal, rows_max - len(heavier)))


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
