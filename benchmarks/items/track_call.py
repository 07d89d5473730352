"""What `run.track_call` takes for a response that is already there: objects of four providers' own SDKs.

It reads the usage out of the response, prices it, adds it up and records the event in the spool. LiteLLM's
`completion_cost`, the nearest a peer has, reads and prices only.
"""

from __future__ import annotations

from measuring.contenders import Program, take_turns
from measuring.daemons import state_folder
from measuring.figures import Result, Series, Size, at_most, ratio

TITLE = "A tracked call"

OURS = Program("track_call", "track_call", ("openai",))
OF_OTHER_SDKS = tuple(
    Program(f"track_call, {sdk}", "track_call", (sdk,)) for sdk in ("anthropic", "google", "ollama")
)
PEERS = (Program("LiteLLM completion_cost", "track_call", ("litellm",), "litellm"),)

COUNT = {Size.TINY: 50, Size.NORMAL: 2_000, Size.LONG: 10_000}
ROUNDS = {Size.TINY: 2, Size.NORMAL: 9, Size.LONG: 15}


def measure(size: Size, *, peers: bool = False) -> Result:
    absent: dict[str, str] = {}
    with state_folder() as home:
        answers = take_turns(
            (OURS, *OF_OTHER_SDKS, *(PEERS if peers else ())),
            rounds=ROUNDS[size],
            absent=absent,
            task={"count": COUNT[size]},
            AGENTS_OBS_HOME=str(home.folder),
        )
    p50 = {name: Series(name, "µs", tuple(each["p50"] for each in found)) for name, found in answers.items()}
    p99 = [
        Series(f"{name}, p99", "µs", tuple(each["p99"] for each in found)) for name, found in answers.items()
    ]
    ours = p50.pop(OURS.name)
    others = [p50.pop(program.name) for program in OF_OTHER_SDKS]
    return Result(
        series=(ours, *others, *p50.values(), *p99),
        ratios=tuple(ratio(f"{other.label} / track_call", other, ours) for other in p50.values()),
        verdicts=(
            at_most("track_call of an OpenAI object: ≤ 150 µs, p50", ours, 150),
            *(at_most(f"{each.label}: ≤ 150 µs, p50", each, 150) for each in others),
        ),
        absent=absent,
    )
