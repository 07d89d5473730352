"""An MLflow that is too old is refused in words, and the export goes on by itself when it is new enough."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from configurable_agents.client.home import Home
from configurable_agents.errors import AgentsObsError
from configurable_agents.obsd.app import WriterThread
from configurable_agents.obsd.config import Settings
from configurable_agents.obsd.exporters import supervisor as supervisor_module
from configurable_agents.obsd.exporters.mlflow import failure
from configurable_agents.obsd.exporters.mlflow_version import check_version
from configurable_agents.obsd.exporters.supervisor import ExportSupervisor
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.records import Batch


class Server(ThreadingHTTPServer):
    """Says a version, and takes what an export needs to write."""

    def __init__(self, artifacts: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.version: tuple[int, str] = (200, "3.16.0")
        self.artifacts = artifacts
        self.metrics: list[dict[str, Any]] = []
        self.paths: list[str] = []

    @property
    def uri(self) -> str:
        return f"http://user:secret@127.0.0.1:{self.server_port}"

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        self.paths.append(path)
        if path == "/version":
            return self.version
        call = path.partition("/mlflow/")[2].partition("?")[0]
        if call == "experiments/get-by-name":
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
        if call == "experiments/create":
            return 200, {"experiment_id": "1"}
        if call == "runs/log-batch":
            self.metrics += body.get("metrics", [])
        if call in {"runs/create", "runs/get", "runs/update"}:
            info = {
                "run_id": "m1",
                "experiment_id": "1",
                "status": "RUNNING",
                "start_time": 1,
                "lifecycle_stage": "active",
                "artifact_uri": self.artifacts.as_uri(),
            }
            return 200, {"run": {"info": info, "data": {}}, "run_info": info}
        return 200, {}


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}"))

    def _answer(self, body: Any) -> None:
        code, answer = self.server.answer(self.path, body)
        content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "artifacts") as made:
        serving = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield made
        made.shutdown()
        serving.join()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, "3.15.4"), "is version 3.15.4, which fails on repeated points; upgrade it to 3.16 or newer"),
        ((200, "2.22.1\n"), "is version 2.22.1"),
        ((200, "<html>"), "does not say which MLflow it is"),
        ((404, "no"), "does not say which MLflow it is ('HTTP 404')"),
        ((401, "no"), "does not let us in (HTTP 401); set MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_a_server_that_is_too_old_or_says_nothing_of_itself_is_refused_with_what_to_do(
    server: Server, answer: tuple[int, str], said: str
) -> None:
    server.version = answer
    with pytest.raises(AgentsObsError) as refused:
        check_version(server.uri)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)
    assert server.paths == ["/version"], "nothing else was asked of it"


@pytest.mark.parametrize("version", ["3.16.0", "3.17.2", "3.16.0rc1", "4.0.0.dev0"])
def test_a_server_that_is_new_enough_is_taken(server: Server, version: str) -> None:
    server.version = (200, version)
    check_version(server.uri)


def test_an_error_of_mlflow_with_an_address_in_it_tells_no_password(server: Server) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = server.uri.replace(str(server.server_port), "9")
    with pytest.raises(MlflowException, match="secret") as refused:
        MlflowClient(uri).search_experiments()
    said = failure(refused.value).error
    assert "127.0.0.1:9/" in said
    assert "secret" not in said


def test_a_server_in_trouble_is_one_to_try_again_and_not_one_to_refuse(server: Server) -> None:
    server.version = (503, "later")
    with pytest.raises(ConnectionError, match="answers HTTP 503"):
        check_version(server.uri)


def test_a_store_needs_an_installed_mlflow_that_is_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    check_version("sqlite:///mlflow.db")
    monkeypatch.setattr(mlflow, "__version__", "3.15.0")
    with pytest.raises(AgentsObsError, match=r"MLflow 3\.15\.0 is too old; install 3\.16 or newer"):
        check_version("sqlite:///mlflow.db")


@pytest.fixture(autouse=True)
def _one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the daemon sets it for its worker."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what it waits for happens in another process
        await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_nothing_is_sent_to_an_old_server_and_everything_once_it_is_upgraded(
    home: Home, server: Server, pricer: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "HOPELESS_BACKOFF_S", 0.01)
    server.version = (200, "3.9.0")
    with SqliteLedger(home.ledger, pricer) as ledger:
        ledger.commit([Batch(bytes(16), 0, events.whole_run("run")[:4])])
        settings = Settings(mlflow_tracking_uri=server.uri)
        supervisor = ExportSupervisor(
            home, settings, ledger, WriterThread(lambda error: pytest.fail(str(error)))
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.run)
            with anyio.fail_after(60):
                await until(lambda: "is version 3.9.0" in supervisor.status().last_error)
                await until(lambda: supervisor.status().state == "retrying")
                assert set(server.paths) == {"/version"}
                ledger.commit([Batch(bytes(16), 4, events.whole_run("run")[4:6])])
                assert ledger.exporter_state("mlflow")[0] == 0
                server.version = (200, "3.16.0")
                await until(lambda: ledger.exporter_state("mlflow")[0] == 6)
                await until(lambda: supervisor.status().last_error == "")
            tasks.cancel_scope.cancel()
    steps = [
        (metric["key"], metric["step"]) for metric in server.metrics if metric["key"].startswith("node_")
    ]
    assert sorted(steps) == [("node_node-0_duration_ms", 1), ("node_node-1_duration_ms", 1)]
