"""A workflow process that plays requests of a trace: a run each, with two nodes and an LLM call."""

from __future__ import annotations

import threading
import time
from typing import Any

from answering import answer

from configurable_agents.client.process import process_recorder
from configurable_agents.observe import observe_run
from configurable_agents.runtime.profiler import profile_node

FLUSH_TIMEOUT_S = 120.0
LOOK_S = 0.002


class Lags:
    """When runs were recorded, and when the daemon had acknowledged them."""

    def __init__(self) -> None:
        self._emitter = process_recorder()
        self._waiting: list[tuple[int, float]] = []
        self._done = threading.Event()
        self.seconds: list[float] = []
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def recorded(self) -> None:
        self._waiting.append((self._emitter.recorded_events, time.perf_counter()))

    def finish(self) -> None:
        self._emitter.flush(FLUSH_TIMEOUT_S)
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        at = 0
        while True:
            finished = self._done.is_set()
            acknowledged, now = self._emitter.acknowledged_events, time.perf_counter()
            while at < len(self._waiting) and self._waiting[at][0] <= acknowledged:
                self.seconds.append(now - self._waiting[at][1])
                at += 1
            if finished:
                return
            time.sleep(LOOK_S)


@profile_node("retrieve")
def retrieve() -> None:
    return None


@profile_node("generate")
def generate(run: Any, usage: dict[str, int]) -> None:
    run.track_call(provider="openai", model="gpt-4o", response={"usage": usage})


def turn(
    *, requests: list[tuple[float, int, int]], speed: float | None, start_at: float, prefix: str
) -> dict[str, Any]:
    lags = Lags()
    for number, (at_s, input_tokens, output_tokens) in enumerate(requests):
        if speed is not None:
            time.sleep(max(0.0, start_at + at_s / speed - time.time()))
        with observe_run("replay", "request", run_id=f"{prefix}-{number}") as run:
            retrieve()
            generate(
                run,
                {
                    "prompt_tokens": input_tokens,
                    "completion_tokens": output_tokens,
                    "total_tokens": input_tokens + output_tokens,
                },
            )
        lags.recorded()
    lags.finish()
    return {"lags_s": lags.seconds, "acknowledged_at": time.time()}


if __name__ == "__main__":
    answer(turn)
