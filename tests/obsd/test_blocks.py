"""Executions that are taken in as blocks leave what they leave one by one: events, ledger, analyzers."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configurable_agents.errors import RecordRefusedError
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import writer
from configurable_agents.obsd.ledger.names import Names
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.obsd.receivers.inlet import checked_batch
from configurable_agents.obsd.records import Committed
from configurable_agents.obsd.runs import LiveRuns
from configurable_agents.runtime import bounds
from configurable_agents.telemetry import (
    OTHER_NAME,
    Event,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    Status,
    Usage,
)
from configurable_agents.wire import blocks
from configurable_agents.wire.batches import decode_batch
from configurable_agents.wire.blocks import ExecutionBlock, parts_of
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames

T0 = 1_795_336_467_000_000_000
PRODUCERS = (bytes(16), bytes(15) + b"\1")
PURGED, CURSED = "purged", "cursed"
BLOCK = 4
NEVER = 10_000

run_ids = st.sampled_from([*["run"] * 8, *["other"] * 4, "third", PURGED])
node_ids = st.sampled_from([*["draft"] * 12, *["review"] * 6, "plan", "send", "naïve", CURSED, OTHER_NAME])

figures = st.tuples(
    st.one_of(st.integers(1, 9), st.sampled_from([2**63 - 1, 2**63, bounds.UINT64_MAX])),
    st.one_of(st.integers(T0, T0 + 10**6), st.sampled_from([2**56, 2**63 - 1])),
    st.sampled_from([0, 1, 127, 128, 2**28, 10**9, 2**42 - 1]),
)
attempts = st.tuples(run_ids, node_ids, st.integers(0, 2))


def executions(
    some: Sequence[tuple[str, str, int]], parents: st.SearchStrategy[int]
) -> st.SearchStrategy[Any]:
    """Of a few nodes, which is what makes them a block."""
    made = st.builds(
        lambda attempt, parent, found: NodeFinished(
            attempt[0], found[0], parent, attempt[1], attempt[2], found[1], found[2], Status.OK, ""
        ),
        st.sampled_from(some),
        parents,
        figures,
    )
    return st.lists(made, min_size=6, max_size=16)


few = st.lists(attempts, min_size=1, max_size=4)
ordinary = few.flatmap(lambda some: executions(some, st.just(0)))
nested = few.flatmap(lambda some: executions(some, st.integers(0, 9)))
odd = st.one_of(
    st.builds(
        NodeFinished,
        st.sampled_from(["run", "other", "", "no\nrun"]),
        st.sampled_from([0, 1, 2, 3]),
        st.sampled_from([0, 1, 2, 3, 2**63]),
        st.sampled_from(["draft", "", "n" * 300, "n" * 2000]),
        st.sampled_from([0, 1, 2**32 - 1]),
        st.sampled_from([0, 1, 2**56 - 1, T0]),
        st.sampled_from([0, 2**42, 10**16, 10**16 + 1]),
        st.sampled_from([Status.OK, Status.ERROR, Status.CANCELLED, Status.UNSPECIFIED]),
        st.sampled_from(["", "TimeoutError"]),
    ),
    st.builds(RunStarted, run_ids, st.just("support"), st.just("triage"), st.just(T0)),
    st.builds(RunFinished, run_ids, st.just(T0 + 10**9), st.just(10**9), st.just(Status.OK)),
    st.builds(NodeStarted, run_ids, st.integers(1, 9), st.just(0), node_ids, st.just(1), st.just(T0)),
    st.builds(
        LlmCall,
        run_ids,
        st.sampled_from(["call", ""]),
        st.integers(1, 9),
        node_ids,
        st.just("openai"),
        st.just("gpt-4o"),
        st.just(Usage(10)),
        st.just(T0),
        st.just(10**6),
    ),
)
stretches = st.one_of(ordinary, ordinary, nested, st.lists(odd, min_size=1, max_size=3))
streams = st.lists(stretches, min_size=2, max_size=6).map(
    lambda some: [each for part in some for each in part]
)
tampering = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 255)), max_size=3)
cuts = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 5, -2]), st.integers(8, 40), st.sampled_from([0, 0, 0, 1])),
    min_size=1,
    max_size=5,
)


def frames_of(stream: Sequence[Event], tampered: Sequence[tuple[int, int, int]]) -> list[bytes]:
    """Encoded, some with a byte changed behind the frame's length."""
    encoder, frames = EventEncoder(), []
    for event in stream:
        try:
            frames.append(encoder.encode(event))
        except RecordRefusedError:  # what no recorder can send
            continue
    for number, place, byte in tampered if frames else ():
        frame = bytearray(frames[number % len(frames)])
        head = 2 if frame[1] < 0x80 else 3
        frame[head + place % (len(frame) - head)] = byte
        frames[number % len(frames)] = bytes(frame)
    return frames


def batches_of(frames: Sequence[bytes], places: Sequence[tuple[int, int, int]]) -> list[bytes]:
    """Cut anywhere: a batch may begin with what came before, or leave something out."""
    batches, ends = [], [0, 0]
    for again, count, producer in places:
        first = max(0, ends[producer] - again)
        batches.append(batch_of_frames(PRODUCERS[producer], first, b"".join(frames[first : first + count])))
        ends[producer] = max(ends[producer], min(first + count, len(frames)))
    return batches


class Outcome(NamedTuple):
    """Everything that batches leave behind."""

    answers: list[object]
    tables: dict[str, list[tuple[object, ...]]]
    analyzers: dict[str, object]
    live: tuple[object, ...]


class Daemon:
    """What a daemon does with batches, without its threads and sockets."""

    def __init__(self, pricer: CallPricer) -> None:
        self._pricer = pricer
        self.blocks = 0

    def outcome_of(self, batches: Sequence[bytes], *, together: int, block_events_min: int) -> Outcome:
        with (
            tempfile.TemporaryDirectory() as folder,
            blocks_from(block_events_min),
            SqliteLedger(Path(folder) / "ledger.db", self._pricer) as ledger,
        ):
            live, answers = LiveRuns(), []
            self._purge_one(ledger)
            for first in range(0, len(batches), together):
                committed = ledger.commit([checked_batch(data) for data in batches[first : first + together]])
                live.take(committed.events)
                self.blocks += blocks_in(committed)
                answers.append((committed.acknowledgements, list(committed.events), committed.duplicates))
            analyzers = {run_id: run.analyzer.report() for run_id, run in live._runs.items()}
            figures = [(run_id, run.figures, run.is_complete) for run_id, run in live._runs.items()]
            about = (figures, list(live._over), live.take_ended())
            return Outcome(answers, tables_of(Path(folder) / "ledger.db"), analyzers, about)

    def _purge_one(self, ledger: SqliteLedger) -> None:
        encode = EventEncoder().encode
        run = encode(RunStarted(PURGED, "a", "b", T0)) + encode(RunFinished(PURGED, T0, 0, Status.OK))
        ledger.commit([checked_batch(batch_of_frames(b"p" * 16, 0, run))])
        ledger.purge(PURGED)


@contextmanager
def blocks_from(block_events_min: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_EVENTS_MIN", block_events_min)
        patch.setattr(blocks, "EVENTS_PER_ATTEMPT_MIN", 1)
        yield


def blocks_in(committed: Committed) -> int:
    return sum(isinstance(part, ExecutionBlock) for part in parts_of(committed.events))


def tables_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


@pytest.fixture
def daemon(pricer: CallPricer, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """One whose clock stands still, whose runs have few nodes, and that cannot bear one of them."""
    node_of = Names.node_of

    def node_of_or_fault(names: Names, run: int, node_id: str) -> int:
        if node_id == CURSED:
            raise ValueError("a fault")
        return node_of(names, run, node_id)

    monkeypatch.setattr(writer.time, "time_ns", lambda: T0)
    monkeypatch.setattr(limits, "RUN_NODES_MAX", 3)
    monkeypatch.setattr(Names, "node_of", node_of_or_fault)
    return Daemon(pricer)


def test_blocks_go_on_where_those_before_them_ended(daemon: Daemon) -> None:
    """In their numbers, and in their nodes' numbers of calls, whatever comes in between."""
    encode = EventEncoder().encode
    executions = [
        NodeFinished("run", 1, 0, "draft" if number % 3 else "review", number % 2, T0, number, Status.OK, "")
        for number in range(299)
    ]
    failed = executions[0]._replace(status=Status.ERROR)
    frames = list(map(encode, [*executions[:100], failed, *executions[100:]]))
    batches = [batch_of_frames(bytes(16), at, b"".join(frames[at : at + 150])) for at in (0, 150)]
    found = daemon.outcome_of(batches, together=1, block_events_min=BLOCK)
    assert daemon.blocks == 3
    rows = sorted(found.tables["node_executions"])
    first = rows[0][0]
    assert [seq for seq, *_ in rows] == list(range(first, first + 300))
    for node in {row[2] for row in rows}:
        calls = [row[3] for row in rows if row[2] == node]
        assert calls == list(range(1, len(calls) + 1))
    assert found == daemon.outcome_of(batches, together=1, block_events_min=NEVER)


@pytest.mark.parametrize(
    "unfit",
    [{"span_id": 0}, {"parent_span_id": 1}, {"run_id": ""}, {"node_id": "a\nb"}, {"started_unix_ns": 0}],
    ids=lambda unfit: next(iter(unfit)),
)
def test_no_block_enters_with_an_execution_that_may_not(unfit: dict[str, Any]) -> None:
    fit = NodeFinished("run", 1, 0, "draft", 1, T0, 1, Status.OK, "")
    frames = list(map(EventEncoder().encode, [*[fit] * 100, fit._replace(**unfit), *[fit] * 100]))
    data = batch_of_frames(bytes(16), 0, b"".join(frames))
    assert any(isinstance(part, ExecutionBlock) for part in parts_of(decode_batch(data).events))
    events = checked_batch(data).events
    assert [at for at, event in enumerate(events) if event != fit] == [100]
    assert isinstance(events[100], RecordRefusedError)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams, tampering, cuts, st.integers(1, 3))
def test_any_batches_leave_the_same_in_blocks_and_one_by_one(
    daemon: Daemon,
    stream: list[Event],
    tampered: list[tuple[int, int, int]],
    places: list[tuple[int, int, int]],
    together: int,
) -> None:
    batches = batches_of(frames_of(stream, tampered), places)
    one_by_one = daemon.outcome_of(batches, together=together, block_events_min=NEVER)
    in_blocks = daemon.outcome_of(batches, together=together, block_events_min=BLOCK)
    assert in_blocks.answers == one_by_one.answers
    assert in_blocks.tables == one_by_one.tables
    assert in_blocks.analyzers == one_by_one.analyzers
    assert in_blocks.live == one_by_one.live
