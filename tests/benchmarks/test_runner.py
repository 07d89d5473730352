"""The benchmarks run, at their smallest; what they measure there means nothing and is not looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
DEADLINE_S = 170

ITEMS = sorted(path.stem for path in (BENCHMARKS / "items").glob("*.py") if path.stem != "__init__")
SLOW = {"export", "ingest", "report_latency"}
"""They load MLflow, which takes seconds."""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def results_of(item: str, folder: Path) -> dict[str, object]:
    out = folder / "result.json"
    done = run(BENCHMARKS / "run.py", item, "--size", "tiny", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "goal" in done.stdout
    [measured] = json.loads(out.read_text())["items"]
    return measured


@pytest.mark.benchmarks
@pytest.mark.parametrize("item", [item for item in ITEMS if item not in SLOW])
def test_an_item_runs_at_its_smallest_and_yields_figures(item: str, tmp_path: Path) -> None:
    measured = results_of(item, tmp_path)
    assert measured["item"] == item
    assert all(series["samples"] for series in measured["result"]["series"])
    assert measured["result"]["verdicts"]
    assert not measured["result"]["absent"]


@pytest.mark.acceptance
@pytest.mark.benchmarks
@pytest.mark.parametrize("item", sorted(SLOW))
def test_a_slow_item_runs_at_its_smallest_too(item: str, tmp_path: Path) -> None:
    measured = results_of(item, tmp_path)
    assert all(series["samples"] for series in measured["result"]["series"])
    assert not measured["result"]["absent"]


def test_every_item_says_what_it_measures_and_has_its_place_in_the_runner() -> None:
    done = run("-c", f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import run; print(*run.ITEMS)")
    assert sorted(done.stdout.split()) == ITEMS
    for item in ITEMS:
        assert (BENCHMARKS / "items" / f"{item}.py").read_text().startswith('"""')


def test_a_peer_that_is_not_installed_is_named_with_the_remedy() -> None:
    done = run(
        "-c",
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from measuring.contenders import Program, take_turns\n"
        "absent = {}\n"
        "program = Program('nobody', 'track_call', ('ours',), 'no-such-environment')\n"
        "print(take_turns((program,), rounds=1, absent=absent, task={}), absent)",
    )
    assert "{} {'nobody': 'not installed; `make bench-peers` installs it'}" in done.stdout, done.stderr


def test_the_document_and_its_pictures_are_the_same_for_the_same_figures(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from pathlib import Path\n"
        "from measuring.figures import Curve, Measured, Result, Series, Size\n"
        "from measuring.pictures import draw\n"
        "series = (Series('ours', 'µs', (1.0, 2.0)), Series('theirs', 'µs', (90.0, 100.0)))\n"
        "curves = (Curve('cost', 'events', 'µs', (1.0, 10.0), (2.0, 3.0)),)\n"
        "for result in (Result(series), Result(series, curves=curves)):\n"
        "    measured = Measured('hot_path', 'what', 'tiny', 1.0, (0.0, 0.0), result)\n"
        "    [path] = draw(measured, Path(sys.argv[1]), 'normal')\n"
        "    print(path.read_text())\n"
    )
    first, second = (run("-c", program, tmp_path / name) for name in ("a", "b"))
    assert first.returncode == 0, first.stderr
    assert "<svg" in first.stdout
    assert first.stdout == second.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_no_daemon_behind(number: signal.Signals) -> None:
    with tempfile.TemporaryDirectory(prefix="runs-") as folder:
        runner = subprocess.Popen(
            [
                sys.executable,
                BENCHMARKS / "run.py",
                "growth",
                "--size",
                "tiny",
                "--out",
                f"{folder}/out.json",
            ],
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        )
        daemon = wait_for_a_daemon(Path(folder))
        try:
            runner.send_signal(number)
            said, _ = runner.communicate(timeout=DEADLINE_S)

            assert (runner.returncode, "interrupted" in said) == (130, True)
            assert not daemon.is_running()
            assert list(Path(folder).iterdir()) == []
        finally:
            if daemon.is_running():
                daemon.terminate()


def wait_for_a_daemon(folder: Path) -> psutil.Process:
    """The first that is started in a state folder within, whether it is ready or not."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["pid", "cmdline"]):
            command = process.info["cmdline"] or []
            if "configurable_agents.obsd" in command and any(
                each.startswith(str(folder)) for each in command
            ):
                return process
        time.sleep(0.01)
    raise TimeoutError(f"no daemon was started in {folder}")


def test_nothing_of_the_product_imports_the_benchmarks() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        assert "benchmarks" not in path.read_text(), path
