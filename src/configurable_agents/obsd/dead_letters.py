"""Has events that were set aside offered to their exporter again, or gives them up."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial

from configurable_agents.errors import InvalidValueError
from configurable_agents.obsd import limits
from configurable_agents.obsd.completion import to_its_end
from configurable_agents.obsd.ledger import dead_letters as letters
from configurable_agents.obsd.ledger.dead_letters import LetterState
from configurable_agents.obsd.ledger.scopes import resolve, retired_runs
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.lifecycle import Write
from configurable_agents.obsd.reports import Readers
from configurable_agents.wire.account_records import DeadLetterFilter, DeadLetters


class DeadLetterOffice:
    """For the daemon's event loop only."""

    def __init__(
        self,
        ledger: SqliteLedger,
        write: Write,
        readers: Readers,
        *,
        exporter: str,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is told when there is something to export again."""
        self._ledger = ledger
        self._write = write
        self._readers = readers
        self._exporter = exporter
        self._changed = changed

    async def listed(self, wanted: DeadLetterFilter) -> DeadLetters:
        limit = limits.DEAD_LETTER_GROUPS_MAX
        return await self._readers.ask(partial(letters.listed, wanted=wanted, limit=limit))

    async def retry(self, wanted: DeadLetterFilter) -> int:
        """Puts what is set aside in front of its exporter again. Returns how many events."""
        return await self._change(wanted, LetterState.RETRYING)

    async def drop(self, wanted: DeadLetterFilter) -> int:
        """Gives up what is set aside; it stays in the ledger. Returns how many events."""
        return await self._change(wanted, LetterState.DROPPED)

    async def retry_whole_run(self, wanted: DeadLetterFilter) -> int:
        """Offers all events of one run again. Raises `RowsRetiredError` when its rows are gone."""
        if not wanted.scope.run_id:
            raise InvalidValueError("say which run is to be exported again as a whole: --run")
        run = await self._readers.ask(partial(_run_with_rows, wanted=wanted))
        exporter = wanted.exporter or self._exporter
        return await to_its_end(self._retry_run(exporter, run))

    async def _retry_run(self, exporter: str, run: int) -> int:
        count = await self._write(self._ledger.retry_whole_run, exporter, run, time.time_ns())
        self._changed()
        return count

    async def _change(self, wanted: DeadLetterFilter, state: LetterState) -> int:
        """In small steps, between which events are taken in. What was cut short can be repeated."""
        return await to_its_end(self._change_all(wanted, state))

    async def _change_all(self, wanted: DeadLetterFilter, state: LetterState) -> int:
        count, at_unix_ns = 0, time.time_ns()
        while some := await self._write(self._ledger.change_dead_letters, wanted, state, at_unix_ns):
            count += some
        if count and state is LetterState.RETRYING:
            self._changed()
        return count


def _run_with_rows(connection: sqlite3.Connection, wanted: DeadLetterFilter) -> int:
    found = resolve(connection, wanted.scope)
    retired_runs(connection, found)
    return int(found.run or 0)
