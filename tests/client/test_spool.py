"""The spool: what is appended is there, whatever happens to its writer, and nothing else is."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from configurable_agents.client import spool as spool_module
from configurable_agents.client.follower import SpoolFollower
from configurable_agents.client.spool import (
    HEAD_BYTES,
    Segment,
    Spool,
    SpoolFullError,
    list_segments,
    read_chunks,
    try_lock,
)
from configurable_agents.errors import SpoolDamagedError
from configurable_agents.telemetry import NodeFinished
from configurable_agents.wire.encode import EventEncoder

PRODUCER = bytes(range(16))

Child = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def frames(node: Callable[..., NodeFinished]) -> list[bytes]:
    encoder = EventEncoder()
    return [encoder.encode(node(index)) for index in range(200)]


def read_all(folder: Path) -> list[bytes]:
    """The frames of the only producer, as one string per segment."""
    [segments] = list_segments(folder).values()
    return [b"".join(chunk.frames for chunk in read_chunks(segment)) for segment in segments]


def filled(folder: Path, frames: list[bytes], **bounds: int) -> Spool:
    spool = Spool(folder, PRODUCER, **bounds)
    for frame in frames:
        spool.append(frame)
    return spool


def test_what_is_appended_is_read_back_in_order(tmp_path: Path, frames: list[bytes]) -> None:
    spool = filled(tmp_path, frames)
    assert b"".join(read_all(tmp_path)) == b"".join(frames)
    assert spool.next_sequence == len(frames)


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
    """The bound is looked at where a segment begins."""
    for _ in range(100):
        spool.append(frame)


def test_every_torn_tail_is_no_damage(tmp_path: Path, frames: list[bytes]) -> None:
    spool = filled(tmp_path, frames[:3])
    segment = spool.segments()[-1]
    whole = segment.path.read_bytes()
    before_last = len(whole) - len(frames[2]) - 4
    for size in range(before_last, len(whole)):
        segment.path.write_bytes(whole[:size])
        assert b"".join(read_all(tmp_path)) == b"".join(frames[:2])


def test_a_flipped_byte_is_found_or_torn_but_never_an_invented_event(
    tmp_path: Path, frames: list[bytes]
) -> None:
    segment = filled(tmp_path, frames[:3]).segments()[-1]
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
            except SpoolDamagedError as error:
                found_damaged += error.offset <= offset
            else:
                assert read in truth[:3], f"flipping byte {offset} by {flip:#x} went unnoticed"
    assert found_damaged > 2.5 * len(whole)


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
    begun = spool_module.segment_for(tmp_path, bytes(16), 0).path.with_suffix(".new")
    locked = spool_module.segment_for(tmp_path, bytes(16), 1).path.with_suffix(".new")
    others = tmp_path / "notes.new"
    for path in (begun, locked, others):
        path.touch()
    now_s = begun.stat().st_mtime
    with locked.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert spool_module.remove_unnamed(tmp_path, now_unix_s=now_s + 59) == 0, "it may be about to lock it"
        assert spool_module.remove_unnamed(tmp_path, now_unix_s=now_s + 61) == 1
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
def test_an_interrupted_append_is_settled_by_the_next(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch, reaches_the_kernel: bool
) -> None:
    spool = filled(tmp_path, frames[:2])

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


def test_a_half_written_frame_of_an_interrupted_append_is_cut_off(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = filled(tmp_path, frames[:2])

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


def test_a_segment_is_never_seen_unlocked_while_its_producer_lives(
    tmp_path: Path, frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the newest segment can be locked, a newer one is already there."""
    spool = Spool(tmp_path, PRODUCER, segment_bytes_max=500)
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
        patched.setattr(spool_module, "os", WatchedOs())
        for frame in frames:
            # The list and the lock are real; only the moment of the look is chosen.
            spool.append(frame)
    assert seen > len(frames)


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

    def segments() -> list[Segment]:
        with lock:
            return spool.segments()

    follower, parts = SpoolFollower(segments, 0), []
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
    follower, chunks = SpoolFollower(spool.segments, first), []
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
    chunk = SpoolFollower(spool.segments, 0).next_chunk()
    assert chunk is not None
    assert chunk.first_sequence == segments[-1].first_sequence


def test_an_empty_segment_holds_a_head_and_no_event(tmp_path: Path, frames: list[bytes]) -> None:
    segment = filled(tmp_path, frames[:1]).segments()[-1]
    segment.path.write_bytes(segment.path.read_bytes()[:HEAD_BYTES])
    assert list(read_chunks(segment)) == []
