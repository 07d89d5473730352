"""The fast form of `make fuzz`: some thousand messages, each with a typed verdict and none with a crash."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fuzzing.mutate import corpus, mutations
from fuzzing.targets import Service, codec, targets, yaml_workflow
from hypothesis import given, settings
from hypothesis import strategies as st

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "10000"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)

SHARES = {"batches": 0.85, "spools": 0.04, "workflows": 0.005, "settings": 0.01, "prices": 0.01}
"""Of `MESSAGES`; the rest goes through the service. What is read from a file takes a hundred times longer."""


@pytest.fixture(scope="module", autouse=True)
def _tell_the_seed() -> None:
    print(f"\nFUZZ_SEED={SEED} FUZZ_MESSAGES={MESSAGES}")


def count_of(name: str) -> int:
    return max(50, int(MESSAGES * SHARES.get(name, 1 - sum(SHARES.values()))))


def repeat_with(name: str) -> str:
    return f"to repeat it: FUZZ_SEED={SEED} FUZZ_MESSAGES={MESSAGES} make fuzz (target {name})"


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", SHARES)
def test_whatever_is_read_gets_a_typed_verdict(name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    target, chance = targets(tmp_path)[name], random.Random(f"{SEED} {name}")
    for number, data in enumerate(mutations(corpus(name), chance, count_of(name))):
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"message {number}: {data[:200]!r}; {repeat_with(name)}") from error


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.timeout(0)
@pytest.mark.anyio
async def test_whatever_is_sent_is_answered_and_never_committed_in_part(tmp_path: Path) -> None:
    messages = mutations(corpus("batches"), random.Random(f"{SEED} service"), count_of("service"))

    async def drive(send: Callable[[bytes], Awaitable[None]]) -> None:
        for number, data in enumerate(messages):
            try:
                await send(data)
            except Exception as error:
                raise AssertionError(f"message {number}: {data[:200]!r}; {repeat_with('service')}") from error

    await Service(tmp_path).run(drive)


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_any_bytes_are_a_batch_or_are_none(data: bytes) -> None:
    codec(data)


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_workflow_or_is_none(text: str) -> None:
    yaml_workflow(text.encode(errors="replace"))
