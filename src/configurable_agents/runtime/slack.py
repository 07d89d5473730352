"""How much longer executions could have taken without delaying the end of the run.

The backward pass of the critical path method (Kelley and Walker, "Critical-Path Planning and
Scheduling", 1959) over the causes of a `Schedule`: the latest end of an execution is the least, over all
that waits for it, of the latest time that may happen less its lag. Slack is latest end less end.
Without a declared graph everything that began later is taken to wait, so the true slack is at least this.
"""

from __future__ import annotations

from array import array

from configurable_agents.runtime.schedule import BEGINS, ENDS, NONE, RUN, Schedule

NEVER = 2**63 - 1


def slacks(schedule: Schedule) -> array[int]:
    """Slack in ns by index of execution: 0 on the critical path. O(n), with a graph O(n times degree)."""
    return _BackwardPass(schedule).slacks()


def node_slacks(schedule: Schedule) -> dict[str, int]:
    """Slack by node: what any one execution of it could have taken longer, the least of them."""
    found: dict[str, int] = {}
    for span, slack_ns in zip(schedule.spans, slacks(schedule), strict=True):
        found[span.node_id] = min(found.get(span.node_id, slack_ns), slack_ns)
    return found


class _BackwardPass:
    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        places = len(schedule.spans) + 1
        self._ends_bound = array("q", [NEVER]) * places
        """Until when the ends within an owner may come, as far as it is known yet."""
        self._ends_bound[RUN] = schedule.ended_ns - schedule.end_lag
        self._node_ends_bound: dict[tuple[int, str], int] = {}
        self._start_bound = array("q", [NEVER]) * places
        """When an owner itself may begin at the latest."""

    def slacks(self) -> array[int]:
        schedule = self._schedule
        found = array("q", [0]) * len(schedule.spans)
        for event in reversed(schedule.events):
            index = event >> 2
            if event & ENDS:
                latest_ns = self._latest_end(index)
                found[index] = latest_ns - schedule.ends[index]
                self._bound_inside(index, latest_ns - schedule.end_lags[index])
            if event & BEGINS:
                self._bound_before(index)
        return found

    def _latest_end(self, index: int) -> int:
        schedule = self._schedule
        owner = schedule.joiners[index]
        bound = self._ends_bound[owner]
        if schedule.waits_for:
            bound = min(bound, self._node_ends_bound.get((owner, schedule.bucket_of(index)), NEVER))
        return bound

    def _bound_inside(self, index: int, latest_ns: int) -> None:
        if self._schedule.causes_of_end[index] == NONE:
            self._start_bound[index] = min(self._start_bound[index], latest_ns)
        else:
            self._ends_bound[index] = min(self._ends_bound[index], latest_ns)

    def _bound_before(self, index: int) -> None:
        schedule = self._schedule
        owner = schedule.launchers[index]
        latest_ns = self._start_bound[index] - schedule.start_lags[index]
        if schedule.causes_of_start[index] == NONE:
            self._start_bound[owner] = min(self._start_bound[owner], latest_ns)
            return
        buckets = schedule.buckets_of(index)
        if buckets is None:
            self._ends_bound[owner] = min(self._ends_bound[owner], latest_ns)
            return
        for bucket in buckets:
            key = (owner, bucket)
            self._node_ends_bound[key] = min(self._node_ends_bound.get(key, NEVER), latest_ns)
