"""How a contender talks to the runner: `answer(turn)` calls `turn(**task)` for every line it is sent."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def answer(turn: Callable[..., dict[str, Any]], *, finish: Callable[[], None] | None = None) -> None:
    """Serves turns until there are no more, and leaves at once: what peers do at exit is not measured."""
    say({"ready": True})
    for line in sys.stdin:
        say(turn(**json.loads(line)))
    if finish is not None:
        finish()
    os._exit(0)


def absent(reason: str) -> None:
    say({"absent": reason})
    os._exit(0)


def say(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def call_times_ns(function: Callable[[], Any], count: int) -> list[int]:
    """What each call took, the look at the clock included."""
    clock = time.perf_counter_ns
    times = [0] * count
    for index in range(count):
        before = clock()
        function()
        times[index] = clock() - before
    times.sort()
    return times


def added_us(measured_ns: list[int], bare_ns: list[int]) -> dict[str, float]:
    """What was added to a bare call, in µs. Both are sorted."""
    middle = bare_ns[len(bare_ns) // 2]
    count = len(measured_ns)
    return {
        "p50": (measured_ns[count // 2] - middle) / 1000,
        "p99": (measured_ns[count * 99 // 100] - middle) / 1000,
        "mean": (sum(measured_ns) / count - sum(bare_ns) / len(bare_ns)) / 1000,
    }
