"""`runs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.contracts import run_json
from configurable_agents.cli.options import (
    ExperimentOption,
    HomeOption,
    JsonOption,
    SinceOption,
    home_of,
    scope_of,
)
from configurable_agents.cli.sources import show_nothing
from configurable_agents.client.reports import Scope
from configurable_agents.telemetry import WorkflowRunRecord

RUNS_LISTED_DEFAULT = 20
RUNS_LISTED_MAX = 1_000
"""Keeps the answer well inside the size of one message; --since and --experiment reach the others."""

LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=RUNS_LISTED_MAX, help="How many runs at most.")
]


def runs(
    *,
    experiment: ExperimentOption = None,
    since: SinceOption = None,
    limit: LimitOption = RUNS_LISTED_DEFAULT,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """The newest runs."""
    scope = scope_of(experiment, since=since)
    with sources.daemon(home_of(home)) as client:
        found, matching = client.runs(scope, limit=limit)
        newest = None if found or as_json else sources.newest_run(client)
    if as_json:
        terminal.show_json([run_json(run) for run in found])
    elif found:
        show_runs(found, matching, scope)
    else:
        show_nothing(scope, newest)


def show_runs(found: Sequence[WorkflowRunRecord], matching: int, scope: Scope) -> None:
    from configurable_agents.cli.render.runs import runs_list  # noqa: PLC0415 - Rich is for tables only

    terminal.show(lambda width: runs_list(found, matching, scope, width=width))
