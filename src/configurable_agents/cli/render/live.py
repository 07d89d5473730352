"""Runs in flight, with the rates of everything that comes in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.headings import heading
from configurable_agents.cli.render.status import lag
from configurable_agents.cli.render.tables import Cell, Column, Row, table
from configurable_agents.observability.cost_summary import plural
from configurable_agents.observability.known_cost import cost_of_run
from configurable_agents.runtime.past_runs import LiveRun, OpenNode
from configurable_agents.wire.report_records import LiveView

NODES_SHOWN_MAX = 3
NS_PER_MINUTE = 60_000_000_000

COLUMNS = (
    Column("Run", 0, justify="left"),
    Column("Experiment", 6, folds=True, justify="left"),
    Column("Workflow", 5, folds=True, justify="left"),
    Column("For", 1),
    Column("Cost", 2),
    Column("Calls", 4),
    Column("Nodes run", 7),
    Column("Running now", 3, folds=True, justify="left"),
)
RUN_ID_CELLS = 12


def live_view(recent: Sequence[LiveView], *, width: int) -> Iterator[RenderableType]:
    """The last of `recent`; rates are from the first of them to the last."""
    view = recent[-1]
    lags = [f"{printable(each.name)}: {lag(each)}" for each in view.exporters]
    yield from heading("Runs in flight", figures.local_time(view.at_unix_ns), *rates(recent), *lags)
    if not view.runs:
        yield Text("No run is in flight.")
        return
    yield table(COLUMNS, [row(live, view) for live in view.runs], width=width)
    if view.runs_live > len(view.runs):
        yield Text(f"and {plural(view.runs_live - len(view.runs), 'older run')}")


def rates(recent: Sequence[LiveView]) -> Iterator[str]:
    first, last = recent[0], recent[-1]
    elapsed_ns = last.at_unix_ns - first.at_unix_ns
    if elapsed_ns <= 0:
        return
    spent = last.cost.less(first.cost)
    a_minute = spent._replace(nanos=round(spent.nanos * NS_PER_MINUTE / elapsed_ns))
    yield f"{figures.cost(a_minute)} a minute"
    events = (last.events_committed - first.events_committed) * figures.NS_PER_SECOND / elapsed_ns
    yield f"{events:,.0f} events/s"


def row(live: LiveRun, view: LiveView) -> Row:
    run = live.run
    return Row(
        (
            Cell(printable(run.run_id[:RUN_ID_CELLS])),
            Cell(printable(run.experiment)),
            Cell(printable(run.workflow)),
            Cell(figures.duration(max(0, view.at_unix_ns - run.started_unix_ns))),
            Cell(figures.cost(cost_of_run(run))),
            Cell(figures.count(run.llm_calls)),
            Cell(figures.count(run.node_executions)),
            Cell(running_now(live.nodes, view.at_unix_ns)),
        )
    )


def running_now(nodes: Sequence[OpenNode], at_unix_ns: int) -> str:
    """Short nodes are told only when they end, so that nothing may be known to run."""
    shown = [
        f"{printable(node.node_id)}{f' x{node.executions}' if node.executions > 1 else ''}"
        f" {figures.duration(max(0, at_unix_ns - node.started_unix_ns))}"
        for node in nodes[:NODES_SHOWN_MAX]
    ]
    more = len(nodes) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])]) or figures.UNKNOWN
