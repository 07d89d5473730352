"""A Typer application whose complaints about the command line are one line, as all others are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from configurable_agents.cli.endings import silence_stdout
from configurable_agents.errors import InvalidValueError, OutputError

_UsageError: Any = typer.BadParameter.__base__
"""Typer keeps Click's exceptions under a private name; their base class is what it shows of them."""


ECHO = "echo"
"""The function with which Typer writes help; nothing of ours writes with it."""


def comes_from_help(error: OSError) -> bool:
    """Whether it was raised by what Typer writes to standard output itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_name == ECHO


class Program(typer.Typer):
    """Raises what the commands raise, and `InvalidValueError` for a command line that cannot be used."""

    def __init__(self, *, cls: type[TyperGroup] = TyperGroup) -> None:
        # Plain help and plain tracebacks: Typer's Rich ones cost every command 60 ms at start.
        super().__init__(cls=cls, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().__call__(*args, standalone_mode=False, **kwargs)
        except typer.Abort as error:
            raise KeyboardInterrupt from error
        except _UsageError as error:
            message = error.format_message().replace(" Value error, ", " ")
            program = kwargs.get("prog_name") or Path(sys.argv[0]).name
            command = program if error.ctx is None else error.ctx.command_path
            if not message or (error.ctx is not None and message == error.ctx.get_help()):
                error.show()  # a group without a command: its help is the answer
                sys.exit(error.exit_code)
            end = "" if message.endswith((".", "?", "!")) else "."
            raise InvalidValueError(f"{message}{end} See: {command} --help") from error
        except SystemExit as ending:
            if not isinstance(ending.__context__, BrokenPipeError):
                raise
            silence_stdout()  # a reader of help that has had enough, which Typer takes for a failure
            return None
        except OSError as error:
            if not comes_from_help(error):
                raise
            silence_stdout()
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error
        if isinstance(code, int) and code:
            sys.exit(code)
        return code
