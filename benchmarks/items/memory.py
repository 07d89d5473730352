"""What the daemon holds in memory: idle, and after many events over many runs that are all still in flight.

Resident memory of the daemon's process; its export worker, which loads MLflow, is shown apart.
"""

from __future__ import annotations

from measuring.contenders import Program, take_turns
from measuring.daemons import daemon, send
from measuring.figures import Result, Series, Size, at_most

TITLE = "Memory"

EVENTS = {Size.TINY: 5_000, Size.NORMAL: 1_000_000, Size.LONG: 10_000_000}
LIVE_RUNS = {Size.TINY: 10, Size.NORMAL: 1_000, Size.LONG: 1_000}
PEERS = (
    Program("Phoenix server, ten spans", "otlp_server", ("phoenix",), "phoenix"),
    Program("MLflow server, ten spans, sum of its processes", "otlp_server", ("mlflow",)),
)


def measure(size: Size, *, peers: bool = False) -> Result:
    events, runs = EVENTS[size], LIVE_RUNS[size]
    with daemon(mlflow=size is not Size.TINY) as found:
        found.wait_until(lambda status: status.exporters[0].state != "starting", what="the export worker")
        found.wait_until_idle()
        idle = Series("daemon, idle", "MB", (found.rss_mb(),))
        worker = Series("export worker, idle", "MB", (found.workers_rss_mb(),))
    with daemon() as found:
        send(found.home, producers=4, events=events, runs=runs)
        found.wait_until_idle()
        loaded = Series(f"daemon after {events:,} events over {runs:,} live runs", "MB", (found.rss_mb(),))
    absent: dict[str, str] = {}
    answers = take_turns(PEERS if peers else (), rounds=1, absent=absent, task={"events": 10})
    others = [Series(name, "MB", (turns[0]["rss_mb"],)) for name, turns in answers.items()]
    return Result(
        series=(idle, loaded, worker, *others),
        verdicts=(
            at_most("daemon idle: ≤ 120 MB", idle, 120),
            at_most(f"daemon after {events:,} events, {runs:,} live runs: ≤ 250 MB", loaded, 250),
        ),
        absent=absent,
    )
