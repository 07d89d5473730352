"""The options that say which runs a command is about, and of which daemon; one set for all commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configurable_agents.cli.options import (
    ExperimentOption,
    HomeOption,
    RunOption,
    SinceOption,
    home_of,
    scope_of,
)

_GIVEN = ("scope", "home")
"""What a command asks for, and its users say with the options."""


def _asked(
    *,
    experiment: ExperimentOption = None,
    run: RunOption = None,
    since: SinceOption = None,
    home: HomeOption = None,
) -> dict[str, Any]:
    return {"scope": scope_of(experiment, run, since), "home": home_of(home)}


_OPTIONS = inspect.signature(_asked, eval_str=True).parameters


def scoped(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes a `Scope` and a `Home`, as one with --experiment, --run, --since and --home."""

    @functools.wraps(command)
    def asked(
        *,
        experiment: str | None = None,
        run: str | None = None,
        since: str | None = None,
        home: Path | None = None,
        **others: Any,
    ) -> None:
        command(**others, **_asked(experiment=experiment, run=run, since=since, home=home))

    own = inspect.signature(command, eval_str=True).parameters.values()
    kept = [each for each in own if each.name not in _GIVEN]
    arguments = [each for each in kept if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    narrowing = [_OPTIONS[name] for name in ("experiment", "run", "since")]
    options = [each for each in kept if each.kind is inspect.Parameter.KEYWORD_ONLY]
    signature = inspect.Signature([*arguments, *narrowing, *options, _OPTIONS["home"]])
    asked.__signature__ = signature  # type: ignore[attr-defined]  # what Typer reads
    return asked
