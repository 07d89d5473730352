"""How encoded events lie one after another, on the wire and in a spool file.

A frame is one `events` entry of a `Batch`: tag, length, `Event` bytes. A batch is therefore a short
head followed by frames exactly as they were recorded; nothing is ever encoded twice.
"""

from __future__ import annotations

from configurable_agents.errors import WireFormatError

EVENTS_TAG = 0x1A
"""Field 3, length-delimited: `Batch.events`."""

EVENT_BYTES_MAX = 64 * 1024
"""A longer event is never recorded and never taken in."""

FRAME_BYTES_MAX = 1 + 3 + EVENT_BYTES_MAX
"""With its tag and its length."""

_PRODUCER_ID_TAG = 0x0A
_FIRST_SEQUENCE_TAG = 0x10


def varint(value: int) -> bytes:
    """Protobuf's base-128 encoding of a non-negative integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def batch_of_frames(producer_id: bytes, first_sequence: int, frames: bytes) -> bytes:
    """The bytes of a `Batch` message made of frames that are already encoded."""
    head = bytes((_PRODUCER_ID_TAG,)) + varint(len(producer_id)) + producer_id
    return head + bytes((_FIRST_SEQUENCE_TAG,)) + varint(first_sequence) + frames


def frame_end(buffer: bytes | memoryview, start: int) -> int:
    """Where the frame at `start` ends; `len(buffer) + 1` or more when it is not there whole.

    Raises `WireFormatError` when no frame can begin with these bytes.
    """
    size = len(buffer)
    if start >= size:
        return size + 1
    if buffer[start] != EVENTS_TAG:
        raise WireFormatError(f"no event starts with byte {buffer[start]:#04x}")
    length, shift, at = 0, 0, start + 1
    while True:
        if at >= size:
            return size + 1
        byte = buffer[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 21:
            raise WireFormatError("an event's length has more than four bytes")
    if length > EVENT_BYTES_MAX:
        raise WireFormatError(f"an event of {length} bytes is longer than {EVENT_BYTES_MAX}")
    return at + length
