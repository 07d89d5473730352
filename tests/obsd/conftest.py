"""What tests of the daemon share: events, a ledger with the real prices, and its reports."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from configurable_agents.errors import RecordRefusedError
from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.obsd.profiles import MadeProfile
from configurable_agents.obsd.records import Batch, Committed
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.telemetry import (
    Event,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    Status,
    Usage,
)
from configurable_agents.wire.report_records import Scope

T0 = 1_795_336_467_000_000_000
MS = 1_000_000
PRODUCER = bytes(range(16))


class Events:
    """Makes events of every kind; what a test does not care about has a sensible value."""

    T0 = T0
    MS = MS
    PRODUCER = PRODUCER

    def started(self, run_id: str = "run", experiment: str = "support", **more: object) -> RunStarted:
        return RunStarted(run_id, experiment, "triage", T0)._replace(**more)

    def node_started(self, node_id: str = "draft", **more: object) -> NodeStarted:
        return NodeStarted("run", 1, 0, node_id, 1, T0)._replace(**more)

    def node(self, node_id: str = "draft", span_id: int = 1, **more: object) -> NodeFinished:
        return NodeFinished("run", span_id, 0, node_id, 1, T0, 10 * MS, Status.OK, "")._replace(**more)

    def call(self, call_id: str = "call", **more: object) -> LlmCall:
        usage = Usage(input_tokens=1000, output_tokens=100)
        return LlmCall("run", call_id, 1, "draft", "openai", "gpt-4o", usage, T0, 10 * MS)._replace(**more)

    def finished(self, run_id: str = "run", **more: object) -> RunFinished:
        return RunFinished(run_id, T0 + 100 * MS, 100 * MS, Status.OK)._replace(**more)

    def whole_run(self, run_id: str = "run", *, nodes: int = 3, experiment: str = "support") -> list[Event]:
        """A start, `nodes` executions with a call each, an end."""
        events: list[Event] = [self.started(run_id, experiment)]
        for number in range(nodes):
            started = T0 + number * 10 * MS
            events.append(
                self.call(f"call-{number}", run_id=run_id, span_id=number + 1, started_unix_ns=started)
            )
            events.append(self.node(f"node-{number % 2}", number + 1, run_id=run_id, started_unix_ns=started))
        return [*events, self.finished(run_id)]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def node(events: Events) -> Callable[..., NodeFinished]:
    return events.node


@pytest.fixture(scope="session")
def pricer() -> CallPricer:
    return CallPricer(CostEstimator())


class Book(NamedTuple):
    """A ledger, and what it answers."""

    ledger: SqliteLedger
    path: Path

    def commit(
        self, events: Sequence[Event | RecordRefusedError], *, first: int = 0, producer: bytes = PRODUCER
    ) -> Committed:
        return self.ledger.commit([Batch(producer, first, events)])

    def ask(self, question: Callable[..., object], *arguments: object) -> object:
        with closing(open_for_reading(self.path)) as connection, queries.snapshot(connection):
            return question(connection, *arguments)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def profile_all(self) -> None:
        for run in self.ledger.unfinished_runs():
            if run.status is not Status.RUNNING:
                report, count = self.ask(queries.final_profile, run.run_id)  # type: ignore[misc]
                self.ledger.store_profiles([MadeProfile(run.run_id, report, count)])

    def reports(self) -> str:
        """Everything the ledger says about everything and about each run, as text."""
        with closing(open_for_reading(self.path)) as connection, queries.snapshot(connection):
            runs, _ = queries.list_runs(connection, Scope(), limit=1000)
            scopes = [Scope(), *(Scope(run_id=run_id) for run_id in sorted(run.run_id for run in runs))]
            return json.dumps(
                [
                    [
                        queries.cost_summary(connection, scope).to_json(),
                        queries.profile_report(connection, scope).to_json(),
                    ]
                    for scope in scopes
                ]
            )


@pytest.fixture
def new_book(tmp_path: Path, pricer: CallPricer) -> Iterator[Callable[[], Book]]:
    made: list[Book] = []

    def make() -> Book:
        path = tmp_path / f"ledger-{len(made)}.db"
        made.append(Book(SqliteLedger(path, pricer), path))
        return made[-1]

    yield make
    for book in made:
        book.ledger.close()


@pytest.fixture
def book(new_book: Callable[[], Book]) -> Book:
    return new_book()
