"""Questions to the ledger: how many at a time, for how long, and what becomes of those nobody waits for."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from configurable_agents.errors import LedgerBusyError, LedgerError, LedgerFullError, NotFoundError
from configurable_agents.obsd import limits, reports
from configurable_agents.obsd.reports import Readers

pytestmark = pytest.mark.anyio

WITHOUT_END = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def readers(book: Any) -> AsyncIterator[Readers]:
    found = Readers(book.path)
    yield found
    await found.leave()


def count_runs(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0])


async def test_a_question_that_takes_too_long_is_given_up_and_says_so(readers: Readers) -> None:
    def ask(connection: sqlite3.Connection) -> None:
        connection.execute(WITHOUT_END).fetchone()

    with pytest.raises(LedgerError, match=r"takes longer than .* s; a narrower scope may do"):
        await readers.ask(ask, patience_s=0.05)
    assert await readers.ask(count_runs) == 0


async def test_a_question_nobody_waits_for_any_more_ends_and_had_its_place_until_then(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many clients as like may ask and hang up: there are never more at work than may be."""
    monkeypatch.setattr(reports, "_STEPS_BETWEEN_LOOKS", 1_000)
    working, most = [0], [0]
    turn = threading.Lock()

    def ask(connection: sqlite3.Connection) -> None:
        with turn:
            working[0] += 1
            most[0] = max(most[0], working[0])
        try:
            connection.execute(WITHOUT_END).fetchone()
        finally:
            with turn:
                working[0] -= 1

    for _ in range(5 * limits.REPORT_READERS_MAX):
        asked = asyncio.create_task(readers.ask(ask))
        while not working[0]:
            await anyio.to_thread.run_sync(bool)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    assert await readers.ask(count_runs) == 0
    await readers.leave()
    assert working == [0]
    assert most[0] <= limits.REPORT_READERS_MAX


async def test_leaving_waits_for_what_was_given_up(readers: Readers) -> None:
    begun, may_end = threading.Event(), threading.Event()
    ended: list[bool] = []

    def ask(connection: sqlite3.Connection) -> None:
        begun.set()
        ended.append(may_end.wait())

    asked = asyncio.create_task(readers.ask(ask))
    await anyio.to_thread.run_sync(begun.wait)
    asked.cancel()
    leaving = asyncio.create_task(readers.leave())
    await anyio.to_thread.run_sync(bool)
    assert not leaving.done()
    may_end.set()
    await leaving
    assert ended == [True]


async def test_reasons_that_pass_are_told_apart_from_those_that_do_not(readers: Readers) -> None:
    """Whoever keeps the ledger in order waits for the one kind, and must not go on after the other."""

    def need_room(connection: sqlite3.Connection) -> None:
        small = sqlite3.connect(":memory:")
        small.execute("PRAGMA max_page_count = 1")
        small.execute("CREATE TABLE more (x)")

    def ask_nonsense(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT x FROM missing")

    with pytest.raises(LedgerFullError):
        await readers.ask(need_room)
    with pytest.raises(LedgerError, match="the ledger cannot answer: no such table: missing") as caught:
        await readers.ask(ask_nonsense)
    assert not isinstance(caught.value, LedgerFullError | LedgerBusyError)


async def test_a_ledger_that_another_program_holds_is_busy(tmp_path: Any) -> None:
    path = tmp_path / "held.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE runs (id)")
    holder.execute("BEGIN EXCLUSIVE")

    def ask(connection: sqlite3.Connection) -> int:
        connection.execute("PRAGMA busy_timeout = 0")
        return count_runs(connection)

    readers = Readers(path)
    with pytest.raises(LedgerBusyError, match="another program holds the ledger"):
        await readers.ask(ask)
    holder.execute("COMMIT")
    assert await readers.ask(ask) == 0
    readers.close()
    holder.close()


async def test_a_connection_is_used_again_unless_it_failed(readers: Readers) -> None:
    seen: list[sqlite3.Connection] = []

    def refuse(connection: sqlite3.Connection) -> None:
        seen.append(connection)
        raise NotFoundError("no")

    def fail(connection: sqlite3.Connection) -> None:
        seen.append(connection)
        connection.execute("SELECT x FROM missing")

    for ask, expected in ((refuse, NotFoundError), (fail, LedgerError), (refuse, NotFoundError)):
        with pytest.raises(expected):
            await readers.ask(ask)
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2]
