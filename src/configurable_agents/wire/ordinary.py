"""How an ordinary finished execution, by far the commonest event, lies on the wire: its node went well and
its figures have fixed places. `wire.encode` puts it together so, `wire.blocks` takes many apart at once.

    what many have in common: tag, length, run id, node id, attempt, status    (see `constants`)
    its own figures, 35 bytes: span, parent span, start (9 bytes of varint), duration (6), with their tags

All fields are those of `NodeFinished`, so that any reader of protobuf reads it.
"""

from __future__ import annotations

import struct

from configurable_agents.wire.frames import varint
from configurable_agents.wire.v1 import telemetry_pb2 as pb

NODE_FINISHED_TAG = 0x1A
"""Of `Event.kind`, length-delimited."""

SPAN_TAG, PARENT_SPAN_TAG, STARTED_TAG, DURATION_TAG = 0x11, 0x19, 0x30, 0x38

FIGURES = struct.Struct("<QBQBHHHHbBHHH")
"""All behind `SPAN_TAG`."""

CONSTANT_BYTES_MAX = 1024
"""An event with longer names is none of these."""


def constants(run_id: str, node_id: str, attempt: int) -> bytes:
    """The event up to its figures, `SPAN_TAG` included. Raises what protobuf does for unfit values."""
    message = pb.NodeFinished(status=pb.STATUS_OK)
    message.run_id, message.node_id, message.attempt = run_id, node_id, attempt
    body = message.SerializeToString()
    length = varint(len(body) + 1 + FIGURES.size)
    return bytes((NODE_FINISHED_TAG,)) + length + body + bytes((SPAN_TAG,))
