"""Kills the daemon again and again while clients record, and judges after each kill and at the end."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.journal import must_arrive
from harness.oracle import Verdict
from harness.site import Site

UP_S = (0.0, 1.2)
"""For how long a daemon lives, from when it accepts events."""

UP_LONG_S = (10.0, 20.0)
UP_LONG_SHARE = 0.05
"""Some live longer, when the export is to get somewhere: its worker needs seconds to begin."""

EXPORTED_WITHIN_S = 1_800.0
"""What the export gets, after many kills, for what it could not do meanwhile."""

WORKER_KILLED_TOO = 0.3
"""How often, while it exports."""


@dataclass(frozen=True)
class KillLoop:
    """What came of it."""

    kills: int
    events: int
    acknowledged_between: int
    """Events that had been acknowledged at some kill, added up over the kills."""
    verdict: Verdict


def three_clients(site: Site, name: str, *, per_second: float) -> list[subprocess.Popen[str]]:
    """Two workflows and one client without a spool."""
    clients = [
        site.launch("workflow.py", f"{name}-a", "--per-second", per_second),
        site.launch("workflow.py", f"{name}-b", "--per-second", per_second),
        site.launch("protocol_client.py", f"{name}-c", "--per-second", per_second),
    ]
    for client in clients:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
    return clients


def kill_daemon_under_load(
    site: Site,
    chances: random.Random,
    *,
    kills: int,
    per_second: float,
    exporting: bool = False,
    progress: Callable[[str], None] = str,
) -> KillLoop:
    """`exporting`: the export runs meanwhile too, and now and then its worker is killed before the daemon.

    Otherwise it begins when the kills are over. In the end everything must be in MLflow.
    """
    site.start_daemon(mlflow=exporting)
    clients = three_clients(site, f"{chances.getrandbits(32):08x}", per_second=per_second)
    found, acknowledged = Verdict(), 0
    for number in range(kills):
        lives_long = exporting and chances.random() < UP_LONG_SHARE
        time.sleep(chances.uniform(*(UP_LONG_S if lives_long else UP_S)))
        if exporting and chances.random() < WORKER_KILLED_TOO:
            _kill_worker(site)
            time.sleep(chances.uniform(*UP_S))
        site.kill_daemon()
        at_kill = site.verdict_on_acknowledged()
        acknowledged += at_kill.looked_at
        found.join(at_kill)
        site.start_daemon(mlflow=exporting or number == kills - 1)
        progress(f"kill {number + 1}: acknowledged before it {at_kill.looked_at:,}: {found}")
    for client in clients:
        site.finish(client)
    site.wait_until_settled(exported=True, within_s=EXPORTED_WITHIN_S)
    verdict = site.verdict(store_uri=site.home.mlflow_uri)
    verdict.join(found)
    return KillLoop(kills, must_arrive(site.journals()), acknowledged, verdict)


def _kill_worker(site: Site) -> None:
    worker = site.worker()
    if worker is not None:
        worker.kill()
