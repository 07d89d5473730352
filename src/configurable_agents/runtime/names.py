"""Which names can be recorded. The daemon's door keeps the same rules, so that what it would refuse is
refused where it is given. The figures of a record have theirs in `runtime.bounds`."""

from __future__ import annotations

import re

from configurable_agents.errors import InvalidValueError

NAME_LENGTH_MAX = 256
"""Characters in the name of a node, an experiment, a workflow, a run or a tag."""

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line separators, and surrogates (which UTF-8 cannot carry)."""

RESERVED_RUN_IDS = frozenset({"latest"})
"""Mean something else where a run id is asked for."""

_QUOTING = re.compile(r"['\"`\\]")


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


def checked_run_id(value: object) -> str:
    """A name that can also be a run's id."""
    checked = checked_name(value, what="run_id")
    if not can_be_run_id(checked):
        raise InvalidValueError(f"{checked!r} cannot be a run_id: no quotes, no backslash, not `latest`")
    return checked


def can_be_run_id(name: str) -> bool:
    """Whether a name may be a run's id: it is quoted in queries of other systems, and some are reserved."""
    return not _QUOTING.search(name) and name not in RESERVED_RUN_IDS


def fitting_text(text: str) -> str:
    """`text` in a form that can be recorded: cut to length, unprintable characters as `?`."""
    return UNPRINTABLE.sub("?", text[:NAME_LENGTH_MAX])


def error_type_of(error: BaseException) -> str:
    """The class name of an exception in a form that can be recorded."""
    return fitting_text(type(error).__name__)
