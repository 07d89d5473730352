"""Debian's Chromium, driven by Playwright, and timelines to look at."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.runtime.timeline import Timeline, TimelineCall, TimelineSpan
from configurable_agents.telemetry import Status, WorkflowRunRecord

CHROMIUM = Path(os.environ.get("AGENTS_OBS_CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MS = 1_000_000
T0 = 1_795_336_467_000 * MS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Closed with its file: as long as it lives, its event loop counts as running in this thread."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is not there; install it: scripts/install_chromium.sh")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield found
        found.close()


def run_record(**changes: Any) -> WorkflowRunRecord:
    fields = {
        "run_id": "5f2c9a0be1d84c7e",
        "experiment": "support-bot",
        "workflow": "triage",
        "status": Status.OK,
        "started_unix_ns": T0,
        "finished_unix_ns": T0 + 1_000 * MS,
        "total_cost_nanos": 30_000_000,
        "total_tokens": 12_345,
        "llm_calls": 3,
        "unpriced_calls": 1,
    }
    return WorkflowRunRecord(**fields | changes)


def span(
    number: int, parent: int, node: str, start_ms: int, duration_ms: int, status=Status.OK
) -> TimelineSpan:
    return TimelineSpan(number, parent, node, T0 + start_ms * MS, duration_ms * MS, status, 1)


def call(number: int, node: str, provider: str, cost_nanos: int, known: bool = True) -> TimelineCall:
    return TimelineCall(number, node, provider, "m", T0, 5 * MS, MS, cost_nanos, known, 4_115, Status.OK)


@pytest.fixture
def small() -> Timeline:
    """Fan-out and fan-in with a nested node, an error, and names that would like to be markup."""
    spans = (
        span(1, 0, "plan", 0, 100),
        span(2, 0, "left", 100, 600),
        span(3, 2, "search <b>&", 200, 300),
        span(4, 0, "right", 100, 400, Status.ERROR),
        span(5, 0, "</script><script>boom()</script>", 700, 250),
    )
    calls = (
        call(2, "left", "openai", 20_000_000),
        call(5, "join", "anthropic", 10_000_000),
        call(3, "search <b>&", "acme", 0, known=False),
    )
    return Timeline(run_record(), T0 + 1_000 * MS, spans, calls)


@pytest.fixture
def large() -> Timeline:
    """5,000 executions, nested and parallel."""
    chance = random.Random(5)
    spans: list[TimelineSpan] = []
    clock = 0
    while len(spans) < 5_000:
        parent = len(spans) + 1
        began = clock
        inner: list[TimelineSpan] = []
        for number in range(9):
            lasts = chance.randint(1, 40)
            inner.append(span(parent + 1 + number, parent, f"step-{number}", clock, lasts))
            clock += lasts if number % 3 else lasts // 2
        clock += 41
        spans += [span(parent, 0, "flow", began, clock - began), *inner]
    wall = clock * MS
    return Timeline(run_record(finished_unix_ns=T0 + wall), T0 + wall, tuple(spans[:5_000]))
