"""Digests papers: reads them all at the same time in threads, then merges what was read.

The merge is done by a reasoning model that thinks as much as it writes, and nothing runs beside it.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

from google import genai
from openai import OpenAI

from configurable_agents import observe_run
from configurable_agents.observe import Run
from configurable_agents.runtime.profiler import profile_node

EXPERIMENT = "research-digest"
SLOW_NODE = "merge"

PAPERS = {
    "tides": "Sea levels at forty harbours were measured every minute for nine years. " * 80,
    "bees": "Hives near three kinds of meadow were weighed each evening of a summer. " * 80,
    "rails": "Trains on one line were timed before and after its signals were replaced. " * 80,
    "bread": "Loaves of eleven flours were baked, cooled, sliced and compressed. " * 80,
}
THREADS_MAX = 4

gemini = genai.Client()
gpt = OpenAI()


@profile_node("read_paper")
def read_paper(run: Run, name: str) -> str:
    response = gemini.models.generate_content(
        model="gemini-2.5-flash", contents=f"{PAPERS[name]}\nSummarise {name} in 60 words."
    )
    run.track_call(provider="google", model="gemini-2.5-flash", response=response)
    return response.text or ""


@profile_node("merge")
def merge(run: Run, summaries: list[str]) -> str:
    question = "Merge these summaries into one digest of 1200 words.\n" + "\n".join(summaries)
    response = gpt.chat.completions.create(model="gpt-5.4", messages=[{"role": "user", "content": question}])
    run.track_call(provider="openai", model="gpt-5.4", response=response)
    return response.choices[0].message.content or ""


@profile_node("headline")
def headline(run: Run, digest: str) -> str:
    response = gemini.models.generate_content(
        model="gemini-2.5-flash-lite", contents=f"{digest}\nGive this a headline of 10 words."
    )
    run.track_call(provider="google", model="gemini-2.5-flash-lite", response=response)
    return response.text or ""


def digest_papers(run: Run) -> str:
    # A thread starts outside of the run; `bind` takes the run and the current node along.
    read = run.bind(read_paper)
    with ThreadPoolExecutor(THREADS_MAX) as threads:
        summaries = list(threads.map(lambda name: read(run, name), PAPERS))
    return headline(run, merge(run, summaries))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    runs = parser.parse_args().runs
    for number in range(1, runs + 1):
        with observe_run(experiment=EXPERIMENT, workflow="research-digest", tags={"team": "research"}) as run:
            digest_papers(run)
        print(f"{number}/{runs} digest of {len(PAPERS)} papers", flush=True)


if __name__ == "__main__":
    main()
