"""Breaks the product on purpose, one promise at a time, and shows which fast test notices.

    python scripts/mutants.py [--only WORD]

Each mutant is a search and a replacement in a copy of the tree; only the tests named beside it are run.
Ends with exit code 1 when one survives, or when its patch no longer fits the source.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("src/configurable_agents")
COPIED = ("src", "tests", "examples", "proto", "pyproject.toml", "README.md", "docs", "scripts")
TESTS_S_MAX = 240
"""What the tests of one mutant get. One that hangs them is killed by the clock, and the table says so."""


class Mutant(NamedTuple):
    name: str
    """The promise that is broken."""
    path: str
    """Below the package."""
    search: str
    replace: str
    tests: str
    """Arguments for pytest, of which the last may be an expression for `-k`."""

    @property
    def arguments(self) -> list[str]:
        path, _, expression = self.tests.partition(" -k ")
        return [path, *(["-k", expression] if expression else [])]


MUTANTS = (
    Mutant(
        "acknowledged before the commit",
        "obsd/intake.py",
        "        began_s = self._clock()\n        try:\n",
        "        began_s = self._clock()\n"
        "        for waiting in together:\n"
        "            batch = waiting.batch\n"
        "            end = batch.first_sequence + len(batch.events)\n"
        "            waiting.outcome.set_result(Acknowledgement(end))\n"
        "        try:\n",
        "tests/obsd/test_intake.py -k nobody_is_told",
    ),
    Mutant(
        "synchronous=OFF",
        "obsd/ledger/database.py",
        'connection.execute("PRAGMA synchronous = FULL")',
        'connection.execute("PRAGMA synchronous = OFF")',
        "tests/obsd/test_ledger.py -k power_loss",
    ),
    Mutant(
        "nobody looks whether commits are durable",
        "obsd/ledger/database.py",
        'if mode != "wal" or synchronous < 2:',
        "if False:",
        "tests/obsd/test_ledger.py -k settings_that_would_lose",
    ),
    Mutant(
        "a commit error is swallowed",
        "obsd/ledger/writer.py",
        "                raise self._ledger.forget_and_explain(commit_error) from commit_error\n",
        "                return\n",
        "tests/obsd/test_ledger.py -k very_last_step",
    ),
    Mutant(
        "memory runs ahead of the disk after a failed commit",
        "obsd/ledger/writer.py",
        "    def forget_and_explain(self, error: sqlite3.Error) -> LedgerError:\n        self._forget()\n",
        "    def forget_and_explain(self, error: sqlite3.Error) -> LedgerError:\n",
        "tests/obsd/test_ledger.py -k interned_in_a_failed_commit",
    ),
    Mutant(
        "duplicates are not recognised",
        "obsd/ledger/writer.py",
        "duplicates = min(max(0, next_sequence - batch.first_sequence), len(batch.events))",
        "duplicates = 0",
        "tests/obsd/test_ledger.py -k sent_again",
    ),
    Mutant(
        "a block begins to count the calls of its nodes anew",
        "obsd/ledger/execution_rows.py",
        "np.array(calls_before, np.int64)[which] + groups.positions",
        "groups.positions",
        "tests/obsd/test_blocks.py -k where_those_before",
    ),
    Mutant(
        "a block is not checked at the door",
        "obsd/door.py",
        "if isinstance(part, ExecutionBlock) and _is_ordinary_block(part):",
        "if isinstance(part, ExecutionBlock):",
        "tests/obsd/test_blocks.py -k no_block_enters",
    ),
    Mutant(
        "after a refused batch the next one of its producer is taken",
        "obsd/intake.py",
        "        if batch.first_sequence > position:\n",
        "        if False:\n",
        "tests/obsd/test_intake.py -k taken_no_further",
    ),
    Mutant(
        "a batch that is turned away leaves a gap",
        "obsd/intake.py",
        "        self._note_refused(batch, error)\n        return error\n",
        "        return error\n",
        "tests/obsd/test_intake.py -k turned_away",
    ),
    Mutant(
        "stop without a drain",
        "obsd/intake.py",
        "            while self._waiting:\n",
        "            while self._waiting and not self._closing:\n",
        "tests/obsd/test_intake.py -k closing_commits",
    ),
    Mutant(
        "what is received and not committed has no bound",
        "obsd/intake.py",
        "            if self._pending_bytes >= limits.PENDING_BYTES_MAX:\n",
        "            if False:\n",
        "tests/obsd/test_intake.py -k bound_in_bytes",
    ),
    Mutant(
        "interrupted runs are never marked",
        "obsd/ledger/writer.py",
        "            for run_id in run_ids:\n                changed",
        "            for run_id in ():\n                changed",
        "tests/obsd/test_ledger.py -k process_is_gone",
    ),
    Mutant(
        "the refusal of a full disk does not say what to do",
        "obsd/disk.py",
        "; make room, or lower [disk] reserve in",
        "",
        "tests/faults/test_space.py -k files_of_a_daemon_refuses",
    ),
    Mutant(
        "a full disk ends the daemon",
        "obsd/ledger/writer.py",
        '        if name == "SQLITE_FULL":\n',
        "        if False:\n",
        "tests/faults/test_space.py -k goes_on_by_itself",
    ),
    Mutant(
        "a lock on the ledger ends the daemon",
        "obsd/ledger/writer.py",
        '        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):\n',
        "        if False:\n",
        "tests/faults/test_locks.py -k refused_in_order",
    ),
    Mutant(
        "a workflow is warned of every event that it drops",
        "client/emitter.py",
        "        if self.dropped_events == 1:\n",
        "        if True:\n",
        "tests/faults/test_space.py -k files_of_a_workflow",
    ),
    Mutant(
        "a run is silent by a wall clock that jumps",
        "obsd/lifecycle.py",
        "        silent_s = self._clock() - self._heard[run.run_id].at_s\n",
        "        silent_s = (time.time_ns() - run.last_received_unix_ns) / 1e9\n",
        "tests/obsd/test_clocks.py -k given_up",
    ),
    Mutant(
        "rows are old by a clock that has just jumped",
        "obsd/steady_clock.py",
        " and not self._has_stood(now_s):",
        " and False:",
        "tests/obsd/test_clocks.py -k removes_nothing",
    ),
    Mutant(
        "clients that do not read may hold every call",
        "obsd/timelines.py",
        "        if self._streams >= limits.ANSWER_STREAMS_MAX:\n",
        "        if False:\n",
        "tests/obsd/test_hostile_clients.py -k keep_no_call",
    ),
    Mutant(
        "the cursor moves although MLflow took nothing",
        "obsd/exporters/supervisor.py",
        "                _raise_error(outcome)\n                await self._save(outcome)\n",
        "                await self._save(ExportOutcome(self._cursor + 100) if outcome.error else outcome)\n"
        "                _raise_error(outcome)\n",
        "tests/obsd/test_exporters.py -k worker_in_trouble",
    ),
    Mutant(
        "the step of a point is always 0",
        "obsd/exporters/projection.py",
        "            each.call_index,\n        )\n",
        "            0,\n        )\n",
        "tests/obsd/test_mlflow_export.py -k step_is_its_number",
    ),
    Mutant(
        "a retry has a new timestamp",
        "obsd/exporters/projection.py",
        "milliseconds(each.ended_unix_ns)",
        '__import__("time").time_ns() // 1_000_000',
        "tests/obsd/test_mlflow_export.py -k exported_twice",
    ),
    Mutant(
        "no bisection",
        "obsd/exporters/mlflow_batches.py",
        "if len(items) == 1 or self._isolations_left <= 0:",
        "if True:",
        "tests/obsd/test_mlflow_export.py -k one_point",
    ),
    Mutant(
        "trouble of MLflow's own counts as its verdict at once",
        "obsd/exporters/mlflow_batches.py",
        "refusal.in_doubt = True",
        "refusal.in_doubt = False",
        "tests/obsd/test_mlflow_export.py -k passes_sets_nothing_aside",
    ),
    Mutant(
        "a run is created without looking for it",
        "obsd/exporters/mlflow.py",
        "self._find_or_create(head, taken)",
        "self._create_run(self._experiment_id(head.experiment), head, taken)",
        "tests/obsd/test_mlflow_export.py -k found_by_its_tag",
    ),
    Mutant(
        "no lock before the socket is bound",
        "obsd/lock.py",
        "            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        "tests/obsd/test_process.py -k second_daemon",
    ),
    Mutant(
        "a fork keeps the producer's identity",
        "client/emitter.py",
        "        self._begin_identity()\n        self._sends = False\n",
        "        self._spool = Spool(self._home.spool, self.producer_id)\n"
        "        self._append_frame = self._spool.append\n"
        "        self._lock = threading.RLock()\n"
        "        self._sends = False\n",
        "tests/client/test_emitter.py -k identity_of_its_own",
    ),
    Mutant(
        "the spool is written after the call has returned",
        "client/emitter.py",
        "        self._append_frame = self._spool.append\n        self._lock",
        "        later = self._spool.append\n"
        "        self._append_frame = lambda frame: threading.Timer(0.5, later, [frame]).start()\n"
        "        self._lock",
        "tests/client/test_emitter.py -k without_a_daemon_everything",
    ),
    Mutant(
        "the run id is not checked",
        "runtime/names.py",
        "    return not _QUOTING.search(name) and name not in RESERVED_RUN_IDS\n",
        "    return True\n",
        "tests/obsd/test_door.py -k beyond_a_limit",
    ),
    Mutant(
        "durations may be negative",
        "obsd/door.py",
        "    if not 0 <= duration_ns <= bounds.DURATION_NS_MAX:\n",
        "    if duration_ns > bounds.DURATION_NS_MAX:\n",
        "tests/obsd/test_door.py -k beyond_a_limit",
    ),
    Mutant(
        "names beyond the bound are kept apart",
        "obsd/ledger/names.py",
        "        if len(nodes) >= limits.RUN_NODES_MAX:\n",
        "        if False:\n",
        "tests/obsd/test_folding.py -k added_up_as_one",
    ),
    Mutant(
        "overflow loses money: a folded call is priced as __other__",
        "obsd/ledger/writer.py",
        "        price = ledger.price(event)\n",
        "        folded = ledger.names.is_other(model)\n"
        "        price = ledger.price(event._replace(model=OTHER_NAME) if folded else event)\n",
        "tests/obsd/test_folding.py -k costs_what_its_own",
    ),
    Mutant(
        "health says nothing of what is stuck",
        "obsd/progress.py",
        "        if is_well != self._is_well:\n",
        "        if False:\n",
        "tests/obsd/test_progress.py -k within_15_seconds",
    ),
    Mutant(
        "an event counts as recorded before all of it is in the spool",
        "client/spool.py",
        "        try:\n            window = self._window\n",
        "        try:\n            window = self._window\n            window[at:start] = checksum\n",
        "tests/client/test_spool.py -k interrupted_store",
    ),
    Mutant(
        "room of a spool is mapped without being reserved",
        "client/spool.py",
        "        os.posix_fallocate(file, at, end - at)\n",
        "        os.ftruncate(file, end)\n",
        "tests/client/test_spool.py -k room_is_reserved",
    ),
    Mutant(
        "a forked child keeps the mapping of its parent",
        "client/spool.py",
        "            if window is not None:\n                window.close()\n            os.close(file)\n",
        "            self._of_parent = window\n            os.close(file)\n",
        "tests/client/test_spool.py -k forked_child",
    ),
    Mutant(
        "what lies behind a hole in a spool is skipped",
        "client/spool_reader.py",
        "        if not _is_zero(rest):\n",
        "        if True:\n            return\n        if not _is_zero(rest):\n",
        "tests/obsd/test_spool_damage.py -k hole",
    ),
    Mutant(
        "a damaged frame of a spool is taken in",
        "client/spool_reader.py",
        "        if verify and checksum != _checksum_of(frame, form):\n",
        "        if False:\n",
        "tests/client/test_spool.py",
    ),
    Mutant(
        "prices are of today",
        "obsd/pricing.py",
        "                at_unix_ns=call.started_unix_ns,\n",
        "                at_unix_ns=time.time_ns(),\n",
        "tests/obsd/test_repricing.py",
    ),
)


def patched(mutant: Mutant, text: str) -> str:
    """The source with the mutation. Raises `ValueError` when its place is not found exactly once."""
    found = text.count(mutant.search)
    if found != 1:
        raise ValueError(f"{mutant.name}: its place in {mutant.path} was found {found} times, not once")
    return text.replace(mutant.search, mutant.replace)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="mutants whose name has this word")
    wanted = [each for each in MUTANTS if parser.parse_args().only in each.name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        survivors = [mutant for mutant in wanted if not killed(mutant, Path(folder))]
    took_s = time.monotonic() - began
    print(f"\n{len(wanted) - len(survivors)} of {len(wanted)} mutants killed in {took_s:.0f} s")
    return 1 if survivors else 0


def killed(mutant: Mutant, folder: Path) -> bool:
    try:
        copy_tree(folder)
        source = folder / PACKAGE / mutant.path
        source.write_text(patched(mutant, source.read_text(encoding="utf-8")), encoding="utf-8")
    except ValueError as error:
        return told(mutant, f"NOT APPLIED: {error}", is_killed=False)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TESTS_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return told(mutant, f"the clock: its tests hang ({TESTS_S_MAX} s)", is_killed=True)
    if run.returncode == 1:
        failed = re.search(r"^(?:FAILED|ERROR) \S+::(\S+)", run.stdout, re.MULTILINE)
        return told(mutant, failed[1] if failed else "a test", is_killed=True)
    last = run.stdout.strip().splitlines()[-1:] or [run.stderr.strip()[-200:]]
    return told(mutant, "SURVIVED" if run.returncode == 0 else f"NOT RUN: {last[0]}", is_killed=False)


def copy_tree(folder: Path) -> None:
    """Everything afresh: a test may have written into the copy of the mutant before."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)


def told(mutant: Mutant, outcome: str, *, is_killed: bool) -> bool:
    print(f"{mutant.name:62} {outcome}", flush=True)
    return is_killed


if __name__ == "__main__":
    sys.exit(main())
