"""Forks while two threads record: forks.py HOME JOURNALS WAY COUNT

WAY: `fork` (os.fork), `multiprocessing-fork`, `multiprocessing-spawn`, `nested` (children that fork).
Prints, last, how many children there were and how many did not end well.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from harness.recorder import JournalingRecorder

from configurable_agents import observe_run
from configurable_agents.client.home import Home
from configurable_agents.runtime.profiler import profile_node

EVENTS_OF_A_CHILD = 10
AT_A_TIME = 8


def record_as_child(recorder: JournalingRecorder) -> None:
    with observe_run("faults", "child", recorder=recorder):
        for _ in range(EVENTS_OF_A_CHILD):
            with profile_node("child"):
                pass


def record_after_spawn(home: str, journals: str) -> None:
    record_as_child(JournalingRecorder(Home.from_environment(home), Path(journals)))


def main() -> None:
    home, journals, way, count = sys.argv[1:]
    recorder = JournalingRecorder(Home.from_environment(home), Path(journals))
    stop = threading.Event()
    threads = [threading.Thread(target=record_until, args=(recorder, stop, name)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    dead = children(way, int(count), recorder, (home, journals))
    stop.set()
    for thread in threads:
        thread.join()
    print(f"children {count} dead {dead}")


def record_until(recorder: JournalingRecorder, stop: threading.Event, name: str) -> None:
    with observe_run("faults", "parent", run_id=f"parent-{name}", recorder=recorder):
        while not stop.wait(0.001):
            with profile_node(name):
                pass


def children(way: str, count: int, recorder: JournalingRecorder, folders: tuple[str, str]) -> int:
    """Returns how many did not end well."""
    if way == "fork":
        return forked(count, lambda: record_as_child(recorder))
    if way == "nested":
        return forked(count // 2, lambda: record_and_fork(recorder))
    method = way.removeprefix("multiprocessing-")
    context = multiprocessing.get_context(method)
    target, arguments = (record_as_child, (recorder,)) if method == "fork" else (record_after_spawn, folders)
    dead = 0
    for start in range(0, count, AT_A_TIME):
        batch = [context.Process(target=target, args=arguments) for _ in range(min(AT_A_TIME, count - start))]
        for each in batch:
            each.start()
        for each in batch:
            each.join()
            dead += each.exitcode != 0
    return dead


def record_and_fork(recorder: JournalingRecorder) -> None:
    record_as_child(recorder)
    if forked(1, lambda: record_as_child(recorder)):
        os._exit(1)


def forked(count: int, what: Callable[[], None]) -> int:
    dead = 0
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                what()
            except BaseException:  # noqa: BLE001 - whatever it was, the child is dead
                os._exit(1)
            os._exit(0)
        dead += os.waitpid(pid, 0)[1] != 0
    return dead


if __name__ == "__main__":
    main()
