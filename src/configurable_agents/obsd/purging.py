"""Removes runs that somebody wants gone: from the ledger, from its files, from memory and from the log."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from configurable_agents.client.home import Home
from configurable_agents.obsd.completion import to_its_end
from configurable_agents.obsd.ledger import purging
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.lifecycle import Write
from configurable_agents.obsd.reports import Readers
from configurable_agents.wire.account_records import PurgeReport

_log = logging.getLogger(__name__)

FOLD_IN_TRIES = 100
FOLD_IN_EVERY_S = 0.05
"""A report that is being read holds the write-ahead log; after that long the answer says so."""


class Purger:
    """For the daemon's event loop only. One purge at a time."""

    def __init__(
        self,
        home: Home,
        ledger: SqliteLedger,
        write: Write,
        readers: Readers,
        *,
        exporter: str,
        export_paused: Callable[[], AbstractAsyncContextManager[None]],
        forget: Callable[[str], None],
        prices: anyio.Lock,
    ) -> None:
        """`forget` is told of each run that is gone; who has `prices` makes prices anew."""
        self._home = home
        self._ledger = ledger
        self._write = write
        self._readers = readers
        self._exporter = exporter
        self._export_paused = export_paused
        self._forget = forget
        self._prices = prices
        self._turn = anyio.Lock()

    async def purge(self, run_id: str, *, apply: bool) -> PurgeReport:
        """What would be removed; with `apply` it is. Raises `NotFoundError`, `InvalidValueError`.

        The export rests meanwhile, so that nothing of the run is on its way: that may take as long as an
        export that MLflow does not answer.
        """
        async with self._turn:
            report = await self._readers.ask(
                partial(purging.run_to_purge, run_id=run_id, exporter=self._exporter)
            )
            if not apply:
                return report
            async with self._prices:
                look = partial(purging.unshared, run_id=report.run_id)
                known = await self._readers.ask(look, patience_s=math.inf)
                async with self._export_paused():
                    return await to_its_end(self._remove(report, known))

    async def _remove(self, report: PurgeReport, known: purging.Unshared) -> PurgeReport:
        events = await self._write(self._ledger.purge, report.run_id, known)
        self._forget(report.run_id)
        bytes_removed = await self._fold_in()
        await anyio.to_thread.run_sync(blot_out, self._home.log, report.run_id)
        _log.info("purged a run of %d events", events)
        return replace(report, events=events, purged=True, bytes_removed=bytes_removed)

    async def _fold_in(self) -> bool:
        for _ in range(FOLD_IN_TRIES):
            if await self._write(self._ledger.fold_in_log):
                return True
            await anyio.sleep(FOLD_IN_EVERY_S)
        return False


def blot_out(log: Path, text: str) -> None:
    """Overwrites a text in a log and in those before it, in place: the log may be written to meanwhile."""
    needle = text.encode()
    for path in log.parent.glob(f"{log.name}*"):
        with path.open("r+b") as file:
            content = file.read()
            at = content.find(needle)
            while at >= 0:
                file.seek(at)
                file.write(b"*" * len(needle))
                at = content.find(needle, at + len(needle))
