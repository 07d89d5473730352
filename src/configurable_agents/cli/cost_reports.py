"""`cost-report`."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.options import (
    ByOption,
    FormatOption,
    JsonOption,
    MLflowUriOption,
    Output,
    Sort,
    SortOption,
    StrictOption,
    TopOption,
)
from configurable_agents.cli.scoped import scoped
from configurable_agents.client.home import Home
from configurable_agents.client.reports import Scope
from configurable_agents.errors import IncompleteCoverageError
from configurable_agents.observability.cost_groups import GroupedCosts, checked_dimensions, of_summary
from configurable_agents.observability.cost_summary import CallTotals, CostSummary


@scoped
def cost_report(
    *,
    scope: Scope,
    home: Home,
    by: ByOption = None,
    top: TopOption = None,
    sort: SortOption = None,
    output: FormatOption = None,
    as_json: JsonOption = False,
    strict: StrictOption = False,
    mlflow_uri: MLflowUriOption = None,
) -> None:
    """Cost by provider and model, or by any combination of dimensions.

    Every total says how many calls it does not cover. Without --experiment and --run, all runs are added up.

    --by takes provider, model, node, workflow, experiment, run, tag:KEY, day (UTC), attempt, status,
    price-status, wasted, anomaly and token-class, separated by commas. Exit code 4 with --strict when some
    calls have no known cost.
    """
    wanted = wanted_output(output, as_json=as_json)
    if by is not None or top is not None or sort is not None or wanted in (Output.CSV, Output.MARKDOWN):
        dimensions = checked_dimensions((by or "provider,model").split(","))
        totals = show_grouped_costs(
            grouped_from(mlflow_uri, home, scope, dimensions, sort=sort or Sort.COST, top=top or 0), wanted
        )
    elif mlflow_uri is None:
        totals = cost_from_daemon(home, scope, as_json=wanted is Output.JSON)
    else:
        experiment_name = sources.experiment_in_mlflow(scope)
        totals = cost_from_mlflow(mlflow_uri, experiment_name, as_json=wanted is Output.JSON)
    if strict and totals.covered_calls < totals.calls:
        raise IncompleteCoverageError(
            f"not every call has a known cost: {totals.coverage_sentence()}; {remedy(totals)}"
        )


def remedy(totals: CallTotals) -> str:
    """What to do about calls without a known cost."""
    found = []
    if totals.unpriced_calls:
        found.append("agents-obs explain says why a call has no price, prices.toml can give it one")
    if totals.no_usage_calls:
        found.append("ask the provider for usage where there is none (docs/cost.md, Streams)")
    return "; ".join((*found, "or leave out --strict"))


def wanted_output(output: Output | None, *, as_json: bool) -> Output:
    """Raises `typer.BadParameter` when `--json` and `--format` contradict each other."""
    if as_json and output not in (None, Output.JSON):
        raise typer.BadParameter("leave out --json, or --format", param_hint="'--format'")
    return Output.JSON if as_json else output or Output.TABLE


def grouped_from(
    mlflow_uri: str | None, home: Home, scope: Scope, by: Sequence[str], *, sort: str, top: int
) -> GroupedCosts:
    if mlflow_uri is None:
        with sources.daemon(home) as client:
            return client.grouped_costs(scope, by, sort=sort, top=top)
    found = sources.mlflow_costs(mlflow_uri, sources.experiment_in_mlflow(scope))
    return of_summary(found.summary, by, sort=sort, top=top or len(found.summary.models) or 1)


def show_grouped_costs(grouped: GroupedCosts, output: Output) -> CallTotals:
    if output is Output.JSON:
        terminal.show_json(grouped.to_json())
    elif output in (Output.CSV, Output.MARKDOWN):
        from configurable_agents.cli import cost_tables  # noqa: PLC0415 - where one is asked for

        write = cost_tables.as_csv if output is Output.CSV else cost_tables.as_markdown
        terminal.write_out(write(grouped))
    else:
        from configurable_agents.cli.render import cost_groups  # noqa: PLC0415 - Rich for tables only

        terminal.show(lambda width: cost_groups.grouped_costs(grouped, width=width))
    return grouped.totals


def cost_from_daemon(home: Home, scope: Scope, *, as_json: bool) -> CallTotals:
    with sources.daemon(home) as client:
        summary = client.cost_report(scope)
        newest = None if summary.run_count or as_json else sources.newest_run(client)
    if as_json:
        terminal.show_json(summary.to_json())
    elif summary.run_count:
        show_cost(summary)
    else:
        sources.show_nothing(scope, newest)
    return summary.totals


def cost_from_mlflow(mlflow_uri: str, experiment: str, *, as_json: bool) -> CallTotals:
    found = sources.mlflow_costs(mlflow_uri, experiment)
    if as_json:
        terminal.show_json(sources.costs_json(found))
    else:
        show_cost(found.summary, classes_known=found.classes_known)
    return found.summary.totals


def show_cost(summary: CostSummary, *, classes_known: bool = True) -> None:
    from configurable_agents.cli.render import cost  # noqa: PLC0415 - Rich is loaded for tables only

    terminal.show(lambda width: cost.cost_report(summary, width=width, classes_known=classes_known))
