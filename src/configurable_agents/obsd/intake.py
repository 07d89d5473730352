"""Where received batches wait for the next commit, and their senders for its outcome."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from configurable_agents.errors import AgentsObsError
from configurable_agents.obsd import limits
from configurable_agents.obsd.records import Acknowledgement, Batch, Committed

Commit = Callable[[Sequence[Batch]], Awaitable[Committed]]


class _Waiting(NamedTuple):
    batch: Batch
    size_bytes: int
    outcome: asyncio.Future[Acknowledgement]


class _Refused(NamedTuple):
    """From where on a producer must send again, and why."""

    sequence: int
    reason: AgentsObsError


class Intake:
    """Collects what all connections bring and has it committed together, one transaction at a time.

    While one transaction is on its way to the disk the next one gathers: the busier the daemon, the
    larger its commits. For the daemon's event loop only.

    After a batch that could not be committed nothing of its producer is, until that batch comes again:
    the ledger remembers how far a producer is, and would take what was left out for a duplicate.
    """

    def __init__(self, commit: Commit, committed: Callable[[Committed], None]) -> None:
        """`commit` makes batches durable; `committed` is told of each outcome before the senders are."""
        self._commit = commit
        self._committed = committed
        self._waiting: deque[_Waiting] = deque()
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._pending_bytes = 0
        self._pending_events = 0
        self._arrival = asyncio.Event()
        self._room = asyncio.Condition()
        self._closing = False

    @property
    def events_pending(self) -> int:
        """Handed in and not yet durable."""
        return self._pending_events

    async def put(self, batch: Batch, *, size_bytes: int) -> asyncio.Future[Acknowledgement]:
        """Hands in a batch; waits while `PENDING_BYTES_MAX` are pending. The future is its outcome.

        The future raises `LedgerNotNowError` when there was no room or no lock; nothing of the batch was
        kept then. Batches of one caller are committed in the order they were put.
        """
        async with self._room:
            await self._room.wait_for(lambda: self._pending_bytes < limits.PENDING_BYTES_MAX)
            outcome: asyncio.Future[Acknowledgement] = asyncio.get_running_loop().create_future()
            self._waiting.append(_Waiting(batch, size_bytes, outcome))
            self._pending_bytes += size_bytes
            self._pending_events += len(batch.events)
        self._arrival.set()
        return outcome

    async def run(self) -> None:
        """Commits until `close`, and then what is still waiting."""
        while True:
            await self._arrival.wait()
            self._arrival.clear()
            while self._waiting:
                await self._commit_together(self._gather())
            if self._closing:
                return

    def close(self) -> None:
        """Ends `run` once everything that was put is committed."""
        self._closing = True
        self._arrival.set()

    def _gather(self) -> list[_Waiting]:
        together: list[_Waiting] = []
        event_count = 0
        while self._waiting and event_count < limits.COMMIT_EVENTS_MAX:
            waiting = self._waiting.popleft()
            together.append(waiting)
            event_count += len(waiting.batch.events)
        return together

    async def _commit_together(self, together: list[_Waiting]) -> None:
        try:
            await self._commit_in_order([waiting for waiting in together if self._is_next(waiting)])
        finally:
            await self._make_room(together)

    def _is_next(self, waiting: _Waiting) -> bool:
        """Whether nothing is missing before it. It is refused like what is missing otherwise."""
        batch = waiting.batch
        refused = self._refused.get(batch.producer_id) if self._refused else None
        if refused is None:
            return True
        if batch.first_sequence > refused.sequence:
            _fail(waiting.outcome, refused.reason)
            return False
        if batch.first_sequence + len(batch.events) > refused.sequence:
            del self._refused[batch.producer_id]
        return True

    async def _commit_in_order(self, together: list[_Waiting]) -> None:
        if not together:
            return
        try:
            outcome = await self._commit([waiting.batch for waiting in together])
        except AgentsObsError as error:
            for waiting in together:
                self._refuse(waiting, error)
        else:
            self._committed(outcome)
            for waiting, acknowledgement in zip(together, outcome.acknowledgements, strict=True):
                if not waiting.outcome.done():
                    waiting.outcome.set_result(acknowledgement)

    def _refuse(self, waiting: _Waiting, error: AgentsObsError) -> None:
        batch = waiting.batch
        before = self._refused.get(batch.producer_id)
        sequence = batch.first_sequence if before is None else min(before.sequence, batch.first_sequence)
        self._refused[batch.producer_id] = _Refused(sequence, error)
        if len(self._refused) > limits.REFUSED_PRODUCERS_MAX:
            self._refused.popitem(last=False)
        _fail(waiting.outcome, error)

    async def _make_room(self, together: Sequence[_Waiting]) -> None:
        async with self._room:
            self._pending_bytes -= sum(waiting.size_bytes for waiting in together)
            self._pending_events -= sum(len(waiting.batch.events) for waiting in together)
            self._room.notify_all()


def _fail(outcome: asyncio.Future[Acknowledgement], error: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(error)
        outcome.exception()  # its sender may be gone; that is no news then
