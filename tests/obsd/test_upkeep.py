"""The daemon's housekeeping on a real ledger: by age, by size, and what it says of itself."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import grpc
import pytest

from configurable_agents.client.channel import open_channel
from configurable_agents.client.control import start_daemon, stop_daemon
from configurable_agents.client.emitter import Emitter
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.errors import NotFoundError
from configurable_agents.obsd import limits
from configurable_agents.obsd.app import WriterThread
from configurable_agents.obsd.ledger import queries, retention
from configurable_agents.obsd.reports import Readers
from configurable_agents.obsd.storage_policy import StoragePolicy
from configurable_agents.obsd.upkeep import Upkeep
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames

DAY_S = 86_400
KEEP_ALL = StoragePolicy(None, None, None, reserve_bytes=0, allowance_bytes=None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Keeper:
    """Housekeeping of a book, some days later."""

    def __init__(self, book: Any, home: Home) -> None:
        self.book = book
        self._home = Home(home.folder, home.socket)
        self.readers = Readers(book.path)
        self.days = 0

    async def look(self, policy: StoragePolicy) -> Upkeep:
        def failed(error: Exception) -> None:
            raise error

        upkeep = Upkeep(
            self._home,
            policy,
            self.book.ledger,
            WriterThread(failed),
            self.readers.ask,
            exporter="",
            failed=failed,
            clock=lambda: time.time_ns() + self.days * DAY_S * 10**9,
        )
        await upkeep.look()
        return upkeep

    def counts(self) -> Any:
        return self.book.ask(queries.counts)


@pytest.fixture
async def keeper(book: Any, home: Home, events: Any) -> AsyncIterator[Keeper]:
    for number in range(6):
        book.commit(events.whole_run(f"run-{number}", nodes=30), producer=bytes([number] * 16))
    book.profile_all()
    made = Keeper(book, home)
    yield made
    made.readers.close()


@pytest.mark.anyio
async def test_rows_go_at_their_age_and_runs_at_theirs(keeper: Keeper) -> None:
    policy = replace(KEEP_ALL, raw_s=14 * DAY_S, totals_s=400 * DAY_S)
    seen = []
    for keeper.days in (0, 13, 15, 399, 401):
        await keeper.look(policy)
        counts = keeper.counts()
        seen.append((counts.runs_retired, counts.events_retired, counts.runs_total))
    assert seen == [(0, 0, 6), (0, 0, 6), (6, 360, 6), (6, 360, 6), (6, 360, 0)]


@pytest.mark.anyio
async def test_without_an_age_everything_is_kept(keeper: Keeper) -> None:
    keeper.days = 10_000
    await keeper.look(KEEP_ALL)
    assert keeper.counts().runs_retired == 0


@pytest.mark.anyio
async def test_more_runs_than_one_look_finds_go_in_several(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETIRED_RUNS_PER_LOOK", 2)
    keeper.days = 15
    await keeper.look(replace(KEEP_ALL, raw_s=14 * DAY_S))
    assert keeper.counts().runs_retired == 6


@pytest.mark.anyio
async def test_beyond_its_size_the_oldest_rows_go_first_then_the_oldest_runs(keeper: Keeper) -> None:
    keeper.days = 1
    used = keeper.book.ask(retention.used_bytes)
    await keeper.look(replace(KEEP_ALL, ledger_bytes_max=used - 4096))
    counts = keeper.counts()
    assert 0 < counts.runs_retired_for_size == counts.runs_retired < 6
    retired = keeper.book.rows("SELECT run_id FROM runs WHERE retired_seq > 0 ORDER BY id")
    assert retired == [(f"run-{number}",) for number in range(counts.runs_retired)], "the oldest"
    upkeep = await keeper.look(replace(KEEP_ALL, ledger_bytes_max=1))
    counts = keeper.counts()
    assert (counts.runs_retired, counts.runs_removed, counts.runs_total) == (6, 6, 0)
    assert "more than its size of 1 B" in upkeep.note


@pytest.mark.anyio
async def test_what_is_left_for_a_reason_is_said_when_the_ledger_is_too_large(
    book: Any, home: Home, events: Any
) -> None:
    book.commit([events.started(), events.node()])
    keeper = Keeper(book, home)
    keeper.days = 1
    upkeep = await keeper.look(replace(KEEP_ALL, ledger_bytes_max=1))
    assert "what is left is in flight, not exported yet or set aside" in upkeep.note
    assert keeper.counts().runs_total == 1
    keeper.readers.close()


# -- a real daemon ----------------------------------------------------------------------------------------


def settings(home: Home, text: str) -> None:
    (home.folder / "agents-obsd.toml").write_text(f"[mlflow]\nenabled = false\n{text}")


def send(home: Home, events: list[Any], first: int = 0) -> None:
    encoder = EventEncoder()
    data = batch_of_frames(bytes(16), first, b"".join(encoder.encode(event) for event in events))
    with open_channel(home) as channel:
        channel.unary_unary("/configurable_agents.wire.v1.TelemetryService/ReportBatch")(data, timeout=20)


def allow_files_of(pid: int, size_bytes: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, hard))


def test_without_room_batches_are_refused_with_a_hint_and_taken_when_there_is_room_again(
    home: Home, start: Callable[..., Any], events: Any, eventually: Callable[..., None]
) -> None:
    """The limit on the size of files stands for a disk: it may be changed while the daemon runs."""
    pid = start().pid
    send(home, [events.started(), events.node()])
    allow_files_of(pid, home.ledger.stat().st_size + 10**6)
    with pytest.raises(grpc.RpcError, match=r"less than the reserve of 256\.0 MiB") as caught:
        send(home, [events.node("b", 2)], first=2)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    emitter = Emitter(home)
    emitter.record(events.node("c", 3))
    with ReportClient(home) as client:
        assert client.cost_report(Scope()).run_count == 1, "reports go on"
        assert "make room" in client.status().storage.refuses_because
    assert not emitter.flush(0.2)
    allow_files_of(pid, resource.RLIM_INFINITY)
    assert emitter.flush(5.0), "by itself, within 5 s"
    emitter.close()
    with ReportClient(home) as client:
        assert client.status().storage.refuses_because == ""
        assert {node.node_id for node in client.profile_report(Scope()).nodes} == {"draft", "c"}


def test_a_daemon_removes_what_is_past_its_time_and_says_so(
    home: Home, start: Callable[..., Any], events: Any, eventually: Callable[..., None]
) -> None:
    start()
    send(home, events.whole_run(nodes=5))
    with ReportClient(home) as client:
        cost = client.cost_report(Scope(run_id="run"))
        eventually(lambda: client.profile_report(Scope(run_id="run")).nodes[0].p95_ns is not None)
        profile = client.profile_report(Scope(run_id="run"))
    send(home, [events.started("recent")], first=12)  # else the clock is far ahead of all that is known
    stop_daemon(home)
    settings(home, '[retention]\nraw = "1d"\ntotals = "off"\n')
    with closing(sqlite3.connect(home.ledger)) as connection, connection:
        connection.execute("UPDATE runs SET last_received_unix_ns = 1 WHERE run_id = 'run'")
    start_daemon(home)
    with ReportClient(home) as client:
        eventually(lambda: client.status().storage.events_retired == 10)
        assert client.cost_report(Scope(run_id="run")) == cost
        assert client.profile_report(Scope(run_id="run")) == profile
        with pytest.raises(NotFoundError, match="were removed on"):
            client.receipts(Scope(run_id="run"))
        assert client.receipts(Scope()) == []
        assert list(client.notes) == ["calls of 1 run are not among these: retention has removed them"]
        storage = client.status().storage
    assert (storage.raw_kept_s, storage.totals_kept_s, storage.runs_retired) == (DAY_S, 0, 1)


def test_what_waits_for_mlflow_beyond_the_allowance_keeps_new_events_out(home: Home, events: Any) -> None:
    """Nothing listens at this address, so MLflow never takes anything."""
    (home.folder / "agents-obsd.toml").write_text(
        '[mlflow]\ntracking_uri = "http://127.0.0.1:9"\n[disk]\nallowance = "1B"\n'
    )
    start_daemon(home)
    try:
        send(home, [events.started()])
        with pytest.raises(grpc.RpcError, match=r"1 events \(.*\) wait for MLflow, more than the allowance"):
            send(home, [events.node()], first=1)
    finally:
        stop_daemon(home)
