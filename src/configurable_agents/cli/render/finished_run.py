"""What a run of a workflow ends with: its result, its costs, and where its time went."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import one_line, printable
from configurable_agents.cli.render.tables import (
    HEADING_STYLE,
    NOTABLE_STYLE,
    QUIET_STYLE,
    Cell,
    Column,
    Row,
    table,
)
from configurable_agents.observability.cost_summary import CostSummary, plural
from configurable_agents.observability.known_cost import KnownTokens
from configurable_agents.runtime.profile_report import NS_PER_MS, ProfileReport
from configurable_agents.telemetry import Status, WorkflowRunRecord

VALUE_LENGTH_MAX = 200
"""Longer values are cut here; --output keeps them whole."""

COLUMNS = (
    Column("node_id", 0, folds=True, justify="left"),
    Column("call_count", 0),
    Column("total_time_ms", 0),
    Column("avg_time_ms", 0),
    Column("percent_of_total", 0),
)


def run_heading(record: WorkflowRunRecord, wall_ns: int) -> Iterator[RenderableType]:
    style = "green" if record.status is Status.OK else NOTABLE_STYLE
    yield Text(f"{printable(record.workflow)}: {record.status.label}", style=style)
    details = (
        f"run {record.run_id}",
        f"experiment {printable(record.experiment)}",
        figures.duration(wall_ns),
    )
    yield Text(" · ".join(details), style=QUIET_STYLE, overflow="fold")


def results(values: Mapping[str, Any]) -> Iterator[RenderableType]:
    for name, value in values.items():
        text = one_line(
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        )
        shown = text if len(text) <= VALUE_LENGTH_MAX else f"{text[:VALUE_LENGTH_MAX]}…"
        yield Text.assemble((f"{printable(name)}: ", HEADING_STYLE), shown, overflow="fold")


def costs(summary: CostSummary) -> Iterator[RenderableType]:
    yield Text()
    if not summary.models:
        yield Text("Cost: no model was called")
        return
    yield Text(f"Cost: {summary.totals.coverage_sentence()}", style=HEADING_STYLE)
    for provider, totals in summary.by_provider().items():
        known = figures.cost(totals.cost)
        used = f"{tokens(totals.tokens)}, {plural(totals.calls, 'call')}"
        yield Text(f"  {printable(provider)}: {known} ({used})", overflow="fold")


def tokens(found: KnownTokens) -> str:
    if found.known is None:
        return "tokens not known"
    return plural(found.known, "token") if found.is_complete else f"{figures.tokens(found)} tokens"


def bottlenecks(report: ProfileReport, threshold_percent: float) -> Iterator[RenderableType]:
    """Two sentences, as scripts look for them."""
    slowest = report.slowest_node
    if slowest is None:
        return
    yield Text()
    yield Text(f"Slowest node: {printable(slowest.node_id)} ({slowest.avg_ns / NS_PER_MS:.2f}ms avg)")
    found = report.bottlenecks(threshold_percent)
    if found:
        yield Text(f"Bottlenecks (>{threshold_percent:g}% of total time):")
        for node in found:
            yield Text(
                f"  {printable(node.node_id)}: {report.percent_of_total(node):.1f}%", style=NOTABLE_STYLE
            )


def profile_table(report: ProfileReport, *, width: int) -> Iterator[RenderableType]:
    yield Text()
    rows = [
        Row(
            (
                Cell(printable(node.node_id)),
                Cell(f"{node.calls:,}"),
                Cell(f"{node.total_ns / NS_PER_MS:.2f}"),
                Cell(f"{node.avg_ns / NS_PER_MS:.2f}"),
                Cell(f"{report.percent_of_total(node):.1f}%"),
            )
        )
        for node in report.nodes
    ]
    yield table(COLUMNS, rows, width=width)
