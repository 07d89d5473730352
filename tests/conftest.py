"""Fixtures that every kind of test may use."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from configurable_agents.client.control import start_daemon, stop_daemon
from configurable_agents.client.home import Home

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA_VARIABLE = "AGENTS_OBS_SHARED_DATA"
REQUIRE_SHARED_DATA_VARIABLE = "AGENTS_OBS_REQUIRE_SHARED_DATA"


def forget_settings() -> None:
    for variable in ("AGENTS_OBS_HOME", "AGENTS_OBS_SOCKET", "MLFLOW_TRACKING_URI"):
        os.environ.pop(variable, None)


forget_settings()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts into the background so, and every child would inherit it: no test of
    # Ctrl-C could then succeed.
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture(autouse=True)
def _settings_of_nobody() -> Iterator[None]:
    """No test inherits where the user's state or store is, nor what a test before it has set.

    MLflow itself sets its variable when a tracking URI is set in a process.
    """
    yield
    forget_settings()


@pytest.fixture
def shared_data() -> Path:
    """The folder of recordings made by others; see its README for what they are."""
    named = os.environ.get(SHARED_DATA_VARIABLE)
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if (folder / "usages.jsonl").exists():
        return folder
    reason = f"no recordings in {folder}; name their folder in {SHARED_DATA_VARIABLE}"
    if os.environ.get(REQUIRE_SHARED_DATA_VARIABLE):
        pytest.fail(f"{reason} ({REQUIRE_SHARED_DATA_VARIABLE} is set)")
    pytest.skip(reason)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """`eventually(lambda: done)` waits for a condition instead of a time, and fails when it never holds."""
    return wait_until


def wait_until(condition: Callable[[], object], *, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"did not come true within {within_s:g} s")
        time.sleep(0.005)


@pytest.fixture
def home() -> Iterator[Home]:
    """A private state folder with a path short enough for a socket, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="aobs-"))
    try:
        yield Home.from_environment(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class RunningDaemon(NamedTuple):
    home: Home
    pid: int


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., RunningDaemon]]:
    """Starts the real daemon on `home` when called; it is stopped afterwards. `mlflow=True` exports too."""

    def start_it(*, mlflow: bool = False) -> RunningDaemon:
        if not mlflow:
            (home.folder / "agents-obsd.toml").write_text("[mlflow]\nenabled = false\n")
        return RunningDaemon(home, start_daemon(home).pid)

    yield start_it
    stop_daemon(home)


@pytest.fixture
def daemon(start: Callable[..., RunningDaemon]) -> RunningDaemon:
    """A real daemon, running, without the export to MLflow."""
    return start()
