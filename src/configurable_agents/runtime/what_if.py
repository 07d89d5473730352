"""How long the run would have taken had a node been faster, slower or not there at all.

The forward pass over the causes of a `Schedule`: every execution begins when the last of what it waited
for ends, plus its lag; it ends when the last execution inside it ends, plus its lag. The lags inside an
execution are its own time, and these are what a faster node makes shorter; the nodes inside it keep
theirs. With nothing changed the pass gives the run back exactly as it was.

Without a declared graph everything that ended before an execution began is taken to be waited for, so
what a speed-up saves is at least the answer. A node off the critical path saves nothing.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime.schedule import BEGINS, ENDS, NONE, RUN, Schedule
from configurable_agents.runtime.time_report import NS_PER_MS

SPEEDUP_MAX = 1_000_000.0


class Change(NamedTuple):
    """A node and what its own time is multiplied with: 0.5 is twice as fast, 0 is not there at all."""

    node_id: str
    multiplier: float

    @classmethod
    def parse(cls, text: str) -> Change:
        """`draft=2x` (twice as fast), `draft=0.5x` (half as fast), `draft=removed`.

        Raises `InvalidValueError`.
        """
        node_id, _, how = text.rpartition("=")
        if node_id and how == "removed":
            return cls(node_id, 0.0)
        try:
            speedup = float(how.removesuffix("x"))
        except ValueError:
            speedup = 0.0
        if not node_id or not how.endswith("x") or not 1 / SPEEDUP_MAX <= speedup <= SPEEDUP_MAX:
            raise InvalidValueError(f"{text!r} is no change; give NODE=2x, NODE=0.5x or NODE=removed")
        return cls(node_id, 1 / speedup)


class WhatIf(NamedTuple):
    """The answer to one question."""

    node_id: str
    multiplier: float
    wall_ns: int
    """Of the run as it was."""
    changed_wall_ns: int

    @property
    def saved_ns(self) -> int:
        """Negative when the change makes the run longer."""
        return self.wall_ns - self.changed_wall_ns

    def to_json(self, run_id: str) -> dict[str, Any]:
        """An entry of `what_if`; see docs/json.md."""
        return {
            "node_id": self.node_id,
            "time_multiplier": self.multiplier,
            "run_id": run_id,
            "wall_time_ms": self.wall_ns / NS_PER_MS,
            "changed_wall_time_ms": self.changed_wall_ns / NS_PER_MS,
            "saved_ms": self.saved_ns / NS_PER_MS,
        }


class SlotAnswer(NamedTuple):
    """What one more execution at a time would do; see `one_more_slot`."""

    slots: int
    """Executions at the same time, at most, in the run."""
    simulated_wall_ns: int
    """With as many slots, when executions wait for their dependencies and a slot and nothing else."""
    wider_wall_ns: int
    """With one more."""

    @property
    def saved_ns(self) -> int:
        return max(0, self.simulated_wall_ns - self.wider_wall_ns)


def what_if(schedule: Schedule, change: Change) -> WhatIf:
    """Raises `InvalidValueError` when the run has no such node. Time: O(n)."""
    if not any(span.node_id == change.node_id for span in schedule.spans):
        known = ", ".join(sorted({span.node_id for span in schedule.spans})[:8])
        raise InvalidValueError(f"no node of the run is called {change.node_id!r}; there are: {known}")
    changed = wall_with(schedule, {change.node_id: change.multiplier})
    return WhatIf(change.node_id, change.multiplier, schedule.wall_ns, changed)


def wall_with(schedule: Schedule, multipliers: Mapping[str, float]) -> int:
    """The wall when the own time of each of these nodes is multiplied: O(n), times a graph's degree."""
    return _ForwardPass(schedule, multipliers).wall_ns()


class _ForwardPass:
    """Times are from the beginning of the run."""

    def __init__(self, schedule: Schedule, multipliers: Mapping[str, float]) -> None:
        self._schedule = schedule
        places = [multipliers.get(span.node_id) for span in schedule.spans]
        self._multipliers = [*places, None]
        self._starts = array("q", [0]) * len(self._multipliers)
        self._latest = array("q", [0]) * len(self._multipliers)
        """The latest new end within each owner so far."""
        self._latest_of_node: dict[tuple[int, str], int] = {}

    def wall_ns(self) -> int:
        for event in self._schedule.events:
            if event & BEGINS:
                self._begin(event >> 2)
            if event & ENDS:
                self._end(event >> 2)
        return self._latest[RUN] + self._schedule.end_lag

    def _begin(self, index: int) -> None:
        schedule = self._schedule
        owner = schedule.launchers[index]
        lag = schedule.start_lags[index]
        multiplier = self._multipliers[owner]
        if multiplier is not None:
            lag = round(lag * multiplier)
        if schedule.causes_of_start[index] == NONE:
            self._starts[index] = self._starts[owner] + lag
        else:
            self._starts[index] = self._latest_before(index, owner) + lag

    def _latest_before(self, index: int, owner: int) -> int:
        buckets = self._schedule.buckets_of(index)
        if buckets is None:
            return self._latest[owner]
        known = self._latest_of_node
        return max(known[owner, bucket] for bucket in buckets if (owner, bucket) in known)

    def _end(self, index: int) -> None:
        schedule = self._schedule
        lag = schedule.end_lags[index]
        multiplier = self._multipliers[index]
        if multiplier is not None:
            lag = round(lag * multiplier)
        end = (self._starts if schedule.causes_of_end[index] == NONE else self._latest)[index] + lag
        owner = schedule.joiners[index]
        if end > self._latest[owner]:  # noqa: PLR1730  max() costs as much as all the rest
            self._latest[owner] = end
        if schedule.waits_for:
            key = (owner, schedule.bucket_of(index))
            self._latest_of_node[key] = max(end, self._latest_of_node.get(key, end))


def one_more_slot(schedule: Schedule) -> SlotAnswer | None:
    """What one more execution at a time would save; `None` when no graph was declared.

    Executions directly in the run are scheduled again, in the order of their beginning, each as soon as
    what it waits for has ended and a slot is free (list scheduling: Graham, "Bounds on Multiprocessing
    Timing Anomalies", 1969), once with as many slots as were ever used and once with one more. Greedy
    schedules can become longer with more slots; that counts as no saving. Time: O(n log n).
    """
    if not schedule.waits_for:
        return None
    tasks = [index for index, owner in enumerate(schedule.launchers) if owner == RUN]
    slots = _most_at_once(schedule, tasks)
    if not slots:
        return None
    return SlotAnswer(slots, _scheduled(schedule, tasks, slots), _scheduled(schedule, tasks, slots + 1))


def _most_at_once(schedule: Schedule, tasks: list[int]) -> int:
    running: list[int] = []
    most = 0
    for task in tasks:
        while running and running[0] <= schedule.starts[task]:
            heapq.heappop(running)
        heapq.heappush(running, schedule.ends[task])
        most = max(most, len(running))
    return most


def _scheduled(schedule: Schedule, tasks: list[int], slots: int) -> int:
    """The end of the last task, from the beginning of the run."""
    free = [0] * slots
    running: list[tuple[int, int, int]] = []
    ended_of_node: dict[str, int] = {}
    wall_ns = 0
    for task in tasks:
        while running and running[0][0] <= schedule.starts[task]:
            _, before, ended = heapq.heappop(running)
            bucket = schedule.bucket_of(before)
            ended_of_node[bucket] = max(ended, ended_of_node.get(bucket, 0))
        waits_for = schedule.buckets_of(task) or tuple(ended_of_node)
        ready = max((ended_of_node.get(bucket, 0) for bucket in waits_for), default=0)
        ended = max(ready, heapq.heappop(free)) + schedule.ends[task] - schedule.starts[task]
        heapq.heappush(free, ended)
        heapq.heappush(running, (schedule.ends[task], task, ended))
        wall_ns = max(wall_ns, ended)
    return wall_ns
