"""Processes that are killed while they record: what they recorded is there, and nothing is damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from harness.seeds import Seed
from harness.site import Site

from configurable_agents.client.segments import list_segments
from configurable_agents.client.spool_reader import check_end, read_chunks
from configurable_agents.wire.batches import decode_batch
from configurable_agents.wire.frames import batch_of_frames

pytestmark = pytest.mark.acceptance

KILLS = 8
EVENTS_MAX = 30_000
"""Some segments, and many windows of each."""


@pytest.mark.parametrize("form", ["mapped", "written"])
def test_every_event_whose_recording_returned_survives_a_kill_at_any_moment(
    site: Site, seed: Seed, form: str
) -> None:
    for number in range(KILLS):
        counter = site.journals_folder / f"{form}-{number}"
        counter.write_bytes(bytes(8))
        process = site.launch("tight_loop.py", counter.name, form)
        reached = seed.chances(f"{form} {number}").randint(1, EVENTS_MAX)
        site.wait_for(lambda: counted(counter) >= reached, "events")  # noqa: B023 - called here
        process.kill()
        process.wait()
        recorded = counted(counter)
        assert recorded >= reached
        spans = taken_from(site.home.spool)
        assert spans == list(range(1, len(spans) + 1))
        assert recorded <= len(spans) <= recorded + 1, "one at most was being counted"


def counted(counter: Path) -> int:
    return int(struct.unpack("Q", counter.read_bytes())[0])


def taken_from(folder: Path) -> list[int]:
    """The span ids in the only spool in the folder, which is checked to its end and removed."""
    [segments] = list_segments(folder).values()
    spans: list[int] = []
    for segment in segments:
        assert segment.first_sequence == len(spans)
        for chunk in read_chunks(segment):
            batch = batch_of_frames(segment.producer_id, chunk.first_sequence, chunk.frames)
            spans.extend(event.span_id for event in decode_batch(batch).events)  # type: ignore[union-attr]
        check_end(segment, chunk.end_offset)
        segment.path.unlink()
    return spans
