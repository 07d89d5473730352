"""The console scripts. Kept almost empty: everything is imported only once a program runs."""

from __future__ import annotations

from configurable_agents.cli.endings import run_program


def agents_obs() -> int:
    """`agents-obs`, `configurable-agents` and `python -m configurable_agents`: asks and shows."""
    return run_program(_ask)


def agents_obsd() -> int:
    """`agents-obsd`: starts and stops the daemon."""
    return run_program(_control)


def _ask() -> None:
    from configurable_agents.cli.app import app  # noqa: PLC0415 - inside the net that reports errors

    app()


def _control() -> None:
    from configurable_agents.cli.daemon import app  # noqa: PLC0415 - inside the net that reports errors

    app()
