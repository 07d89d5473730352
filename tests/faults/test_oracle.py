"""The oracle itself: whatever is done to a ledger or to MLflow's store, it finds it and nothing else."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from harness.journal import JournalWriter, must_arrive, read_acknowledged, read_journals
from harness.mlflow_oracle import check_mlflow
from harness.oracle import Verdict, check_acknowledged, check_balance, check_ledger

from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.obsd.records import Batch
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.telemetry import Event, LlmCall, NodeFinished, RunFinished, RunStarted, Status, Usage

PRODUCER = bytes(range(16))

SET_ASIDE = "INSERT INTO dead_letters VALUES ('mlflow', {}, 1, 1, 'why', 0)"


class Scene(NamedTuple):
    ledger: Path
    journals: Path

    def verdict(self) -> Verdict:
        return check_ledger(self.ledger, read_journals(self.journals))

    def damage(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.ledger)) as connection, connection:
            for statement in statements:
                connection.execute(statement)


def events() -> list[Event]:
    now = time.time_ns()
    nodes = [
        NodeFinished("run", n, 0, f"step-{n % 2}", 1, now, n * 10**6, Status.OK, "") for n in range(1, 7)
    ]
    call = LlmCall("run", "call", 1, "step-1", "openai", "gpt-4o", Usage(10, output_tokens=2), now, 5)
    return [RunStarted("run", "e", "w", now), *nodes, call, RunFinished("run", now, 10**7, Status.OK)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Nine events, all recorded, acknowledged and committed; a tenth was only intended."""
    journals = tmp_path / "journals"
    journals.mkdir()
    writer = JournalWriter(journals, PRODUCER, kind="recorder")
    recorded = events()
    for event in recorded:
        writer.recorded(writer.intend(event))
    writer.acknowledged(9)
    writer.intend(NodeFinished("run", 99, 0, "step-1", 1, 1, 1, Status.OK, ""))
    writer.close()
    with SqliteLedger(tmp_path / "ledger.db", CallPricer(CostEstimator())) as ledger:
        ledger.commit([Batch(PRODUCER, 0, recorded)])
    return Scene(tmp_path / "ledger.db", journals)


def test_a_ledger_with_everything_once_is_clean(scene: Scene) -> None:
    verdict = scene.verdict()
    assert verdict.is_clean, verdict
    assert verdict.looked_at == must_arrive(read_journals(scene.journals)) == 9


DAMAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "a row is gone": (("DELETE FROM node_executions WHERE span_id = 3",), "lost"),
    "a call is gone": (("DELETE FROM llm_calls",), "lost"),
    "an end is gone": (("DELETE FROM run_events WHERE kind = 2",), "lost"),
    "a row is there twice": (
        (
            "CREATE TEMP TABLE again AS SELECT * FROM node_executions WHERE span_id = 3",
            "UPDATE again SET seq = 900",
            "INSERT INTO node_executions SELECT * FROM again",
        ),
        "duplicated",
    ),
    "two rows changed places": (
        (
            "UPDATE node_executions SET seq = 900 WHERE span_id = 3",
            "UPDATE node_executions SET seq = 4 WHERE span_id = 4",
        ),
        "reordered",
    ),
    "a row that nobody recorded": (
        ("UPDATE node_executions SET span_id = 77 WHERE span_id = 3",),
        "invented",
    ),
    "another duration": (("UPDATE node_executions SET duration_ns = 1 WHERE span_id = 3",), "altered"),
    "other tokens": (("UPDATE llm_calls SET input_tokens = 11",), "altered"),
    "another status of the run": (("UPDATE runs SET status = 2",), "altered"),
    "a total that is off": (("UPDATE node_totals SET calls = calls + 1",), "unbalanced"),
    "money that is off": (("UPDATE call_totals SET cost_nanos = cost_nanos + 1",), "unbalanced"),
    "a counter that is off": (("UPDATE counters SET value = value + 1",), "unbalanced"),
    "a gap in what came": (("UPDATE producers SET events_missing = 1",), "unbalanced"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_to_a_ledger_is_found(scene: Scene, damage: str) -> None:
    statements, what = DAMAGES[damage]
    scene.damage(*statements)
    assert scene.verdict().count(what), scene.verdict()


def test_an_event_that_was_only_intended_may_be_there(scene: Scene) -> None:
    with SqliteLedger(scene.ledger, CallPricer(CostEstimator())) as ledger:
        ledger.commit([Batch(PRODUCER, 9, [NodeFinished("run", 99, 0, "step-1", 1, 1, 1, Status.OK, "")])])
    assert scene.verdict().is_clean, scene.verdict()


def test_an_acknowledgement_ahead_of_the_ledger_is_a_loss(scene: Scene) -> None:
    acknowledged = read_acknowledged(scene.journals)
    assert acknowledged == {PRODUCER: 9}
    assert check_acknowledged(scene.ledger, acknowledged).is_clean
    scene.damage("UPDATE producers SET next_sequence = 7")
    assert check_acknowledged(scene.ledger, acknowledged).count("lost") == 2


def test_what_waits_for_the_export_is_out_of_balance_once_it_should_be_done(scene: Scene) -> None:
    assert check_balance(scene.ledger).count("unbalanced")
    scene.damage("INSERT INTO exporters VALUES ('mlflow', 9, 0)")
    assert check_balance(scene.ledger).is_clean
    scene.damage(SET_ASIDE.format(77))
    assert check_balance(scene.ledger).count("unbalanced") == 1


@pytest.fixture
def store(scene: Scene, tmp_path: Path) -> str:
    """What MLflow should have of the scene, in tables like MLflow's."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(scene.ledger)) as ledger:
        executions = ledger.execute(
            "SELECT n.name, x.duration_ns, x.started_unix_ns, x.call_index"
            " FROM node_executions x JOIN names n ON n.id = x.node"
        ).fetchall()
        [cost_usd] = ledger.execute("SELECT sum(cost_nanos) / 1e9 FROM call_totals").fetchone()
    with closing(sqlite3.connect(path)) as made, made:
        made.executescript(
            "CREATE TABLE runs (run_uuid, status, lifecycle_stage);"
            "CREATE TABLE tags (run_uuid, key, value);"
            "CREATE TABLE metrics (run_uuid, key, value, timestamp, step);"
            "CREATE TABLE latest_metrics (run_uuid, key, value);"
            "INSERT INTO runs VALUES ('m', 'FINISHED', 'active');"
            "INSERT INTO tags VALUES ('m', 'agents_obs.run_id', 'run');"
        )
        for node, duration_ns, started_ns, index in executions:
            ended_ms = (started_ns + duration_ns) // 10**6
            point = ("m", f"node_{node}_duration_ms", duration_ns / 1e6, ended_ms, index)
            made.execute("INSERT INTO metrics VALUES (?,?,?,?,?)", point)
        latest = {"llm_calls": 1, "total_tokens": 12, "total_cost_usd": cost_usd}
        made.executemany("INSERT INTO latest_metrics VALUES ('m', ?, ?)", latest.items())
    return f"sqlite:///{path}"


def damage_store(uri: str, statement: str) -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(statement)


def test_a_store_with_everything_once_is_clean(scene: Scene, store: str) -> None:
    assert check_mlflow(scene.ledger, store).is_clean, check_mlflow(scene.ledger, store)


STORE_DAMAGES: dict[str, tuple[str, str]] = {
    "a run is gone": ("DELETE FROM tags", "lost"),
    "an orphan": ("INSERT INTO runs VALUES ('x', 'RUNNING', 'active')", "invented"),
    "a wrong ending": ("UPDATE runs SET status = 'FAILED'", "altered"),
    "a point is gone": ("DELETE FROM metrics WHERE step = 2 AND key LIKE '%1%'", "lost"),
    "a point twice": ("INSERT INTO metrics SELECT * FROM metrics WHERE step = 1", "duplicated"),
    "a point of another step": ("UPDATE metrics SET step = 9 WHERE step = 1", "invented"),
    "another total": ("UPDATE latest_metrics SET value = 13 WHERE key = 'total_tokens'", "altered"),
    "no cost": ("DELETE FROM latest_metrics WHERE key = 'total_cost_usd'", "altered"),
}


@pytest.mark.parametrize("damage", STORE_DAMAGES)
def test_every_damage_to_a_store_is_found(scene: Scene, store: str, damage: str) -> None:
    statement, what = STORE_DAMAGES[damage]
    damage_store(store, statement)
    assert check_mlflow(scene.ledger, store).count(what), check_mlflow(scene.ledger, store)


def test_a_twin_is_found(scene: Scene, store: str) -> None:
    damage_store(store, "INSERT INTO runs VALUES ('twin', 'FINISHED', 'active')")
    damage_store(store, "INSERT INTO tags VALUES ('twin', 'agents_obs.run_id', 'run')")
    assert check_mlflow(scene.ledger, store).count("duplicated") == 1


def test_what_is_set_aside_must_not_be_in_the_store(
    scene: Scene, store: str, seq_of: Callable[[int], int]
) -> None:
    scene.damage(SET_ASIDE.format(seq_of(3)))
    assert check_mlflow(scene.ledger, store).count("invented") == 1


@pytest.fixture
def seq_of(scene: Scene) -> Callable[[int], int]:
    def find(span_id: int) -> int:
        with closing(sqlite3.connect(scene.ledger)) as connection:
            query = "SELECT seq FROM node_executions WHERE span_id = ?"
            return int(connection.execute(query, (span_id,)).fetchone()[0])

    return find


def test_a_journal_that_ends_in_the_middle_of_a_line_is_read_up_to_there(scene: Scene) -> None:
    [path] = scene.journals.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert must_arrive(read_journals(scene.journals)) == 9
