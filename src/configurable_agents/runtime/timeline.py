"""One run in detail: every execution and every model call with its times. Pure records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple, TypeVar

from configurable_agents.observability.known_cost import NO_COST, KnownCost
from configurable_agents.runtime.schedule import Schedule
from configurable_agents.runtime.self_time import Span
from configurable_agents.runtime.time_classes import ModelCall
from configurable_agents.telemetry import NO_SPAN, Graph, Status, WorkflowRunRecord

K = TypeVar("K")

OUTSIDE = NO_SPAN
"""Stands, in costs by execution, for calls made in none that is known."""


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
    counted: bool = True
    """False: another report of the same response is in the totals instead."""

    @property
    def cost(self) -> KnownCost:
        """Nothing, for a report that is not counted."""
        return KnownCost(self.cost_nanos, 1, int(not self.cost_known)) if self.counted else NO_COST


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

    def costs_by(self, key: Callable[[TimelineCall], K]) -> dict[K, KnownCost]:
        """The costs sum to that of the run, whatever they are grouped by."""
        sums: dict[K, list[int]] = {}
        for call in self.calls:
            if call.counted:
                figures = sums.setdefault(key(call), [0, 0, 0])
                figures[0] += call.cost_nanos
                figures[1] += 1
                figures[2] += not call.cost_known
        return {group: KnownCost(*figures) for group, figures in sums.items()}

    def costs(self) -> dict[int, KnownCost]:
        """By the execution in which it was spent; `OUTSIDE` for what was spent in none of `spans`."""
        known = {span.span_id for span in self.spans}
        return self.costs_by(lambda call: call.span_id if call.span_id in known else OUTSIDE)


_by_start = attrgetter("started_unix_ns")
