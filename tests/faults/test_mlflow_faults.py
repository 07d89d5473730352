"""A real MLflow server behind a faulty network: everything arrives once, and nothing is taken for poison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from harness.exporting import Exporting
from harness.mlflow_proxy import FAULTS, MlflowProxy, mlflow_proxy
from harness.mlflow_server import mlflow_server
from harness.seeds import Seed
from harness.site import Site

from configurable_agents.obsd.exporters.supervisor import worker_environment

pytestmark = pytest.mark.acceptance

ATTEMPTS = 2
FAULTY_SHARE = 0.5


class Server(NamedTuple):
    address: tuple[str, int]
    store_uri: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests here: starting one takes seconds."""
    folder = tmp_path_factory.mktemp("server")
    store_uri = f"sqlite:///{folder}/mlflow.db"
    with mlflow_server(folder, store_uri) as address:
        yield Server(address, store_uri)


@pytest.fixture
def proxy(server: Server, seed: Seed, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowProxy]:
    for name, value in worker_environment().items():
        monkeypatch.setenv(name, value)
    with mlflow_proxy(server.address, seed.chances("proxy")) as made:
        yield made


def exporting(folder: Path, proxy: MlflowProxy, server: Server) -> Exporting:
    import mlflow

    return Exporting(folder, mlflow.MlflowClient(tracking_uri=proxy.uri), server.store_uri)


FAST = [fault for fault in FAULTS if fault != "huge_body"]
"""A huge body takes all the memory of a worker, so it needs one: it has a test of its own."""

DAEMON_BYTES_MAX = 256 * 2**20


@pytest.mark.parametrize("fault", FAST)
def test_everything_is_exported_once_through_a_network_that_fails(
    tmp_path: Path, proxy: MlflowProxy, server: Server, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with exporting(tmp_path, proxy, server) as export:
        proxy.fail(fault, often=FAULTY_SHARE)
        if fault == "hang":
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        for number in range(ATTEMPTS):
            export.commit_run(f"{fault}-{number}", experiment=f"through {fault}")
            export.attempt()
        assert proxy.done[fault], "nothing failed, so nothing was tested"
        proxy.heal()
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        assert export.attempt() is None
        assert export.set_aside() == []
        assert proxy.trapped == 0, "a redirect was followed"
        verdict = export.verdict()
        assert not {what: which for what, which in verdict.findings.items() if what != "invented"}, verdict
        others = [each for each in verdict.findings.get("invented", ()) if fault in each]
        assert not others, verdict


def test_an_mlflow_that_is_away_is_an_error_that_passes(
    tmp_path: Path, proxy: MlflowProxy, server: Server
) -> None:
    with exporting(tmp_path, proxy, server) as export:
        proxy.close()
        export.commit_run("refused")
        assert export.attempt() is not None
        assert export.set_aside() == []


def test_an_answer_without_end_costs_a_worker_and_nothing_else(
    site: Site, proxy: MlflowProxy, server: Server
) -> None:
    site.settings(f'[mlflow]\ntracking_uri = "{proxy.uri}"\n')
    daemon = psutil.Process(site.start_daemon(mlflow=True))
    client = site.launch("protocol_client.py", "endless", "--per-second", 20)
    site.wait_for(lambda: site.status().exporters[0].events_exported, "an export that works")
    proxy.fail("huge_body", often=1.0)
    site.wait_for(
        lambda: "needed more than the 1024 MiB" in site.status().exporters[0].last_error,
        "the worker to end, and to say why",
    )
    before = site.status()
    site.wait_for(lambda: site.status().events_committed > before.events_committed, "events meanwhile")
    assert before.exporters[0].events_set_aside == 0
    assert daemon.memory_info().rss < DAEMON_BYTES_MAX
    proxy.heal()
    site.finish(client)
    site.wait_until_settled(exported=True)
    assert site.status().exporters[0].events_set_aside == 0
    verdict = site.verdict(store_uri=server.store_uri)
    invented = verdict.findings.pop("invented", ())  # the store is shared with other tests
    assert not [each for each in invented if "endless" in each]
    assert verdict.is_clean, verdict
