"""Whether anything gets dearer as things grow: the ledger, the number of runs, the number of producers.

The cost of an event is the CPU time of the daemon per acknowledged event, which other work on the
machine disturbs less than the clock; the time by the clock is shown too. Ledger: bursts of events and
reports on one and the same run, as the ledger grows tenfold and tenfold again. Runs and producers: the
same events over more of them, each turn with a fresh ledger.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from configurable_agents.client.reports import ReportClient, Scope
from measuring.daemons import Daemon, daemon, send
from measuring.figures import Curve, Result, Series, Size, Verdict, number

TITLE = "Growth"

FLAT = 1.25
BURST_EVENTS = {Size.TINY: 2_000, Size.NORMAL: 40_000, Size.LONG: 100_000}
LEDGER_EVENTS = {
    Size.TINY: (2_000, 10_000),
    Size.NORMAL: (10_000, 100_000, 1_000_000),
    Size.LONG: (10_000, 100_000, 1_000_000, 10_000_000),
}
RUNS = {Size.TINY: (1, 20), Size.NORMAL: (1, 10, 100, 1_000, 10_000), Size.LONG: (1, 10, 100, 1_000, 10_000)}
PRODUCERS = {Size.TINY: (1, 4), Size.NORMAL: (1, 4, 16, 64, 256), Size.LONG: (1, 4, 16, 64, 256)}
SPREAD_EVENTS = {Size.TINY: 4_000, Size.NORMAL: 64_000, Size.LONG: 512_000}
BATCH_EVENTS = 500
TURNS = {Size.TINY: 1, Size.NORMAL: 2, Size.LONG: 3}
EVENTS_PER_RUN = 1_000
REPORTS = 30
GREW_WITH_RUNS = (
    "the events of a batch have nothing in common then: they are read one by one, and each has its run's row"
    " and its node's totals written. And with 10,000 runs each has six events, so that making a run and its"
    " analyzer counts too. Totals that are written once in several commits would do it, at the price of"
    " counting again after a crash"
)
GREW_WITH_PRODUCERS = (
    "each producer costs its connection, its stream and its row, made and ended. Where the same events come"
    " from 256 of them, each sends a few hundred in all, and that weighs as much as the events; from 64 it"
    " does not show yet (see the plot)"
)


class Cost(NamedTuple):
    cpu_us: float
    wall_us: float


def measure(size: Size) -> Result:
    ledger, reports = with_the_ledger(size)
    runs = over(size, RUNS[size], lambda found, count: spread(found, size, runs=count))
    producers = over(size, PRODUCERS[size], lambda found, count: spread(found, size, producers=count))
    curves = (
        *curves_of(ledger, "events in the ledger"),
        Curve(
            "report on one run of fixed size",
            "events in the ledger",
            "ms",
            tuple(reports),
            tuple(reports.values()),
        ),
        *curves_of(runs, "runs"),
        *curves_of(producers, "producers"),
    )
    return Result(
        series=tuple(
            Series(f"{curve.label} by {curve.x_label}, last over first", "times", (curve.y[-1] / curve.y[0],))
            for curve in curves
        ),
        verdicts=(
            flat("cost per event, ledger growing", curves[0], "pages of more B-tree levels and a longer log"),
            flat(
                "a run's report, ledger growing",
                curves[2],
                "what else the report looks at: see its query plans",
            ),
            flat("cost per event, more runs", curves[3], GREW_WITH_RUNS),
            flat("cost per event, more producers", curves[5], GREW_WITH_PRODUCERS),
        ),
        curves=curves,
    )


def with_the_ledger(size: Size) -> tuple[dict[float, Cost], dict[float, float]]:
    """Costs and report times, by how many events the ledger held."""
    costs: dict[float, Cost] = {}
    reports: dict[float, float] = {}
    with daemon() as found:
        fixed = send(found.home, events=EVENTS_PER_RUN, whole=True)["prefix"]
        held = EVENTS_PER_RUN
        for events in LEDGER_EVENTS[size]:
            missing = events - held
            if missing > 0:
                runs = max(1, missing // EVENTS_PER_RUN)
                held += send(found.home, producers=4, events=missing, runs=runs, whole=True)["events"]
                found.wait_until_idle()
            turns = [burst(found, events=BURST_EVENTS[size]) for _ in range(TURNS[size])]
            costs[events] = median_of(turns)
            found.wait_until_idle()
            reports[events] = report_ms(found, f"{fixed}-0")
            held += TURNS[size] * BURST_EVENTS[size]
    return costs, reports


def spread(found: Daemon, size: Size, *, runs: int = 1, producers: int = 1) -> Cost:
    """The cost of an event when as many come from more producers, or belong to more runs."""
    batch = max(1, min(BATCH_EVENTS, SPREAD_EVENTS[size] // producers))
    return burst(found, events=SPREAD_EVENTS[size], runs=runs, producers=producers, size=batch)


def over(size: Size, counts: tuple[int, ...], turn: Callable[[Daemon, int], Cost]) -> dict[float, Cost]:
    """The counts take turns, each with a fresh daemon."""
    costs: dict[int, list[Cost]] = {count: [] for count in counts}
    for _ in range(TURNS[size]):
        for count in counts:
            with daemon() as found:
                costs[count].append(turn(found, count))
    return {count: median_of(some) for count, some in costs.items()}


def burst(found: Daemon, **task: int) -> Cost:
    before = found.cpu_seconds()
    sent = send(found.home, **task)
    return Cost(1e6 * (found.cpu_seconds() - before) / sent["events"], 1e6 * sent["seconds"] / sent["events"])


def report_ms(found: Daemon, run_id: str) -> float:
    times = []
    with ReportClient(found.home) as client:
        for _ in range(REPORTS):
            began = time.perf_counter()
            client.profile_report(Scope(run_id=run_id))
            client.cost_report(Scope(run_id=run_id))
            times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def median_of(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(each.cpu_us for each in costs), statistics.median(each.wall_us for each in costs)
    )


def curves_of(costs: dict[float, Cost], x_label: str) -> tuple[Curve, Curve]:
    x = tuple(costs)
    return (
        Curve("daemon CPU per event", x_label, "µs", x, tuple(cost.cpu_us for cost in costs.values())),
        Curve("time per event", x_label, "µs", x, tuple(cost.wall_us for cost in costs.values())),
    )


def flat(what: str, curve: Curve, cause: str) -> Verdict:
    factor = curve.y[-1] / curve.y[0]
    met = factor <= FLAT
    return Verdict(
        f"{what}: flat within 25 % from {number(curve.x[0])} to {number(curve.x[-1])}",
        f"{number(factor)} times ({number(curve.y[0])} to {number(curve.y[-1])} {curve.y_label})",
        met,
        "" if met else cause,
    )
