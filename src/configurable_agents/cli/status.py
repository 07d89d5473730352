"""`agents-obs status`, which is also `agents-obsd status`."""

from __future__ import annotations

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.contracts import status_json
from configurable_agents.cli.options import HomeOption, JsonOption, home_of


def status(*, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """State of the daemon and its exporters."""
    with sources.daemon(home_of(home)) as client:
        found = client.status()
    if as_json:
        terminal.show_json(status_json(found))
        return
    from configurable_agents.cli.render.status import daemon_status  # noqa: PLC0415 - Rich is for tables only

    terminal.show(lambda _: daemon_status(found))
