"""`cost-report` and `profile-report`."""

from __future__ import annotations

import math

import typer

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.contracts import without_unknowns
from configurable_agents.cli.options import (
    ExperimentOption,
    HomeOption,
    JsonOption,
    MLflowUriOption,
    RunOption,
    SinceOption,
    ThresholdOption,
    home_of,
    scope_of,
)
from configurable_agents.client.home import Home
from configurable_agents.client.reports import Scope
from configurable_agents.observability.cost_summary import CostSummary
from configurable_agents.runtime.profile_report import DEFAULT_BOTTLENECK_THRESHOLD_PERCENT, ProfileReport
from configurable_agents.telemetry import WorkflowRunRecord


def cost_report(
    *,
    experiment: ExperimentOption = None,
    run: RunOption = None,
    since: SinceOption = None,
    as_json: JsonOption = False,
    mlflow_uri: MLflowUriOption = None,
    home: HomeOption = None,
) -> None:
    """Cost by provider and model.

    Every total says how many calls it does not cover. Without --experiment and --run, all runs are added up.
    """
    scope = scope_of(experiment, run, since)
    if mlflow_uri is None:
        cost_from_daemon(home_of(home), scope, as_json=as_json)
    else:
        cost_from_mlflow(mlflow_uri, sources.experiment_in_mlflow(scope), as_json=as_json)


def profile_report(
    *,
    experiment: ExperimentOption = None,
    run: RunOption = None,
    since: SinceOption = None,
    threshold: ThresholdOption = DEFAULT_BOTTLENECK_THRESHOLD_PERCENT,
    as_json: JsonOption = False,
    mlflow_uri: MLflowUriOption = None,
    home: HomeOption = None,
) -> None:
    """Time by node, slowest and bottlenecks.

    Shares are of self time: a node's time without that of the nodes inside it.
    Without --experiment and --run, all runs are added up.
    """
    if not math.isfinite(threshold):
        raise typer.BadParameter("give a number such as 50", param_hint="'--threshold'")
    scope = scope_of(experiment, run, since)
    if mlflow_uri is None:
        profile_from_daemon(home_of(home), scope, threshold, as_json=as_json)
    else:
        profile_from_mlflow(mlflow_uri, sources.experiment_in_mlflow(scope), threshold, as_json=as_json)


def cost_from_daemon(home: Home, scope: Scope, *, as_json: bool) -> None:
    with sources.daemon(home) as client:
        summary = client.cost_report(scope)
        newest = None if summary.run_count or as_json else sources.newest_run(client)
    if as_json:
        terminal.show_json(summary.to_json())
    elif summary.run_count:
        show_cost(summary)
    else:
        show_nothing(scope, newest)


def cost_from_mlflow(mlflow_uri: str, experiment: str, *, as_json: bool) -> None:
    if as_json:
        terminal.show_json(sources.mlflow_costs_json(mlflow_uri, experiment))
    else:
        found = sources.mlflow_costs(mlflow_uri, experiment)
        show_cost(found.summary, classes_known=found.classes_known)


def profile_from_daemon(home: Home, scope: Scope, threshold_percent: float, *, as_json: bool) -> None:
    with sources.daemon(home) as client:
        report = client.profile_report(scope)
        newest = None if report.run_count or as_json else sources.newest_run(client)
    if as_json:
        terminal.show_json(report.to_json(threshold_percent))
    elif report.run_count:
        show_profile(report, threshold_percent)
    else:
        show_nothing(scope, newest)


def profile_from_mlflow(mlflow_uri: str, experiment: str, threshold_percent: float, *, as_json: bool) -> None:
    report = sources.mlflow_profile(mlflow_uri, experiment)
    if as_json:
        terminal.show_json(without_unknowns(report.to_json(threshold_percent)))
    else:
        show_profile(report, threshold_percent, nesting_known=False)


def show_cost(summary: CostSummary, *, classes_known: bool = True) -> None:
    from configurable_agents.cli.render import cost  # noqa: PLC0415 - Rich is loaded for tables only

    terminal.show(lambda width: cost.cost_report(summary, width=width, classes_known=classes_known))


def show_profile(report: ProfileReport, threshold_percent: float, *, nesting_known: bool = True) -> None:
    from configurable_agents.cli.render import profile  # noqa: PLC0415 - Rich is loaded for tables only

    terminal.show(
        lambda width: profile.profile_report(
            report, threshold_percent=threshold_percent, width=width, nesting_known=nesting_known
        )
    )


def show_nothing(scope: Scope, newest: WorkflowRunRecord | None) -> None:
    from configurable_agents.cli.render import nothing  # noqa: PLC0415 - Rich is loaded for tables only

    terminal.show(lambda _: nothing.nothing_found(scope, newest))
