"""Progress is health: which part of the daemon has work and does not move, and since when."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import anyio

from configurable_agents.wire.report_records import PartStatus

_log = logging.getLogger(__name__)

CHECK_EVERY_S = 1.0

STUCK_AFTER_S = 10.0
"""With `CHECK_EVERY_S`, what hangs is told of within 15 seconds."""

EXPORTER_STUCK_AFTER_S = 90.0
"""Longer than its longest wait between two tries."""


class Part(NamedTuple):
    """Something that works off what comes in."""

    name: str
    has_work: Callable[[], bool]
    steps: Callable[[], int]
    """How often it has got something done. What fails is no step."""
    problem: Callable[[], str]
    """What it last complained of; empty when its last step went well."""
    stuck_after_s: float = STUCK_AFTER_S
    is_vital: bool = True
    """Whether the daemon is not healthy when this is stuck."""


class _Mark(NamedTuple):
    """When a part last moved, or last had nothing to do."""

    steps: int
    at_s: float
    at_unix_ns: int


class ProgressWatch:
    """Looks at the parts again and again. For the daemon's event loop only."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        changed: Callable[[bool], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`changed` is told whether all vital parts move, at first and whenever that changes."""
        self._parts = parts
        self._changed = changed
        self._clock = clock
        self._marks = {part.name: self._mark(part) for part in parts}
        self._stuck: set[str] = set()
        self._is_well = True

    async def run(self) -> None:
        while True:
            await self.look()
            await anyio.sleep(CHECK_EVERY_S)

    async def look(self) -> None:
        for part in self._parts:
            self._look_at(part)
        is_well = not any(part.is_vital and part.name in self._stuck for part in self._parts)
        if is_well != self._is_well:
            self._is_well = is_well
            await self._changed(is_well)

    def status(self) -> list[PartStatus]:
        """Each part as it was at the last look."""
        return [self._status(part) for part in self._parts]

    def _look_at(self, part: Part) -> None:
        mark = self._marks[part.name]
        if not part.has_work() or part.steps() != mark.steps:
            self._marks[part.name] = self._mark(part)
            if part.name in self._stuck:
                self._stuck.remove(part.name)
                _log.info("moving again part=%s", part.name)
        elif self._clock() - mark.at_s >= part.stuck_after_s and part.name not in self._stuck:
            self._stuck.add(part.name)
            _log.error(
                "stuck part=%s for_s=%.0f problem=%s",
                part.name,
                self._clock() - mark.at_s,
                part.problem() or "none",
            )

    def _mark(self, part: Part) -> _Mark:
        return _Mark(part.steps(), self._clock(), time.time_ns())

    def _status(self, part: Part) -> PartStatus:
        is_stuck = part.name in self._stuck
        state = "stuck" if is_stuck else "working" if part.has_work() else "idle"
        since = self._marks[part.name].at_unix_ns if is_stuck else 0
        return PartStatus(part.name, state, since, part.problem(), part.is_vital)
