"""`caches`: what prompt caches saved, and what was spent on them in vain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from configurable_agents.cli import figures, sources, terminal
from configurable_agents.cli.options import JsonOption
from configurable_agents.cli.scoped import scoped
from configurable_agents.client.home import Home
from configurable_agents.client.reports import Scope
from configurable_agents.observability.cache_economics import CacheReport, CacheUse
from configurable_agents.observability.cost_summary import percent_below

if TYPE_CHECKING:
    from rich.console import RenderableType


@scoped
def cache_report(*, scope: Scope, home: Home, as_json: JsonOption = False) -> None:
    """Prompt caches by node and model: hits, dollars saved, dollars spent on writes never read.

    A write counts as never read when no later call of its run to the same model read from a cache within
    five minutes, or an hour where that was paid for.
    """
    with sources.daemon(home) as client:
        report = client.cache_report(scope)
    if as_json:
        terminal.show_json(report.to_json())
    else:
        terminal.show(lambda width: page(report, width))


def page(report: CacheReport, width: int) -> Iterator[RenderableType]:
    from rich.text import Text  # noqa: PLC0415 - Rich is loaded for tables only

    from configurable_agents.cli.render.headings import report_heading  # noqa: PLC0415
    from configurable_agents.cli.render.tables import Cell, Column, Row, table  # noqa: PLC0415

    yield from report_heading("Prompt caches", report)
    if not report.entries:
        yield Text("No LLM call with known usage was recorded.")
        return
    columns = (
        Column("Node", 0, folds=True, justify="left"),
        Column("Model", 0, folds=True, justify="left"),
        Column("Calls", 5),
        Column("Read", 3),
        Column("Written", 4),
        Column("Hits", 1),
        Column("Saved", 0),
        Column("Never read", 0),
    )
    amounts = [amount for entry in report.entries for amount in (entry.saved_nanos, entry.unread_nanos)]
    decimals = figures.dollar_decimals(amounts)

    def row(names: tuple[str, str], use: CacheUse, *, total: bool = False) -> Row:
        texts = (
            *(figures.name(name) for name in names),
            figures.count(use.calls),
            figures.count(use.read_tokens),
            figures.count(use.written_tokens),
            percent_below(use.hit_percent),
            figures.cost(use.saved, decimals),
            figures.cost(use.unread, decimals),
        )
        return Row(tuple(map(Cell, texts)), style="bold" if total else "", total=total)

    rows = [row((entry.node_id, f"{entry.provider}/{entry.model}"), entry) for entry in report.entries]
    yield table(columns, [*rows, row(("Total", " "), report.total, total=True)], width=width)
    rateless = report.total.rateless_read_tokens + report.total.rateless_unread_tokens
    if rateless:
        yield Text()
        yield Text(f"{rateless:,} cached tokens have no known rate and are in no amount.")
