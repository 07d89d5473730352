"""Reads segments of spools, of both formats (see `client.segments`), and tells damage from an end."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from configurable_agents.client.segments import (
    CHECKSUM,
    HEAD_BYTES,
    NO_CHECKSUM,
    Format,
    Segment,
    format_of,
)
from configurable_agents.errors import SpoolDamagedError, WireFormatError
from configurable_agents.wire.frames import frame_end

READ_BYTES = 256 * 1024
"""Of a file at a time; several times as long as any frame."""

_PAGE_BYTES = 4096


class Chunk(NamedTuple):
    """Consecutive frames, without their checksums."""

    first_sequence: int
    frames: bytes
    event_count: int
    end_offset: int
    """Where in the segment the next frame begins."""


def read_chunks(
    segment: Segment,
    *,
    offset: int = HEAD_BYTES,
    first_sequence: int | None = None,
    chunk_bytes: int = READ_BYTES,
    chunk_events: int = 2000,
    verify: bool = True,
) -> Iterator[Chunk]:
    """Whole frames of a segment from `offset` on, as far as they are there now.

    What is not recorded whole ends the reading without an error. `verify` checks each checksum. Raises
    `SpoolDamagedError` for anything that no recorder wrote, `FileNotFoundError` when the segment is gone.
    """
    sequence = segment.first_sequence if first_sequence is None else first_sequence
    file = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        form = format_of(segment, os.pread(file, HEAD_BYTES, 0))
        while True:
            data = os.pread(file, chunk_bytes, offset)
            frames, end, problem = _take_frames(data, form, chunk_events, verify=verify)
            if not frames:  # else what is whole comes first; the next look begins at the damage
                is_all = len(data) < chunk_bytes
                if verify and form is Format.MAPPED and is_all and not problem:
                    problem = _cut_off(data)
                if problem:
                    raise SpoolDamagedError(str(segment.path), offset, problem)
                return
            offset += end
            yield Chunk(sequence, b"".join(frames), len(frames), offset)
            sequence += len(frames)
    finally:
        os.close(file)


def check_end(segment: Segment, offset: int) -> None:
    """Raises `SpoolDamagedError` when something is left behind the last event of a segment, at `offset`.

    For segments that nobody writes to any more. A frame that was being stored when its process was
    killed is no damage: no recording call returned for it.
    """
    file = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if format_of(segment, os.pread(file, HEAD_BYTES, 0)) is Format.WRITTEN:
            return
        rest = os.pread(file, READ_BYTES, offset)
        if not _is_zero(rest):
            rest = rest[_end_of_torn(segment, rest, offset) :]
        while _is_zero(rest):
            offset += READ_BYTES
            rest = os.pread(file, READ_BYTES, offset)
            if not rest:
                return
        raise SpoolDamagedError(str(segment.path), offset, "events are missing before what follows here")
    finally:
        os.close(file)


def held_bytes(segment: Segment) -> int:
    """Up to the last byte of a segment that is not zero: without room that is only reserved.

    Reads a dozen pages, however long the segment is.
    """
    file = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pages = range(-(-os.fstat(file).st_size // _PAGE_BYTES))
        used = bisect_left(pages, True, key=lambda page: _is_zero(_read_page(file, page)))
        return (used - 1) * _PAGE_BYTES + len(_read_page(file, used - 1).rstrip(b"\0")) if used else 0
    finally:
        os.close(file)


def _take_frames(data: bytes, form: Format, count_max: int, *, verify: bool) -> tuple[list[bytes], int, str]:
    """The whole frames at the beginning of these bytes, where they end, and what is wrong with the next."""
    frames: list[bytes] = []
    at, size = 0, len(data)
    nothing = NO_CHECKSUM if form is Format.MAPPED else None
    while at < size and len(frames) < count_max:
        start = at + CHECKSUM.size
        checksum = data[at:start]
        if checksum == nothing:
            break
        try:
            end = frame_end(data, start)
        except WireFormatError as error:
            return frames, at, str(error)
        if end > size:
            break
        frame = data[start:end]
        if verify and checksum != _checksum_of(frame, form):
            return frames, at, "an event fails its checksum"
        frames.append(frame)
        at = end
    return frames, at, ""


def _read_page(file: int, page: int) -> bytes:
    return os.pread(file, _PAGE_BYTES, page * _PAGE_BYTES)


def _is_zero(data: bytes) -> bool:
    return data == bytes(len(data))


def _checksum_of(frame: bytes, form: Format) -> bytes:
    checksum = crc32(frame)
    return CHECKSUM.pack(checksum or 1 if form is Format.MAPPED else checksum)


def _cut_off(rest: bytes) -> str:
    """A mapped segment has room for each of its frames; where one has none, the file was cut off."""
    return "" if _is_zero(rest[: CHECKSUM.size]) else "the file ends in the middle of an event"


def _end_of_torn(segment: Segment, rest: bytes, offset: int) -> int:
    try:
        return frame_end(rest, CHECKSUM.size)
    except WireFormatError as error:
        raise SpoolDamagedError(
            str(segment.path), offset, "events are missing before what follows here"
        ) from error
