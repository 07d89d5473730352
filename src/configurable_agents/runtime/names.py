"""Which names can be recorded. The daemon refuses others, so they are refused where they are given."""

from __future__ import annotations

import re

from configurable_agents.errors import InvalidValueError

NAME_LENGTH_MAX = 256
"""Characters in the name of a node, an experiment, a workflow, a run or a tag."""

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line separators, and surrogates (which UTF-8 cannot carry)."""


def checked_name(value: object, *, what: str) -> str:
    """`value` when it is a usable name, else `InvalidValueError`, which begins with `what`."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{what} must be a string, not {type(value).__name__}")
    if not value:
        raise InvalidValueError(f"{what} must not be empty")
    return checked_text(value, what=what)


def checked_text(value: object, *, what: str) -> str:
    """As `checked_name`, but the empty string passes."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{what} must be a string, not {type(value).__name__}")
    if len(value) > NAME_LENGTH_MAX:
        raise InvalidValueError(
            f"{what} has {len(value):,} characters; at most {NAME_LENGTH_MAX} can be recorded"
        )
    if UNPRINTABLE.search(value):
        raise InvalidValueError(f"{what} {value!r} holds control characters or is not valid Unicode")
    return value


def fitting_text(text: str) -> str:
    """`text` in a form that can be recorded: cut to length, unprintable characters as `?`."""
    return UNPRINTABLE.sub("?", text[:NAME_LENGTH_MAX])


def error_type_of(error: BaseException) -> str:
    """The class name of an exception in a form that can be recorded."""
    return fitting_text(type(error).__name__)
