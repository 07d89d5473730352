"""The profile: where the time went, node by node, with the slowest node and the bottlenecks marked."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.headings import heading, runs_counted, scope_details
from configurable_agents.cli.render.tables import (
    ALARMING_STYLE,
    BAR_STYLE,
    NOTABLE_STYLE,
    QUIET_STYLE,
    Cell,
    Column,
    Row,
    table,
)
from configurable_agents.observability.cost_summary import percent_below
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport

SLOWEST_SIGN = "▲"
BOTTLENECK_SIGN = "●"

COLUMNS = (
    Column("", 0, justify="left"),
    Column("Node", 0, folds=True, justify="left"),
    Column("Calls", 3),
    Column("Total", 1),
    Column("Self", 7),
    Column("Avg", 2),
    Column("p95", 6),
    Column("Max", 8),
    Column("Errors", 5),
    Column("Share", 0),
    Column("", 4, justify="left"),
)


def profile_report(
    report: ProfileReport, *, threshold_percent: float, width: int, nesting_known: bool = True
) -> Iterator[RenderableType]:
    yield from heading("Profile by node", *details(report))
    if not report.nodes:
        yield Text("No node has finished.")
        return
    found = list(rows(report, threshold_percent, nesting_known=nesting_known))
    yield table(COLUMNS, found, width=width)
    yield Text()
    yield from closing_lines(report, threshold_percent)
    if not nesting_known:
        yield Text("MLflow keeps no nesting and no errors: shares are of total time.", style=QUIET_STYLE)


def details(report: ProfileReport) -> tuple[str, ...]:
    scope = scope_details(
        experiment=report.experiment, run_id=report.run_id, since_unix_ns=report.since_unix_ns
    )
    return (
        *scope,
        f"workflow {printable(report.workflow)}" if report.workflow else "",
        "" if report.run_id else runs_counted(report.run_count),
        report.status.label if report.status else "",
        f"wall {figures.duration(report.wall_ns)}" if report.wall_ns else "",
    )


def rows(report: ProfileReport, threshold_percent: float, *, nesting_known: bool) -> Iterator[Row]:
    bottlenecks = report.bottlenecks(threshold_percent)
    for node in report.nodes:
        slowest = node is report.slowest_node
        bottleneck = node in bottlenecks
        signs = (SLOWEST_SIGN if slowest else "") + (BOTTLENECK_SIGN if bottleneck else "")
        style = ALARMING_STYLE if bottleneck else NOTABLE_STYLE if slowest else ""
        found = cells(report, node, signs)
        yield Row(found if nesting_known else without_unknowns(found), style=style)


def cells(report: ProfileReport, node: NodeProfile, signs: str) -> tuple[Cell, ...]:
    percent = report.percent_of_total(node)
    return (
        Cell(signs),
        Cell(printable(node.node_id)),
        Cell(figures.count(node.calls)),
        Cell(figures.duration(node.total_ns)),
        Cell(figures.duration(node.self_ns)),
        Cell(figures.duration(node.avg_ns)),
        Cell(figures.UNKNOWN if node.p95_ns is None else figures.duration(node.p95_ns)),
        Cell(figures.duration(node.max_ns)),
        Cell(figures.count(node.errors), ALARMING_STYLE if node.errors else ""),
        Cell(percent_below(percent)),
        Cell(figures.share_bar(percent), BAR_STYLE),
    )


def without_unknowns(cells_of_node: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """Dashes for self time and errors, which are not zero but not known."""
    unknown = [column.title in ("Self", "Errors") for column in COLUMNS]
    return tuple(
        Cell(figures.UNKNOWN) if hidden else cell for cell, hidden in zip(cells_of_node, unknown, strict=True)
    )


def closing_lines(report: ProfileReport, threshold_percent: float) -> Iterator[Text]:
    slowest = report.slowest_node
    if slowest is not None:
        line = f"Slowest node: {printable(slowest.node_id)} ({slowest.avg_ns / 1e6:.2f}ms avg)"
        yield Text(f"{SLOWEST_SIGN} {line}", style=NOTABLE_STYLE, overflow="fold")
    bottlenecks = report.bottlenecks(threshold_percent)
    if not bottlenecks:
        yield Text(f"No node takes more than {threshold_percent:g}% of the total time.")
        return
    title = f"Bottlenecks (>{threshold_percent:g}% of total time):"
    yield Text(f"{BOTTLENECK_SIGN} {title}", style=ALARMING_STYLE)
    for node in bottlenecks:
        share = percent_below(report.percent_of_total(node))
        yield Text(f"    {printable(node.node_id)}: {share}", overflow="fold")
