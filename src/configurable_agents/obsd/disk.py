"""Whether there is room for more events: asked before each commit, before SQLite itself would fail.

Below the reserve, and beyond the allowance for what waits for an exporter, new events are refused; they
wait in the spools of their processes. What is left of the disk is for what goes on: profiles, the
exporter's cursor, the removal of what is no longer needed.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

from configurable_agents.client.home import Home
from configurable_agents.errors import LedgerFullError
from configurable_agents.obsd.ledger.retention import Backlog
from configurable_agents.obsd.quantities import size_text
from configurable_agents.obsd.storage_policy import StoragePolicy
from configurable_agents.wire.report_records import StorageStatus


class DiskGuard:
    """May be asked from any thread: it keeps no state."""

    def __init__(
        self,
        home: Home,
        policy: StoragePolicy,
        *,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        self._home = home
        self._policy = policy
        self._free_bytes = free_bytes or free_bytes_for

    def require_room(self, backlog: Backlog) -> None:
        """Raises `LedgerFullError` with the reason while no further events may be committed."""
        reason = self.refuses_because(backlog)
        if reason:
            raise LedgerFullError(reason)

    def refuses_because(self, backlog: Backlog) -> str:
        """Why new events are refused, and what to do about it; empty: they are not."""
        free_bytes = self.free_bytes()
        reserve_bytes = self._policy.reserve_bytes
        if free_bytes < reserve_bytes:
            return (
                f"the disk of {self._home.folder} has {size_text(max(0, free_bytes))} left, less than the"
                f" reserve of {size_text(reserve_bytes)}; make room, or lower [disk] reserve in"
                " agents-obsd.toml. Events wait in the spools meanwhile"
            )
        waiting_bytes, allowance_bytes = self.waiting_bytes(backlog), self._policy.allowance_bytes
        if allowance_bytes is not None and waiting_bytes > allowance_bytes:
            return (
                f"{backlog.events_waiting:,} events ({size_text(waiting_bytes)}) wait for MLflow, more than"
                f" the allowance of {size_text(allowance_bytes)}; `agents-obs status` says why MLflow takes"
                " none. Raise [disk] allowance in agents-obsd.toml, or set [mlflow] enabled = false."
                " Events wait in the spools meanwhile"
            )
        return ""

    def free_bytes(self) -> int:
        return self._free_bytes(self._home.ledger)

    def waiting_bytes(self, backlog: Backlog) -> int:
        """The share of the ledger that the waiting events have."""
        return file_bytes(self._home.ledger) * backlog.events_waiting // max(1, backlog.events_held)

    def status(self, backlog: Backlog) -> StorageStatus:
        policy = self._policy
        return StorageStatus(
            free_bytes=max(0, self.free_bytes()),
            reserve_bytes=policy.reserve_bytes,
            waiting_bytes=self.waiting_bytes(backlog),
            allowance_bytes=policy.allowance_bytes or 0,
            refuses_because=self.refuses_because(backlog),
            raw_kept_s=policy.raw_s or 0,
            totals_kept_s=policy.totals_s or 0,
            ledger_bytes_max=policy.ledger_bytes_max or 0,
        )


def free_bytes_for(ledger: Path) -> int:
    """What the file system has left for us, and what the limit on the size of a file leaves."""
    found = os.statvfs(ledger.parent)
    free_bytes = found.f_bavail * found.f_frsize
    file_bytes_max, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if file_bytes_max != resource.RLIM_INFINITY:
        free_bytes = min(free_bytes, file_bytes_max - max(map(file_bytes, files_of(ledger))))
    return free_bytes


def files_of(ledger: Path) -> tuple[Path, Path]:
    """The ledger and its write-ahead log."""
    return ledger, ledger.with_name(f"{ledger.name}-wal")


def file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
