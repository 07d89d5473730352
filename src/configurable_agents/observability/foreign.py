"""Looking into responses of unknown make: SDK objects, pydantic models and plain mappings alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ITEMS_MAX = 1_000
"""Entries read of any list in a response (iterations, modalities, output items)."""


def view_of(source: Any) -> Any:
    """What `field_of` reads quickly: pydantic answers a missing attribute ten times slower than a dict."""
    if isinstance(source, Mapping):
        return source
    if hasattr(type(source), "__pydantic_fields__"):
        extra = source.__pydantic_extra__
        return {**source.__dict__, **extra} if extra else source.__dict__
    return source


def field_of(source: Any, *names: str) -> Any:
    """The first of the named fields that is there and not `None`."""
    if isinstance(source, Mapping):
        for name in names:
            value = source.get(name)
            if value is not None:
                return value
        return None
    for name in names:
        value = getattr(source, name, None)
        if value is not None:
            return value
    return None


def part_of(source: Any, *names: str) -> Any:
    return view_of(field_of(source, *names))


def items_of(source: Any, *names: str) -> list[Any]:
    found = field_of(source, *names)
    return [view_of(item) for item in found[:ITEMS_MAX]] if isinstance(found, (list, tuple)) else []


def is_object(value: Any) -> bool:
    return not isinstance(value, (str, bytes, int, float, bool, list, tuple, set))
