"""Clients that are careless or hostile: what each of them is answered, and that nobody else notices.

The limits of the daemon are lowered where reaching the real ones would only take longer.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from configurable_agents.client.channel import open_channel
from configurable_agents.client.control import start_daemon, stop_daemon
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames
from configurable_agents.wire.v1 import telemetry_pb2 as pb
from configurable_agents.wire.v1 import timeline_pb2, timeline_pb2_grpc

SERVICE = "/configurable_agents.wire.v1.TelemetryService"
PRODUCER = bytes(range(16))
UNREAD_BYTES_MAX = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    """A daemon for all tests that change nothing about it."""
    folder = Path(tempfile.mkdtemp(prefix="aobs-"))
    (folder / "agents-obsd.toml").write_text("mlflow_enabled = false\n")
    home = Home.from_environment(folder)
    start_daemon(home)
    try:
        yield home
    finally:
        stop_daemon(home)
        shutil.rmtree(folder)


LIMITED = """
import sys
from configurable_agents.obsd import __main__ as daemon, limits
for setting in sys.argv[3:]:
    name, value = setting.split("=")
    setattr(limits, name, float(value) if "." in value else int(value))
del sys.argv[3:]
sys.exit(daemon.main())
"""


@pytest.fixture
def limited(home: Home, eventually: Any) -> Iterator[Callable[..., psutil.Process]]:
    """Starts a daemon with other limits; it must stop in order whatever its clients have done."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(**changed: float) -> psutil.Process:
        (home.folder / "agents-obsd.toml").write_text("mlflow_enabled = false\n")
        changes = [f"{name}={value}" for name, value in changed.items()]
        command = [sys.executable, "-c", LIMITED, "--home", str(home.folder), *changes]
        with home.log.open("wb") as log:
            process = subprocess.Popen(command, stderr=log)
        begun.append(process)
        eventually(lambda: "listens on" in home.log.read_text())
        return psutil.Process(process.pid)

    yield start
    for process in begun:
        process.terminate()
        assert process.wait(20) == 0


def batch(*events: Any, first: int = 0, producer: bytes = b"") -> bytes:
    """Of a producer that nobody has heard of, unless one is given."""
    return batch_of_frames(producer or os.urandom(16), first, b"".join(map(EventEncoder().encode, events)))


def send(channel: grpc.Channel, data: bytes, method: str = f"{SERVICE}/ReportBatch", **more: Any) -> pb.Ack:
    call = channel.unary_unary(method, response_deserializer=pb.Ack.FromString)
    return call(data, timeout=10, **more)


def watch_health(channel: grpc.Channel) -> Any:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
    next(watch)
    return watch


# -- one call -----------------------------------------------------------------------------------------


def test_headers_beyond_the_limit_are_refused(shared: Home, events: Any) -> None:
    with open_channel(shared) as channel:
        send(channel, batch(events.node()), metadata=[("note", "x" * (limits.METADATA_BYTES_MAX - 1000))])
        with pytest.raises(grpc.RpcError) as caught:
            send(channel, batch(events.node()), metadata=[("note", "x" * limits.METADATA_BYTES_MAX)])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_compressed_message_is_refused_so_that_a_message_is_as_long_as_it_looks(
    shared: Home, events: Any
) -> None:
    with open_channel(shared) as channel, pytest.raises(grpc.RpcError) as caught:
        send(channel, batch(*[events.node()] * 500), compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "method", [f"{SERVICE}/Drop", "/opentelemetry.Trace/Export", "/x/y", "/" + "n" * 3000]
)
def test_a_service_or_method_there_is_not_is_said_to_be_none(shared: Home, method: str) -> None:
    with open_channel(shared) as channel, pytest.raises(grpc.RpcError) as caught:
        send(channel, b"", method=method)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2, len(data))) + data


def somebody() -> bytes:
    return field(1, os.urandom(16))


FOREIGN = {
    "an event of a kind of the future": (
        somebody() + field(3, field(15, b"new")),
        "unknown_kind",
    ),
    "an event of no kind": (somebody() + field(3, b""), "unknown_kind"),
    "an event that is no protobuf": (somebody() + field(3, b"\xff\xff"), "unreadable"),
    "a name that is no UTF-8": (
        somebody() + field(3, field(3, field(1, b"\xff\xfe") + b"\x11" + bytes(8))),
        "unreadable",
    ),
    "a span without anything else": (
        somebody() + field(3, field(3, b"\x11" + b"\x01" * 8)),
        "no_run_id",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_protobuf_gets_a_typed_refusal_and_is_counted(shared: Home, what: str) -> None:
    data, reason = FOREIGN[what]
    with open_channel(shared) as channel, ReportClient(shared) as client:
        before = client.status().events_refused
        assert send(channel, data) == pb.Ack(
            next_sequence=1, refusals=[pb.Refusal(sequence=0, reason=reason)]
        )
        assert client.status().events_refused == {**before, reason: before.get(reason, 0) + 1}


def test_fields_of_a_newer_client_are_ignored(shared: Home, events: Any) -> None:
    with open_channel(shared) as channel:
        assert send(channel, batch(events.node()) + field(9, b"of the future")) == pb.Ack(next_sequence=1)


# -- many of them -------------------------------------------------------------------------------------


def test_calls_beyond_the_limit_of_all_connections_are_refused_until_others_end(
    home: Home, limited: Any, events: Any
) -> None:
    limited(STREAMS_MAX=4)
    with ExitStack() as stack:
        channels = [stack.enter_context(open_channel(home)) for _ in range(5)]
        watches = [watch_health(channel) for channel in channels[:4]]
        with pytest.raises(grpc.RpcError) as caught:
            send(channels[4], batch(events.node()))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watches[0].cancel()
        assert sent_at_last(channels[4], batch(events.node())).next_sequence == 1


def sent_at_last(channel: grpc.Channel, data: bytes) -> pb.Ack:
    """As a recorder would: again and again."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return send(channel, data)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - it is tried again
    pytest.fail("there was no room at last")


def test_calls_beyond_the_limit_of_one_connection_wait_at_their_client(
    home: Home, limited: Any, events: Any
) -> None:
    limited(CONNECTION_STREAMS_MAX=3)
    with open_channel(home) as channel, open_channel(home) as other:
        watches = [watch_health(channel) for _ in range(3)]
        waiting = channel.unary_unary(f"{SERVICE}/ReportBatch").future(batch(events.node()), timeout=20)
        assert send(other, batch(events.node("n", 1), producer=bytes(16))).next_sequence == 1
        assert not waiting.done()
        watches[0].cancel()
        assert pb.Ack.FromString(waiting.result()).next_sequence == 1


def test_connections_beyond_the_limit_are_closed_at_once(home: Home, limited: Any, events: Any) -> None:
    limited(CONNECTIONS_MAX=4)
    with ExitStack() as stack:
        open_ones = [stack.enter_context(closing(speaking(home))) for _ in range(4)]
        assert all(each.recv(9) for each in open_ones)
        with closing(connected(home)) as fifth:
            assert ended(fifth)
    with open_channel(home) as channel:
        assert send(channel, batch(events.node()), wait_for_ready=True).next_sequence == 1


# -- without gRPC's manners ---------------------------------------------------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"ping!!!!"
ENHANCE_YOUR_CALM = b"\x00\x00\x00\x0b"


def connected(home: Home) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX)
    opened.settimeout(10)
    opened.connect(str(home.socket))
    return opened


def speaking(home: Home) -> socket.socket:
    opened = connected(home)
    opened.sendall(PREFACE)
    return opened


def ended(opened: socket.socket) -> bytes | bool:
    """Whether the other side closes; what it said until then, where it said something."""
    said = b""
    try:
        while part := opened.recv(65_536):
            said += part
    except ConnectionError:
        pass
    return said or True


def test_a_client_that_pings_without_end_is_told_to_calm_down_and_cut_off(shared: Home, events: Any) -> None:
    with closing(speaking(shared)) as opened:
        with suppress(BrokenPipeError):
            opened.sendall(PING * (limits.PING_STRIKES_MAX + 50))
        assert ENHANCE_YOUR_CALM in ended(opened)  # type: ignore[operator]
    with open_channel(shared) as channel:
        assert send(channel, batch(events.node())).next_sequence == 1


@pytest.mark.parametrize("said", [b"", PREFACE[:10]])
def test_a_connection_that_never_begins_to_speak_is_closed(home: Home, limited: Any, said: bytes) -> None:
    limited(HANDSHAKE_MS_MAX=200)
    with closing(connected(home)) as opened:
        opened.sendall(said)
        assert ended(opened)


def test_a_client_that_stops_reading_costs_little_and_is_cut_off(
    home: Home, limited: Any, events: Any
) -> None:
    """Its stream is as fast as it can be; what is sent meanwhile is acknowledged."""
    daemon = limited(UNREAD_S=0.5, WATCH_EVERY_MS_MIN=0)
    with open_channel(home) as channel, open_channel(home) as other:
        names = [events.node_started(f"{number:0250}", span_id=number + 1) for number in range(20)]
        send(other, batch(events.started(), *names, producer=PRODUCER))
        reader = fast_watch(other)
        for _ in range(300):
            next(reader)
        reader.cancel()
        before = daemon.memory_info().rss
        watch = fast_watch(channel)
        next(watch)
        sequence, memory = 21, before
        while "cut off: nothing was read for 0.5 s" not in home.log.read_text():
            ack = send(other, batch(events.node("n", sequence), first=sequence, producer=PRODUCER))
            sequence += 1
            assert ack.next_sequence == sequence, "ingest does not notice"
            memory = max(memory, daemon.memory_info().rss)
        assert memory - before < UNREAD_BYTES_MAX
        with pytest.raises(grpc.RpcError) as caught:
            list(watch)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_clients_that_were_cut_off_and_do_not_go_keep_no_call_from_events(
    home: Home, limited: Any, events: Any
) -> None:
    """gRPC keeps their calls; there are as many as may be for streams of answers, and more for the rest."""
    limited(UNREAD_S=0.2, WATCH_EVERY_MS_MIN=0, ANSWER_STREAMS_MAX=2, STREAMS_MAX=4)
    with ExitStack() as stack:
        held = [stack.enter_context(open_channel(home)) for _ in range(2)]
        other = stack.enter_context(open_channel(home))
        names = [events.node_started(f"{number:0250}", span_id=number + 1) for number in range(20)]
        send(other, batch(events.started(), *names, producer=PRODUCER))
        watches = [fast_watch(channel) for channel in held]
        for watch in watches:
            next(watch)
        while home.log.read_text().count("cut off: nothing was read for 0.2 s") < 2:
            send(other, batch(events.node()))
        with pytest.raises(grpc.RpcError, match="2 timelines and live views are being answered"):
            next(fast_watch(other))
        assert send(other, batch(events.node())).next_sequence == 1
        with ReportClient(home) as client:
            assert client.status().events_committed > 0
        watches[0].cancel()
        assert watched_at_last(other)


def watched_at_last(channel: grpc.Channel) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            next(fast_watch(channel))
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - it is tried again
        else:
            return True
    return False


def fast_watch(channel: grpc.Channel) -> Any:
    stub = timeline_pb2_grpc.TimelineServiceStub(channel)
    return stub.Watch(timeline_pb2.WatchRequest(every_ms=1), timeout=60)


def test_beyond_its_capacity_the_daemon_slows_senders_down_and_loses_nothing(
    home: Home, limited: Any, events: Any
) -> None:
    """Bounds so low that every sender meets them: what is acknowledged is in the ledger, and only that."""
    daemon = limited(PENDING_BYTES_MAX=20_000, ROOMLESS_BYTES_MAX=40_000)
    before, acknowledged, turned_away = daemon.memory_info().rss, [0] * 6, [0] * 6

    def overload(number: int) -> None:
        producer = bytes([number + 1] * 16)
        with open_channel(home) as channel:
            while acknowledged[number] < 3000:
                batches = (
                    batch(
                        *(events.node("n", span + 1, run_id=f"run-{number}") for span in range(at, at + 100)),
                        first=at,
                        producer=producer,
                    )
                    for at in range(acknowledged[number], 3000, 100)
                )
                report = channel.stream_stream(f"{SERVICE}/Report", response_deserializer=pb.Ack.FromString)
                try:
                    for ack in report(batches, timeout=60):
                        acknowledged[number] = ack.next_sequence
                except grpc.RpcError as error:
                    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - it tries again
                    turned_away[number] += 1

    senders = [threading.Thread(target=overload, args=(number,)) for number in range(6)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert acknowledged == [3000] * 6
    with ReportClient(home) as client:
        assert client.profile_report(Scope()).nodes[0].calls == 18_000
        assert client.status().bytes_pending == 0
    with closing(open_for_reading(home.ledger)) as connection:
        assert connection.execute("SELECT COUNT(*), SUM(call_index) FROM node_executions").fetchone() == (
            18_000,
            6 * 3000 * 3001 // 2,
        )
        assert connection.execute("SELECT SUM(events_missing) FROM producers").fetchone() == (0,)
    assert daemon.memory_info().rss - before < 64 * 1024 * 1024
