"""Reviews a change: every file at the same time on one event loop, then one summary.

A local model lints, which costs nothing; the review of a file by the larger model takes longest.
"""

import argparse
import asyncio

from anthropic import AsyncAnthropic
from ollama import AsyncClient

from configurable_agents import observe_run
from configurable_agents.observe import Run
from configurable_agents.runtime.profiler import profile_node

EXPERIMENT = "code-review"
SLOW_NODE = "review_file"

CHANGE = {
    "cart.py": "def total(items):\n    return sum(item.price * item.count for item in items)\n",
    "stock.py": "def reserve(item, count):\n    item.free -= count\n    return item.free >= 0\n",
    "mail.py": "def greet(customer):\n    return f'Dear {customer.name},'\n",
}
GUIDE = "Prefer small functions, whole words, and errors that say what to do. " * 100


@profile_node("lint")
async def lint(run: Run, llama: AsyncClient, name: str) -> str:
    question = f"List the style problems of {name} in 15 words.\n{CHANGE[name]}"
    response = await llama.chat(model="qwen2.5-coder:7b", messages=[{"role": "user", "content": question}])
    run.track_call(provider="ollama", model="qwen2.5-coder:7b", response=response)
    return response.message.content or ""


@profile_node("review_file")
async def review_file(run: Run, claude: AsyncAnthropic, name: str, problems: str) -> str:
    guide = {"type": "text", "text": GUIDE, "cache_control": {"type": "ephemeral"}}
    question = f"Review {name} in 500 words. Known problems: {problems}\n{CHANGE[name]}"
    message = await claude.messages.create(
        model="claude-sonnet-4-6",
        max_tokens=2000,
        system=[guide],
        messages=[{"role": "user", "content": question}],
    )
    run.track_call(provider="anthropic", model="claude-sonnet-4-6", response=message)
    return message.content[0].text


@profile_node("summarise")
async def summarise(run: Run, claude: AsyncAnthropic, reviews: list[str]) -> str:
    question = "Summarise these reviews in 80 words.\n" + "\n".join(reviews)
    message = await claude.messages.create(
        model="claude-haiku-4-5", max_tokens=500, messages=[{"role": "user", "content": question}]
    )
    run.track_call(provider="anthropic", model="claude-haiku-4-5", response=message)
    return message.content[0].text


async def review_change(run: Run, claude: AsyncAnthropic, llama: AsyncClient) -> str:
    async def lint_and_review(name: str) -> str:
        return await review_file(run, claude, name, await lint(run, llama, name))

    return await summarise(run, claude, await asyncio.gather(*map(lint_and_review, CHANGE)))


async def review_changes(runs: int) -> None:
    llama = AsyncClient()
    async with AsyncAnthropic() as claude:
        for number in range(1, runs + 1):
            async with observe_run(
                experiment=EXPERIMENT, workflow="code-review", tags={"team": "shop"}
            ) as run:
                await review_change(run, claude, llama)
            print(f"{number}/{runs} review of {len(CHANGE)} files", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    asyncio.run(review_changes(parser.parse_args().runs))


if __name__ == "__main__":
    main()
