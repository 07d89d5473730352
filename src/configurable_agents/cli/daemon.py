"""The commands of `agents-obsd`: the daemon as a process. What it does inside is not known here."""

from __future__ import annotations

from typing import Annotated

import typer

from configurable_agents.cli import terminal
from configurable_agents.cli.options import HomeOption, home_of
from configurable_agents.cli.program import Program
from configurable_agents.cli.status import status
from configurable_agents.client import control
from configurable_agents.errors import DaemonUnavailableError
from configurable_agents.version import __version__

app = Program()


def print_version(asked: bool) -> None:  # noqa: FBT001 - the signature Typer calls
    if asked:
        terminal.write_out(f"agents-obsd {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The daemon that makes telemetry durable, prices it, exports it and answers reports.

    One per state folder (AGENTS_OBS_HOME).
    """


@app.command()
def start(*, home: HomeOption = None) -> None:
    """Start in the background.

    Returns when the daemon accepts events, or fails with the reason.
    Exit code 5 when one already runs on this state folder.
    """
    started = control.start_daemon(home_of(home))
    terminal.write_out(f"agents-obsd is running (pid {started.pid}) at {started.address}\n")


@app.command()
def run(*, home: HomeOption = None) -> None:
    """Run in the foreground.

    Ctrl-C or SIGTERM stops it in order.
    """
    control.become_daemon(home_of(home))


@app.command()
def stop(*, home: HomeOption = None) -> None:
    """Stop the running daemon.

    Everything acknowledged is kept. Exit code 3 when none is running.
    """
    place = home_of(home)
    if not control.stop_daemon(place):
        raise DaemonUnavailableError(f"no daemon is running in {place.folder}")
    terminal.write_out("agents-obsd has stopped\n")


app.command("status")(status)
