"""The live view: what runs, for how long, and how fast things come in."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from configurable_agents.cli.render.live import live_view
from configurable_agents.client.reports import ExporterStatus
from configurable_agents.observability.known_cost import KnownCost
from configurable_agents.runtime.past_runs import LiveRun, OpenNode
from configurable_agents.telemetry import Status, WorkflowRunRecord
from configurable_agents.wire.report_records import LiveView

S = 1_000_000_000
T0 = 1_795_336_467 * S


def view(at_s: int, *, cost_nanos: int = 0, events: int = 0) -> LiveView:
    run = WorkflowRunRecord("5f2c9a0be1d84c7e", "bot", "triage", Status.RUNNING, T0, llm_calls=3)
    nodes = (OpenNode("draft", T0 + 2 * S, 1), OpenNode("fetch\x1b[2J", T0 + 5 * S, 4))
    mlflow = ExporterStatus("mlflow", "sqlite:///x", "idle", events_waiting=7)
    return LiveView(T0 + at_s * S, (LiveRun(run, nodes),), 1, events, 0, KnownCost(cost_nanos), (mlflow,))


def shown(*views: LiveView, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    with console.capture() as capture:
        for part in live_view(views, width=width):
            console.print(part)
    return capture.get()


def test_what_runs_now_is_shown_with_how_long_it_has_run():
    text = shown(view(10))

    assert "draft 8.0 s, fetch\\x1b[2J x4 5.0 s" in text
    assert "10.0 s" in text
    assert "mlflow: 7 events waiting" in text


def test_rates_are_from_the_first_look_to_the_last():
    text = shown(view(10), view(20, cost_nanos=2 * S, events=500))

    assert "$12.00 a minute" in text
    assert "50 events/s" in text
    assert "a minute" not in shown(view(10))


def test_nothing_in_flight_is_said_and_older_runs_are_counted():
    assert "No run is in flight." in shown(dataclasses.replace(view(1), runs=(), runs_live=0))
    assert "and 9 older runs" in shown(dataclasses.replace(view(1), runs_live=10))


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    assert all(cell_len(line) <= width for line in shown(view(10), width=width).splitlines())
