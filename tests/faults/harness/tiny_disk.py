"""Disks of a few MiB that are filled: a tmpfs in a mount namespace of its own, which needs no root.

What fills one and judges it runs inside of that namespace: see `programs/tiny_disk.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from harness.oracle import Verdict
from harness.prober import Prober
from harness.site import HARNESS, PROGRAMS, WITHOUT_MLFLOW, Site

MIB = 2**20
RESUMES_WITHIN_S = 5.0
WITHIN_S = 120.0

_MOUNT = 'mount -t tmpfs -o "size=$1,mode=700" tmpfs "$2" && shift 2 && exec "$@"'


def on_tiny_disk(what: str, *, size_bytes: int, of: str = ".", **settings: object) -> Verdict:
    """Has `fill_<what>` of this module run on a new state folder of which `of` is a disk of that size."""
    with tempfile.TemporaryDirectory(prefix="aobs-") as folder:
        home, journals = Path(folder, "home"), Path(folder, "journals")
        home.mkdir(mode=0o700)
        disk = home / of
        disk.mkdir(mode=0o700, exist_ok=True)
        command = ["unshare", "-rm", "sh", "-c", _MOUNT, "sh", str(size_bytes), disk]
        program = [sys.executable, PROGRAMS / "tiny_disk.py", what, home, journals, json.dumps(settings)]
        variables = [str(HARNESS), os.environ.get("PYTHONPATH")]
        process = subprocess.Popen(
            [*map(str, command), *map(str, program)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, variables))},
        )
        try:
            said, errors = process.communicate(timeout=WITHIN_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it ends what it has started
            said, errors = process.communicate()
    assert process.returncode == 0, f"{said}\n{errors}"
    looked_at, findings = json.loads(said.splitlines()[-1])
    return Verdict(looked_at, findings)


def fill_ledger(site: Site, *, ballast_bytes: int, reserve: str, hint: str) -> Verdict:
    """Clients fill the disk of a daemon until it refuses; then there is room again, and it goes on by itself.

    Refusals are to contain `hint`.
    """
    ballast = site.home.folder / "ballast"
    ballast.write_bytes(bytes(ballast_bytes))
    site.settings(f'{WITHOUT_MLFLOW}[disk]\nreserve = "{reserve}"\n')
    site.start_daemon()
    prober = Prober(site)
    clients = [
        site.launch("protocol_client.py", "fills"),
        site.launch("workflow.py", "works", "--per-second", 500),
    ]
    refused = ""

    def is_full() -> bool:
        nonlocal refused
        refused = prober.probe()
        return bool(refused)

    site.wait_for(is_full, "the disk to be full")
    assert hint in refused, refused
    assert site.status().events_committed > 0
    acknowledged = site.verdict_on_acknowledged()
    assert acknowledged.is_clean, acknowledged
    assert acknowledged.looked_at, "nothing was acknowledged, so nothing was tested"
    with ReportClient(site.home) as client:
        assert client.cost_report(Scope()).run_count > 0
        assert client.profile_report(Scope()).nodes
    site.wait_for(prober.probe, "it still to be full")
    for each in clients:
        site.tell_to_end(each)  # else they would fill it again
    ballast.unlink()
    site.wait_for(lambda: not prober.probe(), "events to be taken again", within_s=RESUMES_WITHIN_S)
    for each in clients:
        site.finish(each)
    site.wait_until_settled()
    acknowledged = site.verdict_on_acknowledged()
    assert acknowledged.is_clean, acknowledged
    return site.verdict()


def fill_spool(site: Site, *, ballast_bytes: int) -> Verdict:
    """A workflow fills the disk of its spool and goes on; then there is room again, and it records again."""
    ballast = site.home.spool / "ballast"
    ballast.write_bytes(bytes(ballast_bytes))
    process = site.launch("narrow_workflow.py", "--ballast", ballast)
    return verdict_on_narrow_workflow(site, *process.communicate(timeout=WITHIN_S), process.returncode)


def verdict_on_narrow_workflow(site: Site, said: str, errors: str, exit_code: int) -> Verdict:
    """After programs/narrow_workflow.py, which dropped events and said so once."""
    assert exit_code == 0, errors
    dropped = int(said)
    assert dropped > 0, "nothing was dropped, so nothing was tested"
    assert errors.count("was not recorded") == 1, errors
    assert "Traceback" not in errors, errors
    [journal] = site.journals()
    assert journal.dropped == dropped
    site.start_daemon()
    site.wait_until_settled()
    return site.verdict()


def main(what: str, home: str, journals: str, settings: str) -> None:
    """Inside of the namespace. Prints the verdict."""
    fills = {"ledger": fill_ledger, "spool": fill_spool}
    with Site(Home.from_environment(home), journals=Path(journals)) as site:
        verdict = fills[what](site, **json.loads(settings))
    print(json.dumps([verdict.looked_at, verdict.findings]))
