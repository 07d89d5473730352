"""Another program that holds the lock on the ledger while clients record."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from grpc_health.v1 import health_pb2, health_pb2_grpc

from configurable_agents.client.channel import open_channel
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from harness.kill_loop import three_clients
from harness.oracle import Verdict
from harness.prober import Prober
from harness.site import Site

NOT_SERVING_WITHIN_S = 15.0


def lock_ledger(
    site: Site,
    chances: random.Random,
    *,
    per_second: float,
    for_s: float = 0.0,
    until: Callable[[Prober], object] = bool,
) -> Verdict:
    """Locks the ledger of a daemon that runs, under clients that record all the while.

    It is held for so long, until the daemon has said that it is stuck, and until `until` returns, which
    may ask whether events are taken.
    """
    clients = three_clients(site, f"{chances.getrandbits(32):08x}", per_second=per_second)
    prober = Prober(site)
    site.wait_for(lambda: site.status().runs_live >= len(clients), "the clients' runs")
    with ledger_held(site.home.ledger):
        over_at = time.monotonic() + for_s
        site.wait_for(
            lambda: not is_serving(site.home), "it not to serve any more", within_s=NOT_SERVING_WITHIN_S
        )
        committed = site.status().events_committed
        said = daemon_status(site.home)
        assert "not serving" in said, said
        assert "ledger since" in said, said
        with ReportClient(site.home) as client:
            assert client.cost_report(Scope()).run_count, "reports go on"
        until(prober)
        time.sleep(max(0.0, over_at - time.monotonic()))
        assert site.status().events_committed == committed, "the lock was none"
    site.wait_for(lambda: is_serving(site.home), "it to serve again")
    site.wait_for(lambda: site.status().events_committed > committed, "events to be taken again")
    for client in clients:
        site.finish(client)
    site.wait_for(lambda: not prober.probe(), "what was refused to be taken")
    site.wait_until_settled()
    verdict = site.verdict()
    verdict.join(site.verdict_on_acknowledged())
    return verdict


@contextmanager
def ledger_held(ledger: Path) -> Iterator[None]:
    with closing(sqlite3.connect(ledger, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def is_serving(home: Home) -> bool:
    with open_channel(home) as channel:
        found = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    return bool(found.status == health_pb2.HealthCheckResponse.SERVING)


def daemon_status(home: Home) -> str:
    """What `agents-obsd status` says."""
    command = [Path(sys.executable).with_name("agents-obsd"), "status", "--home", home.folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
