"""An OTLP collector on loopback that takes everything and keeps nothing: the cheapest end a peer can have."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc


class _TakeAll(grpc.GenericRpcHandler):
    def service(self, _details: Any) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


@contextmanager
def otlp_sink() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=(_TakeAll(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0)
