"""Bytes to records: what a peer sent, as the vocabulary of `telemetry`. Shape only; the daemon's door
decides which values it takes in."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from configurable_agents.errors import RecordRefusedError
from configurable_agents.telemetry import (
    Event,
    Graph,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    Status,
    Usage,
)
from configurable_agents.wire.frames import EVENT_BYTES_MAX
from configurable_agents.wire.v1 import telemetry_pb2 as pb

_STATUSES = {
    pb.STATUS_UNSPECIFIED: Status.UNSPECIFIED,
    pb.STATUS_OK: Status.OK,
    pb.STATUS_ERROR: Status.ERROR,
    pb.STATUS_CANCELLED: Status.CANCELLED,
}


def decode_event(data: bytes) -> Event | RecordRefusedError:
    """Reads one `Event` message."""
    try:
        return event_from_message(pb.Event.FromString(data))
    except DecodeError as error:
        return RecordRefusedError("unreadable", f"not an event: {error}")


_make = tuple.__new__
"""Makes a named tuple without its argument handling, which is half of its price."""


def event_from_message(message: pb.Event) -> Event | RecordRefusedError:
    found = message.node_finished  # by far the commonest kind; where it is absent it has no span id
    return _node_finished(found) if found.span_id else _decode_other(message)


def _node_finished(found: pb.NodeFinished) -> NodeFinished:
    return _make(
        NodeFinished,
        (
            found.run_id,
            found.span_id,
            found.parent_span_id,
            found.node_id,
            found.attempt,
            found.started_unix_ns,
            found.duration_ns,
            _STATUSES.get(found.status, Status.UNSPECIFIED),
            found.error_type,
        ),
    )


def _decode_other(message: pb.Event) -> Event | RecordRefusedError:
    kind = message.WhichOneof("kind")
    if kind == "llm_call":
        return llm_call_from_message(message.llm_call)
    if kind == "run_started":
        return _run_started(message.run_started)
    if kind == "node_started":
        started = message.node_started
        return NodeStarted(
            started.run_id,
            started.span_id,
            started.parent_span_id,
            started.node_id,
            started.attempt,
            started.started_unix_ns,
        )
    if kind == "run_finished":
        finished = message.run_finished
        return RunFinished(
            finished.run_id,
            finished.finished_unix_ns,
            finished.duration_ns,
            _STATUSES.get(finished.status, Status.UNSPECIFIED),
            finished.error_type,
        )
    if kind == "node_finished":
        return _node_finished(message.node_finished)
    return RecordRefusedError("unknown_kind", "an event of a kind this version does not know")


def _run_started(message: pb.RunStarted) -> RunStarted | RecordRefusedError:
    if message.ByteSize() > EVENT_BYTES_MAX:  # no other kind that the door lets in can be as long
        return RecordRefusedError(
            "event_too_long", f"a start of {message.ByteSize()} bytes; the limit is {EVENT_BYTES_MAX}"
        )
    graph = message.graph
    return RunStarted(
        message.run_id,
        message.experiment,
        message.workflow,
        message.started_unix_ns,
        tuple((tag.key, tag.value) for tag in message.tags),
        Graph(tuple(graph.nodes), tuple(_edges(graph))) if message.HasField("graph") else None,
        message.mlflow_run_id,
    )


def _edges(graph: pb.Graph) -> Iterator[tuple[str, str]]:
    return ((edge.from_node, edge.to_node) for edge in graph.edges)


def llm_call_from_message(message: pb.LlmCall) -> LlmCall:
    return LlmCall(
        message.run_id,
        message.call_id,
        message.span_id,
        message.node_id,
        message.provider,
        message.model,
        usage_from_message(message.usage) if message.HasField("usage") else None,
        message.started_unix_ns,
        message.duration_ns,
        _STATUSES.get(message.status, Status.UNSPECIFIED),
        message.service_tier,
        message.batch,
        message.time_to_first_token_ns,
        message.response_id,
        message.stated_cost_nanos if message.HasField("stated_cost_nanos") else None,
        message.error_type,
        message.attempt,
        tuple(message.anomalies),
        message.provider_known_by,
        message.model_known_by,
        message.model_as_given,
    )


def usage_from_message(message: pb.Usage) -> Usage:
    return Usage(
        message.input_tokens,
        message.cache_read_tokens,
        message.cache_write_tokens,
        message.cache_write_1h_tokens,
        message.output_tokens,
        message.reasoning_tokens,
        message.audio_input_tokens,
        message.audio_output_tokens,
        message.web_searches,
    )
