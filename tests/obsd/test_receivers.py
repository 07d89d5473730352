"""Ways in: every sender gets its own answer, in order, and no sender can spoil another's."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from configurable_agents.client.channel import open_channel
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.client.segments import SUFFIX, list_segments
from configurable_agents.client.spool import Spool
from configurable_agents.client.spool_reader import read_chunks
from configurable_agents.obsd import limits
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.producers import Producers
from configurable_agents.obsd.receivers.spool import SpoolReceiver
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames
from configurable_agents.wire.v1 import telemetry_pb2 as pb

SERVICE = "/configurable_agents.wire.v1.TelemetryService"
PRODUCER = bytes(range(16))
OTHER = bytes(16)


def encoded(events: list[Any]) -> bytes:
    encoder = EventEncoder()
    return b"".join(encoder.encode(event) for event in events)


def batch(events: list[Any], first: int = 0, producer: bytes = PRODUCER) -> bytes:
    return batch_of_frames(producer, first, encoded(events))


@pytest.fixture
def channel(daemon: Any, home: Home) -> Iterator[grpc.Channel]:
    with open_channel(home) as opened:
        yield opened


def stream(channel: grpc.Channel, batches: Iterator[bytes]) -> Any:
    return channel.stream_stream(f"{SERVICE}/Report", response_deserializer=pb.Ack.FromString)(
        batches, timeout=20
    )


def send(channel: grpc.Channel, data: bytes) -> pb.Ack:
    return channel.unary_unary(f"{SERVICE}/ReportBatch", response_deserializer=pb.Ack.FromString)(
        data, timeout=20
    )


def calls_of(home: Home) -> dict[str, int]:
    with ReportClient(home) as client:
        return {node.node_id: node.calls for node in client.profile_report(Scope()).nodes}


# -- gRPC -------------------------------------------------------------------------------------------


def test_batches_sent_one_after_the_other_are_acknowledged_in_order(
    channel: Any, home: Home, events: Any
) -> None:
    batches = [batch([events.node(f"n{index}", index + 1)], index) for index in range(300)]
    acknowledged = [ack.next_sequence for ack in stream(channel, iter(batches))]
    assert acknowledged == list(range(1, 301))
    assert len(calls_of(home)) == 300


def test_a_stream_stays_open_between_batches(channel: Any, events: Any) -> None:
    outgoing: queue.Queue[bytes | None] = queue.Queue()
    acks = stream(channel, iter(outgoing.get, None))
    for index in range(5):
        outgoing.put(batch([events.node("n", index + 1)], index))
        assert next(acks).next_sequence == index + 1
    outgoing.put(None)
    assert list(acks) == []


def test_one_stream_may_speak_for_several_producers_whose_batches_alternate(
    channel: Any, home: Home, events: Any
) -> None:
    batches = [
        batch([events.node(f"of {producer[0]}", index + 1, run_id=f"run-{producer[0]}")], index, producer)
        for index in range(50)
        for producer in (PRODUCER, OTHER, b"\x07" * 16)
    ]
    assert [ack.next_sequence for ack in stream(channel, iter(batches))][-3:] == [50, 50, 50]
    assert calls_of(home) == {"of 0": 100, "of 7": 50}


def test_a_single_batch_is_acknowledged_with_its_refusals(channel: Any, events: Any) -> None:
    ack = send(channel, batch([events.node(), events.node("new\nline", 2), events.node("b", 3)]))
    assert ack == pb.Ack(next_sequence=3, refusals=[pb.Refusal(sequence=1, reason="unprintable_name")])


def test_an_empty_batch_asks_how_far_the_daemon_is(channel: Any, events: Any) -> None:
    assert send(channel, batch([])).next_sequence == 0
    send(channel, batch([events.node()]))
    assert send(channel, batch([])).next_sequence == 1


BAD = {
    "a producer id of 15 bytes": lambda events: batch([events.node()], producer=PRODUCER[:15]),
    "no producer id": lambda events: encoded([events.node()]),
    "too many events": lambda events: batch([events.node()] * (limits.BATCH_EVENTS_MAX + 1)),
    "bytes that are no batch": lambda _: b"\xff\xff\xff",
    "a sequence beyond 63 bits": lambda events: batch([events.node()], 2**63 - 10),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_batch_ends_its_own_call_and_no_other(
    channel: Any, home: Home, events: Any, name: str
) -> None:
    outgoing: queue.Queue[bytes | None] = queue.Queue()
    other = stream(channel, iter(outgoing.get, None))
    outgoing.put(batch([events.node("other", 1)], 0, OTHER))
    assert next(other).next_sequence == 1

    bad = BAD[name](events)
    with pytest.raises(grpc.RpcError) as alone:
        send(channel, bad)
    assert alone.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    acks = stream(channel, iter([batch([events.node("good", 1)]), bad, batch([events.node("after", 2)], 1)]))
    assert next(acks).next_sequence == 1, "what came before it is acknowledged"
    with pytest.raises(grpc.RpcError) as streamed:
        next(acks)
    assert streamed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "\n" not in str(streamed.value.details())

    outgoing.put(batch([events.node("other", 2)], 1, OTHER))
    assert next(other).next_sequence == 2
    outgoing.put(None)
    assert calls_of(home) == {"good": 1, "other": 2}


def test_as_many_events_as_a_batch_may_have_are_taken(channel: Any, events: Any) -> None:
    nodes = [events.node("n", index + 1) for index in range(limits.BATCH_EVENTS_MAX)]
    assert send(channel, batch(nodes)).next_sequence == limits.BATCH_EVENTS_MAX


def test_a_message_beyond_its_limit_is_refused_and_others_are_not(channel: Any, events: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        send(channel, b"\x1a" * (limits.MESSAGE_BYTES_MAX + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert send(channel, batch([events.node()])).next_sequence == 1


def test_a_stream_speaks_for_a_bounded_number_of_producers(channel: Any, events: Any) -> None:
    def producer(number: int) -> bytes:
        return number.to_bytes(16, "big")

    count = limits.STREAM_PRODUCERS_MAX
    acks = stream(channel, (batch([events.node()], 0, producer(number)) for number in range(count + 1)))
    for _ in range(count):
        assert next(acks).next_sequence == 1
    with pytest.raises(grpc.RpcError) as caught:
        next(acks)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_client_that_leaves_without_a_word_is_forgotten(
    channel: Any, home: Home, events: Any, eventually: Callable[..., None]
) -> None:
    outgoing: queue.Queue[bytes | None] = queue.Queue()
    acks = stream(channel, iter(outgoing.get, None))
    outgoing.put(batch([events.node()]))
    next(acks)
    with ReportClient(home) as client:
        assert client.status().producers_connected == 1
        acks.cancel()
        outgoing.put(None)
        eventually(lambda: client.status().producers_connected == 0)
    assert "Traceback" not in home.log.read_text()


# -- spools -----------------------------------------------------------------------------------------


ORPHAN = """
import os, sys
from configurable_agents.client.home import Home
from configurable_agents.client.spool import Spool
sys.path.insert(0, "")
folder, producer, bound = sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3])
is_mapped = sys.argv[4] == "mapped"
spool = Spool(Home.from_environment(folder).spool, producer, is_mapped=is_mapped, segment_bytes_max=bound)
for line in sys.stdin:
    spool.append(bytes.fromhex(line.strip()))
os._exit(0)
"""


@pytest.fixture
def orphan(home: Home) -> Callable[..., list[Any]]:
    """Leaves the spool of a process that is gone, and returns its segments."""

    def leave(
        events: list[Any],
        *,
        producer: bytes = PRODUCER,
        segment_bytes_max: int = 10**6,
        form: str = "mapped",
    ) -> list[Any]:
        home.spool.mkdir(mode=0o700, exist_ok=True)
        frames = "".join(f"{EventEncoder().encode(event).hex()}\n" for event in events)
        arguments = [str(home.folder), producer.hex(), str(segment_bytes_max), form]
        command = [sys.executable, "-c", ORPHAN, *arguments]
        subprocess.run(command, input=frames, text=True, check=True)
        return list_segments(home.spool)[producer]

    return leave


def test_the_spool_of_a_process_that_is_gone_is_taken_in_and_removed(
    home: Home, start: Any, orphan: Any, events: Any, eventually: Callable[..., None]
) -> None:
    orphan([events.node(f"n{index}", index + 1) for index in range(3000)], segment_bytes_max=20_000)
    orphan([events.node("other", 1, run_id="other")], producer=OTHER)
    start()
    eventually(lambda: list_segments(home.spool) == {})
    assert calls_of(home) == {**{f"n{index}": 1 for index in range(3000)}, "other": 1}


def test_the_spool_of_a_process_that_lives_and_never_connects_is_taken_in_as_it_grows(
    home: Home, daemon: Any, events: Any, eventually: Callable[..., None]
) -> None:
    home.spool.mkdir(mode=0o700, exist_ok=True)
    spool, encoder = Spool(home.spool, PRODUCER, segment_bytes_max=5000), EventEncoder()
    for part in range(3):
        for index in range(200):
            spool.append(encoder.encode(events.node(f"part {part}", part * 200 + index + 1)))
        eventually(lambda: sum(calls_of(home).values()) == spool.next_sequence)
    eventually(lambda: len(list_segments(home.spool)[PRODUCER]) == 1)
    assert calls_of(home) == {f"part {part}": 200 for part in range(3)}
    spool.close(acknowledged_sequence=0)
    eventually(lambda: list_segments(home.spool) == {})


@pytest.mark.anyio
async def test_a_process_that_has_just_begun_a_segment_is_not_taken_for_gone(
    tmp_path: Path, events: Any
) -> None:
    """Between the look at the folder and the try of the lock, the newest segment became an older one."""
    spool, encoder, gone = Spool(tmp_path, PRODUCER, segment_bytes_max=100), EventEncoder(), []
    spool.append(encoder.encode(events.node("first", 1)))
    seen = list_segments(tmp_path)[PRODUCER]
    for span in range(2, 9):
        spool.append(encoder.encode(events.node("n", span)))

    async def nothing_known(_: bytes) -> int:
        return 0

    async def note(producer_id: bytes) -> None:
        gone.append(producer_id)

    async def must_not_commit(_: object) -> Any:
        pytest.fail("it lives; the next look sees")

    intake = Intake(must_not_commit, lambda _: None, next_sequence=must_not_commit)
    receiver = SpoolReceiver(tmp_path, intake, Producers(), next_sequence=nothing_known, gone=note)
    await receiver._take_producer(PRODUCER, seen, is_new=False)
    assert gone == []
    assert seen[0].path.exists()


@pytest.mark.anyio
async def test_what_a_process_left_that_was_killed_before_its_first_event_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f"{PRODUCER.hex()}-{0:020d}.new"
    left.touch()
    os.utime(left, (1, 1))

    async def never(_: object) -> Any:
        pytest.fail("there is nothing to take in")

    intake = Intake(never, lambda _: None, next_sequence=never)
    await SpoolReceiver(tmp_path, intake, Producers(), next_sequence=never, gone=never).look()
    assert not left.exists()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("form", ["mapped", "written"])
def test_a_damaged_spool_is_taken_in_up_to_the_damage_and_set_aside(
    home: Home, start: Any, orphan: Any, events: Any, eventually: Callable[..., None], form: str
) -> None:
    [segment] = orphan([events.node(f"n{index}", index + 1) for index in range(100)], form=form)
    data = bytearray(segment.path.read_bytes())
    data[data.index(b"n60") + 1] ^= 0xFF
    segment.path.write_bytes(data)
    orphan([events.node("other", 1, run_id="other")], producer=OTHER)
    start()
    damaged = segment.path.with_name(segment.path.name + ".damaged")
    eventually(lambda: damaged.exists() and "other" in calls_of(home))
    assert calls_of(home) == {**{f"n{index}": 1 for index in range(60)}, "other": 1}
    assert damaged.read_bytes() == data
    assert "is damaged" in home.log.read_text()


def test_a_segment_without_a_usable_name_or_head_keeps_no_other_waiting(
    home: Home, start: Any, orphan: Any, events: Any, eventually: Callable[..., None]
) -> None:
    home.spool.mkdir(mode=0o700, exist_ok=True)
    strangers = [
        home.spool / f"{'00' * 16}-{10**20 - 1:020d}{SUFFIX}",
        home.spool / f"{'01' * 16}-{0:020d}{SUFFIX}",
    ]
    for path in strangers:
        path.write_bytes(b"nothing of ours")
    (home.spool / f"{'02' * 16}-{0:020d}{SUFFIX}").mkdir()
    orphan([events.node()], producer=b"\xff" * 16)
    start()
    eventually(lambda: calls_of(home) == {"draft": 1})
    eventually(lambda: all(path.with_name(path.name + ".damaged").exists() for path in strangers))
    eventually(lambda: home.log.read_text().count("a spool cannot be read") == 1)


def test_a_torn_tail_of_a_process_that_is_gone_is_no_damage(
    home: Home, start: Any, orphan: Any, events: Any, eventually: Callable[..., None]
) -> None:
    for number, form in enumerate(("mapped", "written")):
        recorded = [events.node(f"whole, {form}", 1, run_id=form), events.node("torn", 2, run_id=form)]
        [segment] = orphan(recorded, producer=bytes([number]) * 16, form=form)
        [chunk] = read_chunks(segment)
        if form == "written":
            os.truncate(segment.path, chunk.end_offset - 3)
        else:  # of the two stores the first was half done
            with segment.path.open("r+b") as file:
                file.seek(chunk.end_offset - len(EventEncoder().encode(recorded[1])) - 4)
                file.write(bytes(4))
                file.seek(chunk.end_offset - 9)
                file.write(bytes(9))
    start()
    eventually(lambda: list_segments(home.spool) == {} and len(calls_of(home)) == 2)
    assert calls_of(home) == {"whole, mapped": 1, "whole, written": 1}
    assert list(home.spool.iterdir()) == []


def test_a_spool_taken_in_and_sent_by_its_owner_too_is_there_once(
    home: Home, start: Any, events: Any, eventually: Callable[..., None]
) -> None:
    home.spool.mkdir(mode=0o700, exist_ok=True)
    spool = Spool(home.spool, PRODUCER)
    nodes = [events.node(f"n{index}", index + 1) for index in range(500)]
    encoder = EventEncoder()
    for node in nodes:
        spool.append(encoder.encode(node))
    start()
    with open_channel(home) as channel:
        assert send(channel, batch(nodes[:250])).next_sequence >= 250
    spool.close(acknowledged_sequence=0)
    eventually(lambda: list_segments(home.spool) == {})
    assert calls_of(home) == {f"n{index}": 1 for index in range(500)}


def test_every_event_is_durable_before_it_is_acknowledged(channel: Any, home: Home, events: Any) -> None:
    """Each acknowledgement is checked against the file the moment it arrives."""
    outgoing: queue.Queue[bytes | None] = queue.Queue()
    acks = stream(channel, iter(outgoing.get, None))
    with closing(open_for_reading(home.ledger)) as connection:
        for index in range(100):
            outgoing.put(batch([events.node("n", index + 1)], index))
            acknowledged = next(acks).next_sequence
            committed = connection.execute("SELECT COUNT(*) FROM node_executions").fetchone()[0]
            assert committed >= acknowledged
    outgoing.put(None)


def test_the_folder_of_spools_may_be_missing(
    home: Home, daemon: Any, eventually: Callable[..., None]
) -> None:
    assert not Path(home.spool).exists()
    with ReportClient(home) as client:
        assert client.status().spool_bytes == 0
