"""How long reports take, at the client, from a ledger of many whole runs.

A run report is its profile and its cost; an experiment report is the same for all runs. Figures include
gRPC. MLflow's `search_runs`, which a report over an experiment would need there, pages through runs of
12 metrics each.
"""

from __future__ import annotations

import random
import time

from configurable_agents.client.reports import ReportClient, Scope
from measuring.contenders import Program, take_turns
from measuring.daemons import daemon_in, filled_home
from measuring.figures import Result, Series, Size, at_most, quantile

TITLE = "Latency of reports"

WHY = (
    "finished runs are added up by blocks of 128; what is left are the runs of the newest block, one by one,"
    " the sums of the others, and a look at every run of the scope"
)

LEDGER = {Size.TINY: (10_000, 20), Size.NORMAL: (1_000_000, 1_000), Size.LONG: (10_000_000, 10_000)}
REPORTS = {Size.TINY: 5, Size.NORMAL: 200, Size.LONG: 500}
ROUNDS = {Size.TINY: 1, Size.NORMAL: 5, Size.LONG: 9}
MLFLOW_RUNS = {Size.TINY: 5, Size.NORMAL: 300, Size.LONG: 1_000}
SEED = 7


def measure(size: Size, *, peers: bool = False) -> Result:
    del peers  # MLflow is at hand anyway, and no other peer keeps runs
    events, runs = LEDGER[size]
    absent: dict[str, str] = {}
    home = filled_home(events, runs)
    with daemon_in(home) as found, ReportClient(home) as client:
        found.wait_until_idle()
        listed, _ = client.runs(Scope(), limit=min(runs, 1_000))
        chosen = random.Random(SEED)
        one = [
            [asked_ms(client, Scope(run_id=chosen.choice(listed).run_id)) for _ in range(REPORTS[size])]
            for _ in range(ROUNDS[size])
        ]
        whole = [asked_ms(client, Scope(experiment="benchmarks")) for _ in range(4 * ROUNDS[size])]
    answers = take_turns(
        (Program("MLflow search_runs", "mlflow_writes", ("search_runs",)),),
        rounds=ROUNDS[size],
        absent=absent,
        task={"runs": MLFLOW_RUNS[size]},
    )
    tail = Series("run report, p99", "ms", tuple(quantile(some, 0.99) for some in one))
    experiment = Series(f"experiment report over {runs:,} runs", "ms", tuple(whole))
    others = [
        Series(f"{name} over {MLFLOW_RUNS[size]:,} runs", "ms", tuple(each["milliseconds"] for each in turns))
        for name, turns in answers.items()
    ]
    ledger = f"ledger of {events:,} events, {runs:,} runs"
    return Result(
        series=(
            Series("run report, p50", "ms", tuple(quantile(some, 0.5) for some in one)),
            tail,
            experiment,
            *others,
        ),
        verdicts=(
            at_most(f"run report, {ledger}: ≤ 20 ms, p99", tail, 20),
            at_most(f"experiment report, {ledger}: ≤ 100 ms", experiment, 100, remark=WHY),
        ),
        absent=absent,
    )


def asked_ms(client: ReportClient, scope: Scope) -> float:
    began = time.perf_counter()
    client.profile_report(scope)
    client.cost_report(scope)
    return 1000 * (time.perf_counter() - began)
