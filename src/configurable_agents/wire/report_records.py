"""What can be asked of a daemon and what it says of itself, besides the reports themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from configurable_agents.observability.known_cost import KnownCost
from configurable_agents.runtime.past_runs import LiveRun

NOTE_KEY = "agents-obs-note"
"""Trailing metadata of an answer: what its reader should know of where it comes from."""

DISABLED = "disabled"
"""State of an exporter that is switched off."""


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
    """`starting`, `idle`, `exporting`, `retrying`, `stopped` (it cannot work) or `DISABLED`."""
    events_exported: int = 0
    events_waiting: int = 0
    events_set_aside: int = 0
    events_dropped: int = 0
    """Set aside once, and given up by somebody since."""
    events_purged: int = 0
    last_success_unix_ns: int = 0
    last_error: str = ""
    runs_waiting: int = 0
    """Runs that are over and not yet exported as final."""

    @property
    def is_disabled(self) -> bool:
        """Nothing is meant to be exported: what it waits for is not on its way."""
        return self.state == DISABLED

    @property
    def events_accounted(self) -> int:
        """All of these. What was committed and is in none of them would be lost."""
        return (
            self.events_exported
            + self.events_waiting
            + self.events_set_aside
            + self.events_dropped
            + self.events_purged
        )


class PartStatus(NamedTuple):
    """A part of the daemon that works off what comes in."""

    name: str
    state: str
    """`idle`, `working` or `stuck`."""
    stuck_since_unix_ns: int = 0
    """When it last moved; 0 unless it is stuck."""
    problem: str = ""
    """What it last complained of; empty when its last step went well."""
    is_vital: bool = True
    """Whether the daemon is not healthy when it is stuck."""


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """The ledger as a file. Ages and sizes of 0 are without end."""

    free_bytes: int = 0
    """What the disk has left, as far as the daemon may use it."""
    reserve_bytes: int = 0
    waiting_bytes: int = 0
    """What waits for MLflow, estimated."""
    allowance_bytes: int = 0
    refuses_because: str = ""
    """Why new events are refused now; empty: they are not."""
    raw_kept_s: int = 0
    totals_kept_s: int = 0
    ledger_bytes_max: int = 0
    note: str = ""
    """What keeps the ledger beyond its size."""
    checked: str = ""
    """How far the ledger was looked through for damage at the last start."""
    repaired: str = ""
    """When it was made from a damaged one, and what was lost."""
    events_retired: int = 0
    """Single executions and calls that were removed after their time."""
    runs_retired: int = 0
    """Runs of which only the totals are kept, and those removed since."""
    runs_retired_for_size: int = 0
    """Of them, those before their time because the ledger was too large."""
    runs_removed: int = 0
    spools_damaged: int = 0
    """Files in the spool folder that were set aside because a part of them cannot be read."""


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
    events_kept: int = 0
    """Committed, and of a run that is in the ledger."""
    events_purged: int = 0
    """Committed, and removed since because somebody asked for it."""
    events_removed: int = 0
    """Committed, and removed since because of their run's age or the ledger's size."""
    runs_live: int = 0
    runs_total: int = 0
    ledger_bytes: int = 0
    spool_bytes: int = 0
    producers_connected: int = 0
    exporters: tuple[ExporterStatus, ...] = ()
    storage: StorageStatus = StorageStatus()
    names_folded: int = 0
    """How often a node, a model or another name went to `__other__`."""
    prices_problem: str = ""
    """Why prices.toml, or an installed price table, is not used; empty: nothing is wrong."""
    parts: tuple[PartStatus, ...] = ()
    events_acknowledged: int = 0
    """Since the daemon's start, duplicates and refused ones included."""
    bytes_pending: int = 0
    oldest_pending_ns: int = 0
    """How long what waits longest has waited."""
    commit_p50_ns: int | None = None
    """Of the latest commits; `None` before the first."""
    commit_p99_ns: int | None = None

    @property
    def is_serving(self) -> bool:
        """What the health service says."""
        return not any(part.is_vital and part.state == "stuck" for part in self.parts)

    @property
    def is_balanced(self) -> bool:
        """Whether every committed event is accounted for: in the ledger, and for each exporter."""
        found = self.events_kept + self.events_purged + self.events_removed
        return self.events_committed == found and all(
            exporter.events_accounted == self.events_committed
            and min(exporter.events_exported, exporter.events_waiting) >= 0
            for exporter in self.exporters
        )


@dataclass(frozen=True, slots=True)
class LiveView:
    """What is in flight at one moment."""

    at_unix_ns: int
    runs: tuple[LiveRun, ...]
    """The newest ones."""
    runs_live: int
    events_committed: int
    events_pending: int
    cost: KnownCost
    """Of everything in the ledger."""
    exporters: tuple[ExporterStatus, ...] = ()
