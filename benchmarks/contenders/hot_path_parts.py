"""The parts of a recorded execution, each alone and called again and again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from answering import answer, call_times_ns

from configurable_agents.client.spool import Spool
from configurable_agents.observe import observe_run
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.telemetry import Event, NodeFinished, Status
from configurable_agents.wire.encode import EventEncoder

EVENT = NodeFinished("0" * 32, 2**62 + 7, 0, "draft", 1, 1_795_336_467_000_000_000, 12_345, Status.OK, "")


class TakesNothing:
    """A recorder that leaves only the measuring and adding up to be measured."""

    def record(self, event: Event) -> None:
        """Nothing."""


def empty() -> None:
    return None


def measuring() -> Callable[[], Any]:
    observe_run("benchmarks", "parts", recorder=TakesNothing()).__enter__()
    return profile_node("draft")(empty)


def parts() -> dict[str, Callable[[], Any]]:
    folder = Path(tempfile.mkdtemp(prefix="bench-parts-"))
    encode = EventEncoder().encode
    frame = encode(EVENT)
    mapped, written = Spool(folder, bytes(16)), Spool(folder, bytes(range(16)), is_mapped=False)
    file = os.open(folder / "bare", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    return {
        "measuring and adding up, no recorder behind": measuring(),
        "encoding": lambda: encode(EVENT),
        "checksum and two stores into mapped memory": lambda: mapped.append(frame),
        "instead of these, checksum and write": lambda: written.append(frame),
        "of that, the bare system call": lambda: os.write(file, frame),
    }


def main() -> None:
    measured = parts()

    def turn(count: int) -> dict[str, float]:
        bare = call_times_ns(empty, count)[count // 2]
        return {
            name: (call_times_ns(part, count)[count // 2] - bare) / 1000 for name, part in measured.items()
        }

    answer(turn)


if __name__ == "__main__":
    main()
