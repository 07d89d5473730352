"""Bytes of disk per event once the daemon has stopped, and whether acknowledged events leave the spool.

Node events of one run; a workflow of nodes with an LLM call for every tenth event; and what the emitter
of a process holds back in its spool once everything is acknowledged.
"""

from __future__ import annotations

from configurable_agents.client.emitter import Emitter
from configurable_agents.client.home import Home
from configurable_agents.telemetry import NodeFinished, Status
from measuring.daemons import daemon_in, ledger_bytes, send, state_folder
from measuring.figures import Result, Series, Size, Verdict, at_most

TITLE = "Disk"

EVENTS = {Size.TINY: 10_000, Size.NORMAL: 200_000, Size.LONG: 1_000_000}
SPOOLED = {Size.TINY: 500, Size.NORMAL: 20_000, Size.LONG: 20_000}


def measure(size: Size) -> Result:
    nodes = Series("node events", "bytes/event", (bytes_per_event(EVENTS[size], calls=0),))
    mixed = Series("one LLM call in ten events", "bytes/event", (bytes_per_event(EVENTS[size], calls=10),))
    with state_folder() as home, daemon_in(home):
        recorded, left = spool_bytes(home, SPOOLED[size])
    return Result(
        series=(
            nodes,
            mixed,
            Series("spool while recording", "bytes/event", (recorded / SPOOLED[size],)),
            Series("spool once acknowledged", "bytes", (left,)),
        ),
        verdicts=(
            at_most("ledger: ≤ 120 bytes per event (nodes)", nodes, 120),
            at_most("ledger: ≤ 120 bytes per event (one call in ten)", mixed, 120),
            Verdict("the spool is returned after the acknowledgement", f"{left:g} bytes left", left == 0),
        ),
    )


def bytes_per_event(events: int, *, calls: int) -> float:
    with state_folder() as home:
        with daemon_in(home):
            empty = ledger_bytes(home)
            sent = send(home, events=events, calls=calls, runs=max(1, events // 10_000))
        return (ledger_bytes(home) - empty) / sent["events"]


def spool_bytes(home: Home, events: int) -> tuple[int, int]:
    """What a process's spool grows by while it records, and what is left of it in the end."""
    emitter = Emitter(home)
    for index in range(events):
        emitter.record(
            NodeFinished(
                "disk", index + 1, 0, "draft", 1, 1_795_336_467_000_000_000 + index, 1000, Status.OK, ""
            )
        )
    recorded = emitter._spool.spool_bytes  # noqa: SLF001 - nobody else knows
    emitter.flush(60)
    emitter.close()
    return recorded, sum(each.stat().st_size for each in home.spool.iterdir())
