"""The long forms of the fault tests: `make soak`, or soak.py [ITEM …]

SOAK=short takes the counts down to a few minutes in all. SEED=N repeats what a run with that seed drew.
OUTAGE_S=N sets the length of MLflow's outage. What came of each item is printed as a table at the end and,
unless SOAK=short, written into docs/reliability.md. Exits with 1 when anything was lost, doubled, reordered,
invented or out of balance.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.endings import ENDINGS, EVENTS, end_workflows
from harness.export_kills import BETWEEN_CREATE_AND_RECORD, kill_workers
from harness.figures import Figures, table, write_figures
from harness.forks import fork_while_recording
from harness.kill_loop import kill_daemon_under_load, three_clients
from harness.ledger_lock import lock_ledger
from harness.mlflow_proxy import MlflowProxy, mlflow_proxy
from harness.mlflow_server import mlflow_server
from harness.oracle import Verdict
from harness.seeds import Seed
from harness.site import Site
from harness.system_calls import LEDGER_CALLS, Injection, commit_under, verdict_after_restart
from harness.tiny_disk import MIB, on_tiny_disk

from configurable_agents.client.home import Home

ROOT = Path(__file__).resolve().parents[2]

SHORT_VARIABLE = "SOAK"
OUTAGE_VARIABLE = "OUTAGE_S"


@dataclass(frozen=True)
class Counts:
    """How much of everything."""

    kills: int = 200
    endings_each: int = 20
    forks: int = 1_000
    call_step: int = 1
    """Every so manieth system call is the one that fails."""
    create_run_kills: int = 100
    tiny_disks: int = 20
    locks_s: tuple[float, ...] = (25.0, 40.0)
    """Shorter and longer than what a commit waits for a lock."""
    outage_s: float = 1_800.0
    fuzz_messages: int = 1_000_000


SHORT = Counts(
    kills=10,
    endings_each=3,
    forks=100,
    call_step=25,
    create_run_kills=10,
    tiny_disks=2,
    locks_s=(12.0,),
    outage_s=30.0,
    fuzz_messages=10_000,
)


class Soak:
    def __init__(self, counts: Counts, seed: Seed) -> None:
        self.counts = counts
        self.seed = seed

    def kills(self) -> tuple[str, Verdict]:
        with new_site() as site:
            chances = self.seed.chances("kills")
            loop = kill_daemon_under_load(
                site, chances, kills=self.counts.kills, per_second=100, exporting=True, progress=progress
            )
        did = (
            f"{loop.kills} times kill -9 of the daemon, at times of its export worker, under three clients;"
            f" {loop.events:,} events recorded"
        )
        return did, loop.verdict

    def endings(self) -> tuple[str, Verdict]:
        with new_site() as site:
            verdict = end_workflows(site, times_each=self.counts.endings_each)
        each = self.counts.endings_each
        return f"{', '.join(ENDINGS)} of a workflow after {EVENTS:,} events, {each} times each", verdict

    def forks(self) -> tuple[str, Verdict]:
        shares = {"fork": 0.6, "nested": 0.2, "multiprocessing-fork": 0.15, "multiprocessing-spawn": 0.05}
        whole = Verdict()
        for way, share in shares.items():
            with new_site() as site:
                verdict = fork_while_recording(site, way, forks=int(self.counts.forks * share))
            whole.join(verdict)
            whole.looked_at += verdict.looked_at
            progress(f"forks: {way}: {verdict}")
        return f"{self.counts.forks:,} children forked while recording, in four ways; none died", whole

    def system_calls(self) -> tuple[str, Verdict]:
        whole, faults = Verdict(), 0
        for call, count in LEDGER_CALLS.items():
            for fault in ("error=EIO", "error=ENOSPC", "signal=KILL"):
                for number in range(1, count + 1, self.counts.call_step):
                    when = f"{number}+" if fault == "error=EIO" else str(number)
                    verdict = fail_one_call(Injection(call, fault, when))
                    whole.join(verdict)
                    whole.looked_at += verdict.looked_at
                    faults += 1
                progress(f"system_calls: {call} {fault}: {whole}")
        return f"{faults:,} system calls of a ledger failed or were its process's last", whole

    def create_run(self) -> tuple[str, Verdict]:
        with new_site() as site:
            chances = self.seed.chances("create_run")
            kills = self.counts.create_run_kills
            killed, verdict = kill_workers(site, chances, kills=kills, point=BETWEEN_CREATE_AND_RECORD)
        with new_site() as site:
            elsewhere, further = kill_workers(site, chances, kills=kills)
        verdict.join(further)
        verdict.looked_at += further.looked_at
        return (
            f"{killed} export workers killed between create-run and its record, {elsewhere} elsewhere",
            verdict,
        )

    def tiny_disk(self) -> tuple[str, Verdict]:
        chances, whole = self.seed.chances("tiny_disk"), Verdict()
        count = self.counts.tiny_disks
        for number in range(count):
            size_bytes = chances.randint(14, 32) * MIB
            room_bytes = chances.randint(5 * MIB, 8 * MIB)
            ballast_bytes = size_bytes - room_bytes
            reserve, hint = chances.choice([("1MiB", "reserve of 1.0 MiB; make room"), ("1B", "room")])
            of_ledger = on_tiny_disk(
                "ledger", size_bytes=size_bytes, ballast_bytes=ballast_bytes, reserve=reserve, hint=hint
            )
            of_spool = on_tiny_disk("spool", of="spool", size_bytes=size_bytes, ballast_bytes=ballast_bytes)
            for verdict in (of_ledger, of_spool):
                whole.join(verdict)
                whole.looked_at += verdict.looked_at
            progress(f"tiny_disk {number + 1}: {size_bytes / MIB:g} MiB, reserve {reserve}: {whole}")
        return f"{count} disks of 14 to 32 MiB filled under a ledger and under a spool, each", whole

    def locked(self) -> tuple[str, Verdict]:
        chances, whole = self.seed.chances("locked"), Verdict()
        for for_s in self.counts.locks_s:
            with new_site() as site:
                site.start_daemon()
                verdict = lock_ledger(site, chances, per_second=100, for_s=for_s)
            whole.join(verdict)
            whole.looked_at += verdict.looked_at
            progress(f"locked: {for_s:g} s: {verdict}")
        held = " and ".join(f"{for_s:g} s" for for_s in self.counts.locks_s)
        return f"another program held the ledger for {held}, under three clients", whole

    def outage(self) -> tuple[str, Verdict]:
        chances = self.seed.chances("outage")
        with (
            new_site() as site,
            new_server() as (address, store_uri),
            mlflow_proxy(address, chances) as proxy,
        ):
            verdict = ride_out(site, proxy, store_uri, self.counts.outage_s, self.seed)
        seconds = self.counts.outage_s
        return f"MLflow away for {seconds:,.0f} s in {len(OUTAGES)} ways, under three clients", verdict

    def fuzz(self) -> tuple[str, Verdict]:
        count = self.counts.fuzz_messages
        settings = {"FUZZ_MESSAGES": str(count), "FUZZ_SEED": str(self.seed.number)}
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-n", "0", "tests/fuzz"]
        ran = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, check=False)
        verdict = Verdict(looked_at=count)
        if ran.returncode:
            verdict.find("altered", f"make fuzz ended with {ran.returncode}; its output says what it found")
        return f"{count:,} mutated messages, files and texts (`make fuzz`)", verdict


ITEMS: dict[str, Callable[[Soak], tuple[str, Verdict]]] = {
    "kills": Soak.kills,
    "endings": Soak.endings,
    "forks": Soak.forks,
    "system_calls": Soak.system_calls,
    "create_run": Soak.create_run,
    "tiny_disk": Soak.tiny_disk,
    "locked": Soak.locked,
    "outage": Soak.outage,
    "fuzz": Soak.fuzz,
}


OUTAGES = ("hang", "reset", "commit_then_500", "redirect", "huge_body", "slow")


def ride_out(site: Site, proxy: MlflowProxy, store_uri: str, outage_s: float, seed: Seed) -> Verdict:
    """Clients record all the while, and their daemon must not notice; then MLflow comes back."""
    site.settings(f'[mlflow]\ntracking_uri = "{proxy.uri}"\n')
    site.start_daemon(mlflow=True)
    clients = three_clients(site, f"{seed.number:08x}", per_second=20)
    for number, fault in enumerate(OUTAGES):
        proxy.fail(fault, often=1.0)
        committed = site.status().events_committed
        time.sleep(outage_s / len(OUTAGES))
        status = site.status()
        assert status.events_committed > committed, f"nothing was committed while MLflow was away ({fault})"
        progress(f"outage {number + 1}: {fault}: {status.exporters[0]}")
    proxy.heal()
    for client in clients:
        site.finish(client)
    site.wait_until_settled(exported=True, within_s=600)
    return site.verdict(store_uri=store_uri)


@contextmanager
def new_server() -> Iterator[tuple[tuple[str, int], str]]:
    """Its address, and its database."""
    with tempfile.TemporaryDirectory(prefix="aobs-mlflow-") as folder:
        store_uri = f"sqlite:///{folder}/mlflow.db"
        with mlflow_server(Path(folder), store_uri) as address:
            yield address, store_uri


def fail_one_call(injection: Injection) -> Verdict:
    with new_site() as site:
        outcome = commit_under(site, injection)
        if "Traceback" in outcome.errors:
            raise AssertionError(f"{injection}: {outcome.errors}")
        return verdict_after_restart(site)


@contextmanager
def new_site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="aobs-"))
    try:
        with Site(Home.from_environment(folder)) as site:
            yield site
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def progress(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)


def main() -> int:
    is_short = os.environ.get(SHORT_VARIABLE) == "short"
    counts = SHORT if is_short else Counts(outage_s=float(os.environ.get(OUTAGE_VARIABLE, Counts.outage_s)))
    wanted = sys.argv[1:] or list(ITEMS)
    unknown = [item for item in wanted if item not in ITEMS]
    if unknown:
        print(f"error: there is no item {unknown[0]!r}; there are: {', '.join(ITEMS)}", file=sys.stderr)
        return 2
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    soak = Soak(counts, Seed.from_environment())
    done: list[Figures] = []
    try:
        for item in wanted:
            began_s = time.monotonic()
            progress(f"{item}: begins")
            did, verdict = ITEMS[item](soak)
            figures = Figures(item, did, verdict, soak.seed.number, time.monotonic() - began_s, machine())
            progress(f"{item}: {did}: {verdict}")
            done.append(figures)
            if not is_short:
                write_figures(figures)
    finally:  # one that could not be judged must not take the others' figures with it
        print("\n" + "\n".join(table([figures.row() for figures in done])), flush=True)
    return 0 if all(figures.verdict.is_clean for figures in done) else 1


def machine() -> str:
    cores, system = os.cpu_count(), f"{platform.system()} {platform.machine()}"
    return f"{cores} cores, {system}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
