"""How a program of ours ends: which exit code, and the one line on stderr that explains it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from configurable_agents.cli.escape import one_line
from configurable_agents.errors import AgentsObsError, OutputError

DEBUG_VARIABLE = "AGENTS_OBS_DEBUG"

MESSAGE_LENGTH_MAX = 2_000
"""The rest of a longer message is not shown; whoever gave a name that long knows it."""

EXIT_OK = 0
EXIT_UNEXPECTED = 70
"""A defect of ours (`EX_SOFTWARE` of sysexits.h)."""
EXIT_INTERRUPTED = 130
"""What shells report for a program ended by Ctrl-C."""


def run_program(program: Callable[[], None]) -> int:
    """Runs it and returns the exit code. Nothing it raises becomes a traceback unless asked for."""
    replace_closed_streams()
    try:
        program()
    except SystemExit as ending:
        code = exit_code_of(ending)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except AgentsObsError as error:
        complain(str(error))
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 - the outermost net: whatever is left is a defect of ours
        complain_of_defect(error)
        code = EXIT_UNEXPECTED
    else:
        code = EXIT_OK
    settled = settle_stdout()
    return code or settled


def replace_closed_streams() -> None:
    """`>&-` leaves no stream at all. What goes nowhere must not end up in a socket that reuses its number.

    To write to standard output is then an error, as it is for other programs.
    """
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - as long-lived as the process


def exit_code_of(ending: SystemExit) -> int:
    if isinstance(ending.code, int):
        return ending.code
    if ending.code is None:
        return EXIT_OK
    complain(ending.code)
    return 1


def complain(message: str) -> None:
    """Names in a message come from outside, so nothing in it may drive the terminal."""
    with contextlib.suppress(OSError):  # stderr itself is gone: the exit code still tells
        sys.stderr.write(f"error: {one_line(message)[:MESSAGE_LENGTH_MAX]}\n")
        sys.stderr.flush()


def complain_of_defect(error: Exception) -> None:
    if os.environ.get(DEBUG_VARIABLE):
        import traceback  # noqa: PLC0415 - rarely needed

        traceback.print_exception(error)
        hint = "please report it to the maintainers with the traceback above"
    else:
        hint = f"please report it to the maintainers with the traceback that {DEBUG_VARIABLE}=1 prints"
    complain(f"unexpected {type(error).__name__}: {error}; this is a defect of agents-obs, {hint}")


def settle_stdout() -> int:
    """Flushes what is left; a reader that has gone away must not make Python complain at exit.

    Returns the exit code that says so where that is an error.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError as error:
        silence_stdout()
        failed = OutputError(f"cannot write to standard output: {error.strerror}")
        complain(str(failed))
        return failed.exit_code
    return EXIT_OK


def silence_stdout() -> None:
    """Lets all further output to standard output vanish."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
