"""Keeps runs in order: profiles those that ended, ends those whose process is gone."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import anyio

from configurable_agents.errors import LedgerError, LedgerNotNowError, NotFoundError
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import profile_blocks, queries
from configurable_agents.obsd.ledger.scopes import RUN_LAST
from configurable_agents.obsd.producers import Producers
from configurable_agents.obsd.profiles import MadeProfile
from configurable_agents.obsd.records import Ledger, UnfinishedRun
from configurable_agents.obsd.reports import Readers
from configurable_agents.obsd.runs import LiveRuns
from configurable_agents.telemetry import NodeFinished, Status

_log = logging.getLogger(__name__)

T = TypeVar("T")

SWEEP_EVERY_S = 5.0

SILENT_S = 15.0
"""A run in flight whose producer has no connection and no spool for this long is interrupted."""

UNARY_SILENT_S = 3600.0
"""The same for a producer that sends single batches and so is never connected."""

SETTLE_S = 0.05
"""What belongs to the end of a run is given this long to arrive before the run is profiled."""


FINISH_S = 2.0
"""What profiles get when the daemon stops. Those that are left are made at the next start."""

STORE_EVERY_S = 0.2
"""Profiles that were made in this time are stored together."""


class Write(Protocol):
    async def __call__(self, method: Callable[..., T], *arguments: object) -> T: ...


class _Heard(NamedTuple):
    """When a run was last heard of."""

    received_unix_ns: int
    """As the ledger says, by a wall clock that may have jumped: good for telling that it has changed."""
    at_s: float
    """By our clock: when that change was seen."""


class RunKeeper:
    """For the daemon's event loop only."""

    def __init__(
        self,
        ledger: Ledger,
        write: Write,
        readers: Readers,
        live: LiveRuns,
        producers: Producers,
        *,
        is_spooling: Callable[[bytes], bool],
        profiled: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_spooling` knows which producers have a spool; `profiled` is told when profiles were stored.

        `clock` counts seconds and never jumps: whoever is silent is so by this one, not by the wall clock.
        """
        self._ledger = ledger
        self._write = write
        self._readers = readers
        self._ask = partial(readers.ask, patience_s=math.inf)
        self._live = live
        self._producers = producers
        self._profiled = profiled
        self._news = anyio.Event()
        self._is_profiling = False
        self._round_over = anyio.Event()
        self._is_spooling = is_spooling
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        """Of each run in flight, as of the last sweep."""
        self._profiled_rows: tuple[int, int] | None = (0, RUN_LAST)
        """The first and the last run of which the profile is new since blocks were looked at."""

    def notice(self) -> None:
        """Something was committed."""
        self._news.set()

    async def remember(self) -> None:
        """At start: rebuilds what a daemon before this one had in memory."""
        unfinished = await self._write(self._ledger.unfinished_runs)
        rebuilt = _latest(unfinished, limits.REBUILT_ROWS_MAX)
        for run in unfinished:
            if run.status is not Status.RUNNING:
                self._live.want_profile(run.run_id)
                continue
            self._heard[run.run_id] = _Heard(run.last_received_unix_ns, self._clock())
            spans: list[NodeFinished] = []
            if run.run_id in rebuilt:
                spans = await self._ask(partial(queries.executions, run_id=run.run_id))
            self._live.rebuild(run.run_id, spans, is_complete=run.run_id in rebuilt)

    async def run(self) -> None:
        next_sweep = time.monotonic() + SWEEP_EVERY_S
        while True:
            with anyio.move_on_after(max(0.0, next_sweep - time.monotonic())):
                await self._news.wait()
                await anyio.sleep(SETTLE_S)
            self._news = anyio.Event()
            try:
                await self.profile_ended()
                if time.monotonic() >= next_sweep:
                    next_sweep = time.monotonic() + SWEEP_EVERY_S
                    await self._sweep()
                    await self._add_up_blocks()
            except LedgerNotNowError as error:
                _log.warning("profiles wait: %s", error)

    async def settled(self) -> None:
        """Until the profiles of all runs that have ended by now are stored, or could not be."""
        with anyio.move_on_after(limits.PROFILE_WAIT_S):
            if self._is_profiling:
                await self._round_over.wait()
            if self._live.has_ended:
                await self._round_over.wait()

    async def finish(self) -> None:
        """Before the daemon stops: what has just ended is profiled, if there are room and time.

        A stop soon after the start of a daemon that found many runs to profile must not wait for all.
        """
        try:
            with anyio.move_on_after(FINISH_S) as attempt:
                await self.profile_ended()
            if attempt.cancelled_caught:
                _log.info("some profiles wait for the next start")
        except LedgerNotNowError as error:
            _log.warning("profiles wait for the next start: %s", error)

    async def profile_ended(self) -> None:
        """Stores the profile of every run that has ended (again, for one that got late events)."""
        ended = deque(self._live.take_ended())
        if not ended:
            return
        self._is_profiling = True
        try:
            while ended:
                made = await self._profiles_of(ended)
                rows = await self._write(self._ledger.store_profiles, made)
                self._note_profiled(rows)
        finally:
            self._is_profiling = False
            self._round_over.set()
            self._round_over = anyio.Event()
        self._profiled()

    async def _profiles_of(self, run_ids: deque[str]) -> list[MadeProfile]:
        """Takes some runs, as many as are to be stored together, and profiles them."""
        made: list[MadeProfile] = []
        began = time.monotonic()
        while run_ids and len(made) < limits.PROFILES_STORED_MAX and time.monotonic() - began < STORE_EVERY_S:
            run_id = run_ids.popleft()
            try:
                profile, events = await self._ask(
                    partial(queries.final_profile, run_id=run_id, turn=self._readers.long_run)
                )
            except NotFoundError:
                continue  # it was purged meanwhile
            made.append(MadeProfile(run_id, profile, events))
        return made

    def _note_profiled(self, rows: Sequence[int]) -> None:
        if rows:
            first, last = self._profiled_rows or (rows[0], rows[0])
            self._profiled_rows = min(first, *rows), max(last, *rows)

    async def _add_up_blocks(self) -> None:
        """Keeps what runs add up to, where all of a block now have their profile."""
        if self._profiled_rows is None:
            return
        first, last = self._profiled_rows
        self._profiled_rows = None
        for wanted in await self._ask(partial(profile_blocks.wanted, first_run=first, last_run=last)):
            try:
                block = await self._ask(partial(queries.summed_block, wanted=wanted))
            except LedgerError as error:
                _log.warning("runs are not added up block=%s: %s", wanted.key, error)
            else:
                await self._write(self._ledger.store_profile_blocks, [block])

    async def producer_gone(self, producer_id: bytes) -> None:
        """All a producer left behind is committed, and its process is gone."""
        await self._interrupt(run for run in await self._in_flight() if run.producer_id == producer_id)

    async def _sweep(self) -> None:
        unfinished = await self._write(self._ledger.unfinished_runs)
        in_flight = [run for run in unfinished if run.status is Status.RUNNING]
        self._heard = {run.run_id: self._heard_of(run) for run in in_flight}
        await self._interrupt(run for run in in_flight if self._is_forsaken(run))
        for run in unfinished:
            if run.status is not Status.RUNNING:
                self._live.want_profile(run.run_id)

    def _heard_of(self, run: UnfinishedRun) -> _Heard:
        before = self._heard.get(run.run_id)
        if before is not None and before.received_unix_ns == run.last_received_unix_ns:
            return before
        return _Heard(run.last_received_unix_ns, self._clock())

    def _is_forsaken(self, run: UnfinishedRun) -> bool:
        if self._producers.is_connected(run.producer_id) or self._is_spooling(run.producer_id):
            return False
        bound_s = UNARY_SILENT_S if self._producers.is_unary(run.producer_id) else SILENT_S
        silent_s = self._clock() - self._heard[run.run_id].at_s
        return min(self._producers.silent_for_s(run.producer_id), silent_s) >= bound_s

    async def _in_flight(self) -> list[UnfinishedRun]:
        unfinished = await self._write(self._ledger.unfinished_runs)
        return [run for run in unfinished if run.status is Status.RUNNING]

    async def _interrupt(self, runs: Iterable[UnfinishedRun]) -> None:
        run_ids = [run.run_id for run in runs]
        if not run_ids:
            return
        for run_id in await self._write(self._ledger.mark_interrupted, run_ids):
            _log.info("interrupted run=%s", run_id)
            self._live.end(run_id)
        self.notice()


def _latest(unfinished: Sequence[UnfinishedRun], rows_max: int) -> set[str]:
    """The runs in flight that were heard of last, as many as have so many executions between them.

    One too long to be read at once is none of them: it could not be rebuilt from its beginning.
    """
    found: set[str] = set()
    for run in reversed(unfinished):
        if run.status is Status.RUNNING and run.executions < limits.LIVE_ROWS_MAX:
            rows_max -= run.executions
            if rows_max < 0:
                break
            found.add(run.run_id)
    return found
