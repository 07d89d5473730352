"""`profile-report`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.contracts import without_unknowns
from configurable_agents.cli.options import (
    JsonOption,
    MLflowUriOption,
    ThresholdOption,
    WhatIfOption,
)
from configurable_agents.cli.scoped import scoped
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.client.timelines import TimelineClient
from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime.profile_report import DEFAULT_BOTTLENECK_THRESHOLD_PERCENT, ProfileReport
from configurable_agents.runtime.what_if import Change, WhatIf, what_if

if TYPE_CHECKING:
    from rich.console import RenderableType


@scoped
def profile_report(
    *,
    scope: Scope,
    home: Home,
    threshold: ThresholdOption = DEFAULT_BOTTLENECK_THRESHOLD_PERCENT,
    what_ifs: WhatIfOption = None,
    as_json: JsonOption = False,
    mlflow_uri: MLflowUriOption = None,
) -> None:
    """Time by node, slowest and bottlenecks.

    Shares are of self time: a node's time without that of the nodes inside it.
    Critical time is a node's time on the chain of executions that determined when the run ended.
    Without --experiment and --run, all runs are added up.
    """
    changes = [Change.parse(text) for text in what_ifs or []]
    if changes and mlflow_uri is not None:
        raise typer.BadParameter("MLflow keeps no times of single executions", param_hint="'--what-if'")
    if mlflow_uri is None:
        profile_from_daemon(home, scope, threshold, changes, as_json=as_json)
    else:
        profile_from_mlflow(mlflow_uri, sources.experiment_in_mlflow(scope), threshold, as_json=as_json)


def profile_from_daemon(
    home: Home, scope: Scope, threshold_percent: float, changes: Sequence[Change], *, as_json: bool
) -> None:
    with sources.daemon(home) as client:
        report = client.profile_report(scope)
        newest = None if report.run_count or as_json else sources.newest_run(client)
        run_id, answers = answered(client, scope, changes) if report.run_count and changes else ("", [])
    if as_json:
        what_ifs = [answer.to_json(run_id) for answer in answers]
        terminal.show_json({**report.to_json(threshold_percent), "what_if": what_ifs})
    elif report.run_count:
        show_profile(report, threshold_percent, what_ifs=answers, what_ifs_run_id=run_id)
    else:
        sources.show_nothing(scope, newest)


def answered(client: ReportClient, scope: Scope, changes: Sequence[Change]) -> tuple[str, list[WhatIf]]:
    """What each change would have made of the run of the scope, or of its newest one."""
    timeline = TimelineClient(client).timeline(scope if scope.run_id else replace(scope, run_id="latest"))
    schedule, run_id = timeline.schedule(), timeline.run.run_id
    try:
        return run_id, [what_if(schedule, change) for change in changes]
    except InvalidValueError as error:
        raise InvalidValueError(f"run {run_id}: {error}") from error


def profile_from_mlflow(mlflow_uri: str, experiment: str, threshold_percent: float, *, as_json: bool) -> None:
    report = sources.mlflow_profile(mlflow_uri, experiment)
    if as_json:
        terminal.show_json(without_unknowns(report.to_json(threshold_percent)))
    else:
        show_profile(report, threshold_percent, nesting_known=False)


def show_profile(
    report: ProfileReport,
    threshold_percent: float,
    *,
    nesting_known: bool = True,
    what_ifs: Sequence[WhatIf] = (),
    what_ifs_run_id: str = "",
) -> None:
    from configurable_agents.cli.render import profile  # noqa: PLC0415 - Rich is loaded for tables only

    def parts(width: int) -> Iterator[RenderableType]:
        yield from profile.profile_report(
            report, threshold_percent=threshold_percent, width=width, nesting_known=nesting_known
        )
        if what_ifs:
            yield from profile.what_if_lines(what_ifs, what_ifs_run_id, newest_of=report.run_count)

    terminal.show(parts)
