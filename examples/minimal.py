"""What a workflow adds: a run, a name for each node, and one line for each response.

Works with or without a daemon; with one running, `agents-obs cost-report` and `agents-obs profile-report`
answer from any terminal.
"""

import os

from openai import OpenAI

from configurable_agents import observe_run
from configurable_agents.runtime.profiler import profile_node

if not os.environ.get("OPENAI_API_KEY"):
    raise SystemExit("error: OPENAI_API_KEY is not set; set it, or run `make demo`, which needs no key")

client = OpenAI()

with observe_run(experiment="support-bot", workflow="triage", tags={"team": "care"}) as run:

    @profile_node("classify")
    def classify(text: str) -> str:
        question = [{"role": "user", "content": f"Is this urgent? {text}"}]
        response = client.chat.completions.create(model="gpt-4o-mini", messages=question)
        run.track_call(provider="openai", model="gpt-4o-mini", response=response)
        return response.choices[0].message.content

    print(classify("My parcel never arrived."))

print(run.cost_summary().totals.coverage_sentence())
