"""How long a batch waits for its acknowledgement when 2,000 events arrive per second, 20 in a batch.

From handing the batch to gRPC to the acknowledgement in the client's hands; in between lies a commit to
the disk.
"""

from __future__ import annotations

from measuring.daemons import daemon, send
from measuring.figures import Result, Series, Size, at_most, quantile

TITLE = "Latency of an acknowledgement"

EVENTS_PER_SECOND = 2_000
BATCH_EVENTS = 20
SECONDS = {Size.TINY: 0.5, Size.NORMAL: 5, Size.LONG: 20}
ROUNDS = {Size.TINY: 1, Size.NORMAL: 3, Size.LONG: 5}


def measure(size: Size) -> Result:
    p50, p99 = [], []
    with daemon() as found:
        send(found.home, events=1000, size=BATCH_EVENTS)
        for _ in range(ROUNDS[size]):
            sent = send(
                found.home,
                events=round(EVENTS_PER_SECOND * SECONDS[size]),
                size=BATCH_EVENTS,
                pace_s=BATCH_EVENTS / EVENTS_PER_SECOND,
            )
            p50.append(quantile(sent["latencies_ms"], 0.5))
            p99.append(quantile(sent["latencies_ms"], 0.99))
    middle = Series("batch of 20 to its acknowledgement, p50", "ms", tuple(p50))
    tail = Series("batch of 20 to its acknowledgement, p99", "ms", tuple(p99))
    return Result(
        series=(middle, tail),
        verdicts=(
            at_most("ack at 2,000 events/s: ≤ 5 ms, p50", middle, 5),
            at_most("ack at 2,000 events/s: ≤ 50 ms, p99", tail, 50),
        ),
    )
