"""What the daemon and its export worker say to each other: one JSON object per line, one answer each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Export what comes after `cursor`."""

    cursor: int

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> ExportRequest:
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What became of a request. The first one, unasked, says that the worker is ready, or why not."""

    cursor: int = 0
    """The other side has every event up to here, or it is set aside."""
    runs: list[tuple[int, str, int]] = field(default_factory=list)
    """Run, the other side's id, and the run's events if it was exported as final, else -1."""
    set_aside: list[tuple[int, int, str]] = field(default_factory=list)
    """Event (`seq`), its run, and why the other side will not take it."""
    retried: list[int] = field(default_factory=list)
    """Events that had been set aside, were asked for again, and are taken now."""
    more: bool = False
    """There is more to export right now."""
    error: str = ""
    """Nothing of this request was taken, for a reason that may pass."""
    hopeless: bool = False
    """The error does not pass by itself: wrong version, wrong address."""

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> ExportOutcome:
        return cls(**json.loads(line))
