"""The spool receiver: takes in what producers left on disk and cannot or do not send themselves.

These are the spools of processes that are gone, of forked children, which never send, and of
processes that started without a daemon and have not found this one yet. Taking in a spool that its
owner sends too is harmless: the ledger knows each event by its position.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from configurable_agents.client.segments import (
    HEAD_BYTES,
    UNNAMED_KEPT_S,
    Segment,
    list_segments,
    remove_unnamed,
    try_lock,
)
from configurable_agents.client.spool_reader import Chunk, check_end, held_bytes, read_chunks
from configurable_agents.errors import AgentsObsError, SpoolDamagedError, WireFormatError
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.producers import Producers
from configurable_agents.obsd.receivers.inlet import hand_in
from configurable_agents.wire.frames import batch_of_frames

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5

DAMAGED_SUFFIX = ".damaged"


class _Position(NamedTuple):
    offset: int
    sequence: int


class SpoolReceiver:
    """Looks through the spool folder again and again. For the daemon's event loop only."""

    def __init__(
        self,
        folder: Path,
        intake: Intake,
        producers: Producers,
        *,
        next_sequence: Callable[[bytes], Awaitable[int]],
        gone: Callable[[bytes], Awaitable[None]],
    ) -> None:
        """`next_sequence` is the ledger's; `gone` is told of each producer that ended and is taken in."""
        self._folder = folder
        self._intake = intake
        self._producers = producers
        self._next_sequence = next_sequence
        self._gone = gone
        self._positions: dict[Path, _Position] = {}
        self._unconnected: set[bytes] = set()
        """Producers that were not connected at the last look."""
        self._spooling: frozenset[bytes] = frozenset()
        self._unreadable: set[bytes] = set()
        self._next_tidy = 0.0
        self.spools_damaged = 0
        """Files that were set aside, at the last tidying."""
        self.spool_bytes = 0
        """What the segments in the spool folder held at the last look."""
        self.steps = 0
        """Looks that came to their end, and parts of spools that were taken in."""
        self.problem = ""
        """Why the last look failed; empty when it did not."""
        self._is_looking = False

    @property
    def has_work(self) -> bool:
        """Whether a look has begun and not ended, or has failed and will be tried again."""
        return self._is_looking or bool(self.problem)

    async def run(self) -> None:
        while True:
            self._is_looking = True
            try:
                await self.look()
            except AgentsObsError as error:
                self._note_problem(f"spools wait: {error}")
            except OSError as error:
                self._note_problem(f"the spool folder cannot be read: {error}")
            else:
                self.steps, self.problem = self.steps + 1, ""
            self._is_looking = False
            await anyio.sleep(LOOK_EVERY_S)

    def _note_problem(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("%s", problem)
        self.problem = problem

    async def look(self) -> None:
        """Takes in everything there is now from producers that are not connected."""
        await self._tidy()
        found = await anyio.to_thread.run_sync(list_segments, self._folder)
        self.spool_bytes = await anyio.to_thread.run_sync(_bytes_of_all, found)
        present = {segment.path for segments in found.values() for segment in segments}
        self._positions = {path: at for path, at in self._positions.items() if path in present}
        self._spooling = frozenset(found)
        self._unreadable &= self._spooling
        before = self._unconnected
        self._unconnected = {each for each in found if not self._producers.is_connected(each)}
        for producer_id, segments in found.items():
            if not self._producers.is_connected(producer_id):
                await self._try_producer(producer_id, segments, is_new=producer_id not in before)

    async def _tidy(self) -> None:
        if time.monotonic() < self._next_tidy:
            return
        self._next_tidy = time.monotonic() + UNNAMED_KEPT_S
        tidy = partial(remove_unnamed, self._folder, now_unix_s=time.time())
        removed = await anyio.to_thread.run_sync(tidy)
        self.spools_damaged = await anyio.to_thread.run_sync(_damaged_files, self._folder)
        if removed:
            _log.info("removed %d spool segments that killed processes had only begun", removed)

    def is_spooling(self, producer_id: bytes) -> bool:
        """Whether the producer had a spool at the last look."""
        return producer_id in self._spooling

    async def _try_producer(self, producer_id: bytes, segments: list[Segment], *, is_new: bool) -> None:
        """A spool that cannot be read must not keep the others waiting."""
        try:
            await self._take_producer(producer_id, segments, is_new=is_new)
        except OSError as error:
            if producer_id not in self._unreadable:
                self._unreadable.add(producer_id)
                _log.error("a spool cannot be read, it stays where it is: %s", error)

    async def _take_producer(self, producer_id: bytes, segments: list[Segment], *, is_new: bool) -> None:
        try:
            lock = try_lock(segments[-1])
        except FileNotFoundError:
            return
        if lock is None:
            if not is_new:  # most that are new are about to connect, and send it themselves
                await self._take_living(segments)
            return
        try:
            if await anyio.to_thread.run_sync(_has_later, self._folder, segments[-1]):
                return  # its owner lives and has just begun another: the next look sees
            for segment, following in zip_longest(segments, segments[1:]):
                await self._take_orphan(segment, following)
            await self._gone(producer_id)
        finally:
            os.close(lock)

    async def _take_living(self, segments: list[Segment]) -> None:
        """The owner writes to the newest segment only; older ones go once they are committed."""
        for segment in segments:
            try:
                await self._take(segment)
            except (SpoolDamagedError, WireFormatError, FileNotFoundError):
                return  # half-written, or released by its owner just now: the next look sees
        for segment, following in pairwise(segments):
            if await self._next_sequence(segment.producer_id) >= following.first_sequence:
                segment.path.unlink(missing_ok=True)

    async def _take_orphan(self, segment: Segment, following: Segment | None) -> None:
        try:
            await self._take(segment)
            end = self._positions[segment.path]
            await anyio.to_thread.run_sync(_check_end, segment, end, following)
        except FileNotFoundError:
            return
        except (SpoolDamagedError, WireFormatError) as error:
            damaged = segment.path.with_name(segment.path.name + DAMAGED_SUFFIX)
            segment.path.rename(damaged)
            self.spools_damaged += 1
            _log.error(
                "a spool is damaged, its events up to there are taken in: %s; kept as %s", error, damaged
            )
            return
        segment.path.unlink(missing_ok=True)

    async def _take(self, segment: Segment) -> None:
        """Has everything of a segment committed that is not yet. Returns when it is durable."""
        known = await self._next_sequence(segment.producer_id)
        while True:
            position = self._positions.setdefault(segment.path, _Position(HEAD_BYTES, segment.first_sequence))
            chunk = await anyio.to_thread.run_sync(_next_chunk, segment, position)
            if chunk is None:
                return
            end = chunk.first_sequence + chunk.event_count
            if end > known:
                await self._commit(segment, chunk)
            self._positions[segment.path] = _Position(chunk.end_offset, end)

    async def _commit(self, segment: Segment, chunk: Chunk) -> None:
        data = batch_of_frames(segment.producer_id, chunk.first_sequence, chunk.frames)
        outcome = await hand_in(self._intake, data)
        await outcome
        self.steps += 1


def _next_chunk(segment: Segment, position: _Position) -> Chunk | None:
    return next(read_chunks(segment, offset=position.offset, first_sequence=position.sequence), None)


def _check_end(segment: Segment, end: _Position, following: Segment | None) -> None:
    check_end(segment, end.offset)
    if following is not None and end.sequence < following.first_sequence:
        missing = following.first_sequence - end.sequence
        raise SpoolDamagedError(str(segment.path), end.offset, f"its last {missing} events are missing")


def _has_later(folder: Path, segment: Segment) -> bool:
    return (
        list_segments(folder).get(segment.producer_id, [segment])[-1].first_sequence > segment.first_sequence
    )


def _damaged_files(folder: Path) -> int:
    return sum(1 for _ in folder.glob(f"*{DAMAGED_SUFFIX}"))


def _bytes_of_all(found: dict[bytes, list[Segment]]) -> int:
    return sum(_held_bytes(segment) for segments in found.values() for segment in segments)


def _held_bytes(segment: Segment) -> int:
    try:
        return held_bytes(segment)
    except FileNotFoundError:
        return 0
    except OSError:  # it cannot be read, and `_try_producer` says so; it takes its room all the same
        return segment.path.lstat().st_size
