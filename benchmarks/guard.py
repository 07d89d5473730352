"""Fails when the hot path, ingest, the start of the command line or what is imported has got worse.

Ratios only, so that it means the same on any machine: each figure is divided by a yardstick measured in
the same turn (a bare system call with a checksum, SQLite's `executemany`, an interpreter that does next to
nothing), and CPU time rather than the clock where it can be had.
The bounds, in `guard.json`, lie a fifth to a half above what was measured when they were set; a change that
makes something better should lower them: `python benchmarks/guard.py --set`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from items.command_line import needless_modules, wall_ms
from items.raw_limit import written_raw
from measuring.contenders import Program, running
from measuring.daemons import daemon, daemon_in, send, state_folder
from measuring.interruptions import exit_code_of

BOUNDS = Path(__file__).resolve().parent / "guard.json"
NOISE = {"hot_path": 1.2, "ingest": 1.35, "command_line": 1.35, "needless_imports": 1.0}
"""A bound over what was measured. A figure of many calls in one process varies least."""

TRIES = 3
"""A measurement beyond its bound is repeated: noise passes, a regression stays."""

CALLS = 1_000
HOT_ROUNDS = 41
YARDSTICK_BYTES = 80
INGEST_EVENTS = 40_000
ROUNDS = 5


def hot_path() -> float:
    """A recorded execution, in checksummed system calls of as many bytes."""
    program = Program("ours", "hot_path", ("ours", "1"))
    with (
        on_one_core(),
        state_folder() as home,
        running(program, AGENTS_OBS_HOME=str(home.folder)) as ours,
    ):
        ours.turn(count=5 * CALLS)
        return statistics.median(
            1000 * ours.turn(count=CALLS)["p50"] / yardstick_ns() for _ in range(HOT_ROUNDS)
        )


@contextmanager
def on_one_core() -> Iterator[None]:
    """This process and those it starts share a core: two may run at speeds that differ by half."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def yardstick_ns() -> float:
    """The median of one `write` of a few bytes and their checksum."""
    data = b"x" * YARDSTICK_BYTES
    times = []
    with tempfile.TemporaryFile(buffering=0) as file:
        target = file.fileno()
        for _ in range(CALLS):
            began = time.perf_counter_ns()
            os.write(target, data)
            zlib.crc32(data)
            times.append(time.perf_counter_ns() - began)
    return statistics.median(times)


def ingest() -> float:
    """The daemon's CPU time for an event, in CPU time of SQLite's bare `executemany` for the same row."""
    ratios = []
    for _ in range(ROUNDS):
        with on_one_core(), state_folder() as home:
            with daemon_in(home) as found:
                before = found.cpu_seconds()
                sent = send(home, events=INGEST_EVENTS)
                cpu_us = 1e6 * (found.cpu_seconds() - before) / sent["events"]
            ratios.append(cpu_us / written_raw(home.ledger, home.folder / "raw.db").cpu_us_per_row)
    return statistics.median(ratios)


def command_line() -> float:
    """The CPU time of a cost report, in that of an interpreter that loads three modules."""
    report = [str(Path(sys.executable).with_name("agents-obs")), "cost-report"]
    ratios = []
    with daemon() as found:
        environment = {**os.environ, "AGENTS_OBS_HOME": str(found.home.folder)}
        for _ in range(2 * ROUNDS):
            bare = cpu_seconds([sys.executable, "-c", "import json, logging, threading"], environment)
            ratios.append(cpu_seconds(report, environment) / bare)
    return statistics.median(ratios)


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall_ms(command, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def needless_imports() -> float:
    """How many packages a cost report loads that it does not need."""
    with daemon() as found:
        return len(needless_modules({**os.environ, "AGENTS_OBS_HOME": str(found.home.folder)}))


MEASURES: dict[str, Callable[[], float]] = {
    "hot_path": hot_path,
    "ingest": ingest,
    "command_line": command_line,
    "needless_imports": needless_imports,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", action="store_true", help="measure and set the bounds anew")
    if parser.parse_args().set:
        bounds = {name: round(NOISE[name] * measure(), 2) for name, measure in MEASURES.items()}
        BOUNDS.write_text(json.dumps(bounds, indent=1) + "\n", encoding="utf-8")
        print(f"bounds: {bounds}")
        return 0
    bounds = json.loads(BOUNDS.read_text(encoding="utf-8"))
    worse = [name for name, measure in MEASURES.items() if not within(name, measure, bounds[name])]
    if worse:
        print(f"bench-guard: worse than its bound: {', '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


def within(name: str, measure: Callable[[], float], bound: float) -> bool:
    for attempt in range(1, TRIES + 1):
        ratio = measure()
        print(f"{name}: {ratio:.2f}, bound {bound:g}{f' (try {attempt})' if attempt > 1 else ''}", flush=True)
        if ratio <= bound:
            return True
    return False


if __name__ == "__main__":
    raise SystemExit(exit_code_of(main))
