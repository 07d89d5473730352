"""An exporter at work against a store that misbehaves, on a ledger filled by hand."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from configurable_agents.obsd.exporters.mlflow import NAME, MlflowExporter
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
from harness.journal import JournalWriter, read_journals
from harness.mlflow_oracle import check_mlflow
from harness.oracle import Verdict, check_balance, check_ledger

PASSES_MAX = 50


class Exporting:
    """Every attempt is a new exporter, as after the death of a worker: it knows what the ledger knows."""

    def __init__(self, folder: Path, client: Any, store_uri: str, *, artifacts: str | None = None) -> None:
        """`store_uri` is the database behind what the client talks to."""
        self._path = folder / "ledger.db"
        self._journals = folder / "journals"
        self._journals.mkdir()
        self._client = client
        self._store_uri = store_uri
        self._artifacts = artifacts
        self._producer_id = os.urandom(16)
        self._journal = JournalWriter(self._journals, self._producer_id, kind="protocol")
        self._sequence = 0
        self.ledger = SqliteLedger(self._path, unpriced)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ledger.close()

    def commit_run(self, run_id: str, *, nodes: int = 6, experiment: str = "faults", **more: Any) -> None:
        now = time.time_ns()
        events: list[Event] = [RunStarted(run_id, experiment, "export", now, **more)]
        for span_id in range(1, nodes + 1):
            node_id = f"step-{span_id % 2}"
            events.append(NodeFinished(run_id, span_id, 0, node_id, 1, now, span_id * 10**6, Status.OK, ""))
        self.commit([*events, RunFinished(run_id, now, 10**8, Status.OK)])
        self.profile(run_id)

    def commit(self, events: list[Event]) -> None:
        for event in events:
            self._journal.intend(event)
        self.ledger.commit([Batch(self._producer_id, self._sequence, events)])
        self._sequence += len(events)
        self._journal.acknowledged(self._sequence)

    def profile(self, run_id: str) -> None:
        with closing(open_for_reading(self._path)) as connection, queries.snapshot(connection):
            made = MadeProfile(run_id, *queries.final_profile(connection, run_id))
        self.ledger.store_profiles([made])

    def attempt(self) -> Exception | None:
        """Exports until there is nothing more, or something goes wrong, which is returned."""
        with closing(open_for_reading(self._path)) as connection:
            exporter = MlflowExporter(
                connection, self._client, artifact_location=self._artifacts, pause=lambda _: None
            )
            for _ in range(PASSES_MAX):
                try:
                    outcome = exporter.export(self.ledger.exporter_state(NAME)[0])
                except Exception as error:  # noqa: BLE001 - the daemon tries again whatever it was
                    return error
                self.ledger.save_export(
                    NAME, outcome.cursor, outcome.runs, outcome.set_aside, outcome.retried
                )
                if not outcome.more:
                    return None
        raise AssertionError("the export does not come to an end")

    def set_aside(self) -> list[str]:
        """The reasons."""
        with closing(open_for_reading(self._path)) as connection:
            return [reason for (reason,) in connection.execute("SELECT reason FROM dead_letters")]

    def verdict(self) -> Verdict:
        verdict = check_ledger(self._path, read_journals(self._journals))
        verdict.join(check_balance(self._path))
        verdict.join(check_mlflow(self._path, self._store_uri))
        return verdict


def unpriced(call: LlmCall) -> Price:
    return Price(PriceStatus.UNPRICED)
