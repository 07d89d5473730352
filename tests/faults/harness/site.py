"""A state folder with its daemon and its clients, for doing damage and for judging what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from configurable_agents.client.control import find_daemon, start_daemon, stop_daemon
from configurable_agents.client.home import Home
from configurable_agents.client.reports import DaemonStatus, ReportClient
from configurable_agents.errors import AgentsObsError
from harness.journal import ClientJournal, read_acknowledged, read_journals
from harness.mlflow_oracle import check_mlflow
from harness.oracle import Verdict, check_acknowledged, check_balance, check_ledger
from harness.report_oracle import check_reports

PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
HARNESS = PROGRAMS.parent

DAEMON = ("-P", "-m", "configurable_agents.obsd")
"""What Python is to run."""

WITHOUT_MLFLOW = "[mlflow]\nenabled = false\n"
"""Settings of a daemon that exports nothing."""

DEADLINE_S = 120.0
LOOK_EVERY_S = 0.02


class Site:
    """Use it in a `with`: what was started on it is ended afterwards."""

    def __init__(self, home: Home, *, journals: Path | None = None) -> None:
        """`journals`: a folder for them elsewhere, where the disk of `home` is to be filled."""
        self.home = home
        self.journals_folder = journals or home.folder / "journals"
        self.journals_folder.mkdir(mode=0o700, exist_ok=True)
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        daemon = find_daemon(self.home)
        if daemon is not None:
            os.kill(daemon.pid, signal.SIGCONT)
            stop_daemon(self.home)
        for process in self._processes:
            if process.poll() is None:
                for each in [*psutil.Process(process.pid).children(recursive=True), process]:  # under strace
                    each.kill()
            process.communicate()

    # -- the daemon --------------------------------------------------------------------------------

    def settings(self, text: str) -> None:
        (self.home.folder / "agents-obsd.toml").write_text(text)

    def start_daemon(self, *, mlflow: bool = False) -> int:
        """Returns its pid once it accepts events."""
        if not mlflow:
            self._set_without_mlflow()
        elif WITHOUT_MLFLOW in self._settings():
            self.settings("")
        return start_daemon(self.home, timeout_s=60).pid

    def start_daemon_under(
        self, command: Iterable[str] = (), *, program: Iterable[object] = DAEMON
    ) -> subprocess.Popen[str]:
        """In the foreground, with `command` (strace, prlimit) before its own. Returns once it answers."""
        self._set_without_mlflow()
        daemon = [sys.executable, *program, "--home", self.home.folder]
        process = subprocess.Popen(
            [*command, *map(str, daemon)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._processes.append(process)
        self.wait_for(lambda: process.poll() is not None or self._answers(), "the daemon to answer")
        return process

    def _set_without_mlflow(self) -> None:
        if WITHOUT_MLFLOW not in self._settings():
            self.settings(WITHOUT_MLFLOW)

    def _answers(self) -> bool:
        try:
            self.status()
        except AgentsObsError:
            return False
        return True

    def _settings(self) -> str:
        path = self.home.folder / "agents-obsd.toml"
        return path.read_text() if path.exists() else ""

    def kill_daemon(self) -> None:
        """As an OOM killer would. Returns when it and its export worker are gone."""
        daemon = find_daemon(self.home)
        assert daemon is not None, "no daemon is there to be killed"
        process = psutil.Process(daemon.pid)
        children = process.children()
        process.kill()
        self.wait_for(lambda: not process.is_running(), "the daemon to be gone")
        psutil.wait_procs(children, timeout=DEADLINE_S)

    def stop_daemon(self) -> None:
        stop_daemon(self.home)

    def status(self) -> DaemonStatus:
        with ReportClient(self.home, timeout_s=60) as client:
            return client.status()

    def worker(self) -> psutil.Process | None:
        """The daemon's export worker, if it has one now."""
        daemon = find_daemon(self.home)
        if daemon is None:
            return None
        try:
            children = psutil.Process(daemon.pid).children()
            return next((each for each in children if "exporters.mlflow" in " ".join(each.cmdline())), None)
        except psutil.NoSuchProcess:
            return None

    # -- clients -----------------------------------------------------------------------------------

    def launch(self, program: str, *arguments: object, under: Iterable[str] = ()) -> subprocess.Popen[str]:
        """A client of tests/faults/programs, with `under` (strace, prlimit) before its command."""
        command = [*under, sys.executable, PROGRAMS / program, self.home.folder, self.journals_folder]
        process = subprocess.Popen(
            [*map(str, command), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [str(HARNESS), os.environ.get("PYTHONPATH")])),
            },
        )
        self._processes.append(process)
        return process

    def tell_to_end(self, process: subprocess.Popen[str]) -> None:
        """It ends when what it has begun is done; `finish` waits for that."""
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None

    def finish(self, process: subprocess.Popen[str], *, within_s: float = DEADLINE_S) -> str:
        """Tells a client to come to its end, which must be a good one. Returns what it printed."""
        out, err = process.communicate(timeout=within_s)  # closing its standard input tells it
        assert process.returncode == 0, err
        return out

    def journals(self) -> list[ClientJournal]:
        return read_journals(self.journals_folder)

    # -- judging -----------------------------------------------------------------------------------

    def wait_until_settled(self, *, exported: bool = False, within_s: float = DEADLINE_S) -> None:
        """Until all runs are over, every spool is taken in, and MLflow has everything if it is to."""

        def settled() -> bool:
            try:
                status = self.status()
            except AgentsObsError:
                return False
            if status.runs_live or status.events_pending or self.spools():
                return False
            return not exported or all(
                each.events_waiting == each.runs_waiting == 0 and each.state == "idle"
                for each in status.exporters
            )

        self.wait_for(settled, "everything to be taken in and exported", within_s=within_s)

    def spools(self) -> list[str]:
        return [path.name for path in self.home.spool.glob("*.spool")]

    def verdict(self, *, store_uri: str = "") -> Verdict:
        """Of everything: ledger, sums and reports; with `store_uri` of MLflow and the balance too."""
        verdict = check_ledger(self.home.ledger, self.journals())
        verdict.join(check_reports(self.home))
        if store_uri:
            verdict.join(check_balance(self.home.ledger))
            verdict.join(check_mlflow(self.home.ledger, store_uri))
        return verdict

    def verdict_on_acknowledged(self) -> Verdict:
        return check_acknowledged(self.home.ledger, read_acknowledged(self.journals_folder))

    def wait_for(self, condition: Callable[[], object], what: str, *, within_s: float = DEADLINE_S) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {within_s:g} s for {what}\n{self.state()}"
            time.sleep(LOOK_EVERY_S)  # between looks at another process, which cannot wake us

    def state(self) -> str:
        """What to look at when waiting was in vain."""
        try:
            status = str(self.status())
        except AgentsObsError as error:
            status = str(error)
        log = self.home.log.read_text()[-4000:] if self.home.log.exists() else "no log"
        return f"{status}\nspools: {self.spools()}\n{log}"
