"""The console scripts. Kept almost empty: everything is imported only once a program runs."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

GARBAGE_THRESHOLD = 50_000
"""Imports make objects by the thousand and hardly any garbage; looking for it took 30 ms of a start."""

INTERRUPTED = 130
"""`endings.EXIT_INTERRUPTED`, before that is imported."""


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
    leave_at_once_when_interrupted()
    from configurable_agents.cli.endings import run_program  # noqa: PLC0415 - Ctrl-C finds us prepared now

    gc.set_threshold(GARBAGE_THRESHOLD)
    code = run_program(program)
    sys.stderr.flush()
    os._exit(code)


def leave_at_once_when_interrupted() -> None:
    """Ctrl-C while nothing is done yet. As an exception it would be lost, or shown, inside of an import."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


def interruptible() -> None:
    """From here on a command may have something to put in order."""
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def ask() -> None:
    from configurable_agents.cli.app import app  # noqa: PLC0415 - inside the net that reports errors

    interruptible()
    app()


def control() -> None:
    from configurable_agents.cli.daemon import app  # noqa: PLC0415 - inside the net that reports errors

    interruptible()
    app()
