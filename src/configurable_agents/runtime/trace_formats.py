"""A timeline in formats that other programs open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from configurable_agents.runtime.schedule import RUN
from configurable_agents.runtime.self_time import self_times
from configurable_agents.runtime.timeline import OUTSIDE, Timeline, TimelineCall, TimelineSpan
from configurable_agents.runtime.timeline_rows import WaterfallRow, waterfall

NS_PER_US = 1_000
NANOS_PER_USD = 1_000_000_000
PID = 1
CALLS_TID = 1_000_000
"""The track of calls made in no execution."""


def perfetto(timeline: Timeline) -> dict[str, Any]:
    """Chrome's trace event format: executions on tracks by nesting, calls in them, dollars as a counter.

    The format's specification is "Trace Event Format" of the Chromium project; times are microseconds.
    """
    found = waterfall(timeline, rows_max=len(timeline.spans))
    tracks = _tracks(found.rows)
    events: list[dict[str, Any]] = [
        _metadata("process_name", timeline.run.workflow or timeline.run.run_id, 0)
    ]
    events += [_execution(row, tracks[row.span.span_id]) for row in found.rows]
    events += [_call(call, tracks.get(call.span_id, CALLS_TID)) for call in timeline.calls]
    events += _dollars(timeline)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"run_id": timeline.run.run_id, "experiment": timeline.run.experiment},
    }


def _tracks(rows: Sequence[WaterfallRow]) -> dict[int, int]:
    """A track holds executions one inside the other, or one after the other; others get one of their own."""
    enclosing = _enclosing(rows)
    open_on: list[list[TimelineSpan]] = []
    found: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: (row.span.started_unix_ns, row.depth, -row.span.duration_ns)):
        span = row.span
        for track, stack in enumerate(open_on, start=1):
            while stack and _end(stack[-1]) <= span.started_unix_ns:
                stack.pop()
            if not stack or (stack[-1].span_id == enclosing[span.span_id] and _end(stack[-1]) >= _end(span)):
                stack.append(span)
                found[span.span_id] = track
                break
        else:
            open_on.append([span])
            found[span.span_id] = len(open_on)
    return found


def _enclosing(rows: Sequence[WaterfallRow]) -> dict[int, int]:
    """The span id of what encloses each execution; 0 for none."""
    above: list[int] = []
    found: dict[int, int] = {}
    for row in rows:
        del above[row.depth :]
        found[row.span.span_id] = above[-1] if above else 0
        above.append(row.span.span_id)
    return found


def _end(span: TimelineSpan) -> int:
    return span.started_unix_ns + span.duration_ns


def _execution(row: WaterfallRow, track: int) -> dict[str, Any]:
    span = row.span
    return {
        "name": span.node_id,
        "cat": "critical" if row.critical else "node",
        "ph": "X",
        "ts": span.started_unix_ns / NS_PER_US,
        "dur": span.duration_ns / NS_PER_US,
        "pid": PID,
        "tid": track,
        "args": {
            "status": span.status.label,
            "attempt": span.attempt,
            "self_ms": row.self_ns / 1e6,
            "critical_ms": row.critical_ns / 1e6,
            "cost_usd": row.cost.usd,
            "unpriced_calls": row.cost.unknown_calls,
        },
    }


def _call(call: TimelineCall, track: int) -> dict[str, Any]:
    return {
        "name": f"{call.provider}/{call.model}",
        "cat": "model",
        "ph": "X",
        "ts": call.started_unix_ns / NS_PER_US,
        "dur": call.duration_ns / NS_PER_US,
        "pid": PID,
        "tid": track,
        "args": {
            "tokens": call.tokens,
            "cost_usd": call.cost.usd,
            "counted": call.counted,
            "time_to_first_token_ms": call.time_to_first_token_ns / 1e6 or None,
        },
    }


def _dollars(timeline: Timeline) -> Iterator[dict[str, Any]]:
    spent_nanos = 0
    for call in sorted(timeline.calls, key=lambda call: call.started_unix_ns + call.duration_ns):
        spent_nanos += call.cost.nanos
        at_ns = call.started_unix_ns + call.duration_ns or timeline.run.started_unix_ns
        yield {
            "name": "dollars",
            "ph": "C",
            "ts": at_ns / NS_PER_US,
            "pid": PID,
            "args": {"usd": spent_nanos / NANOS_PER_USD},
        }


def _metadata(name: str, value: str, track: int) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": PID, "tid": track, "args": {"name": value}}


def folded(timeline: Timeline, *, weight: Literal["time", "cost"] = "time") -> list[str]:
    """Collapsed stacks for flame graphs: `outer;inner 1234`, one line per stack, sorted.

    The weight is self time in microseconds, or known cost in nano-dollars, which sums to that of the run.
    """
    schedule = timeline.schedule()
    if weight == "time":
        values = {span: ns // NS_PER_US for span, ns in self_times(schedule.spans).items()}
    else:
        values = {span: cost.nanos for span, cost in timeline.costs().items()}
    stacks: list[str] = []
    sums: dict[str, int] = {}
    for index, span in enumerate(schedule.spans):
        owner = schedule.launchers[index]
        above = "" if owner == RUN else f"{stacks[owner]};"
        stacks.append(above + _frame(span.node_id))
        if values.get(span.span_id):
            sums[stacks[index]] = sums.get(stacks[index], 0) + values[span.span_id]
    if weight == "cost" and values.get(OUTSIDE):
        sums["(no node)"] = values[OUTSIDE]
    return [f"{stack} {value}" for stack, value in sorted(sums.items())]


def _frame(name: str) -> str:
    return name.replace(";", ",").replace("\n", " ")
