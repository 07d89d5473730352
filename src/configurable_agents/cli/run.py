"""`run`: runs a workflow, shows it running, and says what it cost and where its time went."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from configurable_agents.cli import terminal
from configurable_agents.cli.contracts import result_json
from configurable_agents.cli.endings import complain
from configurable_agents.cli.files import check_writable, write_file
from configurable_agents.cli.options import HomeOption, given, home_of
from configurable_agents.cli.workflows import WorkflowArgument, ready_or_explained, warn
from configurable_agents.errors import ConfigurationError, OutputError
from configurable_agents.runtime.profile_report import DEFAULT_BOTTLENECK_THRESHOLD_PERCENT
from configurable_agents.telemetry import Status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from configurable_agents.core.checks import Checked
    from configurable_agents.runtime.executor import WorkflowExecution, WorkflowResult

InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input", "-i", metavar="NAME=VALUE", help="An input of the workflow; lists and the like as JSON."
    ),
]
InputsFileOption = Annotated[
    Path | None,
    typer.Option("--inputs-file", metavar="FILE", help="Inputs as a JSON object; --input goes first."),
]
ProfileOption = Annotated[bool, typer.Option("--profile", help="Print the profile of the nodes as a table.")]
ProfilingOption = Annotated[
    bool, typer.Option("--enable-profiling", help="Say which node was slowest; --profile does so too.")
]
ExperimentNameOption = Annotated[
    str | None,
    typer.Option(
        "--experiment", "-e", metavar="NAME", help="Record the run there. Default: what the workflow says."
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the result there, as JSON.")
]


def run(
    workflow: WorkflowArgument,
    *,
    inputs: InputOption = None,
    inputs_file: InputsFileOption = None,
    profile: ProfileOption = False,
    enable_profiling: ProfilingOption = False,
    experiment: ExperimentNameOption = None,
    output: OutputOption = None,
    home: HomeOption = None,
) -> None:
    """Run a workflow, and say what it cost and where its time went.

    Keys and base URLs of providers come from their usual environment variables. A run that fails ends with
    exit code 1, with its costs and its profile as far as it came.
    """
    from configurable_agents.cli.watch import watching  # noqa: PLC0415 - the runner is loaded for runs only
    from configurable_agents.runtime.executor import RunOptions, WorkflowExecution, run_to_end  # noqa: PLC0415

    if output is not None:
        check_writable(output)
    checked = ready_or_explained(workflow)
    warn(checked.warnings)
    with watching() as watcher:
        options = RunOptions(
            experiment=given(experiment, "--experiment", "give a name, or leave it out") or None,
            profiling=True if profile or enable_profiling else None,
            home=home_of(home),
            on_progress=watcher.progress,
            on_warning=watcher.warning,
        )
        execution = WorkflowExecution(checked, all_inputs(checked, inputs or [], inputs_file), options)
        interrupted_or_failed: BaseException | None = None
        try:
            run_to_end(execution.run())
        except BaseException as error:  # noqa: BLE001 - raised again below, after the report
            interrupted_or_failed = error
    wish = profiling_asked_for(checked)
    shown = Shown(bottlenecks=profile or enable_profiling or wish is True, table=profile)
    try:
        report_of(execution, checked, output, shown, failed=interrupted_or_failed is not None)
    finally:
        close_recorders()
    if interrupted_or_failed is not None:
        raise interrupted_or_failed


class Shown(NamedTuple):
    """What of a profile is printed. The file holds all of it."""

    bottlenecks: bool
    table: bool


def profiling_asked_for(checked: Checked) -> bool | None:
    """What `config.observability.profiling` says, if it says something."""
    configured = checked.plan.workflow.config.observability.profiling
    return None if configured is None else configured.enabled


def all_inputs(checked: Checked, texts: list[str], file: Path | None) -> dict[str, Any]:
    from configurable_agents.core.state import input_from_text  # noqa: PLC0415 - loads pydantic

    found = {} if file is None else inputs_in(file)
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="'--input'")
        found[name.strip()] = input_from_text(checked.plan.workflow, name.strip(), value)
    return found


def inputs_in(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {file}: {error.strerror}; --inputs-file is a JSON file"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{file} is not JSON: {error}; --inputs-file is a JSON object") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f'{file} holds no JSON object; write {{"name": value}}')
    return found


def report_of(
    execution: WorkflowExecution, checked: Checked, output: Path | None, shown: Shown, *, failed: bool
) -> None:
    """What is known of a run, however it ended. Of one that never began there is nothing.

    A file that cannot be written keeps nothing from being printed; it is an error of its own unless the run
    `failed`, which is the greater one.
    """
    if not execution.has_begun:
        return
    result = execution.result
    unwritten: OutputError | None = None
    if output is not None:
        try:
            write_file(output, document_of(result, profiled=execution.profiles))
        except OutputError as error:
            unwritten = OutputError(f"{error}; the run itself is recorded")
    written = values_written(result, checked) if result.record.status is Status.OK else {}
    terminal.show(lambda width: summary(result, written, width, shown))
    if unwritten is not None and failed:
        complain(str(unwritten))
    elif unwritten is not None:
        raise unwritten


def values_written(result: WorkflowResult, checked: Checked) -> dict[str, Any]:
    names = dict.fromkeys(name for node in checked.plan.nodes.values() for name in node.output_names)
    return {name: result.state[name] for name in names if result.state[name] not in (None, "", [], {})}


def summary(
    result: WorkflowResult, written: dict[str, Any], width: int, shown: Shown
) -> Iterator[RenderableType]:
    from configurable_agents.cli.render import finished_run  # noqa: PLC0415 - Rich is loaded for tables only

    yield from finished_run.run_heading(result.record, result.profile.wall_ns)
    yield from finished_run.results(written)
    yield from finished_run.costs(result.costs)
    if shown.bottlenecks:
        yield from finished_run.bottlenecks(result.profile, DEFAULT_BOTTLENECK_THRESHOLD_PERCENT)
    if shown.table and result.profile.nodes:
        yield from finished_run.profile_table(result.profile, width=width)


def document_of(result: WorkflowResult, *, profiled: bool) -> str:
    """What --output holds, as docs/json.md says."""
    return (
        json.dumps(result_json(result, profiled=profiled), indent=2, ensure_ascii=False, default=str) + "\n"
    )


def close_recorders() -> None:
    """Sends what is left: the program ends without Python's own clean-up."""
    from configurable_agents.client.process import close_process_recorders  # noqa: PLC0415 - runs only

    close_process_recorders()
