"""The commands of `agents-obs`. Each family has a file; this one only names them."""

from __future__ import annotations

from typing import Annotated

import typer

from configurable_agents.cli import terminal
from configurable_agents.cli.caches import cache_report
from configurable_agents.cli.dead_letters import dead_letters
from configurable_agents.cli.diff import diff
from configurable_agents.cli.explain import explain
from configurable_agents.cli.live import watch
from configurable_agents.cli.prices import prices
from configurable_agents.cli.program import Program
from configurable_agents.cli.purge import purge
from configurable_agents.cli.reports import cost_report, profile_report
from configurable_agents.cli.reprice import reprice
from configurable_agents.cli.run import run
from configurable_agents.cli.runs import runs
from configurable_agents.cli.status import status
from configurable_agents.cli.timeline import timeline
from configurable_agents.cli.workflows import graph, validate
from configurable_agents.version import __version__

app = Program()
observability = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


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


app.command("cost-report")(cost_report)
app.command("profile-report")(profile_report)
app.command("caches")(cache_report)
app.command("explain")(explain)
app.command("reprice")(reprice)
app.command("runs")(runs)
app.command("timeline")(timeline)
app.command("watch")(watch)
app.command("diff")(diff)
app.command("status")(status)
app.add_typer(dead_letters, name="dead-letters")
app.command("purge")(purge)
app.command("run")(run)
app.command("validate")(validate)
app.command("graph")(graph)
app.command("version")(version)
app.add_typer(prices, name="prices")
app.add_typer(observability, name="observability", help="The reports and the status again.")

observability.command("cost-report")(cost_report)
observability.command("profile-report")(profile_report)
observability.command("status")(status)
