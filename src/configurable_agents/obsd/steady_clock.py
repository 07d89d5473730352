"""The clock by which rows grow old: the wall clock, but for a jump ahead that has not stood for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

JUMP_S = 3600.0
"""What the wall clock may be ahead of the time that has passed and still be believed at once."""

BELIEVED_AFTER_S = 600.0
"""How long a jump ahead has to stand. One that goes back before that has made nothing older."""


class SteadyClock:
    """For one thread at a time. It sees a jump when it is asked, so ask it every minute or so.

    A wall clock that goes back is believed at once: what is younger than it was is only kept for longer.
    """

    def __init__(
        self,
        newest_unix_ns: int | None,
        *,
        wall: Callable[[], int] | None = None,
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        """`newest_unix_ns` is the latest time that was known before this process; `None`: there is none.

        `elapsed` counts seconds on, through a suspension of the machine too where that can be had.
        """
        self._wall = wall or time.time_ns
        self._elapsed = elapsed or seconds_awake_or_not
        self._at_unix_ns = self._wall() if newest_unix_ns is None else newest_unix_ns
        self._at_s = self._elapsed()
        self._ahead_since_s: float | None = None

    def now_unix_ns(self) -> int:
        """The wall clock's time; without its jump ahead, until that has stood long enough."""
        wall_unix_ns, now_s = self._wall(), self._elapsed()
        steady_unix_ns = self._at_unix_ns + int((now_s - self._at_s) * 1e9)
        if wall_unix_ns > steady_unix_ns + JUMP_S * 1e9 and not self._has_stood(now_s):
            return steady_unix_ns
        self._at_unix_ns, self._at_s, self._ahead_since_s = wall_unix_ns, now_s, None
        return wall_unix_ns

    def _has_stood(self, now_s: float) -> bool:
        if self._ahead_since_s is None:
            self._ahead_since_s = now_s
            _log.info(
                "the clock is far ahead of what was last known; rows age by it in %.0f s", BELIEVED_AFTER_S
            )
        return now_s - self._ahead_since_s >= BELIEVED_AFTER_S


def seconds_awake_or_not() -> float:
    """Monotonic; counts on while the machine is suspended, where its clock can (Linux)."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)
