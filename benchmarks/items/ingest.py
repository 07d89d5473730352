"""How many events per second the daemon acknowledges, that is: has durable, from 1, 4 and 16 producers
at once.

Batches of 500 node events, at most 16 on their way per producer, as the client's own emitter sends
them; events are encoded beforehand, so that on the shared machine the daemon and not their making is
measured. The producers are connections of one process. Each turn begins with a fresh ledger.
"""

from __future__ import annotations

from measuring.contenders import Program, take_turns
from measuring.daemons import daemon, send
from measuring.figures import Result, Series, Size, at_least, ratio

TITLE = "Acknowledged ingest"

PRODUCERS = (1, 4, 16)
NEAR = (Program("MLflow log_batch", "mlflow_writes", ("log_batch",)),)
PEERS = (
    Program("Phoenix, OTLP", "otlp_server", ("phoenix",), "phoenix"),
    Program("MLflow server, OTLP", "otlp_server", ("mlflow",)),
)

WHY = (
    "the daemon is one Python process, and its CPU time per event (below) is the bound. Two fifths of it are"
    " SQLite's insert with two indexes, which more runs make dearer; a sixth each reading and checking, gRPC"
    " and its event loop, and the transaction around it all. The rest is the price table, which it loads once"
    " it has started. The senders take their share of the same two cores"
)

EVENTS = {Size.TINY: 16_000, Size.NORMAL: 300_000, Size.LONG: 1_000_000}
PEER_EVENTS = {Size.TINY: 1_000, Size.NORMAL: 4_000, Size.LONG: 20_000}
ROUNDS = {Size.TINY: 1, Size.NORMAL: 4, Size.LONG: 9}
PEER_ROUNDS = {Size.TINY: 1, Size.NORMAL: 3, Size.LONG: 3}


def measure(size: Size, *, peers: bool = False) -> Result:
    rates: dict[int, list[float]] = {count: [] for count in PRODUCERS}
    cpu_us: dict[int, list[float]] = {count: [] for count in PRODUCERS}
    for _ in range(ROUNDS[size]):
        for count in PRODUCERS:
            with daemon() as found:
                before = found.cpu_seconds()
                sent = send(found.home, producers=count, events=EVENTS[size], runs=count)
                rates[count].append(sent["events"] / sent["seconds"])
                cpu_us[count].append(1e6 * (found.cpu_seconds() - before) / sent["events"])
    series = [Series(f"{count} producers", "events/s", tuple(some)) for count, some in rates.items()]
    costs = [
        Series(f"{count} producers: daemon CPU", "µs/event", tuple(some)) for count, some in cpu_us.items()
    ]
    absent: dict[str, str] = {}
    others = []
    for program in (*NEAR, *(PEERS if peers else ())):
        answers = take_turns(
            (program,), rounds=PEER_ROUNDS[size], absent=absent, task={"events": PEER_EVENTS[size]}
        )
        for name, turns in answers.items():
            others.append(Series(name, "events/s", tuple(each["per_second"] for each in turns)))
    ours = Series("", "", series[0].samples[: PEER_ROUNDS[size]])
    return Result(
        series=(*series, *costs, *others),
        ratios=tuple(ratio(f"1 producer / {other.label}", ours, other) for other in others),
        verdicts=tuple(
            at_least(f"ingest, {count} producers: ≥ 250,000 events/s", each, 250_000, remark=WHY)
            for count, each in zip(PRODUCERS, series, strict=True)
        ),
        absent=absent,
    )
