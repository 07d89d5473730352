"""What acceptance tests share: processes, waiting, and the three places where the truth must agree."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.client.control import start_daemon, stop_daemon
from configurable_agents.client.home import Home
from configurable_agents.client.reports import DaemonStatus, ReportClient

PROGRAMS = Path(__file__).parent / "programs"
DEADLINE_S = 120.0


class Workplace:
    """A state folder, the processes that record into it, and looks at what became of it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._processes: list[subprocess.Popen[str]] = []

    def launch(self, program: str, *arguments: object) -> subprocess.Popen[str]:
        """A workflow process of tests/acceptance/programs."""
        process = subprocess.Popen(
            [sys.executable, PROGRAMS / program, self.home.folder, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> str:
        """Waits for its end, which must be a good one. Returns what it printed."""
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
        return out

    def command(self, *arguments: str, expect: int = 0) -> str:
        """Runs `agents-obs …` as a user does."""
        done = subprocess.run(
            [Path(sys.executable).with_name("agents-obs"), *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={**os.environ, "AGENTS_OBS_HOME": str(self.home.folder), "COLUMNS": "120"},
            check=False,
        )
        assert done.returncode == expect, done.stderr
        return done.stdout

    def report(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "--json"))

    def kill_daemon(self, pid: int) -> None:
        """As an OOM killer would. Returns when it is gone."""
        os.kill(pid, signal.SIGKILL)
        self.wait_for(lambda: not _exists(pid), "the daemon to be gone")

    def restart_daemon(self) -> int:
        return start_daemon(self.home).pid

    def stop_daemon(self) -> None:
        stop_daemon(self.home)

    def status(self) -> DaemonStatus:
        with ReportClient(self.home) as client:
            return client.status()

    def wait_until_settled(self, *, runs: int, exported: bool = True) -> DaemonStatus:
        """Until this many runs are over, every spool is taken in and MLflow has everything."""

        def settled() -> bool:
            status = self.status()
            if status.runs_total != runs or status.runs_live or any(self.home.spool.iterdir()):
                return False
            return not exported or all(
                exporter.events_waiting == exporter.runs_waiting == 0 for exporter in status.exporters
            )

        self.wait_for(settled, "everything to be taken in and exported", self.state)
        return self.status()

    def state(self) -> str:
        """What to look at when waiting was in vain."""
        spools = sorted(path.name for path in self.home.spool.iterdir())
        return f"{self.status()}\nspools: {spools}\n{self.home.log.read_text()[-4000:]}"

    def wait_for(self, condition: Callable[[], bool], what: str, state: Callable[[], str] = str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() >= deadline:
                pytest.fail(f"waited {DEADLINE_S:g} s for {what}\n{state()}")
            time.sleep(0.05)  # between looks at another process, which cannot wake us

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of the ledger, read without any code of the daemon."""
        with sqlite3.connect(f"file:{self.home.ledger}?mode=ro", uri=True) as connection:
            return connection.execute(query, parameters).fetchall()

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def workplace(home: Home) -> Iterator[Workplace]:
    place = Workplace(home)
    yield place
    place.end()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
