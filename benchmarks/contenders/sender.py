"""Producers that send node events as fast as they are acknowledged, or at a pace. One connection each.

A batch is encoded once and sent again and again under new positions, so that what is measured is the
daemon and not the making of events. Batches of runs differ: `runs` runs take turns, event by event.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from answering import answer

from configurable_agents.client.channel import REPORT_METHOD
from configurable_agents.client.home import Home
from configurable_agents.telemetry import (
    Event,
    LlmCall,
    NodeFinished,
    RunFinished,
    RunStarted,
    Status,
    Usage,
)
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames
from configurable_agents.wire.v1 import telemetry_pb2

WINDOW = 16
"""Batches on their way per producer: what the client's own emitter allows itself."""

NODES_PER_RUN = 12
POOL_BATCHES_MAX = 40
MARKS_AT_ONCE = 1000


def batches_of(*, events: int, size: int, runs: int, calls: int, prefix: str) -> list[bytes]:
    """Frames of as many different batches as it takes to name every run, at most a pool of them."""
    encoder = EventEncoder()
    began = time.time_ns()
    wanted = max(min(POOL_BATCHES_MAX * size, events), runs)
    frames = []
    for index in range(wanted):
        run_id, node = f"{prefix}-{index % runs}", index // runs % NODES_PER_RUN
        event: Event = NodeFinished(
            run_id,
            secrets.randbits(62) + 1,
            0,
            f"node-{node}",
            1,
            began + index * 1000,
            1_000_000 + index,
            Status.OK,
            "",
        )
        if calls and index % calls == 0:
            usage = Usage(input_tokens=900, cache_read_tokens=100, output_tokens=200)
            event = LlmCall(
                run_id,
                f"call-{index}",
                1,
                f"node-{node}",
                "openai",
                "gpt-4o",
                usage,
                began + index * 1000,
                10**9,
            )
        frames.append(encoder.encode(event))
    return [b"".join(frames[at : at + size]) for at in range(0, wanted - wanted % size, size)]


def marks_of(first: int, last: int, prefix: str, *, end: bool) -> bytes:
    """Starts or ends of some runs."""
    encoder = EventEncoder()
    now = time.time_ns()
    return b"".join(
        encoder.encode(
            RunFinished(f"{prefix}-{index}", now, 10**9, Status.OK)
            if end
            else RunStarted(f"{prefix}-{index}", "benchmarks", f"workflow-{index % 7}", now)
        )
        for index in range(first, last)
    )


class Producer:
    """One connection with one identity."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._method = channel.stream_stream(
            REPORT_METHOD, request_serializer=bytes, response_deserializer=telemetry_pb2.Ack.FromString
        )
        self._id = secrets.token_bytes(16)
        self.sequence = 0

    async def send(self, frames: list[tuple[bytes, int]], pace_s: float) -> list[float]:
        """Sends batches (frames, how many) and returns how long each took to be acknowledged, in seconds."""
        window = asyncio.Semaphore(WINDOW)
        began: list[float] = []
        latencies: list[float] = []

        async def requests() -> AsyncIterator[bytes]:
            due = time.perf_counter()
            for frame, count in frames:
                await window.acquire()
                if pace_s:
                    await asyncio.sleep(due - time.perf_counter())
                    due += pace_s
                began.append(time.perf_counter())
                yield batch_of_frames(self._id, self.sequence, frame)
                self.sequence += count

        async for _ in self._method(requests()):
            latencies.append(time.perf_counter() - began[len(latencies)])
            window.release()
            if len(latencies) == len(frames):
                break
        return latencies


async def load(
    home: Home, *, producers: int, events: int, size: int, runs: int, pace_s: float, calls: int, whole: bool
) -> dict[str, Any]:
    prefix = secrets.token_hex(4)
    pool = batches_of(events=events, size=size, runs=runs, calls=calls, prefix=prefix)
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "localhost"))
    channels = [grpc.aio.insecure_channel(home.address, options=options) for _ in range(producers)]
    senders = [Producer(channel) for channel in channels]
    if whole:
        await mark(senders[0], runs, prefix, end=False)
    share = max(1, events // size // producers)
    work = [
        [(pool[(number + at * producers) % len(pool)], size) for at in range(share)]
        for number in range(producers)
    ]
    began = time.perf_counter()
    latencies = await asyncio.gather(
        *(sender.send(frames, pace_s) for sender, frames in zip(senders, work, strict=True))
    )
    seconds = time.perf_counter() - began
    if whole:
        await mark(senders[0], runs, prefix, end=True)
    for channel in channels:
        await channel.close()
    return {
        "seconds": seconds,
        "events": share * producers * size,
        "latencies_ms": [1000 * each for some in latencies for each in some],
        "prefix": prefix,
    }


async def mark(sender: Producer, runs: int, prefix: str, *, end: bool) -> None:
    for first in range(0, runs, MARKS_AT_ONCE):
        last = min(first + MARKS_AT_ONCE, runs)
        await sender.send([(marks_of(first, last, prefix, end=end), last - first)], 0)


def main() -> None:
    home = Home.from_environment(sys.argv[1])

    def turn(
        *,
        producers: int = 1,
        events: int = 10_000,
        size: int = 500,
        runs: int = 1,
        pace_s: float = 0.0,
        calls: int = 0,
        whole: bool = False,
    ) -> dict[str, Any]:
        return asyncio.run(
            load(
                home,
                producers=producers,
                events=events,
                size=size,
                runs=runs,
                pace_s=pace_s,
                calls=calls,
                whole=whole,
            )
        )

    answer(turn)


if __name__ == "__main__":
    main()
