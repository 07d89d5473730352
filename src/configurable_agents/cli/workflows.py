"""`validate` and `graph`: what can be said of a workflow without running it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configurable_agents.cli import terminal
from configurable_agents.cli.endings import complain
from configurable_agents.cli.escape import one_line
from configurable_agents.errors import WorkflowInvalidError

if TYPE_CHECKING:
    from configurable_agents.core.checks import Checked

WorkflowArgument = Annotated[Path, typer.Argument(metavar="WORKFLOW", help="A workflow in YAML.")]


def validate(workflow: WorkflowArgument) -> None:
    """Check a workflow without running it: every problem, with its file, line and field.

    Imports the modules that it names. Exit code 2 when it cannot run; a key or a package that is not there
    is a warning, as it may be where the workflow runs.
    """
    checked = ready_or_explained(workflow)
    from configurable_agents.core.readiness import lacking  # noqa: PLC0415 - loads pydantic

    warn((*checked.warnings, *lacking(checked)))
    plan = checked.plan
    count = len(plan.nodes)
    noun = "node" if count == 1 else "nodes"
    terminal.write_out(
        f"{one_line(str(workflow))}: {one_line(plan.workflow.flow.name)}, {count} {noun}, valid\n"
    )


def graph(workflow: WorkflowArgument) -> None:
    """Print the graph of a workflow as Mermaid text."""
    checked = checked_or_explained(workflow)
    from configurable_agents.core.mermaid import mermaid  # noqa: PLC0415 - loads pydantic

    terminal.write_out(mermaid(checked.plan))


def checked_or_explained(workflow: Path) -> Checked:
    """Prints every problem of a workflow that cannot run, and ends with exit code 2."""
    from configurable_agents.runtime.executor import load_workflow  # noqa: PLC0415 - loads pydantic and YAML

    return explained(load_workflow, workflow)


def ready_or_explained(workflow: Path) -> Checked:
    """The same, also for what only shows when a run is about to begin."""
    from configurable_agents.runtime.executor import load_ready_workflow  # noqa: PLC0415 - loads pydantic

    return explained(load_ready_workflow, workflow)


def explained(load: Callable[[Path], Checked], workflow: Path) -> Checked:
    try:
        return load(workflow)
    except WorkflowInvalidError as error:
        for problem in error.problems:
            complain(problem)
        raise typer.Exit(error.exit_code) from error


def warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        sys.stderr.write(f"warning: {one_line(warning)}\n")
