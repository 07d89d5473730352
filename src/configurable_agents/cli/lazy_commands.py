"""Commands that are imported when they are asked for: starting takes most of the time of most commands."""

from __future__ import annotations

from collections import UserDict
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


def group_of(places: dict[str, str]) -> type[TyperGroup]:
    """A group of the commands at some places (`module:attribute`), in their order.

    Each is a function as `Typer.command` takes it, or a `Typer` of its own. To be given to `Typer` as `cls`.
    """

    class Group(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = _Commands({**places, **self.commands})

    return Group


class _Commands(UserDict[str, Any]):
    """By name: the place of a command, until it is looked at."""

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, str):
            found = self.data[name] = _imported(name, found)
        return found


def _imported(name: str, place: str) -> Any:
    module, attribute = place.split(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)
