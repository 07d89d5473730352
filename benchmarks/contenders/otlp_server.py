"""A peer's server that takes OTLP traces on loopback: started, sent spans, asked until it has them all."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from answering import absent, answer

SPANS_AT_ONCE = 500
START_TIMEOUT_S = 120.0
DURABLE_TIMEOUT_S = 120.0
OK = 200


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A peer's server process, stopped with this program."""

    def __init__(self, command: list[str], variables: dict[str, str], *, database: Path, table: str) -> None:
        self._database, self._table = database, table
        log = (database.parent / "log").open("wb")
        self.process = subprocess.Popen(
            command, env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True
        )

    def spans(self) -> int:
        """How many spans are committed."""
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=30)) as connection:
            return int(connection.execute(f"SELECT COUNT(*) FROM {self._table}").fetchone()[0])

    def wait_for(self, address: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                log = (self._database.parent / "log").read_text(errors="replace").strip().splitlines()
                absent(f"its server ended: {log[-1][:160] if log else 'without a word'}")
            try:
                with urllib.request.urlopen(address, timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.stop()
        absent(f"its server did not answer within {START_TIMEOUT_S:g} s")

    def rss_mb(self) -> float:
        whole = psutil.Process(self.process.pid)
        return float(sum(each.memory_info().rss for each in (whole, *whole.children(recursive=True))) / 1e6)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def phoenix(folder: Path) -> tuple[Server, Callable[[bytes], None]]:
    import phoenix as peer

    assert peer is not None
    port, grpc_port = free_port(), free_port()
    variables = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    command = [str(Path(sys.executable).with_name("phoenix")), "serve"]
    server = Server(command, variables, database=folder / "phoenix.db", table="spans")
    server.wait_for(f"http://127.0.0.1:{port}/healthz")
    import grpc

    method = grpc.insecure_channel(f"127.0.0.1:{grpc_port}").unary_unary(
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    )
    return server, lambda data: method(data, timeout=60)


def mlflow(folder: Path) -> tuple[Server, Callable[[bytes], None]]:
    import mlflow as peer

    assert peer is not None
    port = free_port()
    store = f"sqlite:///{folder}/mlflow.db"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", store, "--workers", "1", "--artifacts-destination", str(folder)),
    ]
    server = Server(command, {"MLFLOW_TRACKING_URI": store}, database=folder / "mlflow.db", table="spans")
    server.wait_for(f"http://127.0.0.1:{port}/health")

    def send(data: bytes) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/traces",
            data=data,
            headers={"content-type": "application/x-protobuf", "x-mlflow-experiment-id": "0"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            if response.status != OK:
                raise RuntimeError(f"it answered {response.status}")

    return server, send


def export_request(spans: int) -> bytes:
    """An `ExportTraceServiceRequest` of one trace."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    added = request.resource_spans.add().scope_spans.add().spans
    trace_id, root, now = secrets.token_bytes(16), secrets.token_bytes(8), time.time_ns()
    for index in range(spans):
        added.add(
            trace_id=trace_id,
            span_id=secrets.token_bytes(8) if index else root,
            parent_span_id=root if index else b"",
            name=f"node-{index % 12}",
            start_time_unix_nano=now + index,
            end_time_unix_nano=now + index + 1_000_000,
        )
    return request.SerializeToString()


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-peer-"))
    try:
        server, send = {"phoenix": phoenix, "mlflow": mlflow}[sys.argv[1]](folder)
    except ImportError as error:
        absent(f"not installed ({error})")

    def turn(events: int) -> dict[str, Any]:
        """Spans per second until they are in its database, not until it has said that it took them."""
        requests = [
            export_request(min(SPANS_AT_ONCE, events)) for _ in range(max(1, events // SPANS_AT_ONCE))
        ]
        wanted = server.spans() + min(SPANS_AT_ONCE, events) * len(requests)
        began = time.perf_counter()
        for request in requests:
            send(request)
        while server.spans() < wanted and time.perf_counter() - began < DURABLE_TIMEOUT_S:
            time.sleep(0.02)
        stored = server.spans() - wanted + min(SPANS_AT_ONCE, events) * len(requests)
        return {"per_second": stored / (time.perf_counter() - began), "rss_mb": server.rss_mb()}

    answer(turn, finish=server.stop)


if __name__ == "__main__":
    main()
