"""Figures that are allowed one by one and together are more than 64 bits hold: the daemon lives on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from configurable_agents.client.home import Home
from configurable_agents.obsd.app import WriterThread
from configurable_agents.obsd.ledger import profile_blocks, queries, retention
from configurable_agents.obsd.reports import Readers
from configurable_agents.obsd.storage_policy import StoragePolicy
from configurable_agents.obsd.upkeep import Upkeep
from configurable_agents.runtime import bounds
from configurable_agents.telemetry import Usage

KEEP_ALL = StoragePolicy(None, None, None, reserve_bytes=0, allowance_bytes=None)
EXECUTIONS = bounds.INT64_MAX // bounds.DURATION_NS_MAX + 1
CALLS = bounds.INT64_MAX // bounds.TOKENS_MAX + 1


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def long_lasting(events: Any, run_id: str) -> list[Any]:
    lasting = {"run_id": run_id, "duration_ns": bounds.DURATION_NS_MAX}
    nodes = [events.node("n", span + 1, **lasting) for span in range(EXECUTIONS)]
    return [events.started(run_id), *nodes, events.finished(run_id)]


def talkative(events: Any, run_id: str) -> list[Any]:
    usage = Usage(input_tokens=bounds.TOKENS_MAX)
    calls = [events.call(f"call-{number}", run_id=run_id, usage=usage) for number in range(CALLS)]
    return [events.started(run_id), *calls, events.finished(run_id)]


def test_a_run_of_very_long_executions_gets_its_profile(book: Any, events: Any) -> None:
    book.commit(long_lasting(events, "run"))
    book.profile_all()
    assert book.ledger.unfinished_runs() == []
    assert book.rows("SELECT total_ns, self_ns FROM node_totals") == [(bounds.INT64_MAX, bounds.INT64_MAX)]


def test_what_such_runs_add_up_to_is_kept(book: Any, events: Any) -> None:
    for number in range(profile_blocks.BLOCK_RUNS):
        run_id = f"run-{number}"
        told = events.whole_run(run_id) if number else long_lasting(events, run_id)
        book.commit(told, producer=bytes([number]) * 16)
    book.profile_all()
    [wanted] = book.ask(profile_blocks.wanted, 0, profile_blocks.BLOCK_RUNS)
    book.ledger.store_profile_blocks([book.ask(queries.summed_block, wanted)])
    assert book.rows("SELECT total_ns FROM profile_block_nodes ORDER BY total_ns DESC")[0] == (
        bounds.INT64_MAX,
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    "policy", [replace(KEEP_ALL, raw_s=1, totals_s=None), replace(KEEP_ALL, ledger_bytes_max=1)]
)
async def test_a_run_whose_tokens_cannot_be_added_up_keeps_no_other_from_going(
    book: Any, home: Home, events: Any, policy: StoragePolicy
) -> None:
    book.commit(talkative(events, "first"))
    book.commit(events.whole_run("second"), producer=b"second" + bytes(10))
    book.profile_all()
    readers = Readers(book.path)
    upkeep = Upkeep(
        home,
        policy,
        book.ledger,
        WriterThread(lambda error: pytest.fail(str(error))),
        readers.ask,
        exporter="",
        failed=lambda error: pytest.fail(str(error)),
        clock=lambda: time.time_ns() + 10**9 * 86_400,
    )
    await upkeep.look()
    readers.close()
    assert book.ask(retention.summed_up, 1, "") is None
    assert book.rows("SELECT COUNT(*) FROM llm_calls WHERE run = 1") == [(CALLS,)]
    assert book.rows("SELECT COUNT(*) FROM llm_calls WHERE run = 2") == [(0,)]
