"""`watch`."""

from __future__ import annotations

from collections import deque
from typing import Annotated

import typer

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.options import HomeOption, home_of
from configurable_agents.client.timelines import TimelineClient
from configurable_agents.wire.report_records import LiveView

EVERY_MS_MIN, EVERY_MS_MAX = 200, 60_000
RATE_VIEWS = 30
"""Rates are over this many updates, at most."""

EveryOption = Annotated[
    int,
    typer.Option(
        "--every", metavar="MS", min=EVERY_MS_MIN, max=EVERY_MS_MAX, help="Milliseconds between updates."
    ),
]
UpdatesOption = Annotated[
    int | None, typer.Option("--updates", min=1, help="End after so many updates. Default: Ctrl-C ends it.")
]


def watch(*, every: EveryOption = 1_000, updates: UpdatesOption = None, home: HomeOption = None) -> None:
    """Runs in flight: what runs now and for how long, cost so far, rates, and how far MLflow lags.

    On a terminal it draws over itself; elsewhere each update is printed below the one before.
    """
    from configurable_agents.cli.render.live import live_view  # noqa: PLC0415 - Rich is for tables only

    recent: deque[LiveView] = deque(maxlen=RATE_VIEWS)
    with sources.daemon(home_of(home)) as client, terminal.live() as screen:
        for number, view in enumerate(TimelineClient(client).watch(every_ms=every), start=1):
            recent.append(view)
            if screen is None:
                terminal.show(lambda width: live_view(recent, width=width))
            else:
                from rich.console import Group  # noqa: PLC0415 - Rich is for tables only

                screen.update(Group(*live_view(recent, width=screen.console.width)), refresh=True)
            if number == updates:
                return
