"""Writes the night's report: a local model condenses each log, a hosted one writes, a local one checks.

Only the writing costs money, and it takes most of the time.
"""

import argparse

import ollama
from openai import OpenAI

from configurable_agents import observe_run
from configurable_agents.observe import Run
from configurable_agents.runtime.profiler import profile_node

EXPERIMENT = "nightly-report"
SLOW_NODE = "write_report"

LOGS = {
    "orders": "02:14 order 1042 paid\n02:15 order 1042 packed\n02:40 order 1043 cancelled\n",
    "stock": "03:00 counted 812 mugs\n03:05 counted 97 jugs, 4 broken\n",
    "mail": "04:10 sent 310 letters\n04:11 2 letters came back\n",
}

gpt = OpenAI()
llama = ollama.Client()


@profile_node("condense")
def condense(run: Run, name: str) -> str:
    question = f"Say in 15 words what happened in {name}:\n{LOGS[name]}"
    response = llama.generate(model="llama3.2", prompt=question)
    run.track_call(provider="ollama", model="llama3.2", response=response)
    return response.response


@profile_node("write_report")
def write_report(run: Run, notes: list[str]) -> str:
    response = gpt.responses.create(
        model="gpt-5-mini",
        instructions="You write for people who have three minutes.",
        input="Write the report of the night in 1000 words.\n" + "\n".join(notes),
    )
    run.track_call(provider="openai", model="gpt-5-mini", response=response)
    return response.output_text


@profile_node("check_facts")
def check_facts(run: Run, report: str) -> str:
    question = {"role": "user", "content": f"Name one doubtful figure in 10 words.\n{report}"}
    response = llama.chat(model="llama3.2", messages=[question])
    run.track_call(provider="ollama", model="llama3.2", response=response)
    return response.message.content or ""


def report_night(run: Run) -> str:
    notes = [condense(run, name) for name in LOGS]
    report = write_report(run, notes)
    check_facts(run, report)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    runs = parser.parse_args().runs
    for number in range(1, runs + 1):
        with observe_run(experiment=EXPERIMENT, workflow="nightly-report", tags={"team": "shop"}) as run:
            report_night(run)
        print(f"{number}/{runs} report of {len(LOGS)} logs", flush=True)


if __name__ == "__main__":
    main()
