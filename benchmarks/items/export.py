"""How fast the daemon brings node times into MLflow, beside a bare `log_batch` loop with as many
points.

The loop does nothing but write, 1,000 points at a time, run after run. The daemon's export is timed
from the first events MLflow has to the last, runs being finished included; the start of its worker
(importing MLflow, making the store) is left out on both sides. Then events are sent while an export
runs, and without one, in turn.
"""

from __future__ import annotations

import time

from configurable_agents.client.home import Home
from measuring.contenders import Program, running
from measuring.daemons import Daemon, daemon_in, send, state_folder
from measuring.figures import Result, Series, Size, at_least, ratio

TITLE = "Export to MLflow"

WHY = (
    "the worker takes a tenth more of the processor than the loop: a fifth less for points, because it keeps"
    " MLflow's modules out of garbage collection and writes a node's points together, and a fifth of its own"
    " for the ends of runs, which the loop does not have (pictures of runs: a seventh, 15 µs an execution)."
    " Between pages it waits for the daemon to save how far MLflow has got"
)

POINTS = {Size.TINY: 2_000, Size.NORMAL: 30_000, Size.LONG: 200_000}
RUNS = {Size.TINY: 2, Size.NORMAL: 5, Size.LONG: 20}
BURST_EVENTS = {Size.TINY: 2_000, Size.NORMAL: 200_000, Size.LONG: 400_000}
ROUNDS = {Size.TINY: 1, Size.NORMAL: 2, Size.LONG: 5}
POLL_S = 0.01


def measure(size: Size) -> Result:
    exported, bare, alone, beside = [], [], [], []
    with running(Program("log_batch", "mlflow_writes", ("log_batch",))) as loop:
        loop.turn(events=1_000)
        for _ in range(ROUNDS[size]):
            bare.append(loop.turn(events=POINTS[size], runs=RUNS[size])["per_second"])
            with state_folder() as home:
                exported.append(export_rate(home, POINTS[size], RUNS[size]))
            with state_folder() as home:
                one, other = ingest_rates(home, size)
                alone.append(one)
                beside.append(other)
    ours = Series("export", "points/s", tuple(exported))
    theirs = Series("bare log_batch loop", "points/s", tuple(bare))
    share = ratio("export / log_batch", ours, theirs)
    busy = Series("ingest while exporting", "events/s", tuple(beside))
    free = Series("ingest alone", "events/s", tuple(alone))
    kept = ratio("ingest while exporting / alone", busy, free)
    return Result(
        series=(ours, theirs, busy, free),
        ratios=(share, kept),
        verdicts=(
            at_least("export ≥ 90 % of a bare log_batch loop", percent(share.samples), 90, remark=WHY),
            at_least("ingest while exporting ≥ 80 % of its own rate", percent(kept.samples), 80),
        ),
    )


def export_rate(home: Home, points: int, runs: int) -> float:
    with daemon_in(home):
        sent = send(home, events=points, runs=runs, whole=True)
    with daemon_in(home, mlflow=True) as found:
        began, before = first_export(found)
        found.wait_until(
            lambda status: status.exporters[0].events_waiting == status.exporters[0].runs_waiting == 0,
            what="MLflow to have everything",
        )
        return max(1.0, sent["events"] - before) / (time.perf_counter() - began)


def first_export(found: Daemon) -> tuple[float, int]:
    """When MLflow had its first events, and how many those were."""
    while True:
        exporter = found.status().exporters[0]
        if exporter.events_exported:
            return time.perf_counter(), exporter.events_exported
        time.sleep(POLL_S)


def ingest_rates(home: Home, size: Size) -> tuple[float, float]:
    """Events per second, alone and while an export has more to do than it can in that time."""
    with daemon_in(home):
        send(home, events=BURST_EVENTS[size] // 4)
        sent = send(home, events=BURST_EVENTS[size])
    with daemon_in(home, mlflow=True) as found:
        first_export(found)
        busy = send(home, events=BURST_EVENTS[size])
    return sent["events"] / sent["seconds"], busy["events"] / busy["seconds"]


def percent(shares: tuple[float, ...]) -> Series:
    return Series("", "%", tuple(100 * share for share in shares))
