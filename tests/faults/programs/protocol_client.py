"""A client that speaks the protocol itself and has no spool.

protocol_client.py HOME JOURNALS NAME [--per-second N]

It sends batches, writes down which were acknowledged, sends everything else again on a new stream when
its stream ends, and now and then what was acknowledged long ago. It ends when standard input ends and
everything is acknowledged.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness.journal import JournalWriter

from configurable_agents.client.channel import RpcError, open_channel, report_stream
from configurable_agents.client.home import Home
from configurable_agents.telemetry import Event, LlmCall, NodeFinished, RunFinished, RunStarted, Status, Usage
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames

EVENTS_OF_A_RUN = 200
BATCH_EVENTS_MAX = 50
AGAIN_EVERY = 10
"""One batch in so many goes out twice, the second time beginning earlier."""
AHEAD_EVENTS_MAX = 5_000
"""Sent and not acknowledged. gRPC alone would take megabytes ahead, more than a tiny disk has room for."""
RETRY_S = 0.05


class Client:
    def __init__(self, home: Home, journals: Path, name: str, pause_s: float) -> None:
        self._home = home
        self._name = name
        self._pause_s = pause_s
        self._producer_id = os.urandom(16)
        self._journal = JournalWriter(journals, self._producer_id, kind="protocol")
        self._encode = EventEncoder().encode
        self._frames: list[bytes] = []
        self._chances = random.Random(name)
        self._acknowledged = 0
        self._told = False
        self._ended = threading.Event()
        self._news = threading.Condition()
        """Something was acknowledged, or the stream has ended."""
        self._making = threading.Lock()
        """The generator of a stream that has ended may still be at it when the next one begins."""

    def run(self) -> None:
        while not self._is_done():
            self._ended = threading.Event()
            try:
                with open_channel(self._home) as channel:
                    for ack in report_stream(channel, self._batches()):
                        self._acknowledge(ack.next_sequence)
            except RpcError:
                time.sleep(RETRY_S)
            finally:
                with self._news:
                    self._ended.set()
                    self._news.notify_all()

    def _acknowledge(self, position: int) -> None:
        if position > self._acknowledged:
            self._journal.acknowledged(position)
            with self._news:
                self._acknowledged = position
                self._news.notify_all()

    def _batches(self) -> Iterator[bytes]:
        at, ended = self._acknowledged, self._ended
        while not ended.is_set() and not self._is_over():
            count = self._chances.randint(1, BATCH_EVENTS_MAX)
            self._make_up_to(at + count)
            yield self._batch(at, at + count)
            if self._chances.randrange(AGAIN_EVERY) == 0:
                yield self._batch(max(0, at - self._chances.randint(0, 3 * BATCH_EVENTS_MAX)), at + count)
            at += count
            time.sleep(self._pause_s * count)
            self._wait_until_near(at, ended)
        if not ended.is_set():
            for start in range(at, len(self._frames), BATCH_EVENTS_MAX):
                yield self._batch(start, min(start + BATCH_EVENTS_MAX, len(self._frames)))

    def _wait_until_near(self, at: int, ended: threading.Event) -> None:
        with self._news:
            self._news.wait_for(lambda: ended.is_set() or at - self._acknowledged <= AHEAD_EVENTS_MAX)

    def _batch(self, start: int, end: int) -> bytes:
        return batch_of_frames(self._producer_id, start, b"".join(self._frames[start:end]))

    def _make_up_to(self, count: int) -> None:
        with self._making:
            while len(self._frames) < count:
                event = self._event(len(self._frames))
                self._journal.intend(event)
                self._frames.append(self._encode(event))

    def _event(self, number: int) -> Event:
        run, place = divmod(number, EVENTS_OF_A_RUN)
        run_id, now = f"{self._name}-{run}", time.time_ns()
        if place == 0:
            return RunStarted(run_id, "faults", "protocol", now)
        if place == EVENTS_OF_A_RUN - 1:
            return RunFinished(run_id, now, 10**6, Status.OK)
        if place % 5 == 0:
            usage = Usage(input_tokens=self._chances.randint(1, 5000), output_tokens=3)
            return LlmCall(run_id, f"call-{place}", place - 1, "step-1", "openai", "gpt-4o", usage, now, 7)
        duration_ns = self._chances.randint(1, 10**6)
        return NodeFinished(run_id, place, 0, f"step-{place % 3}", 1, now, duration_ns, Status.OK, "")

    def _is_over(self) -> bool:
        """Told to end; the run at hand is then brought to its end first."""
        if not self._told:
            self._told = bool(select.select([sys.stdin], [], [], 0)[0])
            if self._told:
                self._make_up_to(-(-len(self._frames) // EVENTS_OF_A_RUN) * EVENTS_OF_A_RUN)
        return self._told

    def _is_done(self) -> bool:
        return self._told and self._acknowledged >= len(self._frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home")
    parser.add_argument("journals")
    parser.add_argument("name")
    parser.add_argument("--per-second", type=float, default=0.0)
    arguments = parser.parse_args()
    pause_s = 1 / arguments.per_second if arguments.per_second else 0.0
    home = Home.from_environment(arguments.home)
    client = Client(home, Path(arguments.journals), arguments.name, pause_s)
    print("ready", flush=True)
    client.run()


if __name__ == "__main__":
    main()
