"""Progress is health: what has work and does not move is told of, and nothing else is."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from configurable_agents.client.channel import open_channel
from configurable_agents.client.home import Home
from configurable_agents.client.reports import PartStatus, ReportClient
from configurable_agents.client.spool import Spool
from configurable_agents.obsd.progress import Part, ProgressWatch
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames
from configurable_agents.wire.v1 import telemetry_pb2 as pb

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
TELEMETRY = "configurable_agents.wire.v1.TelemetryService"
REPORTS = "configurable_agents.wire.v1.ReportService"


# -- the watch, on a clock of the test ----------------------------------------------------------------


class Worker:
    """A part whose work and steps a test sets."""

    def __init__(self, name: str = "ledger", **more: Any) -> None:
        self.work, self.steps, self.problem = False, 0, ""
        self.part = Part(name, lambda: self.work, lambda: self.steps, lambda: self.problem, **more)


class Watched:
    def __init__(self, *workers: Worker) -> None:
        self.now = 1000.0
        self.said: list[bool] = []
        self.watch = ProgressWatch(
            [worker.part for worker in workers], changed=self._changed, clock=lambda: self.now
        )

    async def _changed(self, is_well: bool) -> None:
        self.said.append(is_well)

    async def after(self, seconds: float) -> PartStatus:
        """The first part as it is that much later, looked at every second."""
        for _ in range(int(seconds)):
            self.now += 1.0
            await self.watch.look()
        return self.watch.status()[0]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_what_has_work_and_does_not_move_is_stuck_within_15_seconds() -> None:
    worker = Worker()
    watched = Watched(worker)
    worker.work, worker.problem = True, "another program holds the ledger"
    assert (await watched.after(9)).state == "working"
    found = await watched.after(5)
    assert (found.state, found.problem) == ("stuck", "another program holds the ledger")
    assert found.stuck_since_unix_ns > 0
    assert watched.said == [False]


@pytest.mark.anyio
async def test_one_step_is_enough_to_be_well_again() -> None:
    worker = Worker()
    watched = Watched(worker)
    worker.work = True
    await watched.after(20)
    worker.steps += 1
    found = await watched.after(1)
    assert (found.state, found.stuck_since_unix_ns) == ("working", 0)
    assert watched.said == [False, True]


@pytest.mark.anyio
async def test_slow_work_is_not_stuck_and_no_work_is_not_stuck() -> None:
    worker = Worker()
    watched = Watched(worker)
    assert (await watched.after(1000)).state == "idle"
    worker.work = True
    for _ in range(20):
        await watched.after(8)
        worker.steps += 1
    assert watched.said == []


@pytest.mark.anyio
async def test_what_is_not_vital_is_told_of_and_does_not_make_the_daemon_ill() -> None:
    worker = Worker("exporter", is_vital=False, stuck_after_s=30)
    watched = Watched(worker)
    worker.work = True
    assert (await watched.after(29)).state == "working"
    assert (await watched.after(2)).state == "stuck"
    assert watched.said == []


# -- a real daemon, whose watch has a clock that runs fast ---------------------------------------------

HURRIED = """
import sys, time
from configurable_agents.obsd import __main__ as daemon, progress
progress.CHECK_EVERY_S = 0.02
progress.ProgressWatch.__init__.__kwdefaults__["clock"] = lambda: 40 * time.monotonic()
sys.exit(daemon.main())
"""
"""Ten seconds of the watch are a quarter of a second."""


@pytest.fixture
def hurried(home: Home) -> Iterator[Callable[..., psutil.Process]]:
    begun: list[subprocess.Popen[str]] = []

    def start(*, mlflow: bool = False) -> psutil.Process:
        (home.folder / "agents-obsd.toml").write_text(f"mlflow_enabled = {str(mlflow).lower()}\n")
        command = [sys.executable, "-c", HURRIED, "--home", str(home.folder)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stderr is not None
        while "listens on" not in process.stderr.readline():
            assert process.poll() is None
        threading.Thread(target=process.stderr.read, daemon=True).start()
        return psutil.Process(process.pid)

    yield start
    for process in begun:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        assert process.wait(20) == 0


def health(home: Home, service: str = "") -> int:
    with open_channel(home) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status)


def parts(home: Home) -> dict[str, PartStatus]:
    with ReportClient(home) as client:
        return {part.name: part for part in client.status().parts}


def send(home: Home, *events: Any) -> pb.Ack:
    data = batch_of_frames(bytes(16), 0, b"".join(map(EventEncoder().encode, events)))
    with open_channel(home) as channel:
        call = channel.unary_unary(f"/{TELEMETRY}/ReportBatch", response_deserializer=pb.Ack.FromString)
        return call(data, timeout=30)


def test_a_ledger_that_another_program_holds_makes_the_daemon_ill_until_it_lets_go(
    home: Home, hurried: Any, events: Any, eventually: Any
) -> None:
    hurried()
    home.spool.mkdir(mode=0o700, exist_ok=True)
    acks: list[pb.Ack] = []
    with closing(sqlite3.connect(home.ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        sender = threading.Thread(target=lambda: acks.append(send(home, events.node())))
        sender.start()
        spool = Spool(home.spool, b"\x07" * 16)
        spool.append(EventEncoder().encode(events.node("spooled", 2)))
        spool.close(acknowledged_sequence=0)
        eventually(lambda: {part.state for part in parts(home).values() if part.is_vital} == {"stuck"})
        assert [health(home), health(home, TELEMETRY), health(home, REPORTS)] == [
            NOT_SERVING, NOT_SERVING, SERVING,
        ]  # fmt: skip
        with ReportClient(home) as client:
            status = client.status()
        assert not status.is_serving
        assert (status.events_pending > 0, status.bytes_pending > 0) == (True, True)
        assert status.oldest_pending_ns > 200_000_000
        assert parts(home)["ledger"].stuck_since_unix_ns > status.started_unix_ns
        other.execute("ROLLBACK")
    eventually(lambda: health(home) == SERVING)
    sender.join()
    assert [ack.next_sequence for ack in acks] == [1]
    with ReportClient(home) as client:
        eventually(lambda: client.status().events_acknowledged == 2)
        status = client.status()
    assert (status.events_pending, status.oldest_pending_ns, status.is_serving) == (0, 0, True)
    assert status.commit_p99_ns is not None
    assert status.commit_p99_ns >= (status.commit_p50_ns or 0) > 0


def test_a_daemon_that_is_stopped_answers_no_check_and_is_well_when_it_goes_on(
    home: Home, hurried: Any, eventually: Any
) -> None:
    daemon = hurried()
    assert health(home) == SERVING
    os.kill(daemon.pid, signal.SIGSTOP)
    with open_channel(home) as channel, pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    os.kill(daemon.pid, signal.SIGCONT)
    eventually(lambda: health(home) == SERVING)


def test_an_exporter_that_hangs_is_told_of_and_the_daemon_stays_well(
    home: Home, hurried: Any, events: Any, eventually: Any
) -> None:
    daemon = hurried(mlflow=True)
    with ReportClient(home) as client:
        eventually(lambda: client.status().exporters[0].state == "idle", within_s=60)
    [worker] = daemon.children()
    worker.suspend()
    try:
        send(home, *events.whole_run())
        eventually(lambda: parts(home)["exporter mlflow"].state == "stuck")
        assert health(home) == SERVING
    finally:
        worker.resume()
    eventually(lambda: parts(home)["exporter mlflow"].state == "idle", within_s=60)
