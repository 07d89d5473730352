"""The daemon with a wall clock that jumps: jumping_daemon.py FILE [its own arguments]

FILE says by how many seconds its clock is ahead now. It gives up a silent run after a fraction of its time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

SWEEP_EVERY_S = 0.1
SILENT_S = 0.5


def shift_the_clock(ahead: Path) -> None:
    genuine = time.time_ns

    def time_ns() -> int:
        return genuine() + int(ahead.read_text()) * 10**9

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def main() -> int:
    shift_the_clock(Path(sys.argv.pop(1)))
    from configurable_agents.obsd import __main__ as daemon
    from configurable_agents.obsd import lifecycle

    lifecycle.SWEEP_EVERY_S, lifecycle.SILENT_S = SWEEP_EVERY_S, SILENT_S
    return daemon.main()


if __name__ == "__main__":
    sys.exit(main())
