"""What the support workflow looks rules up in. A workflow names functions as `module:function`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RULES_FOUND = 3
RULES = tuple(
    f"A customer who writes about {subject} is answered within {hours} hours, by name, with what happened,"
    " what we do about it and when it is done."
    for hours in (2, 4, 8, 24)
    for subject in ("parcels", "charges", "damage", "orders")
)


def find_rules(state: Mapping[str, Any]) -> list[str]:
    """The rules that share most words with the ticket."""
    asked = set(state["ticket"].lower().split())
    return sorted(RULES, key=lambda rule: -len(asked & set(rule.lower().split())))[:RULES_FOUND]
