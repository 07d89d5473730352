"""A TCP proxy in front of an MLflow server, which does to its traffic what networks and servers do."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHUNK_BYTES = 64 * 1024
HUGE_BODY_BYTES = 8 * 1024**3
"""More than any machine's worker should take; it is made as it is read."""

SLOW_BYTES = 64
SLOW_S = 0.01

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: closing resets."""


def _answer(status: str, body: bytes, kind: str = "text/html", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}"
    return f"{head}Connection: close\r\n\r\n".encode() + body


PAGE = b"<html><body>not MLflow</body></html>"


class Exchange:
    """One request and what is done with it. A fault is a function of it."""

    def __init__(self, proxy: MlflowProxy, client: socket.socket, request: bytes) -> None:
        self.proxy = proxy
        self.client = client
        self.request = request

    def forward(self) -> bytes:
        """Has the server do what was asked. Returns its whole answer."""
        with socket.create_connection(self.proxy.server, timeout=60) as server:
            server.sendall(self.request)
            return _read_message(server)

    def send(self, data: bytes) -> None:
        self.client.sendall(data)

    def reset(self) -> None:
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def none(exchange: Exchange) -> None:
    exchange.send(exchange.forward())


def hang(exchange: Exchange) -> None:
    """Nothing is done and nothing answered, until the client gives up or the proxy ends."""
    with contextlib.suppress(OSError):
        exchange.client.settimeout(None)
        exchange.client.recv(1)


def reset(exchange: Exchange) -> None:
    exchange.reset()


def commit_then_reset(exchange: Exchange) -> None:
    exchange.forward()
    exchange.reset()


def commit_then_500(exchange: Exchange) -> None:
    """It is done, and the answer says that it is not."""
    exchange.forward()
    exchange.send(_answer("500 Internal Server Error", PAGE))


def commit_then_half(exchange: Exchange) -> None:
    """It is done, and half of the answer arrives."""
    answer = exchange.forward()
    exchange.send(answer[: len(answer) // 2])


def error_502(exchange: Exchange) -> None:
    exchange.send(_answer("502 Bad Gateway", PAGE))


def error_400(exchange: Exchange) -> None:
    """As a gateway says of a request that is not its own."""
    exchange.send(_answer("400 Bad Request", PAGE))


def error_404(exchange: Exchange) -> None:
    exchange.send(_answer("404 Not Found", PAGE))


def error_429(exchange: Exchange) -> None:
    exchange.send(_answer("429 Too Many Requests", PAGE, headers="Retry-After: 600\r\n"))


def page_for_json(exchange: Exchange) -> None:
    """As a login page does."""
    exchange.send(_answer("200 OK", PAGE))


def redirect(exchange: Exchange) -> None:
    """To an address that must not be asked."""
    host, port = exchange.proxy.trap
    location = f"Location: http://{host}:{port}/trap\r\n"
    exchange.send(_answer("307 Temporary Redirect", b"", headers=location))


def huge_body(exchange: Exchange) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {HUGE_BODY_BYTES}\r\n\r\n"
    exchange.send(head.encode())
    chunk = b" " * CHUNK_BYTES
    for _ in range(HUGE_BODY_BYTES // CHUNK_BYTES):
        exchange.send(chunk)


def slow(exchange: Exchange) -> None:
    answer = exchange.forward()
    for start in range(0, len(answer), SLOW_BYTES):
        exchange.send(answer[start : start + SLOW_BYTES])
        exchange.proxy.pause(SLOW_S)


FAULTS: dict[str, Callable[[Exchange], None]] = {
    each.__name__: each
    for each in (
        reset,
        commit_then_reset,
        commit_then_500,
        commit_then_half,
        error_502,
        error_400,
        error_404,
        error_429,
        page_for_json,
        redirect,
        slow,
        hang,
        huge_body,
    )
}


class MlflowProxy:
    """Passes requests on, each on a connection of its own; `fault` is done to some of them."""

    def __init__(self, server: tuple[str, int], chances: random.Random) -> None:
        self.server = server
        self._chances = chances
        self._fault: Callable[[Exchange], None] = none
        self._often = 0.0
        self._closing = threading.Event()
        self._listener = _listener()
        self._trap = _listener()
        self.done: Counter[str] = Counter()
        self.trapped = 0
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def trap(self) -> tuple[str, int]:
        return self._trap.getsockname()

    def fail(self, fault: str, *, often: float) -> None:
        """From now on, this is done to so many of the requests (1: to all)."""
        self._fault, self._often = FAULTS[fault], often

    def heal(self) -> None:
        self._often = 0.0

    def pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def start(self) -> None:
        for listener, handle in ((self._listener, self._exchange), (self._trap, self._count_trapped)):
            self._run(self._accept, listener, handle)

    def close(self) -> None:
        self._closing.set()
        for each in (self._listener, self._trap, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
        while not self._closing.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._open.add(client)
            self._run(self._handle, client, handle)

    def _handle(self, client: socket.socket, handle: Callable[[socket.socket], None]) -> None:
        with contextlib.suppress(OSError):  # the client has gone, which is its right
            client.settimeout(60)
            handle(client)
        self._open.discard(client)
        client.close()

    def _exchange(self, client: socket.socket) -> None:
        request = _read_message(client)
        if not request:
            return
        does = self._fault if self._chances.random() < self._often else none
        self.done[does.__name__] += 1
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        does(Exchange(self, client, b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body))

    def _count_trapped(self, client: socket.socket) -> None:
        self.trapped += 1
        client.sendall(_answer("200 OK", b"{}", "application/json"))


@contextmanager
def mlflow_proxy(server: tuple[str, int], chances: random.Random) -> Iterator[MlflowProxy]:
    proxy = MlflowProxy(server, chances)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.listen(64)
    return listener


def _read_message(connection: socket.socket) -> bytes:
    """A whole HTTP message, with a length or until its end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(CHUNK_BYTES)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    is_answer = head.startswith(b"HTTP/")
    while (not lengths and is_answer) or (lengths and len(body) < lengths[0]):
        more = connection.recv(CHUNK_BYTES)
        if not more:
            break
        body += more
    return head + b"\r\n\r\n" + body
