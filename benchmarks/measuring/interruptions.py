"""A benchmark that is told to stop, by Ctrl-C or SIGTERM, first stops the daemons that it started."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED_EXIT_CODE = 130

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop:
    """Whether to stop, and whether now is the moment. For the main thread only."""

    def __init__(self) -> None:
        self.is_wanted = False
        self.holds = 0

    def want(self, *_: object) -> None:
        self.is_wanted = True
        self.raise_if_wanted()

    def raise_if_wanted(self) -> None:
        if self.is_wanted and not self.holds:
            self.is_wanted = False
            raise KeyboardInterrupt


_stop = _Stop()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A stop that comes within waits for the end: a process that is half started belongs to nobody."""
    _stop.holds += 1
    try:
        yield
    finally:
        _stop.holds -= 1
        _stop.raise_if_wanted()


def exit_code_of(main: Callable[[], int]) -> int:
    """Runs a program so that it can be told to stop."""
    for number in _SIGNALS:
        signal.signal(number, _stop.want)
    try:
        return main()
    except KeyboardInterrupt:
        print("\ninterrupted: nothing is written, and what was started is stopped")
        return INTERRUPTED_EXIT_CODE
