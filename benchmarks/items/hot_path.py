"""What `profile_node` adds to a call of an empty function, in a run, with the spool on.

Every call is timed alone, bare and observed, in the same turn; the figure is the observed call's median
(and 99th percentile) less the bare one's median. Peers do the nearest they have: a span with a batch
processor, a metric, a traced function. Each tool is in a process of its own and they take turns.
"""

from __future__ import annotations

from measuring.contenders import Program, take_turns
from measuring.daemons import daemon_in, state_folder
from measuring.figures import Result, Series, Size, at_most, ratio
from measuring.sink import otlp_sink

TITLE = "Hot path"

OURS = (
    Program("profile_node", "hot_path", ("ours", "1")),
    Program("profile_node, async", "hot_path", ("ours_async", "1")),
)
SERVED = Program("profile_node, a daemon taking the events", "hot_path", ("ours", "1"))
NEAR = (
    Program("OpenTelemetry span", "hot_path", ("opentelemetry", "4")),
    Program("MLflow traced function", "hot_path", ("mlflow_span", "100")),
    Program("MLflow log_metric", "hot_path", ("mlflow_metric", "400")),
)
PEERS = (
    Program("OpenTelemetry span, OTLP", "hot_path", ("opentelemetry", "4"), "tracing"),
    Program("Langfuse span", "hot_path", ("langfuse", "20"), "langfuse"),
    Program("Logfire span", "hot_path", ("logfire", "20"), "logfire"),
)

PARTS = Program("parts", "hot_path_parts")

WHY = (
    "the parts below add up to it; the largest is measuring and adding up, most of which compiled code would"
    " spare. An event survives its process by two stores into mapped memory"
)

COUNT = {Size.TINY: 200, Size.NORMAL: 20_000, Size.LONG: 100_000}
ROUNDS = {Size.TINY: 2, Size.NORMAL: 9, Size.LONG: 15}


def near(size: Size) -> tuple[Program, ...]:
    """What is at hand without `make bench-peers`; MLflow takes too long to load for a first try."""
    return NEAR[:1] if size is Size.TINY else NEAR


def measure(size: Size, *, peers: bool = False) -> Result:
    absent: dict[str, str] = {}
    task = {"count": COUNT[size]}
    with state_folder() as home, otlp_sink() as endpoint:
        variables = {"AGENTS_OBS_HOME": str(home.folder), "BENCH_OTLP_ENDPOINT": endpoint}
        answers = take_turns(
            (*OURS, *near(size), *(PEERS if peers else ())),
            rounds=ROUNDS[size],
            absent=absent,
            task=task,
            **variables,
        )
        with daemon_in(home):
            answers |= take_turns((SERVED,), rounds=ROUNDS[size], absent=absent, task=task, **variables)
        parts = take_turns((PARTS,), rounds=ROUNDS[size], absent=absent, task=task, **variables)[PARTS.name]
    p50 = {name: Series(name, "µs", tuple(each["p50"] for each in found)) for name, found in answers.items()}
    p99 = [
        Series(f"{name}, p99", "µs", tuple(each["p99"] for each in found)) for name, found in answers.items()
    ]
    tails = {series.label: series for series in p99}
    ours = p50[OURS[0].name]
    others = [series for name, series in p50.items() if name not in {each.name for each in (*OURS, SERVED)}]
    verdicts = []
    for program in (*OURS, SERVED):
        verdicts.append(at_most(f"{program.name}: ≤ 4 µs added, p50", p50[program.name], 4, remark=WHY))
        verdicts.append(at_most(f"{program.name}: ≤ 15 µs added, p99", tails[f"{program.name}, p99"], 15))
    return Result(
        series=(
            *p50.values(),
            *p99,
            *(Series(f"part: {name}", "µs", tuple(each[name] for each in parts)) for name in parts[0]),
        ),
        ratios=tuple(ratio(f"{other.label} / profile_node", other, ours) for other in others),
        verdicts=tuple(verdicts),
        absent=absent,
    )
