"""Shows how far a running workflow is, on standard error: rows on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from configurable_agents.cli import figures
from configurable_agents.cli.escape import one_line, printable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from configurable_agents.core.progress import Progress

ROWS_MAX = 50
"""Nodes shown on a terminal; of further ones only failures are said."""
DETAIL_LENGTH_MAX = 100


class Watcher(Protocol):
    def progress(self, progress: Progress) -> None: ...

    def warning(self, sentence: str) -> None: ...


@contextmanager
def watching() -> Iterator[Watcher]:
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.progress import Progress as Bars  # noqa: PLC0415
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}", markup=False, style="dim"),
    )
    console = Console(stderr=True, highlight=False)
    with Bars(*columns, console=console, transient=False) as bars:
        yield Rows(bars)


class Lines:
    """One line for each thing that happens."""

    def progress(self, progress: Progress) -> None:
        self._say(f"{printable(progress.node_id)}: {told(progress)}")

    def warning(self, sentence: str) -> None:
        self._say(f"warning: {sentence}")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{one_line(text)}\n")
        sys.stderr.flush()


class Rows:
    """One row for each node, with what its latest execution does."""

    def __init__(self, bars: object) -> None:
        from rich.progress import Progress as Bars  # noqa: PLC0415

        assert isinstance(bars, Bars)  # noqa: S101 - made by `watching`
        self._bars = bars
        self._rows: dict[str, TaskID] = {}
        self._running: dict[str, int] = {}

    def progress(self, progress: Progress) -> None:
        node_id = progress.node_id
        row = self._row(node_id)
        if row is None:
            return
        began = progress.happening.value == "started"
        self._running[node_id] = self._running.get(node_id, 0) + (1 if began else -1)
        if began and self._running[node_id] == 1:
            self._bars.reset(row, total=1)
        self._bars.update(row, doing=one_line(told(progress))[:DETAIL_LENGTH_MAX])
        if not self._running[node_id]:
            self._bars.update(row, completed=1)

    def warning(self, sentence: str) -> None:
        self._bars.console.print(f"warning: {one_line(sentence)}", markup=False, soft_wrap=True)

    def _row(self, node_id: str) -> TaskID | None:
        if node_id not in self._rows:
            if len(self._rows) >= ROWS_MAX:
                return None
            self._rows[node_id] = self._bars.add_task(printable(node_id), total=1, doing="")
        return self._rows[node_id]


def told(progress: Progress) -> str:
    lasted = figures.duration(progress.duration_ns)
    attempt = f"attempt {progress.attempt} " if progress.attempt > 1 else ""
    match progress.happening.value:
        case "started":
            return f"{attempt}started"
        case "finished":
            return f"{attempt}done in {lasted}"
        case "retrying":
            tried = f"attempt {progress.attempt} failed after {lasted}"
            return f"{tried}, the next in {progress.wait_s:.1f} s: {progress.detail}"
        case "cancelled":
            return f"{attempt}cancelled after {lasted}"
    return f"{attempt}failed after {lasted}: {progress.detail}"
