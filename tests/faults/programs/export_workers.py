"""Export workers that are killed: export_workers.py HOME JOURNALS KILLS SEED [POINT …]

Plays the daemon towards export workers, which are forks of this process, because loading MLflow takes
seconds: each is the real worker, asked over its real protocol. Before each a run is committed, and each
is killed at one of the points (default: all of them, by chance). In the end one is left alone until
everything is exported. Prints how many were killed at which point.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import mlflow
import mlflow.store.tracking.sqlalchemy_store
from harness.journal import JournalWriter

from configurable_agents.client.home import Home
from configurable_agents.obsd.exporters import mlflow as worker
from configurable_agents.obsd.exporters.protocol import ExportOutcome, ExportRequest
from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.profiles import MadeProfile
from configurable_agents.obsd.records import Batch
from configurable_agents.observability.cost_estimator import Price
from configurable_agents.telemetry import (
    Event,
    LlmCall,
    NodeFinished,
    PriceStatus,
    RunFinished,
    RunStarted,
    Status,
)

NODES = 5

CUT = {
    "before create_run": ("create_run", "before"),
    "after create_run": ("create_run", "after"),
    "after create_experiment": ("create_experiment", "after"),
    "before log_batch": ("log_batch", "before"),
    "after log_batch": ("log_batch", "after"),
    "after set_terminated": ("set_terminated", "after"),
}
"""Points of the client of MLflow at which a worker ends."""

AT_RANDOM = "at random"
BEFORE_THE_RECORD = "before its answer is recorded"
POINTS = [*CUT, AT_RANDOM, BEFORE_THE_RECORD]

RANDOM_WITHIN_S = 0.4
PASSES_MAX = 50


class Player:
    """The daemon's side: commits, asks, records what was answered."""

    def __init__(self, home: Home, journals: Path, chances: random.Random) -> None:
        self._home = home
        self._chances = chances
        self._producer_id = os.urandom(16)
        self._journal = JournalWriter(journals, self._producer_id, kind="protocol")
        self._sequence = 0
        self.killed: Counter[str] = Counter()

    def commit_run(self, number: int) -> None:
        now, run_id = time.time_ns(), f"run-{number}"
        nodes = [
            NodeFinished(run_id, n, 0, f"step-{n % 2}", 1, now, n, Status.OK, "") for n in range(1, NODES)
        ]
        experiment = f"faults-{number % 7}"
        ends: list[Event] = [RunFinished(run_id, now, 10**6, Status.OK)]
        events = [RunStarted(run_id, experiment, "export", now), *nodes, *ends]
        for event in events:
            self._journal.intend(event)
        with self._ledger() as ledger:
            ledger.commit([Batch(self._producer_id, self._sequence, events)])
            self._sequence += len(events)
            self._journal.acknowledged(self._sequence)
            with closing(open_for_reading(self._home.ledger)) as connection, queries.snapshot(connection):
                profile, count = queries.final_profile(connection, run_id)
            ledger.store_profiles([MadeProfile(run_id, profile, count)])

    def _ledger(self) -> SqliteLedger:
        """Opened for each use: SQLite must not be open in a process that forks and goes on using it."""
        return SqliteLedger(self._home.ledger, unpriced)

    def _cursor(self) -> int:
        with self._ledger() as ledger:
            return ledger.exporter_state(worker.NAME)[0]

    def _save(self, outcome: ExportOutcome) -> None:
        with self._ledger() as ledger:
            ledger.save_export(worker.NAME, outcome.cursor, outcome.runs, outcome.set_aside)

    def export(self, point: str) -> bool:
        """One worker, killed at `point` if it gets there. True when it had nothing more to do."""
        alive = Worker(self._home, lambda: cut_at(point))
        if point == AT_RANDOM:
            threading.Timer(self._chances.uniform(0, RANDOM_WITHIN_S), alive.kill).start()
        try:
            return self._drive(alive, point)
        finally:
            self.killed[point] += alive.end()

    def _drive(self, alive: Worker, point: str) -> bool:
        for _ in range(PASSES_MAX):
            outcome = alive.ask(ExportRequest(self._cursor()))
            if outcome is None:
                return False
            if outcome.error:
                raise AssertionError(outcome.error)
            if point == BEFORE_THE_RECORD:
                alive.kill()
                return False
            self._save(outcome)
            if not outcome.more:
                return True
        raise AssertionError("the export does not come to an end")


class Worker:
    def __init__(self, home: Home, prepare: Callable[[], None]) -> None:
        requests, self._requests = os.pipe()
        answers, answered = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.dup2(requests, 0)
            os.dup2(answered, 1)
            os.closerange(3, 64)
            sys.stdin = os.fdopen(0)
            sys.argv = ["worker", str(home.folder), home.mlflow_uri]
            prepare()
            end_with(worker.main)
        os.close(requests)
        os.close(answered)
        self._answers = os.fdopen(answers, "rb")
        self._is_ready = False

    def ask(self, request: ExportRequest) -> ExportOutcome | None:
        """`None` when it is dead."""
        if not self._is_ready and not self._becomes_ready():
            return None
        with suppress(BrokenPipeError):
            os.write(self._requests, request.to_line())
        line = self._answers.readline()
        return ExportOutcome.from_line(line) if line.endswith(b"\n") else None

    def _becomes_ready(self) -> bool:
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            return False
        error = ExportOutcome.from_line(line).error
        if error:
            raise AssertionError(error)
        self._is_ready = True
        return True

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def end(self) -> bool:
        """Whether it was killed before."""
        os.close(self._requests)
        self._answers.close()
        return os.WIFSIGNALED(os.waitpid(self._pid, 0)[1])


def end_with(main: Callable[[], int]) -> None:
    """Whatever it does, a fork must not go on as its parent."""
    try:
        os._exit(main())
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os._exit(70)


def cut_at(point: str) -> None:
    """In the worker: it is killed before or after its client's method has done what it does."""
    if point not in CUT:
        return
    name, moment = CUT[point]
    whole = getattr(mlflow.MlflowClient, name)

    def cut(*arguments: Any, **named: Any) -> Any:
        if moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        whole(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(mlflow.MlflowClient, name, cut)


def unpriced(call: LlmCall) -> Price:
    return Price(PriceStatus.UNPRICED)


def main() -> None:
    folder, journals, kills, seed, *points = sys.argv[1:]
    home = Home.from_environment(folder)
    chances = random.Random(seed)
    player = Player(home, Path(journals), chances)
    player.commit_run(0)
    player.export("")  # makes the store, which takes seconds
    for number in range(1, int(kills) + 1):
        player.commit_run(number)
        player.export(chances.choice(points or POINTS))
    if not player.export(""):
        raise AssertionError("a worker that nobody killed did not export everything")
    del player.killed[""]
    print(dict(player.killed), flush=True)


if __name__ == "__main__":
    main()
