"""How long the page of a run takes to open in Chromium: from the address to the first rows drawn."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from configurable_agents.runtime.timeline import Timeline, TimelineSpan
from configurable_agents.runtime.timeline_page import timeline_page
from configurable_agents.telemetry import Status, WorkflowRunRecord
from measuring.figures import Result, Series, Size, at_most

TITLE = "The page of a run"

EXECUTIONS = {Size.TINY: 500, Size.NORMAL: 5_000, Size.LONG: 5_000}
ROUNDS = {Size.TINY: 1, Size.NORMAL: 7, Size.LONG: 15}
STEPS = 9
MS = 1_000_000
CHROMIUM = Path(os.environ.get("AGENTS_OBS_CHROMIUM", "/usr/bin/chromium"))
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def measure(size: Size) -> Result:
    if not CHROMIUM.exists():
        return Result(series=(), absent={"the page": f"{CHROMIUM} is not there; `make browser` installs it"})
    page = timeline_page(long_timeline(EXECUTIONS[size]))
    opened = Series(f"page of {EXECUTIONS[size]:,} executions", "s", tuple(times_to_open(page, ROUNDS[size])))
    written = Series("its file", "kB", (len(page.encode()) / 1e3,))
    return Result(series=(opened, written), verdicts=(at_most(f"{opened.label}: ≤ 2 s", opened, 2),))


def times_to_open(content: str, rounds: int) -> list[float]:
    """Each in a context of its own, with nothing cached."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="bench-") as folder, sync_playwright() as playwright:
        file = Path(folder) / "page.html"
        file.write_text(content, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        try:
            return [time_to_open(browser, file) for _ in range(rounds)]
        finally:
            browser.close()


def time_to_open(browser: Any, file: Path) -> float:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    began = time.perf_counter()
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready=yes] .row")
    seconds = time.perf_counter() - began
    context.close()
    return seconds


def long_timeline(executions: int) -> Timeline:
    """Flows of nine steps, some of them side by side."""
    began = clock = time.time_ns()
    spans: list[TimelineSpan] = []
    for flow in range(1, executions + 1, STEPS + 1):
        since, inside = clock, []
        for step in range(STEPS):
            lasts = (1 + (flow * 7 + step * 131) % 41) * MS
            inside.append(TimelineSpan(flow + 1 + step, flow, f"step-{step}", clock, lasts, Status.OK, 1))
            clock += lasts if step % 3 else lasts // 2
        clock += 42 * MS
        spans += [TimelineSpan(flow, 0, "flow", since, clock - since, Status.OK, 1), *inside]
    run = WorkflowRunRecord("5f2c9a0be1d84c7e", "bench", "flows", Status.OK, began, clock)
    return Timeline(run, clock, tuple(spans[:executions]))
