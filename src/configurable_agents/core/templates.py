"""`{state.field}`, `{state.field.part}` and `{field}` in prompts. `{{` is a brace; JSON stays as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from configurable_agents.errors import InvalidValueError

PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([A-Za-z_]\w*(?:\.\w+)*)\}")
WHOLE_PLACEHOLDER = re.compile(r"\s*\{([A-Za-z_]\w*(?:\.\w+)*)\}\s*")
STATE_PREFIX = "state."


def placeholders(template: str) -> Iterator[str]:
    """Paths without `state.`, in order: `topic`, `profile.bio`."""
    for found in PLACEHOLDER.finditer(template):
        if found[1]:
            yield found[1].removeprefix(STATE_PREFIX)


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Raises `InvalidValueError` for a placeholder that nothing fills."""

    def filled(found: re.Match[str]) -> str:
        path = found[1]
        return as_text(look_up(path, values)) if path else found[0][0]

    return PLACEHOLDER.sub(filled, template)


def resolve(template: Any, values: Mapping[str, Any]) -> Any:
    """As `fill`, but a template that is nothing but one placeholder keeps its value's type."""
    if not isinstance(template, str):
        return template
    whole = WHOLE_PLACEHOLDER.fullmatch(template)
    return look_up(whole[1], values) if whole else fill(template, values)


def look_up(path: str, values: Mapping[str, Any]) -> Any:
    """`state.` is for clarity only, unless something is called `state`."""
    parts = path.split(".")
    if parts[0] == "state" and len(parts) > 1 and "state" not in values:
        parts = parts[1:]
    here: Any = values
    for part in parts:
        if isinstance(here, Mapping) and part in here:
            here = here[part]
        elif (
            isinstance(here, Sequence)
            and not isinstance(here, str)
            and part.isdecimal()
            and int(part) < len(here)
        ):
            here = here[int(part)]
        else:
            raise InvalidValueError(f"nothing fills the placeholder {{{path}}}: there is no {part!r}")
    return here


def as_text(value: Any) -> str:
    """As a reader would write it: text as it is, nothing for what is not set, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str)
