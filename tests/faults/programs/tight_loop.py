"""Records as fast as it can, until it is killed: tight_loop.py HOME FOLDER COUNTER FORM

After each `record` that returned it stores how many did into the eight bytes of COUNTER, a file in FOLDER,
by shared memory, which costs next to nothing. FORM is `mapped` or `written`. Events are of many lengths.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
from pathlib import Path

from configurable_agents.client.emitter import Emitter
from configurable_agents.client.home import SPOOL_VARIABLE, Home
from configurable_agents.telemetry import NodeFinished, Status


def main() -> None:
    home, folder, counter, os.environ[SPOOL_VARIABLE] = sys.argv[1:]
    with (Path(folder) / counter).open("r+b") as file:
        count = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")
    emitter = Emitter(Home.from_environment(home))
    for index in itertools.count():
        name = "n" * (1 + index % 500)
        emitter.record(NodeFinished("run", index + 1, 0, name, 1, 1 + index, 1000, Status.OK, ""))
        count[0] = index + 1


if __name__ == "__main__":
    main()
