"""The ledger's housekeeping: removes what is past its time, gives space back, folds the log in."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from configurable_agents.client.home import Home
from configurable_agents.errors import LedgerError, LedgerNotNowError
from configurable_agents.obsd import limits
from configurable_agents.obsd.disk import file_bytes, files_of
from configurable_agents.obsd.ledger import damage, retention
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.lifecycle import Write
from configurable_agents.obsd.quantities import size_text
from configurable_agents.obsd.storage_policy import StoragePolicy

_log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY_S = 5.0
"""How often the size of the log is looked at."""

RETENTION_EVERY_S = 60.0
"""How often it is looked for what is past its time."""

STEP_PAUSE_S = 0.02
"""Between two steps, so that commits of events come first."""

SETTLED_S = 60.0
"""For the size cap too, a run is left alone for so long after its last event."""


class Ask(Protocol):
    async def __call__(self, question: Callable[[sqlite3.Connection], T]) -> T: ...


class Upkeep:
    """For the daemon's event loop only. Every step is one short transaction of the ledger's."""

    def __init__(
        self,
        home: Home,
        policy: StoragePolicy,
        ledger: SqliteLedger,
        write: Write,
        ask: Ask,
        *,
        exporter: str,
        failed: Callable[[Exception], None],
        clock: Callable[[], int],
    ) -> None:
        """`exporter` must have taken what is removed; empty where nothing is exported.

        `failed` is told of damage, after which the ledger must not be written to. Rows grow old by `clock`,
        in Unix ns.
        """
        self._ledger_path = home.ledger
        self._policy = policy
        self._ledger = ledger
        self._write = write
        self._ask = ask
        self._exporter = exporter
        self._failed = failed
        self._clock = clock
        self.checked = ledger.checked
        """How far the ledger was looked through for damage."""
        self.note = ""
        """What keeps the ledger beyond its size; empty: nothing."""

    async def run(self) -> None:
        unfinished, next_look = True, 0.0
        while True:
            try:
                await self.fold_in_log()
                if unfinished:
                    await self.finish_removals()
                    unfinished = False
                if time.monotonic() >= next_look:
                    await self.look()
                    next_look = time.monotonic() + RETENTION_EVERY_S
            except LedgerNotNowError as error:
                _log.warning("upkeep waits: %s", error)
            await anyio.sleep(LOOK_EVERY_S)

    async def check(self) -> None:
        """Looks through a ledger that was too large for it at the start."""
        if self.checked != damage.CHECKED_LATER:
            return
        over = threading.Event()
        try:
            await anyio.to_thread.run_sync(self._check, over, abandon_on_cancel=True)
            self.checked = damage.CHECKED
        except LedgerError as error:
            self._failed(error)
        finally:
            over.set()

    def _check(self, over: threading.Event) -> None:
        with closing(open_for_reading(self._ledger_path)) as connection:
            damage.quick_check(connection, self._ledger_path, is_over=over.is_set)

    async def finish_removals(self) -> None:
        """What a daemon before this one had begun to remove."""
        for run in await self._ask(retention.still_have_rows):
            await self._remove_rows(run)

    async def look(self) -> None:
        """Removes everything that is past its time, and the oldest while the ledger is too large."""
        if self._policy.raw_s is not None:
            await self._retire_before(self._ago(self._policy.raw_s))
        if self._policy.totals_s is not None:
            await self._remove_before(self._ago(self._policy.totals_s))
        if self._policy.ledger_bytes_max is not None:
            await self._shrink_to(self._policy.ledger_bytes_max)
        await self._return_space()

    async def fold_in_log(self) -> None:
        """Cuts off a write-ahead log that has grown because somebody read for long."""
        _, log = files_of(self._ledger_path)
        if file_bytes(log) > limits.WAL_BYTES_MAX and not await self._write(self._ledger.fold_in_log):
            _log.info("the write-ahead log has %s and is being read", size_text(file_bytes(log)))

    def _ago(self, age_s: float) -> int:
        return self._clock() - int(age_s * 1e9)

    async def _retire_before(self, before_unix_ns: int) -> None:
        while runs := await self._find(retention.to_retire, before_unix_ns, limits.RETIRED_RUNS_PER_LOOK):
            retired = [run for run in runs if await self._retire(run, for_size=False)]
            if len(runs) < limits.RETIRED_RUNS_PER_LOOK or not retired:
                return

    async def _remove_before(self, before_unix_ns: int) -> None:
        while runs := await self._find(retention.to_remove, before_unix_ns, limits.REMOVED_RUNS_PER_STEP):
            await self._write(self._ledger.remove_runs, runs)
            await _pause()

    async def _find(self, question: Callable[..., list[int]], before_unix_ns: int, limit: int) -> list[int]:
        return await self._ask(
            partial(question, exporter=self._exporter, before_unix_ns=before_unix_ns, limit=limit)
        )

    async def _retire(self, run: int, *, for_size: bool) -> bool:
        kept = await self._ask(partial(retention.summed_up, run=run, exporter=self._exporter))
        if kept is None or not await self._write(partial(self._ledger.retire, for_size=for_size), kept):
            return False
        await self._remove_rows(run)
        return True

    async def _remove_rows(self, run: int) -> None:
        while await self._write(self._ledger.remove_some_rows, run):
            await _pause()

    async def _shrink_to(self, bytes_max: int) -> None:
        """The oldest rows first; when there are no more, the oldest runs."""
        self.note = ""
        while (used_bytes := await self._ask(retention.used_bytes)) > bytes_max:
            before = self._ago(SETTLED_S)
            if await self._retire_oldest(before):
                continue
            runs = await self._find(retention.to_remove, before, limits.REMOVED_RUNS_PER_STEP)
            if not runs:
                self.note = (
                    f"the ledger has {size_text(used_bytes)}, more than its size of {size_text(bytes_max)}:"
                    " what is left is in flight, not exported yet or set aside"
                )
                return
            await self._write(self._ledger.remove_runs, runs)
            await _pause()

    async def _retire_oldest(self, before_unix_ns: int) -> bool:
        """The oldest run that can be: one that cannot must not keep the others."""
        for run in await self._find(retention.to_retire, before_unix_ns, limits.RETIRED_RUNS_PER_LOOK):
            if await self._retire(run, for_size=True):
                return True
        return False

    async def _return_space(self) -> None:
        free = await self._ask(retention.free_pages)
        while free > limits.FREE_PAGES_KEPT:
            before, free = free, await self._write(self._ledger.return_space)
            if free >= before:
                return
            await _pause()


async def _pause() -> None:
    await anyio.sleep(STEP_PAUSE_S)
