"""What is read as a block is what is read one by one; and ordinary executions are read as blocks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.errors import RecordRefusedError
from configurable_agents.telemetry import Event, NodeFinished, RunFinished, Status
from configurable_agents.wire import blocks
from configurable_agents.wire.batches import decode_batch
from configurable_agents.wire.blocks import BLOCK_EVENTS_MIN, EventSequence, ExecutionBlock, joined, parts_of
from configurable_agents.wire.decode import decode_event
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames
from configurable_agents.wire.v1 import telemetry_pb2 as pb

T0 = 1_795_336_467_000_000_000
PRODUCER = bytes(range(16))

uint64s = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1]))
starts = st.one_of(st.integers(2**56, 2**63 - 1), st.integers(T0, T0 + 10**12), st.integers(0, 2**56))
durations = st.one_of(
    st.integers(0, 2**42 - 1), st.integers(2**42, 2**63 - 1), st.sampled_from([0, 127, 128])
)


def execution(number: int = 1, **more: object) -> NodeFinished:
    return NodeFinished("run", number, 0, "draft", 1, T0 + number, number, Status.OK, "")._replace(**more)


def encoded(events: Sequence[Event]) -> list[bytes]:
    return list(map(EventEncoder().encode, events))


def body_of(frame: bytes) -> bytes:
    (body,) = pb.RawBatch.FromString(frame).events
    return body


def read(frames: Sequence[bytes]) -> EventSequence[Event | RecordRefusedError]:
    """As the daemon reads them, which must be what each of them is by itself."""
    events = decode_batch(batch_of_frames(PRODUCER, 7, b"".join(frames))).events
    alone = [decode_event(body_of(frame)) for frame in frames]
    assert list(map(comparable, events)) == list(map(comparable, alone))
    return events


def comparable(event: Event | RecordRefusedError) -> object:
    return event.reason if isinstance(event, RecordRefusedError) else event


def lengths(events: EventSequence[Event | RecordRefusedError]) -> list[tuple[str, int]]:
    return [
        ("block" if isinstance(part, ExecutionBlock) else "events", len(part)) for part in parts_of(events)
    ]


def test_ordinary_executions_are_one_block() -> None:
    made = [execution(number, attempt=number % 3, node_id=f"n{number % 5}") for number in range(1, 500)]
    assert lengths(read(encoded(made))) == [("block", 499)]


def test_few_executions_are_no_block() -> None:
    assert lengths(read(encoded([execution()] * (BLOCK_EVENTS_MIN - 1)))) == [
        ("events", BLOCK_EVENTS_MIN - 1)
    ]
    assert lengths(read(encoded([execution()] * BLOCK_EVENTS_MIN))) == [("block", BLOCK_EVENTS_MIN)]


def test_executions_that_have_little_in_common_are_no_block() -> None:
    made = [execution(number, node_id=f"n{number}") for number in range(1, 200)]
    assert lengths(read(encoded(made))) == [("events", 199)]


@pytest.mark.parametrize(
    "other",
    [
        execution(status=Status.ERROR, error_type="TimeoutError"),
        execution(duration_ns=2**42),
        execution(node_id="n" * 1024),
        RunFinished("run", T0, 1, Status.OK),
        RunFinished("r", 1, 1, Status.OK),  # shorter than an execution's figures
    ],
    ids=["failed", "long", "long name", "other kind", "short"],
)
def test_blocks_are_what_lies_between_other_events(other: Event) -> None:
    some = [execution(number) for number in range(1, 101)]
    found = read(encoded([*some, other, *some, other, *some[:5], other]))
    assert lengths(found) == [("block", 100), ("events", 1), ("block", 100), ("events", 7)]


def test_a_block_between_others_knows_its_own_attempts_only() -> None:
    first = [execution(1, node_id=f"n{number % 3}") for number in range(99)]
    second = [execution(1, node_id=f"n{4 - number % 3}") for number in range(99)]
    _, _, block = parts_of(read(encoded([*first, execution(duration_ns=2**42), *second])))
    assert isinstance(block, ExecutionBlock)
    assert [attempt.node_id for attempt in block.attempts] == ["n4", "n3", "n2"]


def test_an_unreadable_event_among_ordinary_ones_is_refused_alone() -> None:
    frames = encoded([execution(number) for number in range(1, 202)])
    frames[100] = frames[100][:-1] + b"\xff"
    events = read(frames)
    assert lengths(events) == [("block", 100), ("events", 1), ("block", 100)]
    assert isinstance(events[100], RecordRefusedError)


def test_without_numpy_every_event_is_read_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "np", None)
    assert lengths(read(encoded([execution()] * 500))) == [("events", 500)]


@given(
    st.lists(
        st.builds(
            execution,
            st.just(1),
            span_id=uint64s,
            parent_span_id=uint64s,
            started_unix_ns=starts,
            duration_ns=durations,
            attempt=st.sampled_from([0, 1, 2**32 - 1]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
)
def test_any_figures_and_any_changed_byte_are_read_as_they_are_one_by_one(
    few: list[NodeFinished], changed: list[tuple[int, int, int]]
) -> None:
    frames = encoded(few * -(-2 * BLOCK_EVENTS_MIN // len(few)))
    for number, place, byte in changed:
        frame = bytearray(frames[number % len(frames)])
        frame[2 + place % (len(frame) - 2)] = byte
        frames[number % len(frames)] = bytes(frame)
    read(frames)


def test_groups_say_what_their_executions_add_up_to() -> None:
    made = [
        execution(number, node_id=f"n{number % 3}", started_unix_ns=2**63 - 1 - number, duration_ns=2**42 - 1)
        for number in range(99)
    ]
    (block,) = parts_of(read(encoded(made)))
    assert isinstance(block, ExecutionBlock)
    groups = block.by_attempt
    assert groups.counts == [33, 33, 33]
    assert groups.total_ns == [33 * (2**42 - 1)] * 3
    assert groups.max_ns == [2**42 - 1] * 3
    assert [block.first_started_unix_ns(place) for place in range(3)] == [2**63 - 1, 2**63 - 2, 2**63 - 3]
    assert groups.last_ended_unix_ns == [2**63 + 2**42 - 2, 2**63 + 2**42 - 3, 2**63 + 2**42 - 4]
    assert groups.last_places == [96, 97, 98]
    assert groups.positions.tolist() == [1 + number // 3 for number in range(99)]
    together = block.grouped([0, 1, 0])
    assert together.counts == [66, 33]
    assert together.positions.tolist()[:6] == [1, 1, 2, 3, 2, 4]


def test_joined_blocks_have_all_their_executions_in_order() -> None:
    some = [
        [execution(number, node_id=f"n{(number + part) % 3}") for number in range(99)] for part in range(3)
    ]
    single = [parts_of(read(encoded(part)))[0] for part in some]
    block = joined([part for part in single if isinstance(part, ExecutionBlock)])
    assert block.executions() == [each for part in some for each in part]
    assert len(block.attempts) == 3


def test_neither_recording_nor_asking_loads_numpy() -> None:
    program = (
        "import sys, configurable_agents.observe, configurable_agents.client.emitter,"
        " configurable_agents.client.reports; print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
