"""The commands of `agents-obsd`: the daemon as a process. What it does inside is not known here."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from configurable_agents.cli import terminal
from configurable_agents.cli.options import HomeOption, JsonOption, home_of
from configurable_agents.cli.program import Program
from configurable_agents.cli.status import status
from configurable_agents.client import control
from configurable_agents.client.home import Home
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


FreshLedgerOption = Annotated[
    bool,
    typer.Option("--fresh-ledger", help="Set a damaged ledger aside under another name and begin anew."),
]


@app.command()
def start(*, fresh_ledger: FreshLedgerOption = False, home: HomeOption = None) -> None:
    """Start in the background.

    Returns when the daemon accepts events, or fails with the reason.
    Exit code 5 when one already runs on this state folder.
    """
    started = control.start_daemon(home_of(home), fresh_ledger=fresh_ledger)
    terminal.write_out(f"agents-obsd is running (pid {started.pid}) at {started.address}\n")


@app.command()
def run(*, fresh_ledger: FreshLedgerOption = False, home: HomeOption = None) -> None:
    """Run in the foreground.

    Ctrl-C or SIGTERM stops it in order.
    """
    control.become_daemon(home_of(home), fresh_ledger=fresh_ledger)


@app.command()
def stop(*, home: HomeOption = None) -> None:
    """Stop the running daemon.

    Everything acknowledged is kept. Exit code 3 when none is running.
    """
    place = home_of(home)
    if not control.stop_daemon(place):
        raise DaemonUnavailableError(f"no daemon is running in {place.folder}")
    terminal.write_out("agents-obsd has stopped\n")


@app.command()
def repair(*, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Save what can be read of a damaged ledger into a new one.

    The damaged file stays, under a name that says so. Run it while no daemon runs.
    A ledger in which no damage is found stays as it is.
    """
    place = home_of(home)
    report = control.repair_ledger(place)
    if as_json:
        terminal.show_json(report)
    else:
        terminal.write_out(repair_text(report, place))


def repair_text(report: dict[str, Any], home: Home) -> str:
    if report["damage"] is None:
        return "no damage was found; the ledger stays as it is\n"
    lines = [
        f"damage: {report['damage']}",
        f"the damaged ledger is kept as {report['set_aside']}",
        f"saved: {report['rows_saved']:,} rows",
        f"lost: {report['rows_lost']:,} events of known runs; senseless rows: {report['rows_refused']:,}",
    ]
    if report["runs_doubtful"]:
        lines.append(f"the figures of {report['runs_doubtful']:,} runs may be wrong")
    broken = [name for name, table in report["tables"].items() if not table["is_complete"]]
    if broken:
        lines.append(f"damaged tables: {', '.join(broken)}")
    if "producers" in broken:
        lines.append(
            "events that workflows send again may be counted twice: their positions are lost in part"
        )
    return "\n".join([*lines, f"start the daemon with: {home.command('agents-obsd start')}"]) + "\n"


app.command("status")(status)
