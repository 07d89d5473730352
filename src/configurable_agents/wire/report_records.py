"""What can be asked of a daemon and what it says of itself, besides the reports themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from configurable_agents.runtime.past_runs import LiveRun


@dataclass(frozen=True, slots=True)
class Scope:
    """Which runs a report is about. Fields narrow each other down; all empty means everything."""

    experiment: str = ""
    run_id: str = ""
    """Whole, a unique beginning of one, or `latest`."""
    since_unix_ns: int = 0
    """Runs started at or after this time."""


@dataclass(frozen=True, slots=True)
class ExporterStatus:
    name: str
    target: str
    state: str
    """`starting`, `idle`, `exporting`, `retrying` or `stopped`."""
    events_exported: int = 0
    events_waiting: int = 0
    events_set_aside: int = 0
    last_success_unix_ns: int = 0
    last_error: str = ""
    runs_waiting: int = 0
    """Runs that are over and not yet exported as final."""


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    version: str
    pid: int
    started_unix_ns: int
    home: str
    address: str
    events_committed: int = 0
    events_duplicate: int = 0
    events_refused: dict[str, int] = field(default_factory=dict)
    """By reason."""
    events_pending: int = 0
    runs_live: int = 0
    runs_total: int = 0
    ledger_bytes: int = 0
    spool_bytes: int = 0
    producers_connected: int = 0
    exporters: tuple[ExporterStatus, ...] = ()
    names_folded: int = 0
    """How often a node, a model or another name went to `__other__`."""


@dataclass(frozen=True, slots=True)
class LiveView:
    """What is in flight at one moment."""

    at_unix_ns: int
    runs: tuple[LiveRun, ...]
    """The newest ones."""
    runs_live: int
    events_committed: int
    events_pending: int
    cost_nanos: int
    """Of everything in the ledger."""
    exporters: tuple[ExporterStatus, ...] = ()
