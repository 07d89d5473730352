"""gRPC as the client uses it. The only module of the client that loads it; imported when needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import cast

# gRPC's handlers around fork serve children that go on with its channels. Ours never do (they have a
# spool of their own), and the handlers are what crashes such children.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from grpc import RpcError

from configurable_agents.client.home import Home
from configurable_agents.wire.v1 import telemetry_pb2

__all__ = ["RpcError", "open_channel", "report_stream"]

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""What the client takes as one answer; reports of many runs are large."""

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.default_authority", "localhost"),
)

REPORT_METHOD = "/configurable_agents.wire.v1.TelemetryService/Report"


def open_channel(home: Home) -> grpc.Channel:
    """A channel to the daemon of `home`. Connects when first used. Close it, or use it in a `with`."""
    return grpc.insecure_channel(home.address, options=_OPTIONS)


def report_stream(channel: grpc.Channel, batches: Iterator[bytes]) -> _AckStream:
    """Starts the `Report` stream with batches that are already encoded."""
    method = channel.stream_stream(
        REPORT_METHOD, request_serializer=_as_is, response_deserializer=telemetry_pb2.Ack.FromString
    )
    return cast("_AckStream", method(batches))


def _as_is(data: bytes) -> bytes:
    return data


class _AckStream(grpc.Call, Iterator[telemetry_pb2.Ack]):
    """The type of what `stream_stream` returns."""
