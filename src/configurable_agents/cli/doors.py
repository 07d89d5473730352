"""The console scripts. Kept almost empty: everything is imported only once a program runs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from configurable_agents.cli.endings import run_program

GARBAGE_THRESHOLD = 50_000
"""Imports make objects by the thousand and hardly any garbage; looking for it took 30 ms of a start."""


def agents_obs() -> NoReturn:
    """`agents-obs`, `configurable-agents` and `python -m configurable_agents`: asks and shows."""
    leave_after(ask)


def agents_obsd() -> NoReturn:
    """`agents-obsd`: starts and stops the daemon."""
    leave_after(control)


def leave_after(program: Callable[[], None]) -> NoReturn:
    """Leaves without taking the interpreter apart, which takes 50 ms and does nothing for anybody.

    All output is flushed and every connection closed by then.
    """
    gc.set_threshold(GARBAGE_THRESHOLD)
    code = run_program(program)
    sys.stderr.flush()
    os._exit(code)


def ask() -> None:
    from configurable_agents.cli.app import app  # noqa: PLC0415 - inside the net that reports errors

    app()


def control() -> None:
    from configurable_agents.cli.daemon import app  # noqa: PLC0415 - inside the net that reports errors

    app()
