"""What can be asked about the accounts: dead letters, the removal of a run, the ledger against MLflow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from configurable_agents.wire.report_records import Scope

STATES = {1: "set aside", 2: "waiting again", 3: "dropped"}
"""Of a dead letter."""


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant. Fields narrow each other down; all empty means every one."""

    scope: Scope = field(default_factory=Scope)
    exporter: str = ""
    reason: str = ""
    """A part of it, in upper or lower case."""


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """Dead letters of one run, for one reason."""

    exporter: str
    run_id: str
    """Empty: the run is gone since, and they were dropped before."""
    experiment: str
    state: int
    """A key of `STATES`."""
    reason: str
    events: int
    first_unix_ns: int
    """When the first of them came to be in this state."""
    last_unix_ns: int

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "run_id": self.run_id or None,
            "experiment": self.experiment or None,
            "state": STATES[self.state],
        }


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Most events first. What is not in `groups`, for lack of room, is in the sums."""

    groups: tuple[DeadLetterGroup, ...] = ()
    group_count: int = 0
    events_set_aside: int = 0
    events_retrying: int = 0
    events_dropped: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "events_set_aside": self.events_set_aside,
            "events_waiting_again": self.events_retrying,
            "events_dropped": self.events_dropped,
            "group_count": self.group_count,
            "groups": [group.to_json() for group in self.groups],
        }


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """A run that is to be removed from the ledger, or has been."""

    run_id: str
    experiment: str
    status: int
    events: int
    mlflow_run_id: str = ""
    """Empty: MLflow has nothing of it, as far as the ledger knows."""
    is_attached: bool = False
    """The MLflow run is the workflow's own; it was only written to."""
    tracking_uri: str = ""
    purged: bool = False
    bytes_removed: bool = False
    """Nothing of it is left in the files of the ledger and in the log."""
