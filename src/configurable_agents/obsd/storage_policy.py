"""How long the ledger keeps what, and how much of the disk it may take, from the user's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from configurable_agents.errors import ConfigurationError, InvalidValueError
from configurable_agents.obsd.config import FILE_NAME, Settings, spelled
from configurable_agents.obsd.quantities import bytes_of, seconds_of

T = TypeVar("T")

SETTINGS_FILE = Path(FILE_NAME)


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


def storage_policy(settings: Settings, path: Path = SETTINGS_FILE) -> StoragePolicy:
    """Raises `ConfigurationError`, which names the file and the setting."""

    def read(name: str, text: str, reader: Callable[[str], T]) -> T:
        try:
            return reader(text)
        except InvalidValueError as error:
            raise ConfigurationError(f"{path}: {spelled(name)} {error}") from error

    policy = StoragePolicy(
        raw_s=read("retention_raw", settings.retention_raw, seconds_of),
        totals_s=read("retention_totals", settings.retention_totals, seconds_of),
        ledger_bytes_max=read("retention_size", settings.retention_size, bytes_of),
        reserve_bytes=read("disk_reserve", settings.disk_reserve, bytes_of) or 0,
        allowance_bytes=read("disk_allowance", settings.disk_allowance, bytes_of),
    )
    if policy.totals_s is not None and (policy.raw_s is None or policy.raw_s > policy.totals_s):
        raise ConfigurationError(
            f"{path}: [retention] raw ({settings.retention_raw}) is longer than [retention] totals"
            f" ({settings.retention_totals}), and a run goes as a whole; make it shorter"
        )
    return policy
