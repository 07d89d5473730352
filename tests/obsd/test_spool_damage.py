"""A damaged spool: what is whole before the damage is taken in, the rest is kept, and nothing is made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from configurable_agents.client.segments import HEAD_BYTES, list_segments
from configurable_agents.client.spool import Spool
from configurable_agents.client.spool_reader import read_chunks
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.producers import Producers
from configurable_agents.obsd.receivers.spool import DAMAGED_SUFFIX, SpoolReceiver
from configurable_agents.obsd.records import Acknowledgement, Batch, Committed
from configurable_agents.telemetry import Event
from configurable_agents.wire.encode import EventEncoder

PRODUCER = bytes(range(16))
ROOM_BYTES = 800


class Orphan(NamedTuple):
    """The only segment of a process that is gone."""

    is_mapped: bool
    """In one that is, the process was killed: there is room left. In the other it ended."""
    name: str
    content: bytes
    events: list[Event]
    ends: list[int]
    """Where each frame ends."""


@pytest.fixture(params=["written", "mapped"])
def orphan(request: pytest.FixtureRequest, tmp_path: Path, events: Any) -> Orphan:
    recorded = [events.started(), events.node("a", 1), events.call("c"), events.node("b", 2)]
    is_mapped = request.param == "mapped"
    folder = tmp_path / "original"
    folder.mkdir()
    spool = Spool(folder, PRODUCER, is_mapped=is_mapped, segment_bytes_max=ROOM_BYTES)
    encoder, ends = EventEncoder(), []
    for event in recorded:
        spool.append(encoder.encode(event))
        ends.append(spool.spool_bytes)
    [segment] = list_segments(folder)[PRODUCER]
    assert sum(chunk.event_count for chunk in read_chunks(segment)) == len(recorded)
    content = segment.path.read_bytes()
    assert len(content) == (ROOM_BYTES if is_mapped else ends[-1])
    spool.close(acknowledged_sequence=0)
    return Orphan(is_mapped, segment.path.name, content, recorded, ends)


class Taken(NamedTuple):
    events: list[Event]
    spools_damaged: int
    left: list[str]


def taken_from(folder: Path, name: str, content: bytes) -> Taken:
    """One look of the real receiver, with the real intake, at a folder with this one segment."""
    folder.mkdir()
    (folder / name).write_bytes(content)
    events, spools_damaged = anyio.run(look_at, folder)
    return Taken(events, spools_damaged, sorted(path.name for path in folder.iterdir()))


async def look_at(folder: Path) -> tuple[list[Event], int]:
    found: list[Event] = []

    async def commit(batches: Sequence[Batch]) -> Committed:
        outcome = Committed()
        for batch in batches:
            found.extend(event for event in batch.events if not isinstance(event, Exception))
            outcome.acknowledgements.append(Acknowledgement(batch.first_sequence + len(batch.events)))
        return outcome

    async def nothing_known(_: bytes) -> int:
        return 0

    async def gone(_: bytes) -> None:
        return None

    intake = Intake(commit, lambda _: None, next_sequence=nothing_known)
    receiver = SpoolReceiver(folder, intake, Producers(), next_sequence=nothing_known, gone=gone)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        await receiver.look()
        intake.close()
    return found, receiver.spools_damaged


def whole_before(orphan: Orphan, offset: int) -> int:
    return 0 if offset < HEAD_BYTES else sum(end <= offset for end in orphan.ends)


def test_a_flipped_byte_anywhere_costs_nothing_before_it_and_makes_nothing_up(
    tmp_path: Path, orphan: Orphan
) -> None:
    for offset in range(len(orphan.content)):
        changed = bytearray(orphan.content)
        changed[offset] ^= 0x41
        taken = taken_from(tmp_path / str(offset), orphan.name, bytes(changed))
        assert taken.events == orphan.events[: whole_before(orphan, offset)], offset
        is_torn = not taken.spools_damaged  # a length in the last frame that now reaches beyond the end
        assert not is_torn or (offset >= orphan.ends[-2] and not orphan.is_mapped), offset
        kept = [] if is_torn else [orphan.name + DAMAGED_SUFFIX]
        assert taken.left == kept, offset


def test_a_segment_that_was_cut_off_anywhere_gives_what_is_whole(tmp_path: Path, orphan: Orphan) -> None:
    """Nobody cuts a mapped segment off in an event, so one that is has lost it."""
    for size in range(len(orphan.content)):
        taken = taken_from(tmp_path / str(size), orphan.name, orphan.content[:size])
        assert taken.events == orphan.events[: whole_before(orphan, size)], size
        lost = orphan.is_mapped and size < orphan.ends[-1] and size not in (HEAD_BYTES, *orphan.ends)
        assert taken.spools_damaged == (size < HEAD_BYTES or lost), size


@pytest.mark.parametrize("orphan", ["mapped"], indirect=True)
def test_an_event_that_was_being_stored_at_the_kill_is_no_damage(tmp_path: Path, orphan: Orphan) -> None:
    before_last = orphan.ends[-2]
    for stored in range(orphan.ends[-1] - before_last - 4):
        at = before_last + 4 + stored
        content = orphan.content[:before_last] + bytes(4) + orphan.content[before_last + 4 : at]
        taken = taken_from(tmp_path / str(stored), orphan.name, content.ljust(ROOM_BYTES, b"\0"))
        assert taken == Taken(orphan.events[:-1], 0, [])


@pytest.mark.parametrize("orphan", ["mapped"], indirect=True)
def test_a_hole_is_reported_and_nothing_behind_it_is_skipped_in_silence(
    tmp_path: Path, orphan: Orphan
) -> None:
    for begin in range(HEAD_BYTES, orphan.ends[-2], 3):
        for end in range(begin + 4, orphan.ends[-1], 29):
            content = orphan.content[:begin] + bytes(end - begin) + orphan.content[end:]
            if content == orphan.content:
                continue
            taken = taken_from(tmp_path / f"{begin}-{end}", orphan.name, content)
            assert taken.events == orphan.events[: whole_before(orphan, begin)], (begin, end)
            assert taken.left == [orphan.name + DAMAGED_SUFFIX], (begin, end)


def test_a_segment_whose_last_events_are_gone_is_reported_although_others_follow(
    tmp_path: Path, events: Any
) -> None:
    frames = [EventEncoder().encode(events.node("n", span)) for span in range(1, 21)]
    spool = Spool(tmp_path, PRODUCER, segment_bytes_max=ROOM_BYTES)
    for frame in frames:
        spool.append(frame)
    spool.close(acknowledged_sequence=0)
    first, *others = list_segments(tmp_path)[PRODUCER]
    held = first.path.stat().st_size
    with first.path.open("r+b") as file:
        file.seek(held - len(frames[0]) - 4)
        file.write(bytes(len(frames[0]) + 4))
    found, spools_damaged = anyio.run(look_at, tmp_path)
    assert len(found) == len(frames) - 1
    assert (len(others), spools_damaged) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == [first.path.name + DAMAGED_SUFFIX]
