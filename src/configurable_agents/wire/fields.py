"""Fields that a record and its message have in common under one name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SCOPE_FIELDS = ("experiment", "run_id", "since_unix_ns", "run_count")
"""What every report says of the runs it is about."""


def same_fields(source: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(source, name) for name in names}
