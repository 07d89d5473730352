"""Timelines, past runs and live views to messages and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from configurable_agents.errors import AgentsObsError, WireFormatError
from configurable_agents.observability.cost_summary import CostSummary
from configurable_agents.observability.known_cost import KnownCost
from configurable_agents.runtime.past_runs import LiveRun, OpenNode, PastNode, PastRun
from configurable_agents.runtime.timeline import Timeline, TimelineCall, TimelineRows, TimelineSpan
from configurable_agents.telemetry import Graph, Status
from configurable_agents.wire.cost_messages import cost_summary_from_message, cost_summary_to_message
from configurable_agents.wire.report_messages import (
    exporter_from_message,
    exporter_to_message,
    run_from_message,
    run_to_message,
)
from configurable_agents.wire.report_records import LiveView
from configurable_agents.wire.v1 import reports_pb2, telemetry_pb2
from configurable_agents.wire.v1 import timeline_pb2 as pb

UINT64 = 1 << 64

_STATUSES = {int(status): status for status in Status}


class _Names:
    """Names numbered in the order in which they are first seen."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._told = 0

    def number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def untold(self) -> list[str]:
        names = list(self._numbers)[self._told :]
        self._told = len(self._numbers)
        return names


def timeline_to_parts(head: Timeline, rows: Iterable[TimelineRows]) -> Iterator[pb.TimelinePart]:
    """The timeline without its executions and calls, then one part for each portion of these."""
    yield pb.TimelinePart(
        run=run_to_message(head.run),
        graph=_graph_to_message(head.graph),
        ended_unix_ns=head.ended_unix_ns,
        cut=head.cut,
    )
    names = _Names()
    for some in rows:
        spans = _spans_to_message(some.spans, names) if some.spans else None
        calls = [_call_to_message(call, names) for call in some.calls]
        yield pb.TimelinePart(spans=spans, calls=calls, names=names.untold())


def timeline_from_parts(parts: Iterable[pb.TimelinePart]) -> Timeline:
    """Raises `WireFormatError` for parts that do not fit together."""
    remaining = iter(parts)
    try:
        head = next(remaining)
        return Timeline(
            run_from_message(head.run),
            head.ended_unix_ns,
            graph=_graph_from_message(head.graph) if head.HasField("graph") else None,
            cut=head.cut,
        ).with_rows(_rows_from_parts(remaining))
    except AgentsObsError:  # some of ours are LookupError or ValueError too
        raise
    except (StopIteration, LookupError, ValueError) as error:
        raise WireFormatError(f"the parts of a timeline do not fit together: {error!r}") from error


def _rows_from_parts(parts: Iterable[pb.TimelinePart]) -> Iterator[TimelineRows]:
    names: list[str] = []
    for part in parts:
        names.extend(part.names)
        calls = [_call_from_message(call, names) for call in part.calls]
        yield TimelineRows(_spans_from_message(part.spans, names), calls)


def _spans_to_message(spans: Sequence[TimelineSpan], names: _Names) -> pb.TimelineSpans:
    span_ids, parents, nodes, starts, durations, statuses, attempts = zip(*spans, strict=True)
    return pb.TimelineSpans(
        span_id=[span_id % UINT64 for span_id in span_ids],
        parent_span_id=[span_id % UINT64 for span_id in parents],
        node=map(names.number, nodes),
        started_unix_ns=starts,
        duration_ns=durations,
        status=map(int, statuses),
        attempt=attempts,
    )


def _spans_from_message(spans: pb.TimelineSpans, names: Sequence[str]) -> list[TimelineSpan]:
    columns = (
        spans.span_id,
        spans.parent_span_id,
        map(names.__getitem__, spans.node),
        spans.started_unix_ns,
        spans.duration_ns,
        map(_STATUSES.__getitem__, spans.status),
        spans.attempt,
    )
    return list(map(TimelineSpan._make, zip(*columns, strict=True)))


def _call_to_message(call: TimelineCall, names: _Names) -> pb.TimelineCall:
    return pb.TimelineCall(
        span_id=call.span_id % UINT64,
        node=names.number(call.node_id),
        provider=names.number(call.provider),
        model=names.number(call.model),
        started_unix_ns=call.started_unix_ns,
        duration_ns=call.duration_ns,
        time_to_first_token_ns=call.time_to_first_token_ns,
        cost_nanos=call.cost_nanos,
        cost_known=call.cost_known,
        tokens=call.tokens,
        status=int(call.status),
        counted=call.counted,
    )


def _call_from_message(call: pb.TimelineCall, names: list[str]) -> TimelineCall:
    return TimelineCall(
        call.span_id,
        names[call.node],
        names[call.provider],
        names[call.model],
        call.started_unix_ns,
        call.duration_ns,
        call.time_to_first_token_ns,
        call.cost_nanos,
        call.cost_known,
        call.tokens,
        Status(call.status),
        call.counted,
    )


def _graph_to_message(graph: Graph | None) -> telemetry_pb2.Graph | None:
    if graph is None:
        return None
    edges = [telemetry_pb2.Edge(from_node=source, to_node=target) for source, target in graph.edges]
    return telemetry_pb2.Graph(nodes=graph.nodes, edges=edges)


def _graph_from_message(graph: telemetry_pb2.Graph) -> Graph:
    return Graph(tuple(graph.nodes), tuple((edge.from_node, edge.to_node) for edge in graph.edges))


def past_run_to_message(run: PastRun) -> pb.PastRun:
    summary = cost_summary_to_message(CostSummary.of(run.models))
    return pb.PastRun(
        run_id=run.run_id,
        started_unix_ns=run.started_unix_ns,
        status=int(run.status),
        wall_ns=run.wall_ns,
        nodes=[pb.PastNode(**node._asdict()) for node in run.nodes],
        models=summary.models,
    )


def past_run_from_message(message: pb.PastRun) -> PastRun:
    models = cost_summary_from_message(reports_pb2.CostSummary(models=message.models)).models
    return PastRun(
        message.run_id,
        message.started_unix_ns,
        Status(message.status),
        message.wall_ns,
        tuple(
            PastNode(node.node_id, node.calls, node.total_ns, node.p95_ns, node.errors)
            for node in message.nodes
        ),
        tuple(models),
    )


def live_view_to_message(view: LiveView) -> pb.WatchUpdate:
    return pb.WatchUpdate(
        at_unix_ns=view.at_unix_ns,
        runs=[
            pb.LiveRun(
                run=run_to_message(live.run),
                nodes=[
                    pb.OpenNode(node_id=node_id, started_unix_ns=at, count=count)
                    for node_id, at, count in live.nodes
                ],
            )
            for live in view.runs
        ],
        runs_live=view.runs_live,
        events_committed=view.events_committed,
        events_pending=view.events_pending,
        cost_nanos=view.cost.nanos,
        calls=view.cost.calls,
        unpriced_calls=view.cost.unknown_calls,
        exporters=[exporter_to_message(exporter) for exporter in view.exporters],
    )


def live_view_from_message(message: pb.WatchUpdate) -> LiveView:
    return LiveView(
        message.at_unix_ns,
        tuple(
            LiveRun(
                run_from_message(live.run),
                tuple(OpenNode(node.node_id, node.started_unix_ns, node.count) for node in live.nodes),
            )
            for live in message.runs
        ),
        message.runs_live,
        message.events_committed,
        message.events_pending,
        KnownCost(message.cost_nanos, message.calls, message.unpriced_calls),
        tuple(exporter_from_message(exporter) for exporter in message.exporters),
    )
