"""The export to MLflow, on a real store: every point once, every run once, nothing that stops the rest."""

from __future__ import annotations

import json
import sqlite3
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from configurable_agents.obsd import limits
from configurable_agents.obsd.exporters import projection
from configurable_agents.obsd.exporters.mlflow import NAME, MlflowExporter, failure
from configurable_agents.obsd.exporters.mlflow_batches import (
    DOUBT_PAUSES_S,
    DOUBTS_MAX,
    Doubt,
    Refused,
    RunWriter,
    settled,
)
from configurable_agents.obsd.exporters.protocol import ExportOutcome
from configurable_agents.obsd.ledger import accounts, cost_groups, queries
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.dead_letters import LetterState
from configurable_agents.observability import mlflow_names as names
from configurable_agents.observability.mlflow_runs import MlflowRuns, delete_runs
from configurable_agents.observability.mlflow_tracker import read_experiment_costs
from configurable_agents.runtime import bounds
from configurable_agents.telemetry import Status
from configurable_agents.wire.account_records import DeadLetterFilter
from configurable_agents.wire.report_records import ExporterStatus, Scope


class Store(NamedTuple):
    client: Any
    artifacts: Path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One MLflow store for all tests here: opening one takes seconds. Tests use experiments of their own."""
    import mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    return Store(client, folder / "artifacts")


class Export:
    """An exporter and the ledger it reads; `once` does what the daemon does with each outcome."""

    def __init__(self, store: Store, book: Any) -> None:
        self.client = store.client
        self.book = book
        self.experiment = f"experiment-{uuid.uuid4().hex[:8]}"
        self.artifacts = store.artifacts
        self._connection = open_for_reading(book.path)
        self.now = 0.0
        self.pauses: list[float] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        """As after the death of the worker: nothing is remembered."""
        location = self.artifacts.as_uri()
        self.exporter = MlflowExporter(
            self._connection,
            self.client,
            artifact_location=location,
            clock=lambda: self.now,
            pause=self.pauses.append,
        )

    def commit(self, events: list[Any], *, first: int = 0, producer: bytes = bytes(16)) -> None:
        self.book.commit(events, first=first, producer=producer)

    def once(self, *, save: bool = True) -> ExportOutcome:
        outcome = self.exporter.export(self.cursor)
        if save:
            self.save(outcome)
        return outcome

    def save(self, outcome: ExportOutcome) -> None:
        self.book.ledger.save_export(NAME, outcome.cursor, outcome.runs, outcome.set_aside, outcome.retried)

    def all(self) -> None:
        self.book.profile_all()
        while self.once().more:
            pass
        self.once()

    @property
    def cursor(self) -> int:
        return int(self.book.ledger.exporter_state(NAME)[0])

    def assert_balanced(self) -> None:
        """committed = exported + waiting + set aside + dropped + purged, and nothing waits."""
        status = self.account
        assert status.events_accounted == self.book.ask(queries.counts).events_committed
        assert status.events_waiting == 0
        [(rows,)] = self.book.rows(
            "SELECT (SELECT COUNT(*) FROM node_executions) + (SELECT COUNT(*) FROM llm_calls)"
            " + (SELECT COUNT(*) FROM run_events)"
        )
        assert rows == status.events_exported + status.events_set_aside + status.events_dropped

    @property
    def account(self) -> ExporterStatus:
        return self.book.ask(accounts.with_accounts, ExporterStatus(NAME, "", "idle"))

    def runs(self) -> list[Any]:
        found = self.client.get_experiment_by_name(self.experiment)
        return list(self.client.search_runs([found.experiment_id])) if found else []

    def run(self) -> Any:
        [run] = self.runs()
        return run

    def points(self, metric: str) -> list[tuple[int, float, int]]:
        history = self.client.get_metric_history(self.run().info.run_id, metric)
        return sorted((point.step, point.value, point.timestamp) for point in history)

    def artifact(self, name: str) -> Any:
        run = self.run()
        folder = self.client.download_artifacts(run.info.run_id, name)
        return json.loads(Path(folder).read_text())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def export(store: Store, book: Any) -> Iterator[Export]:
    made = Export(store, book)
    yield made
    made.close()


@pytest.fixture
def whole_run(export: Export, events: Any) -> Callable[..., list[Any]]:
    return lambda run_id="run", **more: events.whole_run(run_id, experiment=export.experiment, **more)


def test_a_run_is_written_under_the_names_that_are_promised(
    export: Export, whole_run: Any, events: Any
) -> None:
    export.commit(whole_run(nodes=3))
    export.all()
    run, cost_usd = export.run(), 3 * 0.0035
    assert (run.info.run_name, run.info.status) == ("triage", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (events.T0 // events.MS, events.T0 // events.MS + 100)
    assert run.data.metrics == pytest.approx(
        {
            "node_node-0_duration_ms": 10.0,
            "node_node-1_duration_ms": 10.0,
            "total_cost_usd": cost_usd,
            "total_tokens": 3300,
            "total_duration_ms": 100.0,
            "llm_calls": 3,
            "unpriced_calls": 0,
            "provider_openai_cost_usd": cost_usd,
            "provider_openai_tokens": 3300,
            "provider_openai_calls": 3,
            "model/openai/gpt-4o/cost_usd": cost_usd,
            "model/openai/gpt-4o/tokens": 3300,
            "model/openai/gpt-4o/calls": 3,
        }
    )
    assert run.data.params == {
        "provider_openai_cost_usd": "0.010500000",
        "provider_openai_tokens": "3300",
        "slowest_node": "node-0",
        "bottlenecks": "node-0",
        "total_time_ms": "30.0",
    }
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("agents_obs.")}
    assert tags["agents_obs.run_id"] == "run"
    assert tags["agents_obs.workflow"] == "triage"
    assert json.loads(tags["agents_obs.coverage"])["priced_calls"] == 3
    assert json.loads(tags["agents_obs.bottleneck_info"])["slowest_node"]["node_id"] == "node-0"
    assert "agents_obs.late_events" not in tags
    assert export.artifact("agents_obs/cost.json")["total_cost_nanos"] == 10_500_000
    assert export.artifact("agents_obs/profile.json")["node_count"] == 2
    export.assert_balanced()


def test_what_was_wasted_is_known_from_mlflow_alone(export: Export, whole_run: Any, events: Any) -> None:
    failed = [
        events.call("lost", started_unix_ns=events.T0, status=Status.ERROR),
        events.call("dark", started_unix_ns=events.T0, status=Status.CANCELLED, model="nobody-knows"),
    ]
    export.commit([*whole_run(nodes=2), *failed])
    export.commit(whole_run("other"), producer=bytes(15) + b"1")
    export.all()
    found = read_experiment_costs(export.experiment, export.client.tracking_uri).summary
    ledger = export.book.ask(cost_groups.cost_with_wasted, Scope(experiment=export.experiment))
    assert found.wasted == ledger.wasted
    assert (found.wasted.calls, found.wasted.cost.known_nanos, found.wasted.cost.unknown_calls) == (
        2,
        3_500_000,
        1,
    )
    assert (found.models, found.run_count) == (ledger.models, 2)


def test_every_call_of_a_node_is_one_point_whose_step_is_its_number(
    export: Export, events: Any, whole_run: Any
) -> None:
    run = whole_run(nodes=6)
    export.commit(run[:7])
    export.once()
    export.commit(run[7:], first=7)
    export.all()
    base = events.T0 // events.MS
    assert export.points("node_node-0_duration_ms") == [
        (1, 10.0, base + 10),
        (2, 10.0, base + 30),
        (3, 10.0, base + 50),
    ]


def test_a_page_exported_twice_changes_nothing(export: Export, whole_run: Any) -> None:
    export.commit(whole_run(nodes=6))
    export.book.profile_all()
    first = export.once(save=False)
    before = everything(export)
    export.begin_anew()
    assert export.once(save=False) == first
    assert everything(export) == before
    export.save(first)
    export.begin_anew()
    export.once()
    assert everything(export) == before
    export.assert_balanced()


def everything(export: Export) -> Any:
    run = export.run()
    histories = {name: export.points(name) for name in run.data.metrics}
    return run.info.run_id, run.info.status, run.data.params, run.data.tags, histories


class CountingClient:
    """MLflow's client, and what it was asked to write."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.batches: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def log_batch(self, run_id: str, **values: Any) -> None:
        self.batches.append(values)
        self._client.log_batch(run_id, **values)


def test_points_of_a_node_go_together_and_the_figures_of_a_finished_run_in_one_call(
    export: Export, whole_run: Any
) -> None:
    """Each call costs MLflow a look at the run, and at the latest value of each of its metrics."""
    client = CountingClient(export.client)
    export.exporter = MlflowExporter(export._connection, client, artifact_location=export.artifacts.as_uri())
    export.commit(whole_run(nodes=10))
    export.all()
    points, figures = client.batches
    written = [point.key for point in points["metrics"]]
    assert written == sorted(written)
    assert len(set(written)) < len(written)
    assert {kind for kind, values in figures.items() if values} == {"metrics", "params", "tags"}
    assert export.run().data.params["total_time_ms"]


def test_a_run_is_found_by_its_tag_before_it_is_created_again(export: Export, whole_run: Any) -> None:
    """As when the worker dies between creating it and the save of the cursor, again and again."""
    export.commit(whole_run())
    for _ in range(3):
        export.begin_anew()
        export.once(save=False)
    assert len(export.runs()) == 1


def test_a_run_in_flight_shows_its_totals_now_and_then_and_has_no_params(
    export: Export, whole_run: Any
) -> None:
    run = whole_run(nodes=4)
    export.commit(run[:3])
    export.once()
    assert export.run().data.metrics["llm_calls"] == 1
    export.commit(run[3:5], first=3)
    export.once()
    assert export.run().data.metrics["llm_calls"] == 1, "not at every page"
    export.now += 60
    export.commit(run[5:7], first=5)
    export.once()
    found = export.run()
    assert found.data.metrics["llm_calls"] == 3
    assert (found.info.status, found.data.params) == ("RUNNING", {})


@pytest.mark.parametrize(
    ("status", "expected"), [(Status.ERROR, "FAILED"), (Status.CANCELLED, "KILLED"), (None, "KILLED")]
)
def test_every_ending_has_its_status_in_mlflow(
    export: Export, whole_run: Any, events: Any, status: Status | None, expected: str
) -> None:
    run = whole_run()
    if status is None:
        export.commit(run[:-1])
        export.book.ledger.mark_interrupted(["run"])
    else:
        export.commit([*run[:-1], run[-1]._replace(status=status)])
    export.all()
    assert export.run().info.status == expected
    assert export.run().data.metrics["llm_calls"] == 3
    export.assert_balanced()


def test_late_events_reach_the_metrics_are_tagged_and_leave_the_params(
    export: Export, whole_run: Any, events: Any
) -> None:
    export.commit(whole_run(nodes=1))
    export.all()
    params = export.run().data.params
    export.commit([events.call("late"), events.node("late", 50)], first=4)
    export.all()
    run = export.run()
    assert run.data.params == params
    assert run.data.metrics["llm_calls"] == 2
    assert len(export.points("node_late_duration_ms")) == 1
    assert "6 events" in run.data.tags[names.TAG_LATE_EVENTS]
    export.assert_balanced()


def test_a_run_deleted_in_mlflow_is_set_aside_with_the_reason_and_the_others_go_on(
    export: Export, whole_run: Any, events: Any
) -> None:
    run = whole_run()
    export.commit(run[:4])
    export.once()
    export.client.delete_run(export.run().info.run_id)
    export.commit(run[4:], first=4)
    export.commit(whole_run("other"), producer=b"\x01" * 16)
    export.all()
    assert [run.data.tags[names.TAG_RUN_ID] for run in export.runs()] == ["other"]
    assert export.run().info.status == "FINISHED"
    [(reason,)] = export.book.rows("SELECT DISTINCT reason FROM dead_letters")
    assert "deleted" in reason
    export.assert_balanced()


def test_a_run_attached_to_an_mlflow_run_is_written_there_and_not_ended(
    export: Export, whole_run: Any
) -> None:
    experiment = export.client.create_experiment(
        export.experiment, artifact_location=export.artifacts.as_uri()
    )
    mine = export.client.create_run(experiment, run_name="mine")
    run = whole_run()
    run[0] = run[0]._replace(mlflow_run_id=mine.info.run_id)
    export.commit(run)
    export.all()
    found = export.run()
    assert (found.info.run_id, found.info.run_name, found.info.status) == (
        mine.info.run_id,
        "mine",
        "RUNNING",
    )
    assert found.data.metrics["llm_calls"] == 3
    assert found.data.tags[names.TAG_RUN_ID] == "run"


def test_a_run_attached_to_an_mlflow_run_that_does_not_exist_holds_up_no_other(
    export: Export, whole_run: Any
) -> None:
    run = whole_run("lost")
    run[0] = run[0]._replace(mlflow_run_id="0" * 32)
    export.commit(run)
    export.commit(whole_run("other"), producer=b"\x01" * 16)
    export.all()
    assert export.run().data.tags[names.TAG_RUN_ID] == "other"
    assert export.book.rows("SELECT COUNT(*) FROM dead_letters")[0][0] >= 3
    export.assert_balanced()


def retry(export: Export, *, whole_run: bool = False) -> int:
    """As `dead-letters retry` does."""
    if whole_run:
        return int(export.book.ledger.retry_whole_run(NAME, 1, 99))
    return int(export.book.ledger.change_dead_letters(DeadLetterFilter(), LetterState.RETRYING, 99))


def test_a_run_that_is_restored_in_mlflow_gets_what_was_set_aside_when_that_is_retried(
    export: Export, whole_run: Any
) -> None:
    run = whole_run(nodes=6)
    export.commit(run[:4])
    export.once()
    run_id = export.run().info.run_id
    export.client.delete_run(run_id)
    export.commit(run[4:], first=4)
    export.all()
    assert export.account.events_set_aside == len(run) - 4
    export.client.restore_run(run_id)
    assert retry(export) == len(run) - 4
    for _ in range(2):  # killed after MLflow took it and before the daemon knew
        export.begin_anew()
        export.once(save=False)
    export.all()
    found = export.run()
    assert (found.info.run_id, found.info.status) == (run_id, "FINISHED")
    assert [step for step, _, _ in export.points("node_node-0_duration_ms")] == [1, 2, 3]
    assert (found.data.metrics["llm_calls"], found.data.params["total_time_ms"]) == (6, "60.0")
    assert (export.account.events_set_aside, export.account.events_exported) == (0, len(run))
    export.assert_balanced()


def test_what_is_retried_too_early_is_set_aside_again(export: Export, whole_run: Any) -> None:
    export.client.delete_experiment(export.client.create_experiment(export.experiment))
    export.commit(whole_run())
    export.all()
    assert retry(export) == 8
    export.all()
    assert export.account.events_set_aside == 8
    found = export.client.get_experiment_by_name(export.experiment)
    export.client.restore_experiment(found.experiment_id)
    assert retry(export) == 8
    export.all()
    assert export.run().data.metrics["llm_calls"] == 3
    assert export.account.events_exported == 8
    export.assert_balanced()


def test_a_run_that_mlflow_has_lost_altogether_is_made_anew_when_the_whole_run_is_retried(
    export: Export, whole_run: Any
) -> None:
    export.commit(whole_run(nodes=4))
    export.all()
    lost = export.run().info.run_id
    export.client.delete_run(lost)
    export.client._tracking_client.store._hard_delete_run(lost)
    assert retry(export, whole_run=True) == 10
    export.all()
    found = export.run()
    assert found.info.run_id != lost
    assert (found.info.status, found.data.metrics["llm_calls"]) == ("FINISHED", 4)
    assert len(export.points("node_node-0_duration_ms")) == 2
    assert export.account.events_exported == 10
    export.assert_balanced()


def test_a_store_that_only_lets_itself_be_read_holds_up_everything_and_says_so(
    export: Export, whole_run: Any
) -> None:
    import mlflow

    from configurable_agents.obsd.exporters.mlflow import failure

    export.commit(whole_run())
    database = export.client.tracking_uri.removeprefix("sqlite:///")
    writable, export.client = (
        export.client,
        mlflow.MlflowClient(f"sqlite:///file:{database}?mode=ro&uri=true"),
    )
    export.begin_anew()
    with pytest.raises(mlflow.exceptions.MlflowException) as refused:
        export.once()
    assert "attempt to write a readonly database" in failure(refused.value).error
    assert (export.cursor, export.account.events_set_aside) == (0, 0)
    export.client = writable
    export.begin_anew()
    export.all()
    assert export.run().data.metrics["llm_calls"] == 3
    export.assert_balanced()


def test_a_deleted_experiment_is_set_aside_with_the_reason(export: Export, whole_run: Any) -> None:
    export.client.delete_experiment(export.client.create_experiment(export.experiment))
    export.commit(whole_run())
    export.all()
    [(reason,)] = export.book.rows("SELECT DISTINCT reason FROM dead_letters")
    assert "is deleted in MLflow" in reason
    export.assert_balanced()


def test_node_names_of_any_kind_come_back_from_their_metrics(
    export: Export, events: Any, whole_run: Any
) -> None:
    odd = [
        "a[0]",
        "naïve",
        "x/y",
        "//",
        ".",
        "..",
        " lead",
        "_0x41_",
        "東京",
        "n" * 256,
        "a:b-c_d.e f",
        "\u202eabc",
    ]
    run = whole_run(nodes=0)
    nodes = [events.node(name, number + 1) for number, name in enumerate(odd)]
    export.commit([run[0], *nodes, run[-1]])
    export.all()
    found = export.run()
    originals = names.original_names(found.data.tags)
    node_ids = {names.node_of_metric(key, originals) for key in found.data.metrics}
    assert node_ids - {None} == set(odd)
    export.assert_balanced()


def test_points_far_in_the_future_are_taken(export: Export, events: Any, whole_run: Any) -> None:
    run = whole_run(nodes=0)
    late = events.node("late", 1, started_unix_ns=bounds.INT64_MAX, duration_ns=bounds.DURATION_NS_MAX)
    export.commit([run[0], late, run[-1]])
    export.all()
    assert [step for step, _, _ in export.points("node_late_duration_ms")] == [1]
    export.assert_balanced()


def test_a_run_of_which_only_a_node_is_known_is_written_under_a_name_that_says_so(
    export: Export, events: Any
) -> None:
    export.experiment = "(unknown)"
    export.commit([events.node(run_id=f"nameless-{uuid.uuid4().hex}")])
    export.once()
    assert export.run().info.run_name == "(unknown)"


def test_a_node_with_very_many_calls_is_thinned_and_says_so(
    export: Export, events: Any, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from configurable_agents.obsd.exporters import thinning

    monkeypatch.setattr(thinning, "POINTS_ALL_UP_TO", 50)
    run = whole_run(nodes=0)
    export.commit([run[0], *[events.node("n", span) for span in range(1, 201)], run[-1]])
    export.all()
    steps = [step for step, _, _ in export.points("node_n_duration_ms")]
    assert steps == [*range(1, 51), *range(52, 101, 2), *range(104, 201, 4)]
    assert "50 calls" in export.run().data.tags[names.TAG_THINNED]
    assert export.book.rows("SELECT calls FROM node_totals") == [(200,)]
    export.assert_balanced()


def test_one_point_that_mlflow_will_not_take_is_set_aside_alone(
    export: Export, events: Any, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our names are always encoded, so one that is not is put into the exporter's way."""
    whole = names.node_metric
    monkeypatch.setattr(names, "node_metric", lambda node: "bad\nname" if node == "poison" else whole(node))
    run = whole_run(nodes=0)
    nodes = [events.node("poison" if number == 17 else f"n{number}", number + 1) for number in range(40)]
    export.commit([run[0], *nodes, run[-1]])
    export.all()
    assert len([key for key in export.run().data.metrics if key.startswith("node_")]) == 39
    [(seq, reason)] = export.book.rows("SELECT seq, reason FROM dead_letters")
    assert seq == 1 + 18
    assert reason
    export.assert_balanced()


def test_a_timestamp_that_no_database_holds_is_set_aside_alone(
    export: Export, events: Any, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow answers it as it answers its own trouble, so it has to be told apart."""
    whole = projection.milliseconds
    monkeypatch.setattr(projection, "milliseconds", lambda ns: 2**63 if ns == 77 * events.MS else whole(ns))
    run = whole_run(nodes=0)
    poison = events.node("n", 99, started_unix_ns=67 * events.MS)
    nodes = [poison if number == 5 else events.node("n", number + 1) for number in range(20)]
    export.commit([run[0], *nodes, run[-1]])
    export.all()
    assert [step for step, _, _ in export.points("node_n_duration_ms")] == [*range(1, 6), *range(7, 21)]
    [(seq, reason)] = export.book.rows("SELECT seq, reason FROM dead_letters")
    assert seq == 7
    assert "node_n_duration_ms" in reason
    assert export.pauses == list(DOUBT_PAUSES_S)
    assert export.run().info.status == "FINISHED"
    export.assert_balanced()


def test_an_mlflow_in_trouble_is_no_reason_to_set_anything_aside(
    export: Export, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    export.commit(whole_run())

    def in_trouble(*_: Any, **__: Any) -> None:
        raise MlflowException("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(export.client, "log_batch", in_trouble)
        with pytest.raises(MlflowException, match="out of memory"):
            export.once()
    assert export.cursor == 0
    export.all()
    assert export.account.events_set_aside == 0
    export.assert_balanced()


def test_that_the_worker_has_no_memory_left_is_no_reason_to_set_anything_aside(
    export: Export, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's client says of it what its server says of a value that it cannot hold; tags go through."""
    from mlflow.exceptions import MlflowException

    log_batch = export.client.log_batch

    def out_of_memory(run_id: str, *, tags: Any = (), **more: Any) -> None:
        if tags and not any(more.values()):
            log_batch(run_id, tags=tags)
            return
        try:
            bytearray(sys.maxsize)
        except MemoryError as error:
            raise MlflowException(f"API request failed with exception {error}")  # noqa: B904 - as it does

    export.commit(whole_run())
    with monkeypatch.context() as patched:
        patched.setattr(export.client, "log_batch", out_of_memory)
        with pytest.raises(MlflowException) as raised:
            export.once()
    assert "needed more than" in failure(raised.value).error
    assert export.cursor == 0
    export.all()
    assert export.account.events_set_aside == 0
    export.assert_balanced()


def test_trouble_that_passes_between_two_tries_sets_nothing_aside(
    export: Export, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    export.commit(whole_run())
    log_batch, troubles = export.client.log_batch, iter([True])

    def in_trouble_once(*arguments: Any, **more: Any) -> None:
        if next(troubles, False):
            raise MlflowException("try again") from sqlite3.DatabaseError("disk I/O error")
        log_batch(*arguments, **more)

    monkeypatch.setattr(export.client, "log_batch", in_trouble_once)
    export.all()
    assert export.account.events_set_aside == 0
    assert len(export.points("node_node-0_duration_ms")) == 2


def page_of_a_gateway() -> Exception:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

    return MlflowException("failed with error code 500 != 200. Response body: '<html>'", INTERNAL_ERROR)


def failed_connection() -> Exception:
    from mlflow.exceptions import MlflowException

    error = MlflowException("API request failed with exception: reset by peer")
    error.__context__ = ConnectionResetError(104, "reset by peer")
    return error


def servers_own_500() -> Exception:
    from mlflow.exceptions import RestException

    return RestException({"error_code": "INTERNAL_ERROR", "message": "no thread is free"})


def databases_own_error() -> Exception:
    from mlflow.exceptions import MlflowException

    error = MlflowException("could not write")
    error.__cause__ = sqlite3.DatabaseError("could not write")
    return error


class TroubledClient:
    """MLflow's client, which takes no metrics as long as there is `trouble`, and everything else."""

    def __init__(self, client: Any, trouble: Callable[[], Exception]) -> None:
        self._client = client
        self.trouble: Callable[[], Exception] | None = trouble

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def log_batch(self, run_id: str, **values: Any) -> None:
        if self.trouble is not None and values.get("metrics"):
            raise self.trouble()
        self._client.log_batch(run_id, **values)


@pytest.mark.parametrize("trouble", [page_of_a_gateway, failed_connection])
def test_what_did_not_reach_mlflow_is_not_refused_by_it(
    export: Export, whole_run: Any, trouble: Callable[[], Exception]
) -> None:
    client = TroubledClient(export.client, trouble)
    export.exporter = MlflowExporter(export._connection, client, pause=export.pauses.append)
    export.commit(whole_run())
    with pytest.raises(type(trouble()), match=r"500|reset"):
        export.once()
    assert export.cursor == 0
    client.trouble = None
    export.all()
    assert export.account.events_set_aside == 0
    export.assert_balanced()


@pytest.mark.parametrize("trouble", [servers_own_500, databases_own_error])
def test_trouble_with_metrics_alone_that_passes_sets_nothing_aside(
    export: Export, whole_run: Any, trouble: Callable[[], Exception]
) -> None:
    client = TroubledClient(export.client, trouble)

    def pause(seconds: float) -> None:
        export.pauses.append(seconds)
        if len(export.pauses) == len(DOUBT_PAUSES_S):
            client.trouble = None

    export.exporter = MlflowExporter(
        export._connection, client, artifact_location=export.artifacts.as_uri(), pause=pause
    )
    export.commit(whole_run())
    export.all()
    assert export.pauses == list(DOUBT_PAUSES_S)
    assert export.account.events_set_aside == 0
    assert len(export.points("node_node-0_duration_ms")) == 2
    export.assert_balanced()


@pytest.mark.parametrize("trouble", [servers_own_500, databases_own_error])
def test_values_that_fail_after_every_pause_are_set_aside(
    export: Export, whole_run: Any, trouble: Callable[[], Exception]
) -> None:
    client = TroubledClient(export.client, trouble)
    export.exporter = MlflowExporter(
        export._connection, client, artifact_location=export.artifacts.as_uri(), pause=export.pauses.append
    )
    export.commit(whole_run(nodes=4))
    export.all()
    assert export.account.events_set_aside == 5, "the points, and with its totals the end of the run"
    assert export.run().info.status == "FINISHED"
    export.assert_balanced()


def test_more_doubts_than_can_be_looked_at_again_are_left_as_they_are() -> None:
    asked: list[int] = []

    def doubt(number: int) -> Doubt:
        def is_refused_again() -> bool:
            asked.append(number)
            return False

        return Doubt([number], 1, Refused(number, "500", is_refused_again))

    doubts = [doubt(number) for number in range(DOUBTS_MAX + 1)]
    assert [each.seqs for each in settled(doubts, lambda _: None)] == [[DOUBTS_MAX]]
    assert asked == list(range(DOUBTS_MAX))


def test_a_param_that_mlflow_refuses_is_set_aside_with_the_end_of_the_run_and_the_rest_is_written(
    export: Export, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another writer is faster: params are write-once, and a clash fails the whole batch."""
    get_run = export.client.get_run

    def without_params(run_id: str) -> Any:
        found = get_run(run_id)
        if not found.data.params.get("total_time_ms"):
            found.data.params.clear()
        return found

    run = whole_run()
    export.commit(run[:-1])
    export.once()
    export.client.log_param(export.run().info.run_id, "slowest_node", "somebody else's")
    monkeypatch.setattr(export.client, "get_run", without_params)
    export.commit(run[-1:], first=len(run) - 1)
    export.all()
    found = export.run()
    assert (found.info.status, found.data.params["slowest_node"]) == ("FINISHED", "somebody else's")
    assert found.data.params["total_time_ms"] == "30.0"
    assert found.data.metrics["llm_calls"] == 3
    [(seq, reason)] = export.book.rows("SELECT seq, reason FROM dead_letters")
    assert (seq, "'slowest_node'" in reason) == (len(run), True)
    export.assert_balanced()


def test_a_tag_that_mlflow_refuses_is_set_aside_with_the_start_of_the_run(
    export: Export, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes any tag with a new run; another database may not."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    create_run = export.client.create_run

    def strict(*arguments: Any, tags: dict[str, str], **more: Any) -> Any:
        if "bad\nkey" in tags:
            raise MlflowException("no such key", error_code=INVALID_PARAMETER_VALUE)
        return create_run(*arguments, tags=tags, **more)

    monkeypatch.setattr(export.client, "create_run", strict)
    monkeypatch.setattr(names, "encode_name", lambda name, **_: name)
    run = whole_run()
    run[0] = run[0]._replace(tags={"team": "blue", "bad\nkey": "1"})
    export.commit(run)
    export.all()
    assert export.run().data.tags["team"] == "blue"
    assert export.book.rows("SELECT seq FROM dead_letters") == [(1,)]
    export.assert_balanced()


def test_a_run_that_is_refused_as_a_whole_is_set_aside_with_all_its_events(
    export: Export, whole_run: Any
) -> None:
    run = whole_run()
    export.commit(run[:1])
    export.once()
    export.client.delete_run(export.run().info.run_id)
    export.commit(run[1:], first=1)
    export.all()
    assert export.account.events_set_aside == len(run) - 1
    export.assert_balanced()


def test_values_beyond_those_that_can_be_singled_out_in_time_are_set_aside_together(
    store: Store, export: Export, whole_run: Any
) -> None:
    export.commit(whole_run())
    export.all()
    run_id = export.run().info.run_id
    points = [projection.Point(number, f"bad\n{number}", 1.0, 1, 1) for number in range(1, 65)]
    refused = RunWriter(store.client, run_id, "run", isolated_max=8).log_points(points)
    assert sorted(each.seq for each in refused) == list(range(1, 65))


def test_an_unreachable_mlflow_takes_nothing_and_moves_no_cursor(
    export: Export, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.commit(whole_run())

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("refused")

    with monkeypatch.context() as patched:
        patched.setattr(export.client, "log_batch", unreachable)
        with pytest.raises(ConnectionError):
            export.once()
    assert export.cursor == 0
    export.all()
    assert len(export.points("node_node-0_duration_ms")) == 2
    export.assert_balanced()


def test_a_store_that_takes_no_artifacts_holds_up_nothing(
    export: Export, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(export.client, "log_dict", read_only)
    export.commit(whole_run())
    export.all()
    assert export.run().info.status == "FINISHED"
    export.assert_balanced()


def test_more_than_a_page_is_exported_page_by_page(
    export: Export, events: Any, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXPORT_EVENTS_MAX", 7)
    run = whole_run(nodes=10)
    export.commit(run)
    cursors = []
    while True:
        outcome = export.once()
        cursors.append(outcome.cursor)
        if not outcome.more:
            break
    assert cursors == [7, 14, 21, 22]
    export.all()
    assert len(export.points("node_node-0_duration_ms")) == 5
    export.assert_balanced()


def test_the_ledger_names_the_mlflow_run(export: Export, whole_run: Any) -> None:
    export.commit(whole_run())
    export.all()
    with closing(sqlite3.connect(export.book.path)) as connection:
        [(foreign_id,)] = connection.execute("SELECT foreign_id FROM exported_runs").fetchall()
    assert foreign_id == export.run().info.run_id


# -- the ledger meanwhile ----------------------------------------------------------------------------------


class LookingClient:
    """MLflow's client, and whether the ledger was being read at any of its calls."""

    def __init__(self, client: Any, is_reading: Callable[[], bool]) -> None:
        self._client = client
        self._is_reading = is_reading
        self.read_during: list[str] = []
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        if self._is_reading():
            self.read_during.append(name)
        return getattr(self._client, name)


def test_the_ledger_is_not_read_while_mlflow_writes(export: Export, whole_run: Any, events: Any) -> None:
    """A reader that stays keeps SQLite's log from being folded in, and MLflow may hang for 90 s."""
    client = LookingClient(export.client, lambda: export._connection.in_transaction)
    export.exporter = MlflowExporter(export._connection, client, artifact_location=export.artifacts.as_uri())
    export.commit(whole_run())
    export.commit([events.started("live", experiment=export.experiment)], first=8)
    export.all()
    assert client.calls > 5
    assert client.read_during == []


def test_of_the_mlflow_runs_of_a_run_all_are_deleted_but_one_that_the_workflow_made_itself(
    export: Export, whole_run: Any
) -> None:
    export.commit(whole_run())
    export.all()
    made, experiment = export.run().info.run_id, export.run().info.experiment_id
    twin = export.client.create_run(experiment, tags={names.TAG_RUN_ID: "run"}).info.run_id
    other = export.client.create_run(experiment, tags={names.TAG_RUN_ID: "run-2"}).info.run_id
    store = MlflowRuns(export.client.tracking_uri)
    about: dict[str, Any] = {"experiment": export.experiment, "mlflow_run_id": made}
    assert delete_runs(store, "run", **about, is_attached=True) == [twin]
    assert delete_runs(store, "run", **about, is_attached=False) == [made]
    assert delete_runs(store, "run", **about, is_attached=False) == [], "nothing is left to delete"
    assert [run.info.run_id for run in export.runs()] == [other]
    elsewhere = {"experiment": "renamed since", "mlflow_run_id": other, "is_attached": False}
    assert delete_runs(store, "run-2", **elsewhere) == [other]
    unknown = {"experiment": "none", "mlflow_run_id": "0" * 32, "is_attached": False}
    assert delete_runs(store, "run", **unknown) == []
