"""The export worker and its supervisor: it may hang, die or talk nonsense, and the daemon goes on."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from configurable_agents.cli.render.status import lag
from configurable_agents.client.emitter import Emitter
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient
from configurable_agents.errors import LedgerFullError
from configurable_agents.obsd.app import WriterThread
from configurable_agents.obsd.config import Settings
from configurable_agents.obsd.exporters import supervisor as supervisor_module
from configurable_agents.obsd.exporters.protocol import ExportOutcome, ExportRequest
from configurable_agents.obsd.exporters.supervisor import ExportSupervisor
from configurable_agents.obsd.exporters.thinning import POINTS_ALL_UP_TO, keeps_point, stride, thinned_tag

PYTHON = sys.executable

# -- the protocol ------------------------------------------------------------------------------------------


def test_requests_and_outcomes_are_one_line_each_and_come_back_as_they_were() -> None:
    request = ExportRequest(7)
    outcome = ExportOutcome(
        9, [(1, "m1", -1)], [(8, 1, "a\nreason — ü")], [3], more=True, error="e", hopeless=True
    )
    assert request.to_line().count(b"\n") == outcome.to_line().count(b"\n") == 1
    assert ExportRequest.from_line(request.to_line()) == request
    back = ExportOutcome.from_line(outcome.to_line())
    assert [tuple(run) for run in back.runs] == outcome.runs
    assert [tuple(each) for each in back.set_aside] == outcome.set_aside
    assert back.retried == [3]
    assert (back.cursor, back.more, back.error, back.hopeless) == (9, True, "e", True)


# -- thinning ----------------------------------------------------------------------------------------------


def test_the_first_ten_thousand_points_are_all_kept() -> None:
    assert all(keeps_point(index) for index in range(1, POINTS_ALL_UP_TO + 1))
    assert thinned_tag(POINTS_ALL_UP_TO) == ""
    assert thinned_tag(POINTS_ALL_UP_TO + 1) != ""


def test_beyond_that_every_doubling_of_the_calls_adds_half_as_many_points() -> None:
    kept, expected = POINTS_ALL_UP_TO, POINTS_ALL_UP_TO
    for doubling in range(4):
        first = POINTS_ALL_UP_TO << doubling
        kept += sum(keeps_point(index) for index in range(first + 1, 2 * first + 1))
        expected += POINTS_ALL_UP_TO // 2
        assert abs(kept - expected) <= doubling + 1
    assert stride(10**9) == 2**17


# -- the supervisor ----------------------------------------------------------------------------------------


class Worker:
    """A worker of our own making: a script that the supervisor starts in the place of the real one."""

    EXPORT_ALL = """say({})
for request in sys.stdin:
    note(request)
    say({"cursor": 1000})
"""

    def __init__(self, folder: Path) -> None:
        self.script = folder / "worker"
        self._asked = folder / "asked"
        self._begun = folder / "begun"

    def does(self, *first_then: str) -> None:
        """What its first process does, its second, and so on; the last does for all further ones."""
        branches = "\n".join(
            f"if number == {number}:\n{textwrap.indent(code, '    ')}"
            for number, code in enumerate(first_then)
        )
        self.script.write_text(
            f"#!{PYTHON}\n"
            "import json, os, sys, time\n"
            "def say(message): print(json.dumps(message), flush=True)\n"
            f"def note(line): print(line, end='', file=open({str(self._asked)!r}, 'a'))\n"
            f"begun = open({str(self._begun)!r}, 'a+')\n"
            "begun.write(f'{os.getpid()}\\n'); begun.flush(); begun.seek(0)\n"
            f"number = min(len(begun.readlines()) - 1, {len(first_then) - 1})\n{branches}\n"
        )
        self.script.chmod(self.script.stat().st_mode | stat.S_IXUSR)

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self._begun.read_text().split()] if self._begun.exists() else []

    @property
    def asked(self) -> list[int]:
        lines = self._asked.read_text().splitlines() if self._asked.exists() else []
        return [ExportRequest.from_line(line.encode()).cursor for line in lines]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = Worker(tmp_path)
    monkeypatch.setattr(sys, "executable", str(made.script))
    for name, value in {"EXPORT_DEADLINE_S": 0.5, "GATHER_S": 0.0, "BACKOFF_FIRST_S": 0.01}.items():
        monkeypatch.setattr(supervisor_module, name, value)
    return made


@asynccontextmanager
async def supervised(home: Home, book: Any, write: Any = None) -> AsyncIterator[ExportSupervisor]:
    writer = write or WriterThread(lambda error: pytest.fail(str(error)))
    supervisor = ExportSupervisor(home, Settings(mlflow_tracking_uri="sqlite:///x"), book.ledger, writer)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervisor.run)
        with anyio.fail_after(10):
            yield supervisor
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what it waits for happens in another process
        await anyio.sleep(0.005)


@pytest.mark.anyio
async def test_a_cursor_is_saved_once_the_worker_says_that_all_up_to_it_is_taken(
    home: Home, book: Any, worker: Worker
) -> None:
    worker.does(worker.EXPORT_ALL)
    async with supervised(home, book) as supervisor:
        await until(lambda: supervisor.status().state == "idle" and worker.asked)
        assert supervisor.status().last_error == ""
        supervisor.notice()
        await until(lambda: len(worker.asked) == 2)
    assert worker.asked == [0, 1000]
    assert book.ledger.exporter_state("mlflow")[0] == 1000


TROUBLES = {
    "dies before it is ready": ("sys.exit(1)", "the export worker died"),
    "dies when asked": ("say({}); sys.stdin.readline(); os._exit(9)", "the export worker died"),
    "hangs": ("say({}); sys.stdin.readline(); time.sleep(600)", "did not answer within 0.5 s"),
    "talks nonsense": ("say({}); sys.stdin.readline(); print('nonsense', flush=True)", "is no answer"),
    "answers with unknown fields": ("say({}); sys.stdin.readline(); say({'x': 1})", "is no answer"),
    "answers with a list": ("say({}); sys.stdin.readline(); say([1])", "is no answer"),
    "says what is wrong": ("say({}); sys.stdin.readline(); say({'error': 'refused'})", "refused"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_worker_in_trouble_is_replaced_and_nothing_it_was_asked_counts(
    home: Home, book: Any, worker: Worker, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    code, said = TROUBLES[trouble]
    worker.does(code, worker.EXPORT_ALL)
    async with supervised(home, book) as supervisor:
        await until(
            lambda: book.ledger.exporter_state("mlflow")[0] == 1000 and supervisor.status().state == "idle"
        )
        assert supervisor.status().last_error == ""
    assert worker.asked == [0]
    assert said in caplog.text
    first, _ = worker.pids
    await until(lambda: is_gone(first))


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.anyio
async def test_no_room_for_the_cursor_is_a_reason_to_ask_again_and_not_to_stop(
    home: Home, book: Any, worker: Worker
) -> None:
    worker.does(worker.EXPORT_ALL)
    write = WriterThread(lambda error: pytest.fail(str(error)))
    refused = []

    async def full_once(method: Any, *arguments: Any) -> Any:
        if method == book.ledger.save_export and not refused:
            refused.append(True)
            raise LedgerFullError("the disk is full")
        return await write(method, *arguments)

    async with supervised(home, book, full_once):
        await until(lambda: book.ledger.exporter_state("mlflow")[0] == 1000)
    assert worker.asked == [0, 0]


@pytest.mark.anyio
async def test_finishing_gives_the_worker_one_last_request(home: Home, book: Any, worker: Worker) -> None:
    worker.does(worker.EXPORT_ALL)
    async with supervised(home, book) as supervisor:
        await until(lambda: supervisor.status().state == "idle" and len(worker.asked) == 1)
        await supervisor.finish()
        assert worker.asked == [0, 1000]


@pytest.mark.anyio
async def test_finishing_does_not_wait_for_a_worker_that_hangs(
    home: Home, book: Any, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "FINISH_S", 0.05)
    monkeypatch.setattr(supervisor_module, "EXPORT_DEADLINE_S", 600)
    worker.does("say({}); sys.stdin.readline(); time.sleep(600)")
    async with supervised(home, book) as supervisor:
        await until(lambda: supervisor.status().state == "exporting")
        await supervisor.finish()
    await until(lambda: is_gone(worker.pids[0]))


@pytest.mark.anyio
async def test_without_mlflow_the_exporter_says_why_it_is_stopped(
    home: Home, book: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    supervisor = ExportSupervisor(home, Settings(), book.ledger, WriterThread(lambda _: None))
    await supervisor.run()
    status = supervisor.status()
    assert status.state == "stopped"
    assert "pip install 'agents-obs[daemon]'" in status.last_error
    await supervisor.finish()


@pytest.mark.anyio
async def test_an_exporter_that_is_switched_off_is_disabled_and_complains_of_nothing(
    home: Home, book: Any
) -> None:
    settings = Settings(mlflow_enabled=False)
    supervisor = ExportSupervisor(home, settings, book.ledger, WriterThread(lambda _: None))
    await supervisor.run()
    status = supervisor.status()
    assert (status.state, status.last_error, supervisor.has_work) == ("disabled", "", False)
    assert lag(replace(status, events_waiting=3, runs_waiting=1)) == "disabled, nothing is on its way there"
    assert lag(replace(status, state="idle", events_waiting=3)) == "3 events waiting"
    await supervisor.finish()


# -- the real worker, under the real daemon ------------------------------------------------------------------


def export_worker(daemon_pid: int) -> int | None:
    """The pid of the daemon's only child process."""
    children = Path(f"/proc/{daemon_pid}/task/{daemon_pid}/children").read_text().split()
    return int(children[0]) if children else None


def finished_runs(home: Home) -> list[str]:
    """Read without MLflow, whose import takes seconds."""
    with closing(sqlite3.connect(f"file:{home.mlflow_database}?mode=ro", uri=True)) as connection:
        return [status for (status,) in connection.execute("SELECT status FROM runs")]


def test_a_real_worker_that_is_killed_is_replaced_and_everything_is_exported_once(
    home: Home,
    start: Any,
    events: Any,
    eventually: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "sqlalchemy.py").write_text("raise ImportError('a stray module where the user stands')")
    monkeypatch.chdir(tmp_path)
    daemon = start(mlflow=True)
    emitter = Emitter(home)
    for event in events.whole_run(nodes=4):
        emitter.record(event)
    assert emitter.flush(20)
    eventually(lambda: export_worker(daemon.pid))
    killed = export_worker(daemon.pid)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    with ReportClient(home) as client:
        assert client.status().events_committed == 10, "the daemon does not notice"
        eventually(lambda: client.status().exporters[0].events_exported == 10, within_s=60)
        eventually(lambda: finished_runs(home) == ["FINISHED"], within_s=60)
        exporter = client.status().exporters[0]
        assert (exporter.events_waiting, exporter.events_set_aside, exporter.last_error) == (0, 0, "")
    assert export_worker(daemon.pid) != killed
    emitter.close()
