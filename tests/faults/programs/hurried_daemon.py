"""The daemon with less patience: hurried_daemon.py HASTE BUSY_TIMEOUT_MS [its own arguments]

The watch over its progress has a clock that runs HASTE times as fast, and a lock on the ledger is waited
for that long.
"""

from __future__ import annotations

import sys
import time

from configurable_agents.obsd import __main__ as daemon
from configurable_agents.obsd import progress
from configurable_agents.obsd.ledger import database, writer


def main() -> int:
    haste, busy_timeout_ms = float(sys.argv[1]), int(sys.argv[2])
    del sys.argv[1:3]
    progress.CHECK_EVERY_S /= haste
    progress.ProgressWatch.__init__.__kwdefaults__["clock"] = lambda: haste * time.monotonic()
    database.BUSY_TIMEOUT_MS = writer.BUSY_TIMEOUT_MS = busy_timeout_ms
    return daemon.main()


if __name__ == "__main__":
    sys.exit(main())
