"""What was begun is done to its end, also when its client has hung up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from configurable_agents.client.home import Home
from configurable_agents.obsd.app import WriterThread
from configurable_agents.obsd.completion import to_its_end
from configurable_agents.obsd.ledger import purging
from configurable_agents.obsd.purging import Purger
from configurable_agents.obsd.reports import Readers

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_who_is_cancelled_again_and_again_leaves_when_the_work_is_done() -> None:
    may_end = asyncio.Event()
    ended: list[bool] = []

    async def work() -> None:
        ended.append(await may_end.wait())

    task = asyncio.create_task(to_its_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    assert (ended, task.done()) == ([], False)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_a_failure_is_that_of_the_work() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await to_its_end(fail())


async def test_a_purge_whose_client_has_hung_up_leaves_nothing_half_done(
    home: Home, book: Any, events: Any
) -> None:
    """The export rests until the run is gone; then memory forgets it, and the log."""
    run_id = "run-of-ada"
    book.commit(events.whole_run(run_id))
    home.log.write_text(f"INFO interrupted run={run_id}")
    may_go_on, told = threading.Event(), []
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def paused() -> AsyncIterator[None]:
        try:
            yield
        finally:
            told.append("the export goes on")

    class Slow:
        def purge(self, run_id: str, known: purging.Unshared) -> int:
            loop.call_soon_threadsafe(begun.set)
            may_go_on.wait()
            return int(book.ledger.purge(run_id, known))

        fold_in_log = book.ledger.fold_in_log

    readers = Readers(book.path)
    slow: Any = Slow()
    write = WriterThread(lambda error: pytest.fail(str(error)))
    purger = Purger(
        home,
        slow,
        write,
        readers,
        exporter="mlflow",
        export_paused=paused,
        forget=told.append,
        prices=anyio.Lock(),
    )
    task = asyncio.create_task(purger.purge(run_id, apply=True))
    await begun.wait()
    task.cancel()
    await anyio.to_thread.run_sync(bool)
    assert told == []
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == [run_id, "the export goes on"]
    assert run_id not in home.log.read_text()
    assert book.rows("SELECT COUNT(*) FROM runs") == [(0,)]
    readers.close()
