"""Records events in a tight loop: record_many.py HOME RUN_ID COUNT [ENDING]

ENDING: `return` (the default), or how the process ends without leaving the run: `sigterm`, `_exit`,
`sigkill`, `segfault`. Then, just before, it prints how many events it recorded.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from configurable_agents import observe_run
from configurable_agents.client.process import process_recorder
from configurable_agents.runtime.profiler import profile_node


def main() -> None:
    home, run_id, count, *endings = sys.argv[1:]
    ending = endings[0] if endings else "return"

    @profile_node("step")
    def step() -> None:
        pass

    with observe_run("many", "loop", run_id=run_id, home=home):
        for _ in range(int(count)):
            step()
        if ending != "return":
            print(process_recorder(_home(home)).recorded_events, flush=True)
            end(ending)


def end(ending: str) -> None:
    if ending == "_exit":
        os._exit(1)
    if ending == "segfault":
        ctypes.string_at(0)
    signals = {"sigterm": signal.SIGTERM, "sigkill": signal.SIGKILL}
    os.kill(os.getpid(), signals[ending])
    signal.pause()


def _home(folder: str):
    from configurable_agents.client.home import Home

    return Home.from_environment(folder)


if __name__ == "__main__":
    main()
