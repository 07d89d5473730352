"""The write-ahead spool: what a process has recorded and the daemon has not yet acknowledged.

How its files look is in `client.segments`. Invariants:

- A frame is in the kernel before `append` returns, so it survives the process: stored into a shared mapping
  of the file, or where that cannot be had, by one `write(2)`.
- The sequence of a frame is the segment's first sequence plus its position; there are no gaps.
- Room is reserved on the disk before it is mapped: a full disk refuses room, and no store ever fails.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from configurable_agents.client.segments import (
    CHECKSUM,
    HEAD_BYTES,
    UNNAMED_SUFFIX,
    Format,
    Segment,
    create_locked,
    head_of,
    segment_for,
)
from configurable_agents.client.spool_reader import read_chunks
from configurable_agents.wire.frames import FRAME_BYTES_MAX

SEGMENT_BYTES_MAX = 4 * 1024 * 1024
"""A segment that has reached this is followed by a new one, so that space returns in steps."""

SPOOL_BYTES_MAX = 1024 * 1024 * 1024
"""What one producer may hold back on disk. Beyond it events are dropped and counted."""

ROOM_BYTES_MIN = 64 * 1024
"""What a segment reserves on the disk at first. Each time it is used up there is as much again, up to"""

ROOM_BYTES_MAX = 256 * 1024
"""which is also about what is mapped, and resident, of a spool."""

READY_BYTES = 32 * 1024
"""How far ahead the kernel is asked for the pages of a window. The first store into each costs 3 to 5 µs,
and one event in 35 would meet one; asked for together they cost one event in 280 20 to 40 µs. A disk that
fails refuses them, where a store would end the process."""

_MADV_POPULATE_WRITE = 23
"""Linux 5.14 and later; not in Python's `mmap` yet."""

_CHECKSUM_BYTES = CHECKSUM.size
_pack_checksum = CHECKSUM.pack

_DISK_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class SpoolFullError(OSError):
    """The spool holds as much as it may; the event was not recorded."""


class Extent(NamedTuple):
    """How far a spool reached at a moment."""

    segments: list[Segment]
    """Oldest first."""
    next_sequence: int
    newest_bytes: int
    """What the newest segment held."""


class Spool:
    """The writing side. Not thread-safe: its owner serialises `append`.

    An append that an asynchronous exception (Ctrl-C) cuts off between the kernel's having the frame and
    our count is settled by the next one, which counts the file again.
    """

    def __init__(
        self,
        folder: Path,
        producer_id: bytes,
        *,
        is_mapped: bool = True,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        spool_bytes_max: int = SPOOL_BYTES_MAX,
    ) -> None:
        """With `is_mapped`, segments are mapped where that can be had: on Linux, and most file systems."""
        self._folder = folder
        self.producer_id = producer_id
        self._is_mapped = is_mapped and sys.platform == "linux"
        self._segment_bytes_max = segment_bytes_max
        self._spool_bytes_max = spool_bytes_max
        self._file = -1
        self._window: mmap.mmap | None = None
        """The mapped part of the newest segment; `None` where it is written to instead."""
        self._window_offset = 0
        self._at = 0
        """Where in the window the next frame goes; without a window, where in the file."""
        self._room = 0
        """Up to where in the window `append` may store at once."""
        self._first_sequence = 0
        self._count = 0
        self._settled = True
        self._closed_segments: list[tuple[Segment, int, int]] = []
        """Older segments with their end sequence and size, oldest first."""

    @property
    def next_sequence(self) -> int:
        """The sequence of the next event to be appended."""
        return self._first_sequence + self._count

    @property
    def spool_bytes(self) -> int:
        """What the segments hold, without the room that is only reserved."""
        return self._size + sum(size for _, _, size in self._closed_segments)

    @property
    def _size(self) -> int:
        return self._window_offset + self._at

    def append(self, frame: bytes) -> None:
        """Hands one frame to the kernel. Raises `OSError` when it is not recorded."""
        at = self._at
        start = at + _CHECKSUM_BYTES
        end = start + len(frame)
        if end > self._room:
            self._append_slowly(frame)
            return
        checksum = _pack_checksum(crc32(frame) or 1)
        try:
            window = self._window
            window[start:end] = frame  # type: ignore[index]  # where there is room, there is a window
            window[at:start] = checksum  # type: ignore[index]  # from here on it is recorded
            self._at = end
            self._count += 1
        except BaseException:
            self._settled, self._room = False, 0
            raise

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
        file, window, size = self._file, self._window, self._size
        self._file, self._window, self._room = -1, None, 0
        _close(file, window, size)

    def abandon_in_child(self) -> None:
        """In a forked child: lets go of the parent's file, whose lock would otherwise outlive the parent,
        and of its mapping, which holds the same lock and which only the parent may store into."""
        if self._file >= 0:
            file, window = self._file, self._window
            self._file, self._window, self._room = -1, None, 0
            if window is not None:
                window.close()
            os.close(file)

    def segments(self) -> list[Segment]:
        """Oldest first."""
        return [*(segment for segment, _, _ in self._closed_segments), self._current()]

    def extent(self) -> Extent:
        """How far the spool reaches now."""
        return Extent(self.segments(), self.next_sequence, self._size)

    def _current(self) -> Segment:
        return segment_for(self._folder, self.producer_id, self._first_sequence)

    def _append_slowly(self, frame: bytes) -> None:
        """Once in some thousand events, and always where segments are written to."""
        if not self._settled:
            self._settle()
        if self._file < 0 or self._size >= self._segment_bytes_max:
            self._start_segment()
        if self._window is not None:
            self._make_room(self._window, _CHECKSUM_BYTES + len(frame))
        if self._window is not None:
            self.append(frame)  # once more where another window or segment has begun
        else:
            self._write(_pack_checksum(crc32(frame)) + frame)

    def _write(self, data: bytes) -> None:
        self._settled = False
        try:
            written = os.write(self._file, data)
        except OSError:
            self._settled = True
            raise
        if written != len(data):
            os.ftruncate(self._file, self._at)
            self._settled = True
            raise OSError(f"the spool took {written} of {len(data)} bytes; the disk is full")
        self._at += written
        self._count += 1
        self._settled = True

    def _make_room(self, window: mmap.mmap, needed_bytes: int) -> None:
        """Makes some more of the window ready, or moves it on, or begins another segment where no more can
        be mapped."""
        end, at = self._at + needed_bytes, self._size
        try:
            if end <= len(window):
                self._room = _make_ready(window, self._at, end)
                return
            following, offset = _map_behind(self._file, at, needed_bytes, self._segment_bytes_max)
        except OSError as error:
            if error.errno in _DISK_FULL or not self._count:
                raise
            self._start_segment()
            return
        # No call in here: an asynchronous exception finds all of it done, or nothing.
        self._window, self._window_offset, self._at, self._room = following, offset, at - offset, 0
        window.close()

    def _start_segment(self) -> None:
        if self.spool_bytes >= self._spool_bytes_max:
            raise SpoolFullError(
                f"the spool holds {self.spool_bytes} bytes, all it may; is the daemon running?"
            )
        first_sequence = self.next_sequence
        segment = segment_for(self._folder, self.producer_id, first_sequence)
        file, window = _begin(segment, self._segment_bytes_max, is_mapped=self._is_mapped)
        before, size_before, closed = (self._file, self._window), self._size, self._closed_segments
        if self._file >= 0:
            closed = [*closed, (self._current(), first_sequence, size_before)]
        # No call in here: an asynchronous exception finds all of it done, or nothing.
        self._closed_segments, self._file, self._window = closed, file, window
        self._first_sequence, self._count = first_sequence, 0
        self._window_offset, self._at, self._room = 0, HEAD_BYTES, 0
        if before[0] >= 0:
            _close(*before, size_before)

    def _settle(self) -> None:
        count, end = 0, HEAD_BYTES
        for chunk in read_chunks(self._current(), offset=HEAD_BYTES):
            count, end = count + chunk.event_count, chunk.end_offset
        at = end - self._window_offset
        if self._window is None:
            os.ftruncate(self._file, end)
        else:
            begun = min(_CHECKSUM_BYTES + FRAME_BYTES_MAX, len(self._window) - at)
            self._window[at : at + begun] = bytes(begun)
        self._count, self._at, self._settled = count, at, True


def _begin(segment: Segment, segment_bytes_max: int, *, is_mapped: bool) -> tuple[int, mmap.mmap | None]:
    """A new segment, locked before it appears under its name; with its window if it could be mapped."""
    hidden = segment.path.with_suffix(UNNAMED_SUFFIX)
    file, window = create_locked(hidden), None
    try:
        if is_mapped:
            window = _try_to_map(file, segment_bytes_max)
        if window is None:
            _write_head(file, head_of(segment, Format.WRITTEN))
        else:
            window[:HEAD_BYTES] = head_of(segment, Format.MAPPED)
        hidden.rename(segment.path)
    except OSError:
        hidden.unlink(missing_ok=True)
        _close(file, window, 0)
        raise
    return file, window


def _write_head(file: int, head: bytes) -> None:
    if os.write(file, head) != len(head):
        raise OSError("the spool took a part of a segment's head; the disk is full")


def _try_to_map(file: int, segment_bytes_max: int) -> mmap.mmap | None:
    """`None` when this file cannot be mapped, for any reason but a full disk."""
    window = None
    try:
        window, _ = _map_behind(file, 0, HEAD_BYTES, segment_bytes_max)
        _make_ready(window, 0, HEAD_BYTES)
    except OSError as error:
        if window is not None:
            window.close()
        if error.errno in _DISK_FULL:
            raise
        os.ftruncate(file, 0)
        return None
    return window


def _map_behind(file: int, at: int, needed_bytes: int, segment_bytes_max: int) -> tuple[mmap.mmap, int]:
    """Maps the file from the page of `at` on, with room behind it. Returns where in the file that page is.

    Reserves the room first. A disk that has less left than is usually reserved may have what is needed.
    """
    usual = min(at + min(max(at, ROOM_BYTES_MIN), ROOM_BYTES_MAX), segment_bytes_max)
    end = max(usual, at + needed_bytes)
    try:
        os.posix_fallocate(file, at, end - at)
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        end = at + needed_bytes
        os.posix_fallocate(file, at, needed_bytes)
    offset = at - at % mmap.ALLOCATIONGRANULARITY
    return mmap.mmap(file, end - offset, offset=offset), offset


def _make_ready(window: mmap.mmap, begin: int, end: int) -> int:
    """Returns up to where stores find their pages: at least to `end`."""
    begin -= begin % mmap.PAGESIZE
    end = min(max(end, begin + READY_BYTES), len(window))
    try:
        window.madvise(_MADV_POPULATE_WRITE, begin, end - begin)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return len(window)  # an older kernel: each page as it comes
    return end


def _close(file: int, window: mmap.mmap | None, size: int) -> None:
    """Lets go of a segment, and of the room in it that was reserved and not used."""
    if window is not None:
        window.close()
        with contextlib.suppress(OSError):  # zeros behind the last frame are no harm
            os.ftruncate(file, size)
    os.close(file)
