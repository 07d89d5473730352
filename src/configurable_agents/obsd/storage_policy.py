"""How long the ledger keeps what, and how much of the disk it may take, from the user's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from configurable_agents.errors import ConfigurationError, InvalidValueError
from configurable_agents.obsd.config import Settings
from configurable_agents.obsd.quantities import bytes_of, seconds_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoragePolicy:
    """`None`: without end."""

    raw_s: int | None
    """How long single executions and calls of a run are kept after its last event came."""
    totals_s: int | None
    """The same for runs themselves: totals, profiles, percentiles."""
    ledger_bytes_max: int | None
    """Beyond it the oldest goes before its time."""
    reserve_bytes: int
    """Free space below which new events are refused."""
    allowance_bytes: int | None
    """What may wait for an exporter before new events are refused."""


def storage_policy(settings: Settings) -> StoragePolicy:
    """Raises `ConfigurationError`, which names the setting."""
    policy = StoragePolicy(
        raw_s=_read("retention_raw", settings.retention_raw, seconds_of),
        totals_s=_read("retention_totals", settings.retention_totals, seconds_of),
        ledger_bytes_max=_read("retention_size", settings.retention_size, bytes_of),
        reserve_bytes=_read("disk_reserve", settings.disk_reserve, bytes_of) or 0,
        allowance_bytes=_read("disk_allowance", settings.disk_allowance, bytes_of),
    )
    if policy.totals_s is not None and (policy.raw_s is None or policy.raw_s > policy.totals_s):
        raise ConfigurationError(
            f"agents-obsd.toml: retention_raw ({settings.retention_raw}) is longer than retention_totals"
            f" ({settings.retention_totals}), and a run goes as a whole; make it shorter"
        )
    return policy


def _read(name: str, text: str, reader: Callable[[str], T]) -> T:
    try:
        return reader(text)
    except InvalidValueError as error:
        raise ConfigurationError(f"agents-obsd.toml: {name} {error}") from error
