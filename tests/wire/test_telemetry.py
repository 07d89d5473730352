"""Events as bytes and back: nothing is changed on the way, and nothing that is no event comes out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.errors import RecordRefusedError, WireFormatError
from configurable_agents.telemetry import (
    Event,
    Graph,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    Status,
    Usage,
)
from configurable_agents.wire.batches import decode_batch
from configurable_agents.wire.decode import decode_event
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import (
    EVENT_BYTES_MAX,
    EVENTS_TAG,
    batch_of_frames,
    frame_end,
    varint,
)
from configurable_agents.wire.v1 import telemetry_pb2 as pb

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCER = bytes(range(16))

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
int64 = st.integers(-(2**63), 2**63 - 1)
uint64 = st.integers(0, 2**64 - 1)
uint32 = st.integers(0, 2**32 - 1)
status = st.sampled_from([Status.UNSPECIFIED, Status.OK, Status.ERROR, Status.CANCELLED])
usage = st.builds(Usage, *[int64] * 9)
graph = st.builds(
    Graph,
    st.lists(text, max_size=3).map(tuple),
    st.lists(st.tuples(text, text), max_size=3).map(tuple),
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        RunStarted,
        text,
        text,
        text,
        int64,
        st.lists(st.tuples(text, text), max_size=3).map(tuple),
        st.none() | graph,
        text,
    ),
    st.builds(NodeStarted, text, uint64, uint64, text, uint32, int64),
    st.builds(NodeFinished, text, uint64, uint64, text, uint32, int64, int64, status, text),
    st.builds(
        LlmCall,
        *(text, text, uint64, text, text, text, st.none() | usage, int64, int64, status, text),
        *(st.booleans(), int64, text, st.none() | int64, text, uint32),
        st.lists(text, max_size=3).map(tuple),
    ),
    st.builds(RunFinished, text, int64, int64, status, text),
)


def node(node_id: str = "draft") -> NodeFinished:
    return NodeFinished("run", 1, 0, node_id, 1, 10**18, 1000, Status.OK, "")


def frames_of(*recorded: Event) -> list[bytes]:
    encoder = EventEncoder()
    return [encoder.encode(event) for event in recorded]


def raw_frame(event: bytes) -> bytes:
    return bytes((EVENTS_TAG,)) + varint(len(event)) + event


def verdicts(data: bytes) -> list[str]:
    return [
        event.reason if isinstance(event, RecordRefusedError) else "taken"
        for event in decode_batch(data).events
    ]


@given(st.lists(events, max_size=5), uint64)
def test_every_event_comes_back_as_it_was_recorded(recorded: list[Event], first_sequence: int) -> None:
    data = batch_of_frames(PRODUCER, first_sequence, b"".join(frames_of(*recorded)))
    assert decode_batch(data) == (PRODUCER, first_sequence, recorded)


@given(events)
def test_a_frame_is_one_entry_of_a_batch_and_nothing_more(event: Event) -> None:
    [frame] = frames_of(event)
    assert frame_end(frame, 0) == len(frame)
    read = pb.Batch.FromString(frame)
    assert len(read.events) == 1
    read.ClearField("events")
    assert read.SerializeToString() == b""


@pytest.mark.parametrize(
    "duration_ns", [0, 1, 127, 128, 2**14, 2**28 - 1, 2**28, 2**42 - 1, 2**42, 2**63 - 1]
)
@pytest.mark.parametrize("started_unix_ns", [0, 127, 2**56 - 1, 2**56, 10**18, 2**63 - 1])
@pytest.mark.parametrize("span_id", [1, 2**63, 2**64 - 1])
def test_an_ordinary_execution_keeps_its_figures_whatever_their_size(
    duration_ns: int, started_unix_ns: int, span_id: int
) -> None:
    event = node()._replace(
        span_id=span_id,
        parent_span_id=span_id - 1,
        started_unix_ns=started_unix_ns,
        duration_ns=duration_ns,
    )
    assert decode_batch(frames_of(event)[0]).events == [event]


@pytest.mark.parametrize("field", ["started_unix_ns", "duration_ns", "span_id", "parent_span_id"])
def test_an_execution_with_a_figure_beyond_64_bits_is_refused(field: str) -> None:
    with pytest.raises(RecordRefusedError, match="cannot encode NodeFinished"):
        EventEncoder().encode(node()._replace(**{field: 2**64}))


def test_nodes_of_one_name_are_told_apart_by_run_and_attempt() -> None:
    several = [
        node()._replace(run_id=run_id, attempt=attempt, node_id=node_id)
        for run_id in ("run", "other")
        for attempt in (1, 2)
        for node_id in ("draft", "check", "x" * 300)
    ]
    assert decode_batch(b"".join(frames_of(*several, *several))).events == several * 2


def test_encoding_many_events_keeps_nothing_of_them() -> None:
    encoder = EventEncoder()
    memory = psutil.Process()

    def record(start: int) -> None:
        for index in range(start, start + 20_000):
            encoder.encode(node(f"node-{index}-{'x' * 60}"))

    record(0)
    before_bytes = memory.memory_info().rss
    for start in range(20_000, 200_000, 20_000):
        record(start)
    assert memory.memory_info().rss - before_bytes < 4_000_000


@given(st.lists(events, min_size=1, max_size=4), st.data())
def test_a_batch_may_be_cut_between_any_two_events(recorded: list[Event], data: st.DataObject) -> None:
    frames = frames_of(*recorded)
    cut = data.draw(st.integers(0, len(frames)))
    parts = [b"".join(frames[:cut]), b"".join(frames[cut:])]
    decoded = [decode_batch(batch_of_frames(PRODUCER, 0, part)).events for part in parts]
    assert [*decoded[0], *decoded[1]] == recorded


@given(st.lists(events, min_size=1, max_size=4))
def test_frames_are_walked_by_their_ends(recorded: list[Event]) -> None:
    frames = frames_of(*recorded)
    joined, at, walked = b"".join(frames), 0, []
    while at < len(joined):
        end = frame_end(joined, at)
        walked.append(joined[at:end])
        at = end
    assert walked == frames
    for size in range(len(frames[0])):
        assert frame_end(frames[0][:size], 0) > size


@given(st.binary(max_size=200))
def test_bytes_of_a_stranger_are_a_batch_with_verdicts_or_a_typed_error(data: bytes) -> None:
    try:
        batch = decode_batch(data)
    except WireFormatError:
        return
    assert all(isinstance(event, tuple | RecordRefusedError) for event in batch.events)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b"\x1a\x03\x0a\x01\xff", "unreadable"),  # a run id that is no UTF-8
        (b"\x1a\x7f", "unreadable"),  # a length beyond the end
        (b"garbage", "unreadable"),
        (b"", "unknown_kind"),
        (b"\xfa\x07\x03abc", "unknown_kind"),  # field 127: of a newer client
    ],
)
def test_an_unreadable_event_is_refused_alone(event: bytes, reason: str) -> None:
    before, after = frames_of(node("before"), node("after"))
    data = batch_of_frames(PRODUCER, 7, before + raw_frame(event) + after)
    decoded = decode_batch(data)
    assert verdicts(data) == ["taken", reason, "taken"]
    assert (decoded.producer_id, decoded.first_sequence) == (PRODUCER, 7)
    assert [each.node_id for each in decoded.events if isinstance(each, NodeFinished)] == ["before", "after"]


@pytest.mark.parametrize("data", [b"\xff", b"not a batch", b"\x0a\x10short", b"\x1a\xff\xff\xff\x7f"])
def test_what_is_no_batch_is_a_wire_format_error(data: bytes) -> None:
    with pytest.raises(WireFormatError, match="are not a batch"):
        decode_batch(data)


def test_fields_of_a_newer_client_are_ignored() -> None:
    body = pb.NodeFinished(run_id="run", span_id=1, node_id="draft").SerializeToString() + b"\xfa\x07\x03abc"
    event = b"\x1a" + varint(len(body)) + body
    decoded = decode_event(event)
    assert isinstance(decoded, NodeFinished)
    assert decoded.node_id == "draft"


def test_a_status_of_a_newer_client_is_unspecified_and_left_to_the_door() -> None:
    body = pb.NodeFinished(run_id="run", status=99).SerializeToString()  # type: ignore[arg-type]
    decoded = decode_event(b"\x1a" + varint(len(body)) + body)
    assert isinstance(decoded, NodeFinished)
    assert decoded.status is Status.UNSPECIFIED


def test_usage_that_is_absent_is_not_usage_of_zero() -> None:
    call = LlmCall("run", "c", 0, "n", "openai", "gpt-4o", None, 1, 1)
    frames = frames_of(call, call._replace(usage=Usage()))
    unknown, zero = decode_batch(batch_of_frames(PRODUCER, 0, b"".join(frames))).events
    assert isinstance(unknown, LlmCall)
    assert isinstance(zero, LlmCall)
    assert (unknown.usage, zero.usage) == (None, Usage())


def test_a_stated_cost_that_is_absent_is_not_a_stated_cost_of_zero() -> None:
    call = LlmCall("run", "c", 0, "n", "openai", "gpt-4o", None, 1, 1)
    frames = frames_of(call, call._replace(stated_cost_nanos=0))
    decoded = decode_batch(batch_of_frames(PRODUCER, 0, b"".join(frames))).events
    assert [event.stated_cost_nanos for event in decoded if isinstance(event, LlmCall)] == [None, 0]


def start_of_size(size: int) -> RunStarted:
    """A start whose message has exactly `size` bytes."""
    start = RunStarted("run", "e", "w", 10**18, graph=Graph(nodes=("x" * (size - 100),)))
    encoded = frames_of(start)[0]
    return start._replace(graph=Graph(nodes=("x" * (2 * size - 100 - body_size(encoded)),)))


def body_size(frame: bytes) -> int:
    return pb.Batch.FromString(frame).events[0].run_started.ByteSize()


def test_an_event_at_the_limit_of_its_length_is_encoded_and_one_beyond_is_not() -> None:
    room_of_head = 4  # tag and length of the kind within the event
    longest = start_of_size(EVENT_BYTES_MAX - room_of_head)
    [frame] = frames_of(longest)
    assert frame_end(frame, 0) == len(frame)
    assert verdicts(batch_of_frames(PRODUCER, 0, frame)) == ["taken"]
    with pytest.raises(RecordRefusedError, match="the limit is 65536"):
        frames_of(start_of_size(EVENT_BYTES_MAX - room_of_head + 1))


def test_an_event_that_another_client_made_too_long_is_refused_alone() -> None:
    long = pb.Event(run_started=pb.RunStarted(run_id="run", graph=pb.Graph(nodes=["x" * 100_000])))
    data = batch_of_frames(PRODUCER, 0, raw_frame(long.SerializeToString()) + frames_of(node())[0])
    assert verdicts(data) == ["event_too_long", "taken"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a\x01x", "no event starts with byte 0x0a"),
        (b"\x1a\xff\xff\xff\xff\x0f", "more than four bytes"),
        (bytes((EVENTS_TAG,)) + varint(EVENT_BYTES_MAX + 1), "longer than"),
    ],
)
def test_bytes_that_begin_no_frame_are_a_wire_format_error(data: bytes, message: str) -> None:
    with pytest.raises(WireFormatError, match=message):
        frame_end(data, 0)


@given(uint64)
def test_a_varint_is_protobufs(value: int) -> None:
    assert pb.Batch.FromString(b"\x10" + varint(value)).first_sequence == value


def test_the_generated_code_is_not_stale() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate_wire.py"), "--check"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
