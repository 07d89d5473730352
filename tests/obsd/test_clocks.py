"""A wall clock that jumps: nothing grows old by it that fast, and no run is given up or kept for it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from configurable_agents.client.home import Home
from configurable_agents.obsd import steady_clock
from configurable_agents.obsd.app import WriterThread
from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.lifecycle import SILENT_S, SWEEP_EVERY_S, UNARY_SILENT_S, RunKeeper
from configurable_agents.obsd.producers import Producers
from configurable_agents.obsd.reports import Readers
from configurable_agents.obsd.runs import LiveRuns
from configurable_agents.obsd.steady_clock import BELIEVED_AFTER_S, JUMP_S, SteadyClock
from configurable_agents.obsd.storage_policy import StoragePolicy
from configurable_agents.obsd.upkeep import RETENTION_EVERY_S, Upkeep
from configurable_agents.telemetry import Status

S = 10**9
DAY_S = 86_400
YEAR_S = 365 * DAY_S
T0 = 1_800_000_000 * S
GIVEN_UP_WITHIN_S = 30
PRODUCER = bytes(range(16))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clocks:
    """One that only counts on, and a wall clock beside it that can be set."""

    def __init__(self) -> None:
        self.elapsed_s = 1_000.0
        self.ahead_s = 0.0

    def wall(self) -> int:
        return T0 + int((self.elapsed_s + self.ahead_s) * S)

    def elapsed(self) -> float:
        return self.elapsed_s


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def steady(clocks: Clocks, *, known_s_ago: float | None = 0.0) -> SteadyClock:
    newest = None if known_s_ago is None else clocks.wall() - int(known_s_ago * S)
    return SteadyClock(newest, wall=clocks.wall, elapsed=clocks.elapsed)


def asked_each_minute(clock: SteadyClock, clocks: Clocks, minutes: int) -> Iterator[float]:
    """How far it is from the time that has really passed, in seconds."""
    for _ in range(minutes):
        clocks.elapsed_s += 60
        yield (clock.now_unix_ns() - T0) / S - clocks.elapsed_s


# -- the clock itself ---------------------------------------------------------------------------------


def test_a_clock_that_does_not_jump_is_the_wall_clock(clocks: Clocks) -> None:
    clock = steady(clocks)
    for _ in range(1000):
        clocks.elapsed_s += 60
        clocks.ahead_s += 3  # it may run fast
        assert clock.now_unix_ns() == clocks.wall()


@pytest.mark.parametrize("ahead_s", [DAY_S, YEAR_S])
def test_a_jump_ahead_that_goes_back_soon_was_none(clocks: Clocks, ahead_s: float) -> None:
    clock = steady(clocks)
    clocks.ahead_s = ahead_s
    assert set(asked_each_minute(clock, clocks, int(BELIEVED_AFTER_S / 60) - 1)) == {0}
    clocks.ahead_s = 0
    assert set(asked_each_minute(clock, clocks, 100)) == {0}


def test_a_jump_ahead_that_stands_is_believed(clocks: Clocks) -> None:
    clock = steady(clocks)
    clocks.ahead_s = YEAR_S
    found = list(asked_each_minute(clock, clocks, 20))
    stood = int(BELIEVED_AFTER_S / 60)
    assert found == [0] * stood + [YEAR_S] * (20 - stood)


def test_two_short_jumps_are_not_one_long_one(clocks: Clocks) -> None:
    clock = steady(clocks)
    for _ in range(20):
        clocks.ahead_s = YEAR_S
        assert set(asked_each_minute(clock, clocks, 5)) == {0}
        clocks.ahead_s = 0
        assert set(asked_each_minute(clock, clocks, 1)) == {0}


def test_a_clock_that_goes_back_is_believed_at_once_and_may_come_forward_again(clocks: Clocks) -> None:
    clock = steady(clocks)
    clocks.ahead_s = -DAY_S
    assert set(asked_each_minute(clock, clocks, 3)) == {-DAY_S}
    clocks.ahead_s = 0
    assert list(asked_each_minute(clock, clocks, 20))[-1] == 0


def test_a_start_under_a_clock_that_is_far_ahead_of_all_that_is_known_waits_too(clocks: Clocks) -> None:
    clock = steady(clocks, known_s_ago=3 * DAY_S)
    assert set(asked_each_minute(clock, clocks, 9)) == {-3 * DAY_S}
    assert set(asked_each_minute(clock, clocks, 20)) >= {0}
    assert clock.now_unix_ns() == clocks.wall()


@pytest.mark.parametrize("known_s_ago", [None, JUMP_S - 1, -YEAR_S])
def test_a_start_with_nothing_known_or_with_what_is_recent_believes_its_clock(
    clocks: Clocks, known_s_ago: float | None
) -> None:
    assert steady(clocks, known_s_ago=known_s_ago).now_unix_ns() == clocks.wall()


def test_the_clock_of_a_daemon_counts_on() -> None:
    first = steady_clock.seconds_awake_or_not()
    assert 0 <= steady_clock.seconds_awake_or_not() - first < DAY_S


# -- what grows old -----------------------------------------------------------------------------------


class Keeping:
    """Housekeeping of a ledger as a daemon does it, each minute."""

    def __init__(self, book: Any, home: Home, clocks: Clocks) -> None:
        def failed(error: Exception) -> None:
            raise error

        self._book = book
        self._clocks = clocks
        self.readers = Readers(book.path)
        self._upkeep = Upkeep(
            home,
            StoragePolicy(14 * DAY_S, 400 * DAY_S, None, reserve_bytes=0, allowance_bytes=None),
            book.ledger,
            WriterThread(failed),
            self.readers.ask,
            exporter="",
            failed=failed,
            clock=SteadyClock(
                book.ledger.last_received_unix_ns(), wall=clocks.wall, elapsed=clocks.elapsed
            ).now_unix_ns,
        )

    async def runs_with_rows(self, minutes: int) -> int:
        for _ in range(minutes):
            self._clocks.elapsed_s += RETENTION_EVERY_S
            await self._upkeep.look()
        counts = self._book.ask(queries.counts)
        return int(counts.runs_total - counts.runs_retired)


@pytest.fixture
async def keeping(
    book: Any, home: Home, events: Any, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Keeping]:
    monkeypatch.setattr(time, "time_ns", clocks.wall)
    for number in range(3):
        book.commit(events.whole_run(f"run-{number}", nodes=5), producer=bytes([number] * 16))
    book.profile_all()
    made = Keeping(book, home, clocks)
    yield made
    made.readers.close()


@pytest.mark.anyio
async def test_a_clock_that_is_a_year_ahead_for_a_minute_removes_nothing(
    keeping: Keeping, clocks: Clocks
) -> None:
    assert await keeping.runs_with_rows(2) == 3
    clocks.ahead_s = 2 * YEAR_S
    assert await keeping.runs_with_rows(1) == 3
    clocks.ahead_s = 0
    assert await keeping.runs_with_rows(60) == 3


@pytest.mark.anyio
async def test_nor_does_a_daemon_that_is_started_in_that_minute(
    keeping: Keeping, book: Any, home: Home, clocks: Clocks
) -> None:
    clocks.ahead_s = YEAR_S
    restarted = Keeping(book, home, clocks)
    assert await restarted.runs_with_rows(1) == 3
    clocks.ahead_s = 0
    assert await restarted.runs_with_rows(60) == 3
    restarted.readers.close()


@pytest.mark.anyio
async def test_time_that_has_really_passed_removes_what_is_old(keeping: Keeping, clocks: Clocks) -> None:
    clocks.ahead_s = 15 * DAY_S
    assert await keeping.runs_with_rows(20) == 0


# -- who is silent ------------------------------------------------------------------------------------


class Silence:
    """A ledger with one run of one producer, and who looks after it."""

    def __init__(self, book: Any, events: Any, clocks: Clocks) -> None:
        def failed(error: Exception) -> None:
            raise error

        self._book, self._events, self._clocks = book, events, clocks
        self._sent = 0
        self.producers = Producers(clock=clocks.elapsed)
        self.readers = Readers(book.path)
        self._keeper = RunKeeper(
            book.ledger,
            WriterThread(failed),
            self.readers,
            LiveRuns(),
            self.producers,
            is_spooling=lambda _: False,
            profiled=lambda: None,
            clock=clocks.elapsed,
        )

    def send(self) -> None:
        """The next event of the run."""
        event = self._events.node("n", self._sent) if self._sent else self._events.started()
        self._book.commit([event], first=self._sent)
        self._sent += 1

    async def is_in_flight_after(self, seconds: float, *, sends: bool = False) -> bool:
        over_s = self._clocks.elapsed_s + seconds
        while self._clocks.elapsed_s < over_s:
            self._clocks.elapsed_s += SWEEP_EVERY_S
            if sends:
                self.send()
            await self._keeper._sweep()
        return bool(self._book.rows("SELECT status FROM runs") == [(Status.RUNNING,)])


@pytest.fixture
def silence(book: Any, events: Any, clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    monkeypatch.setattr(time, "time_ns", clocks.wall)
    made = Silence(book, events, clocks)
    made.send()
    yield made
    made.readers.close()


JUMPS_S = [-YEAR_S, -DAY_S, DAY_S, YEAR_S]


@pytest.mark.anyio
@pytest.mark.parametrize("ahead_s", [0, *JUMPS_S])
async def test_a_run_whose_process_is_gone_is_given_up_in_time_however_the_clock_jumps(
    silence: Silence, clocks: Clocks, ahead_s: float
) -> None:
    assert await silence.is_in_flight_after(SILENT_S - SWEEP_EVERY_S, sends=True)
    clocks.ahead_s = ahead_s
    assert not await silence.is_in_flight_after(GIVEN_UP_WITHIN_S - SWEEP_EVERY_S)


@pytest.mark.anyio
@pytest.mark.parametrize("ahead_s", [0, *JUMPS_S])
async def test_a_run_that_is_heard_of_is_not_given_up_however_the_clock_jumps(
    silence: Silence, clocks: Clocks, ahead_s: float
) -> None:
    assert await silence.is_in_flight_after(10 * SILENT_S, sends=True)
    clocks.ahead_s = ahead_s
    assert await silence.is_in_flight_after(SILENT_S - SWEEP_EVERY_S)
    silence.send()
    clocks.ahead_s = 0
    assert await silence.is_in_flight_after(SILENT_S - SWEEP_EVERY_S)


@pytest.mark.anyio
@pytest.mark.parametrize("ahead_s", JUMPS_S)
async def test_a_producer_of_single_batches_may_be_silent_for_as_long_as_ever(
    silence: Silence, clocks: Clocks, ahead_s: float, book: Any
) -> None:
    clocks.elapsed_s += 2 * UNARY_SILENT_S  # by now it would have had the chance to connect
    silence.producers.heard_unary(PRODUCER)
    silence.send()
    assert await silence.is_in_flight_after(SWEEP_EVERY_S)
    clocks.ahead_s = ahead_s
    assert await silence.is_in_flight_after(UNARY_SILENT_S - 2 * SWEEP_EVERY_S)
    assert not await silence.is_in_flight_after(GIVEN_UP_WITHIN_S)
