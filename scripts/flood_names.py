"""Sends the daemon executions that all have names of their own, and says what it makes of them.

    python scripts/flood_names.py 10000000

Ends with exit code 1 when it holds more memory than it may, or when a figure is not exact.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator

import grpc
import psutil

from configurable_agents.client.channel import open_channel, report_stream
from configurable_agents.client.control import start_daemon, stop_daemon
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.obsd import limits
from configurable_agents.telemetry import OTHER_NAME, NodeFinished, Status
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames

MEMORY_BYTES_MAX = 256 * 1024 * 1024
BATCH_EVENTS = 1_000
RUN_EVENTS = 1_000_000
"""A run has this many executions; each begins with names that no other had."""
IN_FLIGHT_MAX = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", type=int, nargs="?", default=10_000_000, help="how many (10,000,000)")
    parser.add_argument("--name-length", type=int, default=24, help="characters of each name (24)")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="aobs-")
    home = Home.from_environment(folder)
    (home.folder / "agents-obsd.toml").write_text("mlflow_enabled = false\n")
    try:
        pid = start_daemon(home).pid
        return flood(home, pid, arguments.names, arguments.name_length)
    finally:
        stop_daemon(home)
        shutil.rmtree(folder)


def flood(home: Home, pid: int, count: int, name_length: int) -> int:
    process, peak, began = psutil.Process(pid), 0, time.monotonic()
    with open_channel(home) as channel:
        for acknowledged in sent(channel, count, name_length):
            peak = max(peak, process.memory_info().rss)
            if acknowledged % RUN_EVENTS == 0:
                print(f"{acknowledged:>12,} names  {peak / 2**20:6.1f} MiB at most", flush=True)
    rate = count / (time.monotonic() - began)
    with ReportClient(home, timeout_s=120) as client:
        nodes = {node.node_id: node.calls for node in client.profile_report(Scope(run_id="run-0")).nodes}
        folded = client.status().names_folded
    peak = max(peak, process.memory_info().rss)
    runs = -(-count // RUN_EVENTS)
    print(
        f"{len(nodes):,} nodes in the first run, {nodes.get(OTHER_NAME, 0):,} executions under {OTHER_NAME}"
    )
    print(f"{folded:,} names folded; {rate:,.0f} events/s; {peak / 2**20:.1f} MiB at most")
    exact = sum(nodes.values()) == min(count, RUN_EVENTS) and folded == count - runs * limits.RUN_NODES_MAX
    return 0 if exact and peak < MEMORY_BYTES_MAX else 1


def sent(channel: grpc.Channel, count: int, name_length: int) -> Iterator[int]:
    """Acknowledged so far, again and again."""
    yield from (ack.next_sequence for ack in report_stream(channel, batches(count, name_length)))


def batches(count: int, name_length: int) -> Iterator[bytes]:
    encode = EventEncoder().encode
    for first in range(0, count, BATCH_EVENTS):
        run = f"run-{first // RUN_EVENTS}"
        started = time.time_ns()
        frames = b"".join(
            encode(NodeFinished(run, span + 1, 0, f"{span:0{name_length}}", 1, started, 1000, Status.OK, ""))
            for span in range(first, min(first + BATCH_EVENTS, count))
        )
        yield batch_of_frames(bytes(16), first, frames)


if __name__ == "__main__":
    sys.exit(main())
