"""`reprice`: what recorded calls cost by the prices of now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from configurable_agents.cli import figures, sources, terminal
from configurable_agents.cli.escape import printable
from configurable_agents.cli.options import JsonOption
from configurable_agents.cli.prices import moment
from configurable_agents.cli.scoped import scoped
from configurable_agents.client.home import Home
from configurable_agents.client.reports import Scope
from configurable_agents.client.repricing import reprice as ask_to_reprice
from configurable_agents.observability.cost_summary import CallTotals, plural
from configurable_agents.observability.repricing import RepricingReport

if TYPE_CHECKING:
    from rich.console import RenderableType


@scoped
def reprice(
    *,
    scope: Scope,
    home: Home,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="DATE", help="At the prices of this date, not of each call's own."),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Replace the prices; the old ones stay in the receipts.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; kept with what changes.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """What recorded calls cost by the prices of now, old and new by model.

    Without --apply nothing changes. With it, the old price goes into the history of each receipt, and
    MLflow gets the corrected metrics with the reason as a tag.
    """
    if not (scope.experiment or scope.run_id or scope.since_unix_ns):
        raise typer.BadParameter("say what to reprice: --run, --experiment or --since", param_hint="'--run'")
    as_of_unix_ns = 0 if as_of is None else moment(as_of)
    with sources.daemon(home) as client:
        report = ask_to_reprice(client, scope, as_of_unix_ns=as_of_unix_ns, apply=apply, reason=reason)
    if as_json:
        terminal.show_json(report.to_json())
    else:
        terminal.show(lambda width: page(report, width))


def page(report: RepricingReport, width: int) -> Iterator[RenderableType]:
    from rich.text import Text  # noqa: PLC0415 - Rich is loaded for tables only

    from configurable_agents.cli.render.headings import heading  # noqa: PLC0415
    from configurable_agents.cli.render.tables import Cell, Column, Row, table  # noqa: PLC0415

    title = "Repriced" if report.applied else "Repricing would change"
    yield from heading(title, plural(report.run_count, "run"), printable(report.table_version))
    columns = (
        Column("Provider", 1, folds=True, justify="left"),
        Column("Model", 0, folds=True, justify="left"),
        Column("Calls", 3),
        Column("Changed", 2),
        Column("Before", 0),
        Column("After", 0),
    )
    amounts = [each.cost_nanos for entry in report.models for each in (entry.before, entry.after)]
    decimals = figures.dollar_decimals(amounts)

    def cells(names: tuple[str, str], changed: int, *both: CallTotals) -> Row:
        texts = [figures.cost(each.cost, decimals) for each in both]
        calls = figures.count(both[0].calls)
        return Row(tuple(map(Cell, (*map(figures.name, names), calls, figures.count(changed), *texts))))

    rows = [cells((e.provider, e.model), e.changed_calls, e.before, e.after) for e in report.models]
    yield table(columns, rows, width=width)
    yield Text()
    changed = f"{plural(report.changed_calls, 'call')} in {plural(report.changed_runs, 'run')}"
    told = f"{changed}: {difference(report, decimals)}" if report.changed_calls else "No price differs."
    yield Text(told)
    if legend := figures.legend(each.cost for entry in report.models for each in (entry.before, entry.after)):
        yield Text(legend)
    if not report.applied and report.changed_calls:
        yield Text("Nothing was changed; --apply replaces the prices.")


def difference(report: RepricingReport, decimals: int) -> str:
    nanos = report.difference_nanos
    if nanos is None:
        before, after = (figures.cost(each.cost, decimals) for each in (report.before, report.after))
        return f"known cost {before} before, {after} after"
    return f"{'' if nanos < 0 else '+'}{figures.dollars(nanos, decimals)}"
