"""One run in detail: every execution and every model call with its times. Pure records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

from configurable_agents.runtime.schedule import Schedule
from configurable_agents.runtime.self_time import Span
from configurable_agents.runtime.time_classes import ModelCall
from configurable_agents.telemetry import Graph, Status, WorkflowRunRecord


class TimelineSpan(NamedTuple):
    """One execution of a node."""

    span_id: int
    parent_span_id: int
    node_id: str
    started_unix_ns: int
    duration_ns: int
    """So far, for one that still runs."""
    status: Status
    attempt: int

    @property
    def is_running(self) -> bool:
        return self.status is Status.RUNNING


class TimelineCall(NamedTuple):
    """One call of a model."""

    span_id: int
    """The execution it ran in; 0: none."""
    node_id: str
    provider: str
    model: str
    started_unix_ns: int
    duration_ns: int
    time_to_first_token_ns: int
    """0 when unknown."""
    cost_nanos: int
    cost_known: bool
    tokens: int
    status: Status


class TimelineRows(NamedTuple):
    """A portion of a timeline that comes in several."""

    spans: Sequence[TimelineSpan] = ()
    calls: Sequence[TimelineCall] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    run: WorkflowRunRecord
    ended_unix_ns: int
    """End of the run; so far, for one in flight."""
    spans: tuple[TimelineSpan, ...] = ()
    """In the order of their beginning, as are the calls."""
    calls: tuple[TimelineCall, ...] = ()
    graph: Graph | None = None
    cut: bool = False
    """The run is longer than one answer may be: the rest is left out."""

    def with_rows(self, rows: Iterable[TimelineRows]) -> Timeline:
        """This one, which has no executions and calls yet, with those of `rows`."""
        spans: list[TimelineSpan] = []
        calls: list[TimelineCall] = []
        for some in rows:
            spans.extend(some.spans)
            calls.extend(some.calls)
        spans.sort(key=_by_start)
        calls.sort(key=_by_start)
        return replace(self, spans=tuple(spans), calls=tuple(calls))

    @property
    def wall_ns(self) -> int:
        return self.ended_unix_ns - self.run.started_unix_ns

    def schedule(self) -> Schedule:
        """Executions that still run count as if they ended now."""
        return Schedule(self.finished_spans(), self.run.started_unix_ns, self.ended_unix_ns, self.graph)

    def finished_spans(self) -> list[Span]:
        """An execution that still runs has not failed."""
        ok, running = Status.OK, Status.RUNNING
        return [
            Span(span, parent, node, started, duration, status is not ok and status is not running, attempt)
            for span, parent, node, started, duration, status, attempt in self.spans
        ]

    def model_calls(self) -> list[ModelCall]:
        return [ModelCall(call.span_id, call.started_unix_ns, call.duration_ns) for call in self.calls]

    def costs_nanos(self) -> dict[int, int]:
        """Known cost by the execution it was spent in."""
        found: dict[int, int] = {}
        for call in self.calls:
            found[call.span_id] = found.get(call.span_id, 0) + call.cost_nanos
        return found


_by_start = attrgetter("started_unix_ns")
