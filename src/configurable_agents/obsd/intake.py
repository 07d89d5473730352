"""Where received batches wait for the next commit, and their senders for its outcome."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from configurable_agents.errors import AgentsObsError, LedgerError, OverloadedError
from configurable_agents.obsd import limits
from configurable_agents.obsd.records import Acknowledgement, Batch, Committed

Commit = Callable[[Sequence[Batch]], Awaitable[Committed]]


COMMITS_TIMED = 1_000
"""Commits whose duration is remembered: the latest."""

RETRY_EXPECTED_S = 30.0
"""After a failed commit its senders try again within seconds. Until they do, the work is not done."""


class _Waiting(NamedTuple):
    batch: Batch
    size_bytes: int
    received_s: float
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

    def __init__(
        self,
        commit: Commit,
        committed: Callable[[Committed], None],
        *,
        next_sequence: Callable[[bytes], Awaitable[int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`commit` makes batches durable; `committed` is told of each outcome before the senders are;
        `next_sequence` says how far the ledger is with a producer."""
        self._commit = commit
        self._next_sequence = next_sequence
        self._committed = committed
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._committing: Sequence[_Waiting] = ()
        self._pending_bytes = 0
        self._pending_events = 0
        self._roomless_bytes = 0
        self._durations_s: deque[float] = deque(maxlen=COMMITS_TIMED)
        self._failed_s = -math.inf
        self.commits = 0
        """That went well."""
        self.events_acknowledged = 0
        """Duplicates and refused ones included: their sender need not keep them."""
        self.problem = ""
        """Why the last commit failed; empty when it did not."""
        self._arrival = asyncio.Event()
        self._room = asyncio.Condition()
        self._closing = False

    @property
    def events_pending(self) -> int:
        """Handed in and not yet durable."""
        return self._pending_events

    @property
    def bytes_pending(self) -> int:
        """The same in bytes, with what waits for room."""
        return self._pending_bytes + self._roomless_bytes

    @property
    def has_work(self) -> bool:
        """Whether somebody waits for a commit, or can be expected to try again one that failed."""
        waits = bool(self._committing or self._waiting)
        return waits or (bool(self.problem) and self._clock() - self._failed_s < RETRY_EXPECTED_S)

    @property
    def oldest_pending_s(self) -> float:
        """How long the batch received first of those pending has waited; 0 when there is none."""
        pending = self._committing or self._waiting
        return self._clock() - pending[0].received_s if pending else 0.0

    def commit_s(self, percent: int) -> float | None:
        """A percentile of the durations of the latest commits; `None` before the first."""
        durations = sorted(self._durations_s)
        return durations[min(len(durations) - 1, len(durations) * percent // 100)] if durations else None

    async def put(self, make: Callable[[], Batch], *, size_bytes: int) -> asyncio.Future[Acknowledgement]:
        """Hands in a batch; waits while `PENDING_BYTES_MAX` are pending. The future is its outcome.

        The batch is made once there is room for it: what waits for room, waits as bytes.
        Raises `OverloadedError` when too much waits for room already, and what `make` raises.

        The future raises `LedgerNotNowError` when there was no room or no lock; nothing of the batch was
        kept then. Batches of one caller are committed in the order they were put.
        """
        async with self._room:
            if self._pending_bytes >= limits.PENDING_BYTES_MAX:
                if self._roomless_bytes + size_bytes > limits.ROOMLESS_BYTES_MAX:
                    raise self._turned_away(make())
                await self._wait_for_room(size_bytes)
            batch = make()
            outcome: asyncio.Future[Acknowledgement] = asyncio.get_running_loop().create_future()
            self._waiting.append(_Waiting(batch, size_bytes, self._clock(), outcome))
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

    def _turned_away(self, batch: Batch) -> OverloadedError:
        error = OverloadedError("the daemon has received more than it can commit; send it again later")
        self._note_refused(batch, error)
        return error

    async def _wait_for_room(self, size_bytes: int) -> None:
        self._roomless_bytes += size_bytes
        try:
            await self._room.wait_for(lambda: self._pending_bytes < limits.PENDING_BYTES_MAX)
        finally:
            self._roomless_bytes -= size_bytes

    def _gather(self) -> list[_Waiting]:
        together: list[_Waiting] = []
        event_count = 0
        while self._waiting and event_count < limits.COMMIT_EVENTS_MAX:
            waiting = self._waiting.popleft()
            together.append(waiting)
            event_count += len(waiting.batch.events)
        return together

    async def _commit_together(self, together: list[_Waiting]) -> None:
        self._committing = together
        try:
            await self._commit_in_order([waiting for waiting in together if await self._is_next(waiting)])
        finally:
            self._committing = ()
            await self._make_room(together)

    async def _is_next(self, waiting: _Waiting) -> bool:
        """Whether nothing is missing before it. It is refused like what is missing otherwise."""
        batch = waiting.batch
        refused = self._refused.get(batch.producer_id) if self._refused else None
        if refused is None:
            return True
        try:  # a refused batch may have begun with what is committed, and that does not come again
            position = max(refused.sequence, await self._next_sequence(batch.producer_id))
        except LedgerError as error:
            _fail(waiting.outcome, error)
            return False
        if batch.first_sequence > position:
            _fail(waiting.outcome, refused.reason)
            return False
        if batch.first_sequence + len(batch.events) > position:
            del self._refused[batch.producer_id]
        return True

    async def _commit_in_order(self, together: list[_Waiting]) -> None:
        if not together:
            return
        began_s = self._clock()
        try:
            outcome = await self._commit([waiting.batch for waiting in together])
        except AgentsObsError as error:
            self.problem, self._failed_s = str(error), self._clock()
            for waiting in together:
                self._note_refused(waiting.batch, error)
                _fail(waiting.outcome, error)
        else:
            self._durations_s.append(self._clock() - began_s)
            self.commits, self.problem = self.commits + 1, ""
            self.events_acknowledged += sum(len(waiting.batch.events) for waiting in together)
            self._committed(outcome)
            for waiting, acknowledgement in zip(together, outcome.acknowledgements, strict=True):
                if not waiting.outcome.done():
                    waiting.outcome.set_result(acknowledgement)

    def _note_refused(self, batch: Batch, error: AgentsObsError) -> None:
        before = self._refused.get(batch.producer_id)
        sequence = batch.first_sequence if before is None else min(before.sequence, batch.first_sequence)
        self._refused[batch.producer_id] = _Refused(sequence, error)
        if len(self._refused) > limits.REFUSED_PRODUCERS_MAX:
            self._refused.popitem(last=False)

    async def _make_room(self, together: Sequence[_Waiting]) -> None:
        async with self._room:
            self._pending_bytes -= sum(waiting.size_bytes for waiting in together)
            self._pending_events -= sum(len(waiting.batch.events) for waiting in together)
            self._room.notify_all()


def _fail(outcome: asyncio.Future[Acknowledgement], error: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(error)
        outcome.exception()  # its sender may be gone; that is no news then
