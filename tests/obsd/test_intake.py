"""The intake: one commit at a time for everyone, bounded in bytes, in order, and never cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest

from configurable_agents.errors import LedgerError, LedgerFullError, OverloadedError
from configurable_agents.obsd import limits
from configurable_agents.obsd.app import WriterThread
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.records import Acknowledgement, Batch, Committed

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Ledger:
    """A ledger whose commits end when they are told to: time is what is replaced here."""

    def __init__(self) -> None:
        self.commits: list[list[int]] = []
        self.begun = asyncio.Semaphore(0)
        self.may_end = asyncio.Semaphore(0)
        self.told: list[Committed] = []
        self.failure: Exception | None = None
        self.next = 0

    async def next_sequence(self, producer_id: bytes) -> int:
        return self.next

    async def commit(self, batches: Sequence[Batch]) -> Committed:
        self.commits.append([batch.first_sequence for batch in batches])
        self.begun.release()
        await self.may_end.acquire()
        if self.failure is not None:
            raise self.failure
        return Committed([Acknowledgement(batch.first_sequence + 1) for batch in batches])


def batch(number: int, *, events: int = 1) -> Callable[[], Batch]:
    return lambda: Batch(bytes(16), number, [None] * events)  # type: ignore[list-item]


async def test_what_arrives_during_a_commit_is_committed_together_in_order() -> None:
    ledger = Ledger()
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        outcomes = [await intake.put(batch(0), size_bytes=10)]
        await ledger.begun.acquire()
        outcomes += [await intake.put(batch(number), size_bytes=10) for number in range(1, 5)]
        assert intake.events_pending == 5
        assert not any(outcome.done() for outcome in outcomes)
        ledger.may_end.release()
        assert (await outcomes[0]).next_sequence == 1
        ledger.may_end.release()
        assert [(await outcome).next_sequence for outcome in outcomes] == [1, 2, 3, 4, 5]
        intake.close()
    assert ledger.commits == [[0], [1, 2, 3, 4]]
    assert intake.events_pending == 0


async def test_nobody_is_told_before_the_commit_and_the_daemon_before_the_sender() -> None:
    ledger = Ledger()
    order: list[str] = []
    intake = Intake(ledger.commit, lambda _: order.append("daemon"), next_sequence=ledger.next_sequence)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        outcome = await intake.put(batch(0), size_bytes=10)
        outcome.add_done_callback(lambda _: order.append("sender"))
        await ledger.begun.acquire()
        assert order == []
        ledger.may_end.release()
        await outcome
        intake.close()
    assert order == ["daemon", "sender"]


async def test_a_commit_has_a_bound_in_events() -> None:
    ledger = Ledger()
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    outcomes = [await intake.put(batch(number, events=2000), size_bytes=1) for number in range(15)]
    for _ in range(2):
        ledger.may_end.release()
    intake.close()
    await intake.run()
    assert [len(commit) for commit in ledger.commits] == [limits.COMMIT_EVENTS_MAX // 2000, 5]
    assert all(outcome.done() for outcome in outcomes)


async def test_at_the_bound_in_bytes_a_sender_waits_until_there_is_room() -> None:
    ledger = Ledger()
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        await intake.put(batch(0), size_bytes=limits.PENDING_BYTES_MAX)
        await ledger.begun.acquire()
        waiting = asyncio.ensure_future(intake.put(batch(1), size_bytes=1))
        await anyio.wait_all_tasks_blocked()
        assert not waiting.done()
        ledger.may_end.release()
        outcome = await waiting
        ledger.may_end.release()
        await outcome
        intake.close()


async def test_a_sender_that_leaves_while_it_waits_for_room_leaves_no_trace() -> None:
    ledger = Ledger()
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        await intake.put(batch(0), size_bytes=limits.PENDING_BYTES_MAX)
        waiting = asyncio.ensure_future(intake.put(batch(1), size_bytes=1))
        await anyio.wait_all_tasks_blocked()
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        ledger.may_end.release()
        intake.close()
    assert ledger.commits == [[0]]
    assert intake._pending_bytes == 0


async def test_what_waits_for_room_waits_unread_and_what_is_turned_away_leaves_no_gap() -> None:
    ledger = Ledger()
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    await intake.put(batch(0), size_bytes=limits.PENDING_BYTES_MAX)
    made: list[int] = []

    def make(number: int) -> Callable[[], Batch]:
        return lambda: (made.append(number), batch(number)())[1]

    waiting = [
        asyncio.ensure_future(intake.put(make(number), size_bytes=limits.ROOMLESS_BYTES_MAX // 4))
        for number in range(4)
    ]
    await anyio.wait_all_tasks_blocked()
    assert intake.bytes_pending == limits.PENDING_BYTES_MAX + limits.ROOMLESS_BYTES_MAX
    assert made == [], "what waits for room waits as bytes"
    with pytest.raises(OverloadedError):
        await intake.put(make(8), size_bytes=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        for _ in range(6):
            ledger.may_end.release()
        for put in waiting:
            await (await put)
        beyond = await intake.put(batch(9), size_bytes=1)
        with pytest.raises(OverloadedError):
            await beyond
        assert intake.bytes_pending == 0, "the batch before it has not come again"
        intake.close()
    assert made == [8, 0, 1, 2, 3]
    assert intake.bytes_pending == 0


async def test_the_oldest_batch_says_how_long_it_has_waited_and_commits_how_long_they_took() -> None:
    ledger, now = Ledger(), 100.0
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence, clock=lambda: now)
    assert (intake.oldest_pending_s, intake.commit_s(99), intake.has_work) == (0.0, None, False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        await intake.put(batch(0, events=3), size_bytes=1)
        await ledger.begun.acquire()
        now = 105.0
        assert (intake.oldest_pending_s, intake.has_work) == (5.0, True)
        ledger.may_end.release()
        await anyio.wait_all_tasks_blocked()
        assert (intake.oldest_pending_s, intake.commit_s(50), intake.commit_s(99)) == (0.0, 5.0, 5.0)
        assert (intake.commits, intake.events_acknowledged, intake.has_work) == (1, 3, False)
        intake.close()


async def test_work_that_failed_is_not_done_until_its_sender_has_had_time_to_try_again() -> None:
    ledger, now = Ledger(), 100.0
    ledger.failure = LedgerFullError("the disk is full")
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence, clock=lambda: now)
    outcome = await intake.put(batch(0), size_bytes=1)
    ledger.may_end.release()
    intake.close()
    await intake.run()
    with pytest.raises(LedgerFullError):
        await outcome
    assert (intake.has_work, intake.problem, intake.commits) == (True, "the disk is full", 0)
    now = 131.0
    assert not intake.has_work


async def test_a_failed_commit_reaches_every_sender_and_the_next_goes_on() -> None:
    ledger = Ledger()
    ledger.failure = LedgerFullError("full")
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    outcomes = [
        await intake.put(batch(number), size_bytes=limits.PENDING_BYTES_MAX // 4) for number in range(3)
    ]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        ledger.may_end.release()
        for outcome in outcomes:
            with pytest.raises(LedgerFullError):
                await outcome
        ledger.failure = None
        ledger.may_end.release()
        await (await intake.put(batch(0), size_bytes=1))
        intake.close()
    assert ledger.told != []
    assert intake._pending_bytes == 0


async def test_after_a_refused_batch_its_producer_is_taken_no_further_until_that_batch_comes_again() -> None:
    """The ledger would take what was left out for a duplicate when it comes again, and lose it."""
    ledger = Ledger()
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        ledger.failure = LedgerFullError("full")
        refused = await intake.put(batch(5), size_bytes=1)
        await ledger.begun.acquire()
        following = await intake.put(batch(6), size_bytes=1)
        other = await intake.put(lambda: Batch(b"o" * 16, 1, [None]), size_bytes=1)  # type: ignore[list-item]
        ledger.may_end.release()
        with pytest.raises(LedgerFullError):
            await refused
        ledger.failure = None
        ledger.may_end.release()
        assert (await other).next_sequence == 2
        with pytest.raises(LedgerFullError):
            await following
        again = [await intake.put(batch(number), size_bytes=1) for number in (4, 6, 5, 6)]
        ledger.may_end.release()
        with pytest.raises(LedgerFullError):
            await again[1]
        assert [(await each).next_sequence for each in (again[0], again[2], again[3])] == [5, 6, 7]
        intake.close()
    assert ledger.commits == [[5], [1], [4, 5, 6]]
    assert intake._pending_bytes == 0


async def test_a_sender_may_go_on_where_it_was_acknowledged_after_a_refused_batch_that_began_earlier() -> (
    None
):
    ledger = Ledger()
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.run)
        ledger.next, ledger.failure = 7, LedgerFullError("full")
        refused = await intake.put(batch(4, events=6), size_bytes=1)
        ledger.may_end.release()
        with pytest.raises(LedgerFullError):
            await refused
        ledger.failure = None
        ledger.may_end.release()
        await (await intake.put(batch(7), size_bytes=1))
        intake.close()
    assert ledger.commits == [[4], [7]]


async def test_after_an_error_that_does_not_pass_the_ledger_is_not_written_to_again() -> None:
    told: list[Exception] = []
    write = WriterThread(told.append)

    def fail() -> None:
        raise LedgerError("the disk failed")

    written: list[int] = []
    with pytest.raises(LedgerError, match="the disk failed"):
        await write(fail)
    with pytest.raises(LedgerError, match="the disk failed"):
        await write(written.append, 1)
    assert written == []
    assert isinstance(told[0], LedgerError)


async def test_an_error_that_passes_is_no_reason_to_stop_writing() -> None:
    write = WriterThread(lambda error: pytest.fail(str(error)))

    def fail() -> None:
        raise LedgerFullError("full")

    written: list[int] = []
    with pytest.raises(LedgerFullError):
        await write(fail)
    await write(written.append, 1)
    assert written == [1]


async def test_closing_commits_what_still_waits() -> None:
    ledger = Ledger()
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    outcome = await intake.put(batch(0), size_bytes=1)
    intake.close()
    ledger.may_end.release()
    await intake.run()
    assert outcome.result().next_sequence == 1


async def test_a_sender_that_is_gone_disturbs_no_commit() -> None:
    ledger = Ledger()
    intake = Intake(ledger.commit, ledger.told.append, next_sequence=ledger.next_sequence)
    gone, stays = [await intake.put(batch(number), size_bytes=1) for number in range(2)]
    gone.cancel()
    intake.close()
    ledger.may_end.release()
    await intake.run()
    assert stays.result().next_sequence == 2


async def test_a_commit_is_never_cancelled(book: Any, events: Any) -> None:
    """Whoever asked for it may be cancelled at any moment; the ledger has all or nothing, and is not busy."""
    write = WriterThread(lambda error: pytest.fail(str(error)))
    finished = []

    async def commit() -> None:
        finished.append(
            await write(book.commit, [events.node(f"n{index}", index + 1) for index in range(5000)])
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commit)
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert book.rows("SELECT COUNT(*) FROM node_executions") in ([(5000,)], [(0,)])
    assert len(finished) == book.rows("SELECT COUNT(*) FROM node_executions")[0][0] // 5000


async def test_a_caller_that_grpc_cancels_does_not_let_another_into_the_ledger() -> None:
    """The scopes of anyio do not hold against it: what comes next must wait all the same."""
    write = WriterThread(lambda error: pytest.fail(str(error)))
    begun, may_end = threading.Event(), threading.Event()
    ended: list[str] = []

    def hold() -> None:
        begun.set()
        may_end.wait()
        ended.append("first")

    first = asyncio.create_task(write(hold))
    await anyio.to_thread.run_sync(begun.wait)
    first.cancel()
    second = asyncio.create_task(write(ended.append, "second"))
    for _ in range(100):
        await anyio.to_thread.run_sync(bool)
    may_end.set()
    await second
    assert ended == ["first", "second"]
    assert first.cancelled()


async def test_the_failure_of_a_call_whose_caller_is_gone_is_told() -> None:
    told: list[Exception] = []
    write = WriterThread(told.append)
    begun, may_end = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        may_end.wait()
        raise LedgerError("the disk failed")

    first = asyncio.create_task(write(fail))
    await anyio.to_thread.run_sync(begun.wait)
    first.cancel()
    may_end.set()
    with pytest.raises(LedgerError, match="the disk failed"):
        await write(pytest.fail, "written to")
    assert [str(error) for error in told] == ["the disk failed", "the disk failed"]


async def test_closing_the_writer_waits_for_a_call_whose_caller_is_gone() -> None:
    write = WriterThread(lambda error: pytest.fail(str(error)))
    begun, may_end = threading.Event(), threading.Event()
    ended: list[bool] = []

    def hold() -> None:
        begun.set()
        ended.append(may_end.wait())

    first = asyncio.create_task(write(hold))
    await anyio.to_thread.run_sync(begun.wait)
    first.cancel()
    asyncio.get_running_loop().call_soon(may_end.set)
    await anyio.to_thread.run_sync(write.close)
    assert ended == [True]
