"""Objects that must be put right in a forked child, which may inherit their locks in a held state."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    def after_fork_in_child(self) -> None:
        """Runs in the child before anything else, while it has one thread."""


# Module state, because `os.register_at_fork` takes functions for the life of the process and these
# objects come and go.
_fork_aware: WeakSet[ForkAware] = WeakSet()


def repair_after_fork(target: ForkAware) -> None:
    """Has `target.after_fork_in_child()` called in every child forked while `target` lives."""
    _fork_aware.add(target)


def _repair_all() -> None:
    for target in list(_fork_aware):
        target.after_fork_in_child()


os.register_at_fork(after_in_child=_repair_all)
