"""Keeps an export worker going: asks, waits, saves its cursor; kills it when it hangs, tries again later."""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from configurable_agents.client.home import Home
from configurable_agents.errors import LedgerNotNowError
from configurable_agents.obsd.config import Settings
from configurable_agents.obsd.exporters.protocol import ExportOutcome, ExportRequest
from configurable_agents.obsd.lifecycle import Write
from configurable_agents.obsd.limits import EXPORT_LINE_BYTES_MAX
from configurable_agents.obsd.records import Ledger
from configurable_agents.wire.report_records import DISABLED, ExporterStatus

_log = logging.getLogger(__name__)

NAME = "mlflow"

START_DEADLINE_S = 120.0
"""Importing MLflow and opening a fresh store takes seconds; migrating an old one can take a minute."""

EXPORT_DEADLINE_S = 90.0
"""A worker that has not answered by then is killed."""

GATHER_S = 0.5
"""How long events gather before the next export, when the worker keeps up."""

LOOK_EVERY_S = 30.0
"""How often the worker is asked although nothing was noticed."""

FINISH_S = 3.0
"""What one last export gets when the daemon stops."""

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0
HOPELESS_BACKOFF_S = 60.0


class WorkerError(Exception):
    """The worker said that it cannot go on, or died, or hung."""

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__(message)
        self.hopeless = hopeless


class ExportSupervisor:
    """The exporter to MLflow, as seen from the daemon. For its event loop only.

    A cursor is saved only after the worker has said that MLflow took everything up to it. Nothing here
    can hold up the intake: all work is in the worker's process, and it is asked with a deadline.
    """

    def __init__(self, home: Home, settings: Settings, ledger: Ledger, write: Write) -> None:
        self._home = home
        self._tracking_uri = settings.mlflow_tracking_uri or home.mlflow_uri
        self._enabled = settings.mlflow_enabled
        self._ledger = ledger
        self._write = write
        self._state = "starting"
        self._last_error = ""
        self._last_success_unix_ns = 0
        self._cursor = 0
        self.steps = 0
        """Exports that were saved."""
        self._turn = anyio.Lock()
        self._news = anyio.Event()
        self._stopping = anyio.Event()
        self._finished = anyio.Event()

    def notice(self) -> None:
        """There is something to export."""
        self._news.set()

    def status(self) -> ExporterStatus:
        """How it is going. The accounts are in the ledger: see `ledger.accounts`."""
        return ExporterStatus(
            name=NAME,
            target=self._tracking_uri,
            state=self._state,
            last_success_unix_ns=self._last_success_unix_ns,
            last_error=self._last_error,
        )

    @property
    def has_work(self) -> bool:
        """Whether it exports, or tries to."""
        return self._state in ("starting", "exporting", "retrying")

    @property
    def problem(self) -> str:
        return self._last_error

    async def run(self) -> None:
        """Exports until it is cancelled, or `finish` has had its last export."""
        known = await self._write(self._ledger.exporter_state, NAME)
        self._cursor, self._last_success_unix_ns = known
        if not self._enabled:
            self._state = DISABLED
            _log.info("exporter=%s disabled by the setting mlflow_enabled", NAME)
            self._finished.set()
            return
        reason = self._why_not()
        if reason:
            self._state, self._last_error = "stopped", reason
            _log.warning("exporter=%s stopped: %s", NAME, reason)
            self._finished.set()
            return
        backoff_s = BACKOFF_FIRST_S
        while not self._stopping.is_set():
            before = self._cursor
            try:
                async with _worker(self._home, self._tracking_uri) as worker:
                    await self._drive(worker)
            except (WorkerError, LedgerNotNowError, OSError) as error:
                self._note(error)
                backoff_s = BACKOFF_FIRST_S if self._cursor > before else min(2 * backoff_s, BACKOFF_MAX_S)
                hopeless = isinstance(error, WorkerError) and error.hopeless
                await self._wait_before_retry(HOPELESS_BACKOFF_S if hopeless else backoff_s)
        self._finished.set()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing is on its way to MLflow within; waits for what is, `EXPORT_DEADLINE_S` at most."""
        async with self._turn:
            yield

    async def finish(self) -> None:
        """Gives what has just been committed one last export, for `FINISH_S` at most."""
        self._stopping.set()
        self._news.set()
        with anyio.move_on_after(FINISH_S):
            await self._finished.wait()

    def _why_not(self) -> str:
        if importlib.util.find_spec("mlflow") is None:
            return "MLflow is not installed; install it: pip install 'agents-obs[daemon]'"
        return ""

    async def _drive(self, worker: _Worker) -> None:
        self._state = "starting"
        _raise_error(await worker.answer(START_DEADLINE_S))
        more = True
        while True:
            finishing = self._stopping.is_set()
            if not more and not finishing:
                await self._wait_for_news()
                finishing = self._stopping.is_set()
            self._state = "exporting"
            async with self._turn:
                outcome = await worker.ask(ExportRequest(self._cursor), EXPORT_DEADLINE_S)
                _raise_error(outcome)
                await self._save(outcome)
            more = outcome.more
            self._state = "idle" if not more else "exporting"
            if finishing:
                return

    async def _wait_for_news(self) -> None:
        with anyio.move_on_after(LOOK_EVERY_S):
            await self._news.wait()
            if not self._stopping.is_set():
                await anyio.sleep(GATHER_S)
        self._news = anyio.Event()

    async def _wait_before_retry(self, backoff_s: float) -> None:
        with anyio.move_on_after(backoff_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
            await self._stopping.wait()

    async def _save(self, outcome: ExportOutcome) -> None:
        await self._write(
            self._ledger.save_export, NAME, outcome.cursor, outcome.runs, outcome.set_aside, outcome.retried
        )
        self._cursor = outcome.cursor
        self._last_success_unix_ns = time.time_ns()
        self._last_error = ""
        self.steps += 1

    def _note(self, error: Exception) -> None:
        if str(error) != self._last_error:
            _log.warning("exporter=%s retrying: %s", NAME, error)
        self._state, self._last_error = "retrying", str(error)


class _Worker:
    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None  # noqa: S101 - both were asked for
        assert process.stdout is not None  # noqa: S101
        self._requests = process.stdin
        self._answers = BufferedByteReceiveStream(process.stdout)

    async def ask(self, request: ExportRequest, deadline_s: float) -> ExportOutcome:
        try:
            await self._requests.send(request.to_line())
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise WorkerError("the export worker died") from error
        return await self.answer(deadline_s)

    async def answer(self, deadline_s: float) -> ExportOutcome:
        try:
            with anyio.fail_after(deadline_s):
                return ExportOutcome.from_line(
                    await self._answers.receive_until(b"\n", EXPORT_LINE_BYTES_MAX)
                )
        except TimeoutError as error:
            raise WorkerError(f"MLflow did not answer within {deadline_s:g} s") from error
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError) as error:
            raise WorkerError("the export worker died") from error
        except (anyio.DelimiterNotFound, ValueError, TypeError) as error:
            raise WorkerError("the export worker answered what is no answer") from error


@asynccontextmanager
async def _worker(home: Home, tracking_uri: str) -> AsyncIterator[_Worker]:
    """A worker process. Leaving kills it, whatever it is doing."""
    process = await anyio.open_process(
        [
            sys.executable,
            "-P",
            "-m",
            "configurable_agents.obsd.exporters.mlflow",
            str(home.folder),
            tracking_uri,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        env={**os.environ, **worker_environment()},
        start_new_session=True,
    )
    try:
        yield _Worker(process)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()


def worker_environment() -> dict[str, str]:
    """MLflow's own retries and long time-outs are off: ours are the ones that count. Nor does it follow
    whoever answers in its server's place to another address."""
    return {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }


def _raise_error(outcome: ExportOutcome) -> None:
    if outcome.error:
        raise WorkerError(outcome.error, hopeless=outcome.hopeless)
