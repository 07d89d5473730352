"""The files of spools: how they are named and locked, and how each begins.

One producer writes a row of segments, `<producer>-<first sequence>.spool`. A segment is a head and then
frames (see `wire.frames`), each behind its CRC-32. There are two formats, told apart by the head:

- `WRITTEN`: each frame and its checksum were handed to the kernel by one `write(2)`. The file is as long
  as what was written; a frame that is cut off by its end was never recorded.
- `MAPPED`: they were stored into mapped memory, the frame first and its checksum, never 0, behind it.
  The file is as long as the room reserved. Where a checksum is 0 there is no frame yet; behind the last
  one are zeros, after a kill in the middle of a store perhaps a part of one frame.

The newest segment of a living producer is locked (`flock`) for as long as it lives, and appears under its
name only after it is locked. A newest segment without a lock is an orphan.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from enum import Enum
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from configurable_agents.errors import SpoolDamagedError

SUFFIX = ".spool"

UNNAMED_SUFFIX = ".new"
"""Of a segment that is not locked yet."""

UNNAMED_KEPT_S = 60.0
"""A segment without its name that nobody has locked for so long was left by a killed process. A living
one needs microseconds for it; it holds no event yet."""

_HEAD = struct.Struct("<8s16sQIQ")
"""Magic, producer id, first sequence, process id, creation time in Unix ns."""
CHECKSUM = struct.Struct("<I")
NO_CHECKSUM = bytes(CHECKSUM.size)
HEAD_BYTES = _HEAD.size + CHECKSUM.size
_NAME = re.compile(r"([0-9a-f]{32})-([0-9]{20})\.spool")


class Format(Enum):
    """How a segment came to be, by the magic it begins with."""

    WRITTEN = b"AOSPOOL1"
    MAPPED = b"AOSPOOL2"


class Segment(NamedTuple):
    """A segment file as its name states it."""

    path: Path
    producer_id: bytes
    first_sequence: int


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


def create_locked(hidden: Path) -> int:
    """A new, empty file for a segment, locked while it has another name than a segment's."""
    file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        hidden.unlink(missing_ok=True)
        os.close(file)
        raise
    return file


def head_of(segment: Segment, form: Format) -> bytes:
    """What a segment begins with that is begun now, by this process."""
    head = _HEAD.pack(form.value, segment.producer_id, segment.first_sequence, os.getpid(), time.time_ns())
    return head + CHECKSUM.pack(crc32(head))


def format_of(segment: Segment, head: bytes) -> Format:
    """Raises `SpoolDamagedError` when these bytes are not the head of the segment with this name."""
    if len(head) < HEAD_BYTES or crc32(head[: _HEAD.size]) != CHECKSUM.unpack_from(head, _HEAD.size)[0]:
        raise SpoolDamagedError(str(segment.path), 0, "the head of the segment fails its checksum")
    magic, producer_id, first_sequence, _, _ = _HEAD.unpack_from(head)
    try:
        form = Format(magic)
    except ValueError:
        raise SpoolDamagedError(str(segment.path), 0, "no known format of a segment begins so") from None
    if (producer_id, first_sequence) != (segment.producer_id, segment.first_sequence):
        raise SpoolDamagedError(str(segment.path), 0, "the head of the segment does not match its name")
    return form
