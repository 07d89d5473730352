"""Which producers are connected right now, so that others know whom not to speak for."""

from __future__ import annotations

import time
from collections.abc import Callable

from configurable_agents.obsd import limits


class Producers:
    """For the daemon's event loop only. Bounded by the connections and `PRODUCERS_REMEMBERED_MAX`; who left
    is forgotten after a while."""

    LEFT_KEPT_S = 3600

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds and never jumps."""
        self._clock = clock
        self._connected: dict[bytes, int] = {}
        self._left: dict[bytes, float] = {}
        """When a producer that is not connected was, in monotonic seconds; the longest ago first."""
        self._unary: dict[bytes, float] = {}
        """The same of those that sent a single batch."""
        self.began = clock()

    def __len__(self) -> int:
        return len(self._connected)

    def connected(self, producer_id: bytes) -> None:
        self._connected[producer_id] = self._connected.get(producer_id, 0) + 1

    def disconnected(self, producer_id: bytes) -> None:
        remaining = self._connected[producer_id] - 1
        if remaining:
            self._connected[producer_id] = remaining
        else:
            del self._connected[producer_id]
            self._left.pop(producer_id, None)
            self._left[producer_id] = self._clock()
            self._prune()

    def is_connected(self, producer_id: bytes) -> bool:
        return producer_id in self._connected

    def heard_unary(self, producer_id: bytes) -> None:
        """A producer that sends single batches: it is never connected, and may be silent for long."""
        self._unary.pop(producer_id, None)
        self._unary[producer_id] = self._clock()
        self._prune()

    def is_unary(self, producer_id: bytes) -> bool:
        return producer_id in self._unary

    def silent_for_s(self, producer_id: bytes) -> float:
        """Since when a producer that is not connected has had the chance to connect, and has not."""
        return self._clock() - self._left.get(producer_id, self.began)

    def _prune(self) -> None:
        oldest = self._clock() - self.LEFT_KEPT_S
        for heard in (self._left, self._unary):
            while heard and (
                len(heard) > limits.PRODUCERS_REMEMBERED_MAX or next(iter(heard.values())) < oldest
            ):
                del heard[next(iter(heard))]
