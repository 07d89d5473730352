"""What prompt caches saved, and what was spent on filling them in vain.

A read saves the difference between the rate of fresh input and that of cached input. A write counts as
never read when no later call of the same run to the same model read from a cache within the lifetime of
what was written: five minutes, or an hour where that was paid for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from configurable_agents.observability.known_cost import KnownCost


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Of the calls of one node to one model."""

    node_id: str
    provider: str
    model: str
    calls: int = 0
    input_tokens: int = 0
    """Everything sent, cached or not."""
    read_tokens: int = 0
    written_tokens: int = 0
    saved_nanos: int = 0
    """By reads. Negative where the table asks more for a read than for fresh input."""
    unread_tokens: int = 0
    """Written and never read."""
    unread_nanos: int = 0
    """Spent on writing them."""
    rateless_read_tokens: int = 0
    """Read at rates that are not known; they are not in `saved_nanos`."""
    rateless_unread_tokens: int = 0
    """Written in vain at rates that are not known; they are not in `unread_nanos`."""

    @property
    def saved(self) -> KnownCost:
        """In tokens instead of calls."""
        return KnownCost(self.saved_nanos, self.read_tokens, self.rateless_read_tokens)

    @property
    def unread(self) -> KnownCost:
        """The same of what was spent in vain."""
        return KnownCost(self.unread_nanos, self.unread_tokens, self.rateless_unread_tokens)

    @property
    def hit_percent(self) -> float:
        """Share of the input that was read from a cache; 0 for no input."""
        return 100.0 * self.read_tokens / self.input_tokens if self.input_tokens else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "node_id": self.node_id,
            "provider": self.provider,
            "model": self.model,
            **_figures_json(self),
        }


@dataclass(frozen=True, slots=True)
class CacheReport:
    entries: tuple[CacheUse, ...] = ()
    """Highest savings first."""
    experiment: str = ""
    run_id: str = ""
    since_unix_ns: int = 0
    run_count: int = 0

    @property
    def total(self) -> CacheUse:
        names = ("calls", "input_tokens", "read_tokens", "written_tokens", "saved_nanos", "unread_tokens")
        sums = {
            name: sum(getattr(entry, name) for entry in self.entries)
            for name in (*names, "unread_nanos", "rateless_read_tokens", "rateless_unread_tokens")
        }
        return CacheUse("", "", "", **sums)

    def to_json(self) -> dict[str, Any]:
        """The JSON contract of `caches --json`; see docs/json.md."""
        return {
            "experiment": self.experiment or None,
            "run_id": self.run_id or None,
            "since_unix_ns": self.since_unix_ns or None,
            "run_count": self.run_count,
            "total": _figures_json(self.total),
            "entries": [entry.to_json() for entry in self.entries],
        }


def _figures_json(use: CacheUse) -> dict[str, Any]:
    return {
        "call_count": use.calls,
        "input_tokens": use.input_tokens,
        "read_tokens": use.read_tokens,
        "written_tokens": use.written_tokens,
        "hit_percent": round(use.hit_percent, 4),
        "saved_usd": use.saved.usd,
        "saved_nanos": use.saved.known_nanos,
        "rateless_read_tokens": use.rateless_read_tokens,
        "unread_tokens": use.unread_tokens,
        "unread_usd": use.unread.usd,
        "unread_nanos": use.unread.known_nanos,
        "rateless_unread_tokens": use.rateless_unread_tokens,
    }
