"""A timeline in formats that other programs open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from configurable_agents.runtime.schedule import RUN, Schedule
from configurable_agents.runtime.self_time import self_times
from configurable_agents.runtime.timeline import OUTSIDE, Timeline, TimelineCall
from configurable_agents.runtime.timeline_rows import WaterfallRow, waterfall

NS_PER_US = 1_000
NANOS_PER_USD = 1_000_000_000
PID = 1

COUNTER_TID = 0
"""Of what belongs to no track."""


class _Slice(NamedTuple):
    """Something that lasts, as it is laid on a track."""

    started_ns: int
    """Since the start of the run: fractions of a microsecond since 1970 are more than a float can hold."""
    depth: int
    duration_ns: int
    span_id: int
    """Of the execution it is; 0 for a call."""
    enclosing: int
    """The execution it lies in; 0 for none."""
    event: dict[str, Any]

    @property
    def ended_ns(self) -> int:
        return self.started_ns + self.duration_ns


def perfetto(timeline: Timeline) -> dict[str, Any]:
    """Chrome's trace event format: executions and calls on tracks by nesting, dollars as a counter.

    The format's specification is "Trace Event Format" of the Chromium project. Times are microseconds since
    the start of the run, or of what began before it.
    """
    name = timeline.run.workflow or timeline.run.run_id
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "ts": 0, "pid": PID, "tid": COUNTER_TID, "args": {"name": name}}
    ]
    events += _on_tracks(list(_slices(timeline)))
    events += _dollars(timeline)
    run = timeline.run
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "run_id": run.run_id,
            "experiment": run.experiment,
            "started_unix_ns": str(_origin_ns(timeline)),
        },
    }


def _origin_ns(timeline: Timeline) -> int:
    first = [span.started_unix_ns for span in timeline.spans[:1]]
    first += [call.started_unix_ns for call in timeline.calls[:1]]
    return min(timeline.run.started_unix_ns, *first, timeline.ended_unix_ns)


def _slices(timeline: Timeline) -> Iterator[_Slice]:
    since_ns = _origin_ns(timeline)
    above: list[int] = []
    depths: dict[int, int] = {}
    for row in waterfall(timeline, rows_max=len(timeline.spans)).rows:
        span = row.span
        del above[row.depth :]
        enclosing = above[-1] if above else 0
        above.append(span.span_id)
        depths[span.span_id] = row.depth
        times = (span.started_unix_ns - since_ns, row.depth, span.duration_ns)
        yield _Slice(*times, span.span_id, enclosing, _execution(row))
    for call in timeline.calls:
        depth = depths.get(call.span_id, -1) + 1
        enclosing = call.span_id if depth else 0
        yield _Slice(call.started_unix_ns - since_ns, depth, call.duration_ns, 0, enclosing, _call(call))


def _on_tracks(slices: list[_Slice]) -> Iterator[dict[str, Any]]:
    """A track holds slices one inside the other, or one after the other; others get one of their own."""
    slices.sort(key=lambda each: (each.started_ns, each.depth, -each.duration_ns))
    open_on: list[list[_Slice]] = []
    for each in slices:
        track = _track_for(each, open_on)
        open_on[track].append(each)
        times = {"ts": each.started_ns / NS_PER_US, "dur": each.duration_ns / NS_PER_US}
        yield {**each.event, "ph": "X", **times, "pid": PID, "tid": track + 1}


def _track_for(one: _Slice, open_on: list[list[_Slice]]) -> int:
    for track, stack in enumerate(open_on):
        while stack and stack[-1].ended_ns <= one.started_ns:
            stack.pop()
        if not stack or (stack[-1].span_id == one.enclosing != 0 and stack[-1].ended_ns >= one.ended_ns):
            return track
    open_on.append([])
    return len(open_on) - 1


def _execution(row: WaterfallRow) -> dict[str, Any]:
    return {
        "name": row.span.node_id,
        "cat": "critical" if row.critical else "node",
        "args": {
            "status": row.span.status.label,
            "attempt": row.span.attempt,
            "self_ms": row.self_ns / 1e6,
            "critical_ms": row.critical_ns / 1e6,
            "cost_usd": row.cost.usd,
            "unpriced_calls": row.cost.unknown_calls,
        },
    }


def _call(call: TimelineCall) -> dict[str, Any]:
    return {
        "name": f"{call.provider}/{call.model}",
        "cat": "model",
        "args": {
            "tokens": call.tokens,
            "cost_usd": call.cost.usd,
            "counted": call.counted,
            "time_to_first_token_ms": call.time_to_first_token_ns / 1e6 or None,
        },
    }


def _dollars(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """From nothing, with the end of each call, to the known cost of the run."""
    since_ns, spent = _origin_ns(timeline), [(0, 0)]
    for call in sorted(timeline.calls, key=lambda call: call.started_unix_ns + call.duration_ns):
        ended_ns = call.started_unix_ns + call.duration_ns - since_ns
        spent.append((ended_ns, spent[-1][1] + call.cost.nanos))
    for at_ns, nanos in spent:
        at = {"ts": at_ns / NS_PER_US, "pid": PID, "tid": COUNTER_TID}
        yield {"name": "dollars", "ph": "C", **at, "args": {"usd": nanos / NANOS_PER_USD}}


def folded(timeline: Timeline, *, weight: Literal["time", "cost"] = "time") -> list[str]:
    """Collapsed stacks for flame graphs: `outer;inner 1234`, one line per stack, sorted.

    The weight is self time in microseconds, or known cost in nano-dollars, which sums to that of the run.
    """
    schedule = timeline.schedule()
    if weight == "time":
        values, unit = self_times(schedule.spans), NS_PER_US
    else:
        values, unit = {span: cost.nanos for span, cost in timeline.costs().items()}, 1
    sums: dict[str, int] = {}
    for span, stack in zip(schedule.spans, _stacks(schedule), strict=True):
        sums[stack] = sums.get(stack, 0) + values.get(span.span_id, 0)
    if weight == "cost" and values.get(OUTSIDE):
        sums["(no node)"] = values[OUTSIDE]
    return [f"{stack} {value // unit}" for stack, value in sorted(sums.items()) if value >= unit]


def _stacks(schedule: Schedule) -> list[str]:
    """Of each execution. One that begins at the same instant as the one around it may come before it."""
    stacks: dict[int, str] = {}
    for first in range(len(schedule.spans)):
        waiting = [first]
        while waiting:
            index = waiting[-1]
            owner = schedule.launchers[index]
            if owner == RUN or owner in stacks:
                above = "" if owner == RUN else f"{stacks[owner]};"
                stacks[waiting.pop()] = above + _frame(schedule.spans[index].node_id)
            else:
                waiting.append(owner)
    return [stacks[index] for index in range(len(schedule.spans))]


def _frame(name: str) -> str:
    return name.replace(";", ",").replace("\n", " ")
