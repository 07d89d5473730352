"""A workflow that keeps a journal: workflow.py HOME JOURNALS NAME [--events N] [--per-second N] [--ending E]

Runs follow one another, with nested nodes and LLM calls, until N events are recorded or standard input
ends. Endings other than `return` come inside of a run, after its last event: `sigterm`, `_exit`,
`sigkill`, `segfault`.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from harness.recorder import JournalingRecorder

from configurable_agents import observe_run
from configurable_agents.client.home import Home
from configurable_agents.runtime.profiler import profile_node

STEPS_OF_A_RUN = (60, 200)
MODELS = ("gpt-4o", "gpt-4o-mini", "no-such-model")


def main() -> None:
    arguments = parser().parse_args()
    logging.disable()  # a test that fails the spool's calls would fail those of a warning too
    recorder = JournalingRecorder(Home.from_environment(arguments.home), Path(arguments.journals))
    load = Load(recorder, arguments)
    print("ready", flush=True)
    number = 0
    while not load.is_over():
        number += 1
        with observe_run("faults", "load", run_id=f"{arguments.name}-{number}", recorder=recorder) as run:
            load.steps(run)
            if load.is_over() and arguments.ending != "return":
                end(arguments.ending)


class Load:
    def __init__(self, recorder: JournalingRecorder, arguments: argparse.Namespace) -> None:
        self._recorder = recorder
        self._events = arguments.events
        self._pause_s = 1 / arguments.per_second if arguments.per_second else 0.0
        self._chances = random.Random(arguments.name)
        self._told = False

    def steps(self, run: object) -> None:
        endless = self._events and not self._pause_s
        for number in range(self._events if endless else self._chances.randint(*STEPS_OF_A_RUN)):
            if self.is_over():
                return
            self._step(run, number)
            if self._pause_s:
                time.sleep(self._pause_s)

    def _step(self, run: object, number: int) -> None:
        with profile_node(f"step-{number % 3}"):
            if number % 4 == 1:
                with profile_node("inner"):
                    self._call(run)

    def _call(self, run: object) -> None:
        usage = {"prompt_tokens": self._chances.randint(1, 9000), "completion_tokens": 7}
        run.track_call("openai", self._chances.choice(MODELS), {"usage": usage}, duration_ns=5)

    def is_over(self) -> bool:
        if self._events:
            return self._recorder.emitter.recorded_events >= self._events
        if not self._told:
            self._told = bool(select.select([sys.stdin], [], [], 0)[0])
        return self._told


def end(ending: str) -> None:
    if ending == "_exit":
        os._exit(1)
    if ending == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), {"sigterm": signal.SIGTERM, "sigkill": signal.SIGKILL}[ending])
    signal.pause()


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("home")
    found.add_argument("journals")
    found.add_argument("name")
    found.add_argument("--events", type=int, default=0)
    found.add_argument("--per-second", type=float, default=0.0)
    found.add_argument("--ending", default="return")
    return found


if __name__ == "__main__":
    main()
