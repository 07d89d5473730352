"""`timeline`."""

from __future__ import annotations

import gc
import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.files import check_writable, write_file
from configurable_agents.cli.options import HomeOption, given, home_of
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.client.timelines import TimelineClient
from configurable_agents.runtime.timeline import Timeline
from configurable_agents.telemetry import Status

if TYPE_CHECKING:
    from rich.live import Live

FOLLOW_EVERY_S = 1.0
ROWS_MAX = 10_000


class TraceFormat(StrEnum):
    TABLE = "table"
    PERFETTO = "perfetto"
    FOLDED = "folded"
    FOLDED_COST = "folded-cost"


RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="The run: its id, a unique beginning of it, or latest.")
]
FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Show a run in flight again and again until it ends.")
]
HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write an interactive page that needs no network."),
]
FormatOption = Annotated[
    TraceFormat,
    typer.Option(
        "--format",
        help="perfetto: Chrome trace JSON for ui.perfetto.dev. folded: collapsed stacks for flame graphs,"
        " weighted by time in µs (folded-cost: by nano-dollars).",
    ),
]
RowsOption = Annotated[
    int, typer.Option("--rows", min=1, max=ROWS_MAX, help="How many executions at most: the longest.")
]


def timeline(
    run: RunArgument,
    *,
    follow: FollowOption = False,
    html: HtmlOption = None,
    output: FormatOption = TraceFormat.TABLE,
    rows: RowsOption = 60,
    home: HomeOption = None,
) -> None:
    """One run as a waterfall, its critical path marked.

    The critical path is the chain of executions that determined when the run ended.
    """
    if follow and (html is not None or output is not TraceFormat.TABLE):
        raise typer.BadParameter(
            "it draws in the terminal; leave out --html and --format", param_hint="'--follow'"
        )
    if html is not None and output is not TraceFormat.TABLE:
        raise typer.BadParameter("it is a page; leave out --format", param_hint="'--html'")
    scope = Scope(run_id=given(run, "RUN", "give a run id, a unique beginning of one, or latest"))
    if html is not None:
        check_writable(html)
    with sources.daemon(home_of(home)) as client:
        if follow:
            follow_run(client, scope, rows)
            return
        gc.disable()  # a long run is a million records, all kept: looking for garbage takes a second
        found = TimelineClient(client).timeline(scope)
    if html is not None:
        write_page(found, html)
    else:
        show(found, output, rows)


def show(found: Timeline, output: TraceFormat, rows_max: int) -> None:
    if output is TraceFormat.TABLE:
        from configurable_agents.cli.render.timeline import (  # noqa: PLC0415 - Rich is for tables only
            timeline_report,
        )

        terminal.show(lambda width: timeline_report(found, width=width, rows_max=rows_max))
        return
    from configurable_agents.runtime import trace_formats  # noqa: PLC0415 - for these formats only

    if output is TraceFormat.PERFETTO:
        terminal.write_out(json.dumps(trace_formats.perfetto(found), ensure_ascii=True) + "\n")
    else:
        lines = trace_formats.folded(found, weight="cost" if output is TraceFormat.FOLDED_COST else "time")
        terminal.write_out("".join(f"{line}\n" for line in lines))


def write_page(found: Timeline, path: Path) -> None:
    """Raises `OutputError` when the file cannot be written."""
    from configurable_agents.runtime.timeline_page import timeline_page  # noqa: PLC0415 - for pages only

    write_file(path, timeline_page(found))
    terminal.write_out(f"{path} shows run {found.run.run_id}; open it in a browser\n")


def follow_run(client: ReportClient, scope: Scope, rows_max: int) -> None:
    """Draws over itself on a terminal; elsewhere only the end is shown."""
    ask = TimelineClient(client)
    found = ask.timeline(scope)
    scope = Scope(run_id=found.run.run_id)
    with terminal.live() as live:
        while found.run.status is Status.RUNNING:
            redraw(live, found, rows_max)
            time.sleep(FOLLOW_EVERY_S)
            found = ask.timeline(scope)
    show(found, TraceFormat.TABLE, rows_max)


def redraw(live: Live | None, found: Timeline, rows_max: int) -> None:
    if live is None:
        return
    from rich.console import Group  # noqa: PLC0415 - Rich is for tables only

    from configurable_agents.cli.render.timeline import timeline_report  # noqa: PLC0415 - the same

    height = max(5, live.console.height - 8)
    parts = timeline_report(found, width=live.console.width, rows_max=min(rows_max, height))
    live.update(Group(*parts), refresh=True)
