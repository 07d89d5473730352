"""How long a daemon takes from its start until it accepts events: with an empty ledger, and with a large one.

From the call that starts the process to the line in which it says that it is ready.
"""

from __future__ import annotations

import time

from configurable_agents.client.home import Home
from items.report_latency import LEDGER
from measuring.daemons import daemon_in, filled_home, state_folder
from measuring.figures import Result, Series, Size, at_most

TITLE = "Start of the daemon"

ROUNDS = {Size.TINY: 1, Size.NORMAL: 7, Size.LONG: 7}


def measure(size: Size) -> Result:
    events, runs = LEDGER[size]
    filled = filled_home(events, runs)
    empty_s, filled_s = [], []
    for _ in range(ROUNDS[size]):
        with state_folder() as home:
            with daemon_in(home):
                pass  # makes the empty ledger
            empty_s.append(start_seconds(home))
        filled_s.append(start_seconds(filled))
    empty = Series("empty ledger", "s", tuple(empty_s))
    large = Series(f"ledger of {events:,} events", "s", tuple(filled_s))
    return Result(
        series=(empty, large),
        verdicts=(
            at_most("daemon ready, empty ledger: ≤ 0.6 s", empty, 0.6),
            at_most(f"daemon ready, {events:,} events: ≤ 1.5 s", large, 1.5),
        ),
    )


def start_seconds(home: Home) -> float:
    began = time.perf_counter()
    with daemon_in(home):
        return time.perf_counter() - began
