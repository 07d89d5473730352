"""A damaged spool: what is whole before the damage is taken in, the rest is kept, and nothing is made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from configurable_agents.client.spool import HEAD_BYTES, Spool, list_segments, read_chunks
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.producers import Producers
from configurable_agents.obsd.receivers.spool import DAMAGED_SUFFIX, SpoolReceiver
from configurable_agents.obsd.records import Acknowledgement, Batch, Committed
from configurable_agents.telemetry import Event
from configurable_agents.wire.encode import EventEncoder

PRODUCER = bytes(range(16))


class Orphan(NamedTuple):
    """The only segment of a process that is gone."""

    name: str
    content: bytes
    events: list[Event]
    ends: list[int]
    """Where each frame ends."""


@pytest.fixture
def orphan(tmp_path: Path, events: Any) -> Orphan:
    recorded = [events.started(), events.node("a", 1), events.call("c"), events.node("b", 2)]
    folder = tmp_path / "original"
    folder.mkdir()
    spool, encoder, ends = Spool(folder, PRODUCER), EventEncoder(), []
    for event in recorded:
        spool.append(encoder.encode(event))
        [segment] = list_segments(folder)[PRODUCER]
        ends.append(segment.path.stat().st_size)
    spool.close(acknowledged_sequence=0)
    assert sum(chunk.event_count for chunk in read_chunks(segment)) == len(recorded)
    return Orphan(segment.path.name, segment.path.read_bytes(), recorded, ends)


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
        assert not is_torn or offset >= orphan.ends[-2], offset
        kept = [] if is_torn else [orphan.name + DAMAGED_SUFFIX]
        assert taken.left == kept, offset


def test_a_segment_that_was_cut_off_anywhere_gives_what_is_whole(tmp_path: Path, orphan: Orphan) -> None:
    for size in range(len(orphan.content)):
        taken = taken_from(tmp_path / str(size), orphan.name, orphan.content[:size])
        assert taken.events == orphan.events[: whole_before(orphan, size)], size
        assert taken.spools_damaged == (size < HEAD_BYTES), size
