"""A workflow whose spool gets no more room: narrow_workflow.py HOME JOURNALS [--ballast FILE]

It records until events are dropped, and some more; then it makes room, and records until as many went
through. What is in its way is a full disk with FILE on it, or a soft limit on the size of its files.
Prints how many events were dropped.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable
from pathlib import Path

from harness.journal import JournalWriter
from harness.recorder import JournalingRecorder

from configurable_agents import observe_run
from configurable_agents.client.home import Home
from configurable_agents.runtime.profiler import profile_node

DROPPED_AT_LEAST = 50
RECORDED_AFTERWARDS = 200
EVENTS_MAX = 500_000
NODE = "step-".ljust(200, "n")
"""Long, so that a spool is soon full."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home")
    parser.add_argument("journals")
    parser.add_argument("--ballast", type=Path)
    arguments = parser.parse_args()
    keep_journals_from_the_limit()
    recorder = JournalingRecorder(Home.from_environment(arguments.home), Path(arguments.journals))
    emitter = recorder.emitter
    with observe_run("faults", "narrow", recorder=recorder):
        record_until(lambda: emitter.dropped_events >= DROPPED_AT_LEAST)
        make_room(arguments.ballast)
        target = emitter.recorded_events + RECORDED_AFTERWARDS
        record_until(lambda: emitter.recorded_events >= target)
    print(emitter.dropped_events)


def record_until(is_over: Callable[[], bool]) -> None:
    for _ in range(EVENTS_MAX):
        if is_over():
            return
        with profile_node(NODE):
            pass
    raise AssertionError(f"{EVENTS_MAX} events were not enough")


def make_room(ballast: Path | None) -> None:
    if ballast is not None:
        ballast.unlink()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def keep_journals_from_the_limit() -> None:
    """They grow faster than what they tell of."""
    write = JournalWriter._line

    def write_without_limit(self: JournalWriter, *values: object) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        try:
            write(self, *values)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    JournalWriter._line = write_without_limit


if __name__ == "__main__":
    main()
