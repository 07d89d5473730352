"""What a report says above its table: what it is, and which runs it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.tables import HEADING_STYLE, QUIET_STYLE
from configurable_agents.observability.cost_summary import plural
from configurable_agents.telemetry import OTHER_NAME

SEPARATOR = " · "


def heading(title: str, *details: str) -> Iterator[Text]:
    yield Text(title, style=HEADING_STYLE)
    yield Text(SEPARATOR.join(detail for detail in details if detail), style=QUIET_STYLE, overflow="fold")
    yield Text()


class Scoped(Protocol):
    """What narrows a report down, and reports tell of themselves."""

    @property
    def experiment(self) -> str: ...

    @property
    def run_id(self) -> str: ...

    @property
    def since_unix_ns(self) -> int: ...


class ScopedReport(Scoped, Protocol):
    @property
    def run_count(self) -> int: ...


def report_heading(title: str, report: ScopedReport, *details: str) -> Iterator[Text]:
    """With the scope, and how many runs were added up where it is not one."""
    counted = "" if report.run_id else runs_counted(report.run_count)
    yield from heading(title, *scope_details(report), counted, *details)


def scope_details(scope: Scoped) -> tuple[str, ...]:
    """`everything` when nothing narrows the report down."""
    return (
        f"run {printable(scope.run_id)}" if scope.run_id else "",
        f"experiment {printable(scope.experiment)}" if scope.experiment else "",
        "" if scope.experiment or scope.run_id else "everything: all experiments",
        f"since {figures.local_time(scope.since_unix_ns)}" if scope.since_unix_ns else "",
    )


def runs_counted(run_count: int) -> str:
    return plural(run_count, "run")


def folded_note(names: Iterable[str]) -> Iterator[Text]:
    """What `__other__` is, where a report has it."""
    if OTHER_NAME in names:
        note = f"{OTHER_NAME} is what came after the first names that a run may have, added up."
        yield Text(note, style=QUIET_STYLE, overflow="fold")
