"""Runs the example workflows as processes, all at the same time, and shows how far they are."""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from demonstration.failure import DemoError
from demonstration.processes import EXAMPLES, end, last_lines

WORKFLOWS_TIMEOUT_S = 120.0
DETAIL_COLUMNS_MIN = 90
"""A narrower terminal shows no more than how far each process is."""
PROGRESS_LINE = re.compile(r"(\d+)/(\d+) (.*)")


class Workflow(NamedTuple):
    name: str
    """Of its file in examples/, without `.yaml`."""
    experiment: str
    slow_node: str
    """The node that it makes slow: the reports should name this one and no other."""
    processes: int


class _Said(NamedTuple):
    """A line of a workflow process; `None` when it said its last."""

    name: str
    line: str | None


class _Process(NamedTuple):
    popen: subprocess.Popen[str]
    errors: IO[str]
    started_s: float


def run_workflows(
    workflows: tuple[Workflow, ...], *, runs: int, environment: Mapping[str, str], console: Console
) -> None:
    """Runs all processes of all workflows and waits for them. One that fails fails the demo."""
    said: queue.Queue[_Said] = queue.Queue()
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(_process(name, workflow, runs, environment, said))
            for name, workflow in _names(workflows)
        }
        display = stack.enter_context(_display(console, list(processes)))
        _follow(processes, said, display)


def _names(workflows: tuple[Workflow, ...]) -> Iterator[tuple[str, Workflow]]:
    for workflow in workflows:
        for number in range(1, workflow.processes + 1):
            suffix = f" {number}" if workflow.processes > 1 else ""
            yield f"{workflow.name}{suffix}", workflow


def _follow(processes: Mapping[str, _Process], said: queue.Queue[_Said], display: _Display) -> None:
    deadline_s = time.monotonic() + WORKFLOWS_TIMEOUT_S
    running = set(processes)
    while running:
        try:
            name, line = said.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            late = ", ".join(sorted(running))
            raise DemoError(f"still running after {WORKFLOWS_TIMEOUT_S:.0f} s: {late}") from None
        if line is not None:
            display.advance(name, line)
            continue
        running.remove(name)
        display.finish(name, _ended_after_s(name, processes[name]))


def _ended_after_s(name: str, process: _Process) -> float:
    exit_code = process.popen.wait()
    process.errors.seek(0)
    complaints = process.errors.read()
    if exit_code != 0:
        raise DemoError(f"{name} ended with exit code {exit_code}:\n{last_lines(complaints, count=15)}")
    if complaints:
        sys.stderr.write(complaints)
    return time.monotonic() - process.started_s


@contextmanager
def _process(
    name: str, workflow: Workflow, runs: int, environment: Mapping[str, str], said: queue.Queue[_Said]
) -> Iterator[_Process]:
    with tempfile.TemporaryFile("w+") as errors:
        popen = subprocess.Popen(
            [
                *(sys.executable, EXAMPLES / "demonstration" / "repeat.py"),
                *(EXAMPLES / f"{workflow.name}.yaml", f"--runs={runs}"),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        listener = threading.Thread(target=_listen, args=(name, popen, said), daemon=True)
        listener.start()
        try:
            yield _Process(popen, errors, time.monotonic())
        finally:
            if popen.poll() is None:
                popen.terminate()
            listener.join()
            end(popen)


def _listen(name: str, popen: subprocess.Popen[str], said: queue.Queue[_Said]) -> None:
    for line in popen.stdout or ():
        said.put(_Said(name, line.rstrip()))
    said.put(_Said(name, None))


@contextmanager
def _display(console: Console, names: list[str]) -> Iterator[_Display]:
    """Bars on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield _Lines(console, names)
        return
    columns = [TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn()]
    if console.width >= DETAIL_COLUMNS_MIN:
        columns.append(TextColumn("{task.fields[doing]}", markup=False, style="dim"))
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress, names)


class _Bars:
    def __init__(self, progress: Progress, names: list[str]) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {
            name: progress.add_task(name, total=None, doing="starting") for name in names
        }

    def advance(self, name: str, line: str) -> None:
        found = PROGRESS_LINE.fullmatch(line)
        if found:
            done, total, doing = found.groups()
            self._progress.update(self._tasks[name], completed=int(done), total=int(total), doing=doing)

    def finish(self, name: str, duration_s: float) -> None:
        self._progress.update(self._tasks[name], doing=f"done in {duration_s:.1f} s")


class _Lines:
    def __init__(self, console: Console, names: list[str]) -> None:
        self._console = console
        self._say(f"  started {len(names)} processes: {', '.join(names)}")

    def advance(self, name: str, line: str) -> None:
        """Nothing: a log wants results, not motion."""

    def finish(self, name: str, duration_s: float) -> None:
        self._say(f"  {name}: done in {duration_s:.1f} s")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


_Display = _Bars | _Lines
