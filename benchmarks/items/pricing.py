"""What the daemon takes to price a call, in CPU time: the part of a commit that only calls of models have.

Models of four providers in turn, rate cards warm, as they are after the first call of each model.
"""

from __future__ import annotations

import time

from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.telemetry import LlmCall, Usage
from measuring.figures import Result, Series, Size, at_most

TITLE = "Pricing in the daemon"

COUNT = {Size.TINY: 200, Size.NORMAL: 20_000, Size.LONG: 100_000}
ROUNDS = {Size.TINY: 2, Size.NORMAL: 9, Size.LONG: 15}
STARTED_UNIX_NS = 1_795_336_467 * 10**9
MODELS = (
    ("openai", "gpt-4o"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("ollama", "llama3"),
)


def measure(size: Size) -> Result:
    price = CallPricer(CostEstimator())
    calls = [call(number) for number in range(COUNT[size])]
    for first in calls[: len(MODELS)]:
        price(first)
    taken_us = tuple(cpu_us(price, calls) for _ in range(ROUNDS[size]))
    priced = Series("CPU to price a call", "µs", taken_us)
    return Result(series=(priced,), verdicts=(at_most("price of a call: ≤ 3 µs of CPU", priced, 3),))


def call(number: int) -> LlmCall:
    provider, model = MODELS[number % len(MODELS)]
    usage = Usage(1_000 + number % 777, number % 512, output_tokens=200, reasoning_tokens=number % 64)
    return LlmCall(
        "run", f"call-{number}", 1, "draft", provider, model, usage, STARTED_UNIX_NS, 10**9, service_tier=""
    )


def cpu_us(price: CallPricer, calls: list[LlmCall]) -> float:
    """Per call."""
    began_ns = time.process_time_ns()
    for each in calls:
        price(each)
    return (time.process_time_ns() - began_ns) / len(calls) / 1_000
