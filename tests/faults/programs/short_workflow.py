"""Records a thousand events and ends: short_workflow.py HOME JOURNALS

Prints the monotonic time at which its work was done, and what its recorder could not keep.
"""

from __future__ import annotations

import sys
import time

from configurable_agents import observe_run
from configurable_agents.client.home import Home
from configurable_agents.client.process import process_recorder
from configurable_agents.runtime.profiler import profile_node

EVENTS = 1_000
LASTS_S = 0.3


def main() -> None:
    home = sys.argv[1]
    with observe_run("faults", "short", home=home):
        for number in range(EVENTS):
            with profile_node("step"):
                if number % 10 == 0:
                    time.sleep(LASTS_S / (EVENTS / 10))
    emitter = process_recorder(Home.from_environment(home))
    print(time.monotonic(), emitter.recorded_events, emitter.dropped_events, flush=True)


if __name__ == "__main__":
    main()
