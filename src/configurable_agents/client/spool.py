"""The write-ahead spool: what a process has recorded and the daemon has not yet acknowledged.

One producer writes a row of segment files, `<producer>-<first sequence>.spool`. A segment is a head
and then frames (see `wire.frames`), each behind its CRC-32. Invariants:

- A frame is in the kernel (one `write(2)`) before `append` returns, so it survives the process.
- The sequence of a frame is the segment's first sequence plus its position; there are no gaps.
- The newest segment of a living producer is locked (`flock`) for as long as it lives, and appears under
  its name only after it is locked. A newest segment without a lock is an orphan.
- A torn frame at the very end of the newest segment is not damage: its append never returned.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from configurable_agents.errors import SpoolDamagedError, WireFormatError
from configurable_agents.wire.frames import frame_end

SEGMENT_BYTES_MAX = 4 * 1024 * 1024
"""A segment that has reached this is followed by a new one, so that space returns in steps."""

SPOOL_BYTES_MAX = 1024 * 1024 * 1024
"""What one producer may hold back on disk. Beyond it events are dropped and counted."""

SUFFIX = ".spool"

UNNAMED_SUFFIX = ".new"
"""Of a segment that is not locked yet."""

UNNAMED_KEPT_S = 60.0
"""A segment without its name that nobody has locked for so long was left by a killed process. A living
one needs microseconds for it; it holds no event yet."""

_MAGIC = b"AOSPOOL1"
_HEAD = struct.Struct("<8s16sQIQ")
"""Magic, producer id, first sequence, process id, creation time in Unix ns."""
_CRC = struct.Struct("<I")
_pack_crc = _CRC.pack
HEAD_BYTES = _HEAD.size + _CRC.size
_NAME = re.compile(r"([0-9a-f]{32})-([0-9]{20})\.spool")


class SpoolFullError(OSError):
    """The spool holds as much as it may; the event was not recorded."""


class Segment(NamedTuple):
    """A segment file as its name states it."""

    path: Path
    producer_id: bytes
    first_sequence: int


class Chunk(NamedTuple):
    """Consecutive frames, without their checksums."""

    first_sequence: int
    frames: bytes
    event_count: int
    end_offset: int
    """Where in the segment the next frame begins."""


class Spool:
    """The writing side. Not thread-safe: its owner serialises `append`.

    An append that an asynchronous exception (Ctrl-C) cuts off between the kernel's write and our
    count is settled by the next one, which counts the file again.
    """

    def __init__(
        self,
        folder: Path,
        producer_id: bytes,
        *,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        spool_bytes_max: int = SPOOL_BYTES_MAX,
    ) -> None:
        self._folder = folder
        self.producer_id = producer_id
        self._segment_bytes_max = segment_bytes_max
        self._spool_bytes_max = spool_bytes_max
        self._file = -1
        self._first_sequence = 0
        self._count = 0
        self._size = 0
        self._settled = True
        self._closed_segments: list[tuple[Segment, int, int]] = []
        """Older segments with their end sequence and size, oldest first."""

    @property
    def next_sequence(self) -> int:
        """The sequence of the next event to be appended."""
        return self._first_sequence + self._count

    @property
    def spool_bytes(self) -> int:
        return self._size + sum(size for _, _, size in self._closed_segments)

    def append(self, frame: bytes) -> None:
        """Hands one frame to the kernel. Raises `OSError` when it is not recorded."""
        if not self._settled:
            self._settle()
        size = self._size
        if size >= self._segment_bytes_max or self._file < 0:
            self._start_segment()
            size = self._size
        data = _pack_crc(crc32(frame)) + frame
        self._settled = False
        try:
            written = os.write(self._file, data)
        except OSError:
            self._settled = True
            raise
        if written != len(data):
            os.ftruncate(self._file, size)
            self._settled = True
            raise OSError(f"the spool took {written} of {len(data)} bytes; the disk is full")
        self._size = size + written
        self._count += 1
        self._settled = True

    def release(self, next_sequence: int) -> None:
        """Removes older segments of which every event is below `next_sequence`."""
        while self._closed_segments and self._closed_segments[0][1] <= next_sequence:
            segment, _, _ = self._closed_segments.pop(0)
            segment.path.unlink(missing_ok=True)

    def close(self, *, acknowledged_sequence: int) -> None:
        """Ends writing. What is acknowledged is removed, the rest stays for the daemon to find."""
        self.release(acknowledged_sequence)
        if self._file < 0:
            return
        if acknowledged_sequence >= self.next_sequence:
            self._current().path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = -1

    def abandon_in_child(self) -> None:
        """In a forked child: lets go of the parent's file, whose lock would otherwise outlive the parent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def segments(self) -> list[Segment]:
        """Oldest first. May be called by another thread than the writing one."""
        return [*(segment for segment, _, _ in self._closed_segments), self._current()]

    def _current(self) -> Segment:
        return segment_for(self._folder, self.producer_id, self._first_sequence)

    def _start_segment(self) -> None:
        if self.spool_bytes >= self._spool_bytes_max:
            raise SpoolFullError(
                f"the spool holds {self.spool_bytes} bytes, all it may; is the daemon running?"
            )
        first_sequence = self.next_sequence
        segment = segment_for(self._folder, self.producer_id, first_sequence)
        file = _create_locked(segment)
        before, closed = self._file, self._closed_segments
        if before >= 0:
            closed = [*closed, (self._current(), first_sequence, self._size)]
        # No call in here: an asynchronous exception finds all of it done, or nothing.
        self._closed_segments, self._file = closed, file
        self._first_sequence, self._count, self._size = first_sequence, 0, HEAD_BYTES
        if before >= 0:
            os.close(before)

    def _settle(self) -> None:
        count, end = 0, HEAD_BYTES
        for chunk in read_chunks(self._current(), offset=HEAD_BYTES):
            count, end = count + chunk.event_count, chunk.end_offset
        os.ftruncate(self._file, end)
        self._count, self._size, self._settled = count, end, True


def segment_for(folder: Path, producer_id: bytes, first_sequence: int) -> Segment:
    return Segment(folder / f"{producer_id.hex()}-{first_sequence:020d}{SUFFIX}", producer_id, first_sequence)


def list_segments(folder: Path) -> dict[bytes, list[Segment]]:
    """All segments in a spool folder by producer, oldest first. A missing folder holds none."""
    found: dict[bytes, list[Segment]] = {}
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return found
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match:
            producer_id = bytes.fromhex(match[1])
            found.setdefault(producer_id, []).append(Segment(path, producer_id, int(match[2])))
    return found


def remove_unnamed(folder: Path, *, now_unix_s: float) -> int:
    """Removes what processes left that were killed while they began a segment. Returns how many."""
    removed = 0
    for path in folder.glob(f"*{UNNAMED_SUFFIX}"):
        if _is_left(path, now_unix_s):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_left(path: Path, now_unix_s: float) -> bool:
    if _NAME.fullmatch(path.with_suffix(SUFFIX).name) is None:
        return False
    try:
        if now_unix_s - path.stat().st_mtime < UNNAMED_KEPT_S:
            return False
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # gone, or not ours to touch
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(file)


def try_lock(segment: Segment) -> int | None:
    """Takes the lock of a segment whose owner is gone. Returns the open file, `None` when it lives.

    Raises `FileNotFoundError` when the segment is gone. The caller closes the file.
    """
    file = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def read_chunks(
    segment: Segment,
    *,
    offset: int = HEAD_BYTES,
    first_sequence: int | None = None,
    chunk_bytes: int = 256 * 1024,
    chunk_events: int = 2000,
    verify: bool = True,
) -> Iterator[Chunk]:
    """Whole frames of a segment from `offset` on, as far as they are there now.

    A torn tail ends the reading without an error. `verify` checks the head and each checksum.
    Raises `SpoolDamagedError` for anything that no recorder wrote, `FileNotFoundError` when the
    segment is gone.
    """
    sequence = segment.first_sequence if first_sequence is None else first_sequence
    file = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if verify:
            _check_head(segment, os.pread(file, HEAD_BYTES, 0))
        while True:
            data = os.pread(file, chunk_bytes, offset)
            chunk = _take_frames(segment, data, offset, sequence, chunk_events, verify=verify)
            if chunk.event_count == 0:
                return
            yield chunk
            offset, sequence = chunk.end_offset, sequence + chunk.event_count
    finally:
        os.close(file)


def _take_frames(
    segment: Segment, data: bytes, offset: int, first_sequence: int, count_max: int, *, verify: bool
) -> Chunk:
    parts: list[bytes] = []
    at, size = 0, len(data)
    while at < size and len(parts) < count_max:
        start = at + _CRC.size
        try:
            end = frame_end(data, start)
        except WireFormatError as error:
            if parts:
                break  # what is whole comes first; the next look begins at the damage
            raise SpoolDamagedError(str(segment.path), offset + at, str(error)) from error
        if end > size:
            break
        frame = data[start:end]
        if verify and crc32(frame) != _CRC.unpack_from(data, at)[0]:
            if parts:
                break
            raise SpoolDamagedError(str(segment.path), offset + at, "an event fails its checksum")
        parts.append(frame)
        at = end
    return Chunk(first_sequence, b"".join(parts), len(parts), offset + at)


def _create_locked(segment: Segment) -> int:
    """A new segment, locked before it appears under its name."""
    hidden = segment.path.with_suffix(UNNAMED_SUFFIX)
    file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_head(file, segment)
        hidden.rename(segment.path)
    except OSError:
        os.close(file)
        hidden.unlink(missing_ok=True)
        raise
    return file


def _write_head(file: int, segment: Segment) -> None:
    head = _HEAD.pack(_MAGIC, segment.producer_id, segment.first_sequence, os.getpid(), time.time_ns())
    if os.write(file, head + _CRC.pack(crc32(head))) != HEAD_BYTES:
        raise OSError("the spool took part of a segment's head; the disk is full")


def _check_head(segment: Segment, data: bytes) -> None:
    if len(data) < HEAD_BYTES or crc32(data[: _HEAD.size]) != _CRC.unpack_from(data, _HEAD.size)[0]:
        raise SpoolDamagedError(str(segment.path), 0, "the head of the segment fails its checksum")
    magic, producer_id, first_sequence, _, _ = _HEAD.unpack_from(data)
    if (magic, producer_id, first_sequence) != (_MAGIC, segment.producer_id, segment.first_sequence):
        raise SpoolDamagedError(str(segment.path), 0, "the head of the segment does not match its name")
