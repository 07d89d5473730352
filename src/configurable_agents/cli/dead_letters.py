"""`dead-letters`: what an exporter's other side would not take, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from configurable_agents.cli import figures, sources, terminal
from configurable_agents.cli.asking import YesOption, confirm
from configurable_agents.cli.escape import printable
from configurable_agents.cli.options import (
    ExperimentOption,
    HomeOption,
    JsonOption,
    RunOption,
    SinceOption,
    given,
    home_of,
    scope_of,
)
from configurable_agents.client.accounts import AccountsClient
from configurable_agents.observability.cost_summary import plural
from configurable_agents.wire.account_records import STATES, DeadLetterFilter, DeadLetters

if TYPE_CHECKING:
    from rich.console import RenderableType

dead_letters = typer.Typer(rich_markup_mode=None)

ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Only those whose reason has this in it.")
]
ExporterOption = Annotated[
    str | None, typer.Option("--exporter", metavar="NAME", help="Only those of this exporter.")
]


@dead_letters.callback(invoke_without_command=True)
def main(context: typer.Context, *, home: HomeOption = None) -> None:
    """Events that MLflow would not take, with the reasons. Without a command: list.

    They count as set aside until they are retried or dropped; the ledger has them in any case.
    """
    if context.invoked_subcommand is None:
        listed(home=home)
    elif home is not None:
        raise typer.BadParameter(
            f"give it after the command: dead-letters {context.invoked_subcommand} --home …",
            param_hint="'--home'",
        )


@dead_letters.command("list")
def listed(
    *,
    run: RunOption = None,
    experiment: ExperimentOption = None,
    since: SinceOption = None,
    reason: ReasonOption = None,
    exporter: ExporterOption = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """By run and reason, with how many events each."""
    wanted = filter_of(run, experiment, since, reason, exporter)
    with sources.daemon(home_of(home)) as client:
        found = AccountsClient(client).dead_letters(wanted)
    if as_json:
        terminal.show_json(found.to_json())
    elif found.groups:
        terminal.show(lambda width: page(found, width))
    else:
        terminal.write_out("nothing is set aside\n")


@dead_letters.command("retry")
def retry(
    *,
    run: RunOption = None,
    experiment: ExperimentOption = None,
    since: SinceOption = None,
    reason: ReasonOption = None,
    exporter: ExporterOption = None,
    whole_run: Annotated[
        bool,
        typer.Option(
            "--whole-run", help="Export everything of --run again, also what MLflow took before and lost."
        ),
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Export them again, once what was wrong is put right.

    Each is written once, however often this is repeated. What is refused again is set aside again.
    """
    wanted = filter_of(run, experiment, since, reason, exporter)
    with sources.daemon(home_of(home)) as client:
        count = AccountsClient(client).retry_dead_letters(wanted, whole_run=whole_run)
    show_count(count, "events_retried", "will be exported again", as_json=as_json)


@dead_letters.command("drop")
def drop(
    *,
    run: RunOption = None,
    experiment: ExperimentOption = None,
    since: SinceOption = None,
    reason: ReasonOption = None,
    exporter: ExporterOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Give them up: they will not get into MLflow any more.

    They stay in the ledger, in its reports and, as dropped, in the accounts.
    """
    wanted = filter_of(run, experiment, since, reason, exporter)
    with sources.daemon(home_of(home)) as client:
        accounts = AccountsClient(client)
        count = accounts.dead_letters(wanted).events_set_aside
        if count:
            confirm(f"Give up {plural(count, 'event')} that MLflow would not take?", is_sure=yes)
            count = accounts.drop_dead_letters(wanted)
    show_count(count, "events_dropped", "dropped", as_json=as_json)


def filter_of(
    run: str | None, experiment: str | None, since: str | None, reason: str | None, exporter: str | None
) -> DeadLetterFilter:
    return DeadLetterFilter(
        scope_of(experiment, run, since),
        exporter=given(exporter, "--exporter", "give its name, such as mlflow"),
        reason=given(reason, "--reason", "give a part of the reason, or leave it out"),
    )


def show_count(count: int, key: str, what: str, *, as_json: bool) -> None:
    if as_json:
        terminal.show_json({key: count})
    else:
        terminal.write_out(f"{plural(count, 'event')} {what}\n" if count else "nothing is set aside\n")


def page(found: DeadLetters, width: int) -> Iterator[RenderableType]:
    from rich.text import Text  # noqa: PLC0415 - Rich is loaded for tables only

    from configurable_agents.cli.render.headings import heading  # noqa: PLC0415
    from configurable_agents.cli.render.tables import Cell, Column, Row, table  # noqa: PLC0415

    counts = (found.events_set_aside, found.events_retrying, found.events_dropped)
    parts = [f"{count:,} {state}" for count, state in zip(counts, STATES.values(), strict=True) if count]
    yield from heading("Dead letters", *parts)
    columns = (
        Column("Run", 1, folds=True, justify="left"),
        Column("State", 2, justify="left"),
        Column("Since", 3, justify="left"),
        Column("Events", 0),
        Column("Reason", 0, folds=True, justify="left"),
    )
    rows = [
        Row(
            (
                Cell(printable(group.run_id) or "(removed)"),
                Cell(STATES[group.state]),
                Cell(figures.local_time(group.first_unix_ns)),
                Cell(figures.count(group.events)),
                Cell(printable(group.reason)),
            )
        )
        for group in found.groups
    ]
    yield table(columns, rows, width=width)
    if found.group_count > len(found.groups):
        yield Text(f"and {found.group_count - len(found.groups):,} more runs and reasons; narrow it down")
    if found.events_set_aside:
        yield Text()
        yield Text("Put right what was wrong, then: agents-obs dead-letters retry. Or give up: … drop.")
