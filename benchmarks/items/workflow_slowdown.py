"""By how much a workflow of 1,000 nodes, each computing for 1 ms, gets slower when they are observed.

Plain and observed nodes run one by one in turn, in one process, each way round. The figure of a turn is
what is spent around an observed node more than around a plain one, on average: recording it, and waiting
for the interpreter while another thread has it. The nodes' own computing has a clock of its own, because
its sums differ by some percent either way on such machines, whatever is observed; the sums by the clock
are shown too, and the CPU time of all other threads of the process. The daemon runs and takes the events
meanwhile, on the same two cores. The first half second of a process, in which its sender loads gRPC
beside it, is reported apart, by CPU time.
"""

from __future__ import annotations

from measuring.contenders import Program, take_turns
from measuring.daemons import daemon
from measuring.figures import Result, Series, Size, at_most
from measuring.sink import otlp_sink

TITLE = "Slowdown of a whole workflow"

OURS = Program("profile_node", "workflow", ("ours",))
NEAR = (
    Program("OpenTelemetry span", "workflow", ("opentelemetry",)),
    Program("MLflow traced function", "workflow", ("mlflow_span",)),
    Program("MLflow log_metric", "workflow", ("mlflow_metric",)),
)
PEERS = (
    Program("OpenTelemetry span, OTLP", "workflow", ("opentelemetry",), "tracing"),
    Program("Langfuse span", "workflow", ("langfuse",), "langfuse"),
    Program("Logfire span", "workflow", ("logfire",), "logfire"),
)

WHY = (
    "a node that comes once in a millisecond finds the processor's caches cold: recording it then takes 5 µs"
    " in the middle. The rest of the mean is waiting for the interpreter, which the threads of the sender and"
    " of gRPC take some twenty times a second while events come steadily. Sending from another process, which"
    " the spool allows, would spare that"
)

PARTS = {
    "CPU time of other threads": "threads_percent",
    "by the clock": "clock_percent",
}

NODES = {Size.TINY: 100, Size.NORMAL: 1_000, Size.LONG: 1_000}
ROUNDS = {Size.TINY: 1, Size.NORMAL: 5, Size.LONG: 9}
PEER_ROUNDS = {Size.TINY: 1, Size.NORMAL: 1, Size.LONG: 3}


def near(size: Size) -> tuple[Program, ...]:
    """What is at hand without `make bench-peers`; MLflow takes too long to load for a first try."""
    return NEAR[:1] if size is Size.TINY else NEAR


def measure(size: Size, *, peers: bool = False) -> Result:
    absent: dict[str, str] = {}
    with daemon() as found, otlp_sink() as endpoint:
        variables = {"AGENTS_OBS_HOME": str(found.home.folder), "BENCH_OTLP_ENDPOINT": endpoint}
        task = {"nodes": NODES[size]}
        answers = take_turns((OURS,), rounds=ROUNDS[size], absent=absent, task=task, **variables)
        for program in (
            *near(size),
            *(PEERS if peers else ()),
        ):  # one at a time: some go on working after their turn
            answers |= take_turns((program,), rounds=PEER_ROUNDS[size], absent=absent, task=task, **variables)
    series = [
        Series(name, "%", tuple(each["slowdown_percent"] for each in turns))
        for name, turns in answers.items()
    ]
    parts = [
        Series(f"{name}: {what}", "%", tuple(each[key] for each in turns))
        for name, turns in answers.items()
        for what, key in PARTS.items()
    ]
    first = [
        Series(f"{name}: CPU time of the process in its first half second", "%", (turns[0]["first_percent"],))
        for name, turns in answers.items()
    ]
    return Result(
        series=(*series, *parts, *first),
        verdicts=(at_most("1,000 nodes of 1 ms: ≤ 0.5 % slower", series[0], 0.5, remark=WHY),),
        absent=absent,
    )
