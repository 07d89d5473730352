"""The demo as a user runs it: it adds up, it can be run again, and it leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"
DEMO_TIMEOUT_S = 180
EXIT_INTERRUPTED = 130
EXIT_NO_DAEMON = 3


@pytest.fixture(scope="module")
def demo_home() -> Iterator[Path]:
    """Short enough for a socket's path, whatever the test's own folder is."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder) / "home"


def run_demo(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEMO, "--home", home],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEMO_TIMEOUT_S,
        env={**os.environ, "COLUMNS": "100"},
    )


def daemon_answers(home: Path) -> bool:
    command = [Path(sys.executable).with_name("agents-obsd"), "status", "--home", home]
    return subprocess.run(command, capture_output=True, check=False).returncode != EXIT_NO_DAEMON


def assert_demo_passed(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 0, ended.stdout + ended.stderr
    verdicts = [
        line.split()[0] for line in ended.stdout.splitlines() if line.startswith(("  ok  ", "  WRONG"))
    ]
    assert verdicts == ["ok"] * 8
    assert "\x1b" not in ended.stdout


def test_the_reports_of_a_demo_add_up_and_name_the_slow_nodes(demo_home: Path) -> None:
    ended = run_demo(demo_home)
    assert_demo_passed(ended)
    for slow_node in ("draft", "merge", "review_file", "write_report"):
        assert f"the bottleneck is {slow_node}" in ended.stdout
    assert f"mlflow ui --backend-store-uri sqlite:///{demo_home}/mlflow.db" in ended.stdout
    assert (demo_home / "mlflow.db").is_file()
    assert not daemon_answers(demo_home)


def test_a_demo_right_after_a_demo_starts_afresh(demo_home: Path) -> None:
    assert_demo_passed(run_demo(demo_home))
    assert not daemon_answers(demo_home)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_no_process_behind(demo_home: Path, number: signal.Signals) -> None:
    demo = subprocess.Popen(
        [sys.executable, DEMO, "--home", demo_home],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    while "started 6 processes" not in demo.stdout.readline():
        assert demo.poll() is None
    children = psutil.Process(demo.pid).children(recursive=True)
    assert len(children) >= 7
    demo.send_signal(number)
    _, complaints = demo.communicate(timeout=60)
    assert demo.returncode == EXIT_INTERRUPTED
    assert complaints.splitlines() == ["demo: interrupted; all its processes are stopped"]
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert not daemon_answers(demo_home)
