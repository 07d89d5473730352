"""Daemons as a workflow must be able to live with: each listens on the socket of a state folder."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from configurable_agents.client.home import Home
from configurable_agents.wire.v1 import telemetry_pb2 as pb

SERVICE = "configurable_agents.wire.v1.TelemetryService"
SLOW_S = 0.4


def slow(batches: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    """Acknowledges what it gets, one batch at a time, late."""
    for data in batches:
        time.sleep(SLOW_S)
        batch = pb.Batch.FromString(data)
        yield pb.Ack(next_sequence=batch.first_sequence + len(batch.events)).SerializeToString()


def silent(batches: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Reads everything and acknowledges nothing."""
    for _ in batches:
        pass
    yield from ()


def unread(_: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Never reads, until the stream ends."""
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(60)
    yield from ()


def refusing(_: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")
    yield b""


def ending(batches: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    """Ends every stream after its first batch, as if all were well."""
    next(batches, None)
    yield from ()


def going_back(batches: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    """Acknowledges less and less."""
    for number, _data in enumerate(batches):
        yield pb.Ack(next_sequence=max(0, 10 - number)).SerializeToString()


def flooding(_: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Acknowledges what was never sent, refuses it too, without end."""
    refusals = [pb.Refusal(sequence=number, reason="x" * 200) for number in range(500)]
    answer = pb.Ack(next_sequence=0, refusals=refusals).SerializeToString()
    while context.is_active():
        yield answer


def overreaching(batches: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    """Acknowledges, once, far more than there is."""
    next(batches, None)
    yield pb.Ack(next_sequence=2**40).SerializeToString()
    for _data in batches:
        pass


def nonsense(batches: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    for _data in batches:
        yield b"\xff\xff\xff no protobuf"


def huge(batches: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    for _data in batches:
        yield pb.Ack(refusals=[pb.Refusal(reason="x" * (64 * 1024 * 1024))]).SerializeToString()


BEHAVIOURS: dict[str, Callable[..., Iterator[bytes]]] = {
    each.__name__: each
    for each in (slow, silent, unread, refusing, ending, going_back, flooding, overreaching, nonsense, huge)
}


@contextmanager
def hostile_daemon(home: Home, behaviour: str) -> Iterator[None]:
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)])
    method: Any = grpc.stream_stream_rpc_method_handler(BEHAVIOURS[behaviour])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Report": method}),))
    server.add_insecure_port(home.address)
    server.start()
    try:
        yield
    finally:
        server.stop(0).wait()


@contextmanager
def no_grpc(home: Home, answer: bytes) -> Iterator[None]:
    """Takes every connection, says something that is no gRPC (or nothing), and keeps it open."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(home.socket))
    listener.listen()
    taken: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed from outside
            while True:
                connection, _ = listener.accept()
                taken.append(connection)
                if answer:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in taken:
            connection.close()
        home.socket.unlink(missing_ok=True)
