"""Answers support tickets, one after the other: classify, retrieve, draft, review.

The draft is long and comes from the larger model, so that is where the time goes.
"""

import argparse

from anthropic import Anthropic
from openai import OpenAI

from configurable_agents import observe_run
from configurable_agents.observe import Run
from configurable_agents.runtime.profiler import profile_node

EXPERIMENT = "support-bot"
SLOW_NODE = "draft"

TICKETS = (
    "My parcel was due on Monday and the tracking page still says 'label printed'.",
    "I was charged twice for order 1042, please return one of the payments.",
    "The mug arrived broken. I would rather have a new one than my money back.",
    "How do I change the address of an order that has already been packed?",
)
HANDBOOK = [
    f"Rule {number}: a customer who writes about {subject} is answered within {hours} hours, by name, with"
    " what happened, what we do about it and when it is done."
    for number, (subject, hours) in enumerate(
        (
            (subject, hours)
            for hours in (2, 4, 8, 24)
            for subject in ("parcels", "charges", "damage", "orders")
        ),
        start=1,
    )
] * 3

gpt = OpenAI()
claude = Anthropic()


@profile_node("classify")
def classify(run: Run, ticket: str) -> str:
    question = f"Answer in 5 words: what is this ticket about? {ticket}"
    response = gpt.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": question}]
    )
    run.track_call(provider="openai", model="gpt-4o-mini", response=response)
    return response.choices[0].message.content or ""


@profile_node("retrieve")
def retrieve(ticket: str) -> list[str]:
    asked = set(ticket.lower().split())
    return sorted(HANDBOOK, key=lambda rule: -len(asked & set(rule.lower().split())))[:3]


@profile_node("draft")
def draft(run: Run, ticket: str, topic: str, rules: list[str]) -> str:
    handbook = {"type": "text", "text": "\n".join(HANDBOOK), "cache_control": {"type": "ephemeral"}}
    question = f"Ticket ({topic}): {ticket}\nRules: {rules}\nWrite the answer in 350 words."
    with claude.messages.stream(
        model="claude-sonnet-4-6",
        max_tokens=2000,
        system=[handbook],
        messages=[{"role": "user", "content": question}],
    ) as stream:
        message = stream.get_final_message()
    run.track_call(provider="anthropic", model="claude-sonnet-4-6", response=message)
    return message.content[0].text


@profile_node("review")
def review(run: Run, answer: str) -> str:
    question = f"Is this answer polite and complete? Say so in 20 words.\n{answer}"
    response = gpt.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": question}])
    run.track_call(provider="openai", model="gpt-4o", response=response)
    return response.choices[0].message.content or ""


def answer_tickets(run: Run, run_number: int, runs: int) -> None:
    for number, ticket in enumerate(TICKETS, start=run_number * len(TICKETS) + 1):
        answer = draft(run, ticket, classify(run, ticket), retrieve(ticket))
        review(run, answer)
        print(f"{number}/{runs * len(TICKETS)} {ticket[:40]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    runs = parser.parse_args().runs
    for run_number in range(runs):
        with observe_run(experiment=EXPERIMENT, workflow="support-triage", tags={"team": "care"}) as run:
            answer_tickets(run, run_number, runs)


if __name__ == "__main__":
    main()
