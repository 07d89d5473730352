"""A daemon in a state folder of its own, what it uses, and programs that load it."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from configurable_agents.client.control import start_daemon, stop_daemon
from configurable_agents.client.home import Home
from configurable_agents.client.reports import DaemonStatus, ReportClient
from measuring.contenders import Program, running
from measuring.interruptions import uninterrupted

SETTLE_TIMEOUT_S = 900.0

IDLE_LOOK_S = 0.5
IDLE_SHARE = 0.05

SENDER = "sender"


class Daemon:
    """A running daemon, as seen from outside."""

    def __init__(self, home: Home, pid: int) -> None:
        self.home = home
        self.process = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """Of the daemon itself, without its export worker; to the nanosecond where the kernel says so."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        try:
            found = [(task / "schedstat").read_text(encoding="ascii") for task in tasks.iterdir()]
        except OSError:
            times = self.process.cpu_times()
            return float(times.user + times.system)
        return sum(int(each.split()[0]) for each in found) / 1e9

    def rss_mb(self) -> float:
        return float(self.process.memory_info().rss / 1e6)

    def workers_rss_mb(self) -> float:
        return float(sum(child.memory_info().rss for child in self.process.children(recursive=True)) / 1e6)

    def status(self) -> DaemonStatus:
        with ReportClient(self.home) as client:
            return client.status()

    def wait_until(self, settled: Any, *, what: str) -> None:
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while not settled(self.status()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {SETTLE_TIMEOUT_S:g} s for {what}")
            time.sleep(0.05)

    def wait_until_idle(self) -> None:
        """Until it has done what is left to do: profiles of runs that ended, a checkpoint."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        used = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(IDLE_LOOK_S)
            before, used = used, self.cpu_seconds()
            if used - before < IDLE_LOOK_S * IDLE_SHARE:
                return
        raise TimeoutError(f"the daemon was still busy after {SETTLE_TIMEOUT_S:g} s")


@contextmanager
def state_folder() -> Iterator[Home]:
    """A private folder that is removed afterwards; its path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield Home.from_environment(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def daemon_in(home: Home, *, mlflow: bool = False) -> Iterator[Daemon]:
    export = "" if mlflow else "[mlflow]\nenabled = false\n"
    (home.folder / "agents-obsd.toml").write_text(export, encoding="utf-8")
    try:
        with uninterrupted():
            started = start_daemon(home, timeout_s=60)
        yield Daemon(home, started.pid)
    finally:
        with uninterrupted():
            stop_daemon(home, timeout_s=60)


@contextmanager
def daemon(*, mlflow: bool = False) -> Iterator[Daemon]:
    with state_folder() as home, daemon_in(home, mlflow=mlflow) as found:
        yield found


def send(home: Home, **task: Any) -> dict[str, Any]:
    """Has events acknowledged by a sender in a process of its own. See `contenders/sender.py`."""
    with running(Program("sender", SENDER, (str(home.folder),))) as sender:
        return sender.turn(**task)


@functools.cache
def filled_home(events: int, runs: int) -> Home:
    """A state folder whose ledger holds whole, finished runs; made once, kept until this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="bench-filled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = Home.from_environment(folder)
    with daemon_in(home) as found:
        send(home, producers=4, events=events, runs=runs, calls=10, whole=True)
        found.wait_until_idle()
    return home


def ledger_bytes(home: Home) -> int:
    """The ledger with its log; call it once the daemon has stopped, and the log is folded in."""
    return sum(os.path.getsize(path) for path in home.folder.glob("ledger.db*"))  # noqa: PTH202
