"""Checked by mypy, never run: decorated functions keep their types."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from configurable_agents import current_run, observe_run
from configurable_agents.observe import Run
from configurable_agents.runtime.profiler import BottleneckAnalyzer, get_profiler, profile_node, set_profiler


@profile_node("plain", attempt=2)
def plain(text: str, *, limit: int = 3) -> list[str]:
    return [text] * limit


@profile_node("coroutine")
async def coroutine(number: int) -> float:
    return number / 2


@profile_node("generator")
def generator(count: int) -> Iterator[int]:
    yield from range(count)


@profile_node("async generator")
async def async_generator() -> AsyncIterator[bytes]:
    yield b""


class Agent:
    @profile_node("method")
    def method(self, question: str) -> int:
        return len(question)


@observe_run("jobs", "nightly", tags={"team": "care"})
def job(number: int) -> str:
    return str(number)


async def main() -> None:
    with observe_run("support-bot", workflow="triage") as run:
        assert_type(run, Run)
        assert_type(run.track_call("openai", "gpt-4o", object()), dict[str, Any])
        assert_type(run.record_node("a", started_unix_ns=1, duration_ns=1), int)
        assert_type(run.bind(plain)("a"), list[str])
        assert_type(await run.bind(coroutine)(1), float)
    async with observe_run() as run:
        assert_type(run, Run)
    assert_type(job(1), str)
    assert_type(current_run(), Run | None)
    assert_type(plain("a", limit=1), list[str])
    assert_type(await coroutine(3), float)
    assert_type(generator(2), Iterator[int])
    assert_type(async_generator(), AsyncIterator[bytes])
    assert_type(Agent().method("?"), int)
    assert_type(get_profiler(), BottleneckAnalyzer | None)
    plain(3)  # type: ignore[arg-type]
    plain("a", lmit=1)  # type: ignore[call-arg]
    with profile_node("block"):
        set_profiler(None)
    async with profile_node("block"):
        pass
