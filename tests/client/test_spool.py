"""The spool: what is appended is there, whatever happens to its writer, and nothing else is."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import signal
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from configurable_agents.client import segments as segments_module
from configurable_agents.client import spool as spool_module
from configurable_agents.client.follower import SpoolFollower
from configurable_agents.client.segments import (
    HEAD_BYTES,
    Segment,
    list_segments,
    remove_unnamed,
    segment_for,
    try_lock,
)
from configurable_agents.client.spool import Extent, Spool, SpoolFullError
from configurable_agents.client.spool_reader import check_end, held_bytes, read_chunks
from configurable_agents.errors import SpoolDamagedError
from configurable_agents.telemetry import NodeFinished
from configurable_agents.wire.encode import EventEncoder

PRODUCER = bytes(range(16))
GOLDEN = Path(__file__).parent / "golden"

Child = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def frames(node: Callable[..., NodeFinished]) -> list[bytes]:
    encoder = EventEncoder()
    return [encoder.encode(node(index)) for index in range(200)]


def read_all(folder: Path) -> list[bytes]:
    """The frames of the only producer, as one string per segment."""
    [segments] = list_segments(folder).values()
    return [b"".join(chunk.frames for chunk in read_chunks(segment)) for segment in segments]


def filled(folder: Path, frames: list[bytes], *, is_mapped: bool = True, **bounds: int) -> Spool:
    spool = Spool(folder, PRODUCER, is_mapped=is_mapped, **bounds)
    for frame in frames:
        spool.append(frame)
    return spool


@pytest.mark.parametrize("is_mapped", [True, False])
def test_what_is_appended_is_read_back_in_order(tmp_path: Path, frames: list[bytes], is_mapped: bool) -> None:
    spool = filled(tmp_path, frames, is_mapped=is_mapped)
    assert b"".join(read_all(tmp_path)) == b"".join(frames)
    assert spool.next_sequence == len(frames)
    assert (spool._window is not None) == is_mapped


def test_room_is_reserved_in_steps_and_what_is_not_used_of_it_is_returned(
    tmp_path: Path, frames: list[bytes]
) -> None:
    spool = filled(tmp_path, frames[:1])
    [segment] = spool.segments()
    sizes = {segment.path.stat().st_size}
    while spool.spool_bytes < 1_500_000:
        spool.append(frames[0])
        found = segment.path.stat()
        sizes.add(found.st_size)
        assert 512 * found.st_blocks >= found.st_size, "it was not reserved before it was mapped"
        assert len(spool._window or b"") < 256 * 1024 + mmap.PAGESIZE
    steps = [later - earlier for earlier, later in pairwise(sorted(sizes))]
    assert min(sizes) == 64 * 1024
    assert steps[:2] == [pytest.approx(64 * 1024, abs=100), pytest.approx(128 * 1024, abs=200)]
    assert steps[2:] == [pytest.approx(256 * 1024, abs=400)] * len(steps[2:])
    assert held_bytes(segment) == pytest.approx(spool.spool_bytes, abs=1), "a frame may end with a zero"
    assert spool.spool_bytes < max(sizes)
    spool.close(acknowledged_sequence=0)
    assert segment.path.stat().st_size == spool.spool_bytes
    assert b"".join(read_all(tmp_path)) == spool.next_sequence * frames[0]


@pytest.mark.parametrize("refused", ["posix_fallocate", "mmap"])
def test_a_file_that_cannot_be_mapped_is_written_to(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, "not on this file system")

    monkeypatch.setattr(os if refused == "posix_fallocate" else mmap, refused, refuse)
    spool = filled(tmp_path, frames)
    assert b"".join(read_all(tmp_path)) == b"".join(frames)
    assert [each.path.stat().st_size for each in spool.segments()] == [spool.spool_bytes]


def test_where_no_more_can_be_mapped_a_segment_follows_that_is_written_to(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, map_file = Spool(tmp_path, PRODUCER), mmap.mmap

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "no more address space")

    spool.append(frames[0])
    monkeypatch.setattr(mmap, "mmap", refuse)
    count = 2000
    for _ in range(count):
        spool.append(frames[0])
    monkeypatch.setattr(mmap, "mmap", map_file)
    assert len(spool.segments()) == 2
    assert b"".join(read_all(tmp_path)) == (count + 1) * frames[0]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_refuses_room_and_what_still_fits_is_recorded(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    spool = filled(tmp_path, frames[:1])

    def refuse(*_: object) -> None:
        raise OSError(error, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", refuse)
        with pytest.raises(OSError, match="full"):
            spool.append(bytes(64 * 1024))
        while spool.spool_bytes + 4 + len(frames[0]) <= 64 * 1024:
            spool.append(frames[0])
        with pytest.raises(OSError, match="full"):
            spool.append(frames[0])
    held = spool.next_sequence
    assert held > 500
    spool.append(frames[0])
    assert b"".join(read_all(tmp_path)) == (held + 1) * frames[0]
    assert len(spool.segments()) == 1


class InterruptedWindow:
    """Raises at the start or at the end of the store with this number, once."""

    def __init__(self, window: mmap.mmap, *, stores: int, is_done: bool) -> None:
        self._window = window
        self._stores_left = stores
        self._is_done = is_done
        self.close = window.close

    def madvise(self, *arguments: int) -> None:
        self._window.madvise(*arguments)

    def __len__(self) -> int:
        return len(self._window)

    def __setitem__(self, place: slice, data: bytes) -> None:
        self._stores_left -= 1
        if self._stores_left or self._is_done:
            self._window[place] = data
        if not self._stores_left:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("error", "segments"), [(errno.EINVAL, 1), (errno.EFAULT, 2), (errno.EIO, 2)])
def test_after_pages_that_the_disk_refuses_a_segment_follows_and_an_older_kernel_is_not_asked(
    tmp_path: Path, frames: list[bytes], error: int, segments: int
) -> None:
    spool = filled(tmp_path, frames[:1])

    class RefusingWindow(InterruptedWindow):
        def madvise(self, *_: int) -> None:
            raise OSError(error, "refused")

    assert spool._window is not None
    spool._window = RefusingWindow(spool._window, stores=10**6, is_done=True)  # type: ignore[assignment]
    spool._room = 0
    spool.append(frames[1])
    assert b"".join(read_all(tmp_path)) == b"".join(frames[:2])
    assert len(spool.segments()) == segments


def test_where_pages_are_always_refused_segments_are_written_to(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EFAULT, "refused")

    monkeypatch.setattr(spool_module, "_make_ready", refuse)
    spool = filled(tmp_path, frames)
    assert b"".join(read_all(tmp_path)) == b"".join(frames)
    assert [each.path.stat().st_size for each in spool.segments()] == [spool.spool_bytes]


def test_the_last_of_a_disk_is_used_although_it_is_less_than_is_usually_reserved(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve, left = os.posix_fallocate, 20_000

    def reserve_what_is_left(file: int, offset: int, size: int) -> None:
        if offset + size > left:
            raise OSError(errno.ENOSPC, "full")
        reserve(file, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", reserve_what_is_left)
    spool = Spool(tmp_path, PRODUCER)
    with pytest.raises(OSError, match="full"):
        append_until_refused(spool, frames[0])
    assert 0 <= left - spool.spool_bytes < 4 + len(frames[0])
    assert b"".join(read_all(tmp_path)) == spool.next_sequence * frames[0]


def test_what_is_appended_survives_a_kill(child: Child, spooled: Callable[[], list[str]]) -> None:
    died = child(
        "recorder = process_recorder(home)\n"
        "for index in range(500): recorder.record(node(index))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert died.returncode == -signal.SIGKILL
    assert spooled() == [f"node-{index}" for index in range(500)]


def test_a_full_segment_is_followed_by_another_whose_sequence_goes_on(
    tmp_path: Path, frames: list[bytes]
) -> None:
    filled(tmp_path, frames, segment_bytes_max=1000)
    [segments] = list_segments(tmp_path).values()
    assert len(segments) > 5
    for segment, following in pairwise(segments):
        last = list(read_chunks(segment))[-1]
        assert last.first_sequence + last.event_count == following.first_sequence
    assert b"".join(read_all(tmp_path)) == b"".join(frames)


def test_acknowledged_segments_are_released_and_others_are_not(tmp_path: Path, frames: list[bytes]) -> None:
    spool = filled(tmp_path, frames, segment_bytes_max=1000)
    segments = spool.segments()
    spool.release(segments[2].first_sequence)
    assert spool.segments() == segments[2:]
    assert list_segments(tmp_path)[PRODUCER] == segments[2:]
    spool.release(segments[3].first_sequence - 1)
    assert list_segments(tmp_path)[PRODUCER] == segments[2:]


def test_closing_leaves_exactly_what_is_not_acknowledged(tmp_path: Path, frames: list[bytes]) -> None:
    filled(tmp_path / ".", frames).close(acknowledged_sequence=len(frames) - 1)
    assert b"".join(read_all(tmp_path)) == b"".join(frames)
    (tmp_path / "all").mkdir()
    filled(tmp_path / "all", frames).close(acknowledged_sequence=len(frames))
    assert list_segments(tmp_path / "all") == {}


def test_a_spool_at_its_bound_refuses_and_goes_on_when_released(tmp_path: Path, frames: list[bytes]) -> None:
    spool = Spool(tmp_path, PRODUCER, segment_bytes_max=500, spool_bytes_max=2000)
    with pytest.raises(SpoolFullError, match="is the daemon running"):
        append_until_refused(spool, frames[0])
    held = spool.next_sequence
    spool.release(held)
    spool.append(frames[1])
    assert spool.next_sequence == held + 1


def append_until_refused(spool: Spool, frame: bytes) -> None:
    """The bounds are looked at where a segment begins, or needs room."""
    for _ in range(1000):
        spool.append(frame)


def test_every_torn_tail_of_a_written_segment_is_no_damage(tmp_path: Path, frames: list[bytes]) -> None:
    spool = filled(tmp_path, frames[:3], is_mapped=False)
    segment = spool.segments()[-1]
    whole = segment.path.read_bytes()
    before_last = len(whole) - len(frames[2]) - 4
    for size in range(before_last, len(whole)):
        segment.path.write_bytes(whole[:size])
        assert b"".join(read_all(tmp_path)) == b"".join(frames[:2])


def test_a_frame_that_was_being_stored_is_neither_read_nor_damage(
    tmp_path: Path, frames: list[bytes]
) -> None:
    segment = filled(tmp_path, frames[:2]).segments()[-1]
    [*_, last] = read_chunks(segment)
    whole = segment.path.read_bytes()
    for stored in range(len(frames[2]) + 1):
        begun = bytes(4) + frames[2][:stored]
        at = last.end_offset
        segment.path.write_bytes(whole[:at] + begun + whole[at + len(begun) :])
        assert b"".join(read_all(tmp_path)) == b"".join(frames[:2])
        check_end(segment, at)


def test_a_mapped_segment_that_was_cut_off_in_an_event_is_damaged(
    tmp_path: Path, frames: list[bytes]
) -> None:
    spool = filled(tmp_path, frames[:3])
    segment = spool.segments()[-1]
    spool.close(acknowledged_sequence=0)
    whole = segment.path.read_bytes()
    before_last = len(whole) - len(frames[2]) - 4
    assert b"".join(read_all(tmp_path)) == b"".join(frames[:3])
    for size in range(before_last + 1, len(whole)):
        segment.path.write_bytes(whole[:size])
        with pytest.raises(SpoolDamagedError, match="in the middle of an event") as raised:
            read_all(tmp_path)
        assert raised.value.offset == before_last


def test_whatever_lies_behind_a_hole_is_damage(tmp_path: Path, frames: list[bytes]) -> None:
    """Such as a disk leaves that lost a part of what it had not yet been told to keep."""
    segment = filled(tmp_path, frames).segments()[-1]
    whole = segment.path.read_bytes()
    ends = [HEAD_BYTES]
    for frame in frames:
        ends.append(ends[-1] + 4 + len(frame))
    for first in range(0, len(frames) - 1, 7):
        at = ends[first]
        for behind in (at + 4, at + 5, ends[first + 1], ends[first + 1] + 4, ends[-2]):
            segment.path.write_bytes(whole[:at] + bytes(behind - at) + whole[behind:])
            assert b"".join(read_all(tmp_path)) == b"".join(frames[:first])
            with pytest.raises(SpoolDamagedError):
                check_end(segment, at)
    segment.path.write_bytes(whole)
    check_end(segment, ends[-1])


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_flipped_byte_is_found_or_torn_but_never_an_invented_event(
    tmp_path: Path, frames: list[bytes], is_mapped: bool
) -> None:
    spool = filled(tmp_path, frames[:3], is_mapped=is_mapped, segment_bytes_max=400)
    segment = spool.segments()[-1]
    whole = bytearray(segment.path.read_bytes())
    truth = [b"".join(frames[:count]) for count in range(4)]
    found_damaged = 0
    for offset in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            whole[offset] ^= flip
            segment.path.write_bytes(whole)
            whole[offset] ^= flip
            try:
                [read] = read_all(tmp_path)
                check_end(segment, HEAD_BYTES + sum(4 + len(each) for each in frames[: truth.index(read)]))
            except SpoolDamagedError as error:
                found_damaged += error.offset <= offset
            else:
                assert not is_mapped
                assert read in truth[:3], f"flipping byte {offset} by {flip:#x} went unnoticed"
    assert found_damaged == 3 * len(whole) if is_mapped else found_damaged > 2.5 * len(whole)


def test_segments_of_every_format_that_was_ever_written_are_read(node: Callable[..., NodeFinished]) -> None:
    """Made with `node` and `filled` as they are here; a golden file is never made again."""
    encoder = EventEncoder()
    expected = b"".join(encoder.encode(node(index)) for index in range(3))
    for name in ("written", "mapped", "killed"):
        [[segment]] = list_segments(GOLDEN / name).values()
        chunks = list(read_chunks(segment))
        assert b"".join(chunk.frames for chunk in chunks) == expected
        check_end(segment, chunks[-1].end_offset)


def test_a_segment_under_another_name_is_damaged(tmp_path: Path, frames: list[bytes]) -> None:
    segment = filled(tmp_path, frames[:3]).segments()[-1]
    renamed = Segment(tmp_path / f"{PRODUCER.hex()}-{7:020d}.spool", PRODUCER, 7)
    segment.path.rename(renamed.path)
    with pytest.raises(SpoolDamagedError, match="does not match its name at byte 0"):
        list(read_chunks(renamed))


def test_files_of_others_in_the_folder_are_no_segments(tmp_path: Path) -> None:
    for name in (
        "notes.txt",
        "x.spool",
        f"{PRODUCER.hex()}-{0:020d}.new",
        f"{PRODUCER.hex()}-{0:019d}.spool",
    ):
        (tmp_path / name).write_bytes(b"?")
    assert list_segments(tmp_path) == {}
    assert list_segments(tmp_path / "missing") == {}


def test_only_what_a_killed_process_began_is_removed(tmp_path: Path) -> None:
    begun = segment_for(tmp_path, bytes(16), 0).path.with_suffix(".new")
    locked = segment_for(tmp_path, bytes(16), 1).path.with_suffix(".new")
    others = tmp_path / "notes.new"
    for path in (begun, locked, others):
        path.touch()
    now_s = begun.stat().st_mtime
    with locked.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_unnamed(tmp_path, now_unix_s=now_s + 59) == 0, "it may be about to lock it"
        assert remove_unnamed(tmp_path, now_unix_s=now_s + 61) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [locked.name, others.name]


def test_a_full_disk_leaves_whole_frames_and_a_count_of_what_was_dropped(
    child: Child, spooled: Callable[[], list[str]]
) -> None:
    ran = child(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "recorder = process_recorder(home)\n"
        "for index in range(100): recorder.record(node(index))\n"
        "print(recorder.recorded_events, recorder.dropped_events)\n"
    )
    kept, dropped = map(int, ran.stdout.split())
    assert kept > 5
    assert kept + dropped == 100
    assert spooled() == [f"node-{index}" for index in range(kept)]
    assert ran.stderr.count("was not recorded") == 1


def test_a_disk_without_room_for_a_head_leaves_no_segment(
    child: Child, home: object, spooled: Callable[[], list[str]]
) -> None:
    ran = child(
        "import resource\n"
        "recorder = process_recorder(home)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, -1))\n"
        "recorder.record(node(0))\n"
        "print(recorder.dropped_events, os.listdir(home.spool))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "recorder.record(node(1))\n"
        "os._exit(0)\n"
    )
    assert ran.stdout == "1 []\n"
    assert spooled() == ["node-1"]


@pytest.mark.parametrize("reaches_the_kernel", [True, False])
def test_an_interrupted_write_is_settled_by_the_next(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch, reaches_the_kernel: bool
) -> None:
    spool = filled(tmp_path, frames[:2], is_mapped=False)

    class InterruptedOs:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def write(self, file: int, data: bytes) -> int:
            if reaches_the_kernel:
                os.write(file, data)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(spool_module, "os", InterruptedOs())
        with pytest.raises(KeyboardInterrupt):
            spool.append(frames[2])
    spool.append(frames[3])
    kept = frames[:4] if reaches_the_kernel else [*frames[:2], frames[3]]
    assert b"".join(read_all(tmp_path)) == b"".join(kept)
    assert spool.next_sequence == len(kept)


@pytest.mark.parametrize(
    ("stores", "is_done", "is_recorded"),
    [(1, False, False), (1, True, False), (2, False, False), (2, True, True)],
)
@pytest.mark.parametrize("following", [3, 4])
def test_an_interrupted_store_is_settled_by_the_next(
    tmp_path: Path,
    node: Callable[..., NodeFinished],
    stores: int,
    is_done: bool,
    is_recorded: bool,
    following: int,
) -> None:
    """The next frame may be shorter than the one that was begun, and leaves nothing of it behind."""
    encoder = EventEncoder()
    frames = [
        encoder.encode(node(index)._replace(node_id="n" * (1 + 10 * (index % 4)))) for index in range(5)
    ]
    spool = filled(tmp_path, frames[:2])
    window = spool._window
    assert window is not None
    spool._window = InterruptedWindow(window, stores=stores, is_done=is_done)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        spool.append(frames[2])
    spool.append(frames[following])
    kept = [*frames[: 3 if is_recorded else 2], frames[following]]
    assert b"".join(read_all(tmp_path)) == b"".join(kept)
    assert spool.next_sequence == len(kept)
    check_end(spool.segments()[-1], spool.spool_bytes)


def test_a_half_written_frame_of_an_interrupted_write_is_cut_off(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = filled(tmp_path, frames[:2], is_mapped=False)

    class InterruptedOs:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def write(self, file: int, data: bytes) -> int:
            os.write(file, data[: len(data) // 2])
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(spool_module, "os", InterruptedOs())
        with pytest.raises(KeyboardInterrupt):
            spool.append(frames[2])
    spool.append(frames[3])
    assert b"".join(read_all(tmp_path)) == b"".join([*frames[:2], frames[3]])


def test_the_newest_segment_of_a_living_producer_is_locked_and_older_ones_are_not(
    tmp_path: Path, frames: list[bytes]
) -> None:
    segments = filled(tmp_path, frames, segment_bytes_max=4000).segments()
    assert try_lock(segments[-1]) is None
    for older in segments[:-1]:
        lock = try_lock(older)
        assert lock is not None
        os.close(lock)


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_segment_is_never_seen_unlocked_while_its_producer_lives(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch, is_mapped: bool
) -> None:
    """Whenever the newest segment can be locked, a newer one is already there."""
    spool = Spool(tmp_path, PRODUCER, is_mapped=is_mapped, segment_bytes_max=500)
    seen, looking = 0, False

    class WatchedOs:
        def __getattr__(self, name: str) -> object:
            nonlocal seen, looking
            if not looking:
                looking = True  # the look itself goes through `os` too
                for segments in list_segments(tmp_path).values():
                    seen += 1
                    assert try_lock(segments[-1]) is None, f"before os.{name}"
                looking = False
            return getattr(os, name)

    with monkeypatch.context() as patched:
        for module in (spool_module, segments_module):
            patched.setattr(module, "os", WatchedOs())
        for frame in frames:
            # The list and the lock are real; only the moment of the look is chosen.
            spool.append(frame)
    assert seen > (5 * len(spool.segments()) if is_mapped else len(frames))


def test_an_orphan_can_be_locked(child: Child, home: object) -> None:
    child("process_recorder(home).record(node(0)); os.kill(os.getpid(), signal.SIGKILL)")
    [segments] = list_segments(home.spool).values()  # type: ignore[attr-defined]
    lock = try_lock(segments[-1])
    assert lock is not None
    os.close(lock)


def test_a_forked_child_neither_holds_nor_releases_the_lock_of_its_parent(
    tmp_path: Path, frames: list[bytes]
) -> None:
    spool = filled(tmp_path, frames[:1])
    segment = spool.segments()[-1]
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        spool.abandon_in_child()
        os.write(ready[1], b"1" if try_lock(segment) is None else b"0")
        os.read(go[0], 1)
        os._exit(0)
    try:
        assert os.read(ready[0], 1) == b"1", "the child took the parent's lock with it"
        spool.append(frames[1])
        spool.close(acknowledged_sequence=0)
        lock = try_lock(segment)
        assert lock is not None, "the living child still holds the parent's lock"
        os.close(lock)
        assert b"".join(read_all(tmp_path)) == b"".join(frames[:2])
    finally:
        os.write(go[1], b"1")
        os.waitpid(pid, 0)
        for end in (*ready, *go):
            os.close(end)


def test_segments_are_readable_by_their_owner_only(tmp_path: Path, frames: list[bytes]) -> None:
    segment = filled(tmp_path, frames[:1]).segments()[-1]
    assert segment.path.stat().st_mode & 0o777 == 0o600


def test_a_follower_neither_skips_nor_repeats_across_rotation_while_a_writer_appends(
    tmp_path: Path, node: Callable[..., NodeFinished], eventually: Callable[..., None]
) -> None:
    import threading

    count = 6000
    spool, encoder, lock = Spool(tmp_path, PRODUCER, segment_bytes_max=3000), EventEncoder(), threading.Lock()
    expected = [encoder.encode(node(index)) for index in range(count)]

    def write() -> None:
        for frame in expected:
            with lock:
                spool.append(frame)

    def extent() -> Extent:
        with lock:
            return spool.extent()

    follower, parts = SpoolFollower(extent, 0), []
    writer = threading.Thread(target=write)
    writer.start()

    def look() -> bool:
        while (chunk := follower.next_chunk()) is not None:
            assert chunk.first_sequence == sum(part.event_count for part in parts)
            parts.append(chunk)
            with lock:
                spool.release(chunk.first_sequence)
        return follower.sequence >= count

    eventually(look)
    writer.join()
    assert b"".join(part.frames for part in parts) == b"".join(expected)


def test_a_follower_begins_where_it_is_told(tmp_path: Path, frames: list[bytes]) -> None:
    spool = filled(tmp_path, frames, segment_bytes_max=1000)
    first = spool.segments()[3].first_sequence
    follower, chunks = SpoolFollower(spool.extent, first), []
    while (chunk := follower.next_chunk()) is not None:
        chunks.append(chunk)
    assert chunks[0].first_sequence == first
    assert b"".join(chunk.frames for chunk in chunks) == b"".join(frames[first:])


def test_a_follower_goes_on_behind_segments_that_the_daemon_has_taken_in(
    tmp_path: Path, frames: list[bytes]
) -> None:
    spool = filled(tmp_path, frames, segment_bytes_max=1000)
    segments = spool.segments()
    for segment in segments[:-1]:
        segment.path.unlink()
    chunk = SpoolFollower(spool.extent, 0).next_chunk()
    assert chunk is not None
    assert chunk.first_sequence == segments[-1].first_sequence


def test_an_empty_segment_holds_a_head_and_no_event(tmp_path: Path, frames: list[bytes]) -> None:
    segment = filled(tmp_path, frames[:1]).segments()[-1]
    segment.path.write_bytes(segment.path.read_bytes()[:HEAD_BYTES])
    assert list(read_chunks(segment)) == []
