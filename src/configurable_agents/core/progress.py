"""What a runner tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, TypeAlias


class Happening(StrEnum):
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    """For good: no further attempt follows."""
    RETRYING = "retrying"
    CANCELLED = "cancelled"


class Progress(NamedTuple):
    """One thing that happened to a node."""

    happening: Happening
    node_id: str
    attempt: int = 1
    duration_ns: int = 0
    wait_s: float = 0.0
    """Until the next attempt."""
    detail: str = ""


Notify: TypeAlias = Callable[[Progress], None]


def say_nothing(progress: Progress) -> None:
    """For runs that nobody watches."""
