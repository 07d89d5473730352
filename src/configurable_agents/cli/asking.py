"""Asks before what cannot be undone."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from configurable_agents.errors import InvalidValueError

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, *, is_sure: bool) -> None:
    """Goes on only when the answer is yes; ends the program with exit code 1 otherwise.

    Raises `InvalidValueError` where there is nobody to ask.
    """
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise InvalidValueError("this cannot be undone and there is nobody to ask; say --yes to go on")
    sys.stderr.write(f"{question} [y/N]: ")  # click's own prompt writes to standard output as well
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise typer.Abort
