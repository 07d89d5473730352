"""The commands of `agents-obs`. Each family has a file; this one only names them."""

from __future__ import annotations

from typing import Annotated

import typer

from configurable_agents.cli import terminal
from configurable_agents.cli.lazy_commands import group_of
from configurable_agents.cli.program import Program
from configurable_agents.version import __version__

_CLI = "configurable_agents.cli"

_REPORTS = {
    "cost-report": f"{_CLI}.cost_reports:cost_report",
    "profile-report": f"{_CLI}.profile_reports:profile_report",
}
_STATUS = {"status": f"{_CLI}.status:status"}

COMMANDS = {
    **_REPORTS,
    "caches": f"{_CLI}.caches:cache_report",
    "explain": f"{_CLI}.explain:explain",
    "reprice": f"{_CLI}.reprice:reprice",
    "runs": f"{_CLI}.runs:runs",
    "timeline": f"{_CLI}.timeline:timeline",
    "watch": f"{_CLI}.live:watch",
    "diff": f"{_CLI}.diff:diff",
    **_STATUS,
    "verify": f"{_CLI}.verify:verify",
    "purge": f"{_CLI}.purge:purge",
    "run": f"{_CLI}.run:run",
    "validate": f"{_CLI}.workflows:validate",
    "graph": f"{_CLI}.workflows:graph",
    "version": f"{_CLI}.app:version",
    "dead-letters": f"{_CLI}.dead_letters:dead_letters",
    "prices": f"{_CLI}.prices:prices",
    "observability": f"{_CLI}.app:observability",
}

app = Program(cls=group_of(COMMANDS))
observability = typer.Typer(
    cls=group_of({**_REPORTS, **_STATUS}),
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The reports and the status again.",
)


def version() -> None:
    """Print the version."""
    terminal.write_out(f"agents-obs {__version__}\n")


def print_version(asked: bool) -> None:  # noqa: FBT001 - the signature Typer calls
    if asked:
        version()
        raise typer.Exit


@app.callback()
def main(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What LLM agent workflows cost, and where their time goes.

    Reports come from the daemon on this host (see agents-obsd).
    """
