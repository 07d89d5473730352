"""`verify` on a real ledger and a real MLflow store: it finds what is wrong there, and nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from configurable_agents.cli.verify import Comparison, lines
from configurable_agents.errors import MLflowUnavailableError
from configurable_agents.obsd import limits
from configurable_agents.obsd.exporters import expectations
from configurable_agents.obsd.exporters.mlflow import NAME, MlflowExporter
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.dead_letters import LetterState
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.observability import mlflow_runs
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.observability.verification import Balance, Finding, PointCheck, Verification
from configurable_agents.telemetry import Status
from configurable_agents.wire import account_messages
from configurable_agents.wire.account_records import DeadLetterFilter
from configurable_agents.wire.report_records import ExporterStatus, Scope


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One MLflow store for all tests here: opening one takes seconds. Tests use experiments of their own."""
    import mlflow

    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db")


class Accounts:
    """Answers as the daemon does, with everything through its messages; `between` runs before each answer."""

    def __init__(self, book: Any, tracking_uri: str) -> None:
        self._book = book
        self._status = ExporterStatus(NAME, tracking_uri, "idle")
        self.between: Callable[[], object] = lambda: None

    def be(self, state: str) -> None:
        self._status = replace(self._status, state=state)

    def balance(self, scope: Scope) -> Balance:
        found = self._book.ask(expectations.balance, scope, self._status)
        return account_messages.balance_from_message(account_messages.balance_to_message(found))

    def next_expected_run(self, scope: Scope, after_row: int) -> Any:
        found = self._book.ask(expectations.next_run, scope, NAME, after_row)
        return account_messages.expected_run_from_message(account_messages.expected_run_to_message(found))

    def expected_points(self, row: int) -> Iterator[Any]:
        after, following = -1, 0
        while after:
            points, following = self._book.ask(expectations.points_after, NAME, row, max(0, after))
            message = account_messages.expected_points_to_message(points, following)
            yield account_messages.expected_points_from_message(message)
            after = following
        self.between()


class Place:
    """A ledger, its export, and the question whether both hold the same."""

    def __init__(self, book: Any, client: Any) -> None:
        self.book = book
        self.client = client
        self.experiment = f"experiment-{uuid.uuid4().hex[:8]}"
        self.accounts = Accounts(book, client.tracking_uri)
        self._exporter = MlflowExporter(
            open_for_reading(book.path), client, artifact_location=(book.path.parent / "artifacts").as_uri()
        )

    def export(self) -> None:
        self.book.profile_all()
        more = True
        while more:
            outcome = self._exporter.export(self.book.ledger.exporter_state(NAME)[0])
            taken = (outcome.cursor, outcome.runs, outcome.set_aside, outcome.retried)
            self.book.ledger.save_export(NAME, *taken)
            more = outcome.more

    def verify(self, scope: Scope = Scope()) -> Verification:  # noqa: B008 - it is frozen
        return Comparison(self.accounts, scope).run()  # type: ignore[arg-type]

    def findings(self) -> list[tuple[str, str]]:
        return [(finding.kind, finding.what) for finding in self.verify().findings]

    @property
    def run_id(self) -> str:
        """In MLflow, of the one run."""
        experiment = self.client.get_experiment_by_name(self.experiment)
        [run] = self.client.search_runs([experiment.experiment_id])
        return str(run.info.run_id)

    def store(self) -> Any:
        return self.client._tracking_client.store

    def change(self, sql: str, **parameters: object) -> None:
        """Behind MLflow's back."""
        from sqlalchemy import text

        with self.store().engine.begin() as connection:
            assert connection.execute(text(sql), {"run": self.run_id, **parameters}).rowcount > 0


@pytest.fixture
def place(book: Any, client: Any) -> Place:
    return Place(book, client)


@pytest.fixture
def whole_run(place: Place, events: Any) -> Callable[..., list[Any]]:
    def make(run_id: str = "run", **more: Any) -> list[Any]:
        run = events.whole_run(run_id, experiment=place.experiment, **more)
        run[0] = run[0]._replace(tags={"team": "blue", "bad/ key": "ü"})
        return run

    return make


def test_what_was_exported_in_order_is_found_as_it_should_be(
    place: Place, whole_run: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of every ending, odd names, late events, a run in flight, one without calls, page by page."""
    monkeypatch.setattr(limits, "POINTS_LISTED_MAX", 3)
    for number, status in enumerate((Status.OK, Status.ERROR, Status.CANCELLED)):
        run = whole_run(f"run-{number}", nodes=7)
        place.book.commit([*run[:-1], run[-1]._replace(status=status)], producer=bytes([number]) * 16)
    odd = [events.node(name, 50 + number, run_id="odd") for number, name in enumerate(("a[0]", "ü", "x/y"))]
    place.book.commit([whole_run("odd")[0], *odd, events.finished("odd")], producer=b"\x10" * 16)
    place.book.commit(whole_run("in-flight")[:-1], producer=b"\x11" * 16)
    place.export()
    place.book.commit([events.node("late", 90, run_id="run-0")], first=16, producer=bytes(16))
    place.export()
    found = place.verify()
    assert found.findings == []
    assert (found.runs_compared, found.points_compared) == (5, 7 * 3 + 1 + 3 + 3)
    assert found.balance.events_exported == found.balance.events_committed == 16 * 3 + 1 + 5 + 7
    assert list(lines(found))[-1] == "balanced: MLflow holds what the ledger says it does"
    assert place.verify(Scope(run_id="odd")).runs_compared == 1


def test_nothing_is_claimed_about_an_mlflow_that_nothing_was_exported_to(
    place: Place, whole_run: Any
) -> None:
    place.book.commit(whole_run())
    place.accounts.be("disabled")
    found = place.verify()
    assert (found.findings, found.to_json()["exporter_state"]) == ([], "disabled")
    said = list(lines(found))
    assert said[-1] == "the ledger adds up; no run of it was exported, so nothing is said about MLflow"
    assert "mlflow is disabled by the setting mlflow_enabled: nothing is on its way there" in said


def test_an_event_that_is_not_exported_yet_is_waiting_and_not_missing(place: Place, whole_run: Any) -> None:
    run = whole_run()
    place.book.commit(run[:4])
    place.export()
    place.book.commit(run[4:], first=4)
    place.book.commit(whole_run("unknown there"), producer=b"\x01" * 16)
    found = place.verify()
    assert (found.findings, found.balance.events_waiting, found.runs_compared) == ([], 4 + 8, 1)


PRICE = '[[price]]\nprovider = "acme"\nmodel = "*"\ninput = 1\noutput = 1\n'


def test_a_cost_that_was_not_known_before_a_run_was_repriced_is_not_missed_among_its_params(
    tmp_path: Any, book: Any, client: Any, events: Any
) -> None:
    pricer = CallPricer(CostEstimator.of_folder(tmp_path))
    path = tmp_path / "own.db"
    place = Place(type(book)(SqliteLedger(path, pricer), path), client)
    unknown = events.call("unknown", provider="acme", model="acme-1")
    whole = events.whole_run(experiment=place.experiment)
    place.book.commit([*whole[:-1], unknown, whole[-1]])
    place.export()
    assert place.findings() == []

    (tmp_path / "prices.toml").write_text(PRICE)
    pricer.refresh()
    assert sum(each.is_changed for each in place.book.ledger.reprice(1, 0, None, "the contract of May")) == 1
    place.book.ledger.note_repricing(1, {"reason": "the contract of May"})
    place.export()
    assert place.findings() == []
    assert "provider_acme_cost_usd" not in place.client.get_run(place.run_id).data.params

    place.change("DELETE FROM params WHERE run_uuid = :run AND key = 'slowest_node'")
    assert place.findings() == [("missing", "param slowest_node is not in MLflow")]
    place.book.ledger.close()


OF_NODE_0 = "run_uuid = :run AND key = 'node_node-0_duration_ms' AND step = 2"
OF_NODE_1 = "run_uuid = :run AND key = 'node_node-1_duration_ms' AND step = 2"
COPY_A_POINT = f"""
INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
SELECT key, value, timestamp + {{}}, run_uuid, step + {{}}, is_nan FROM metrics WHERE {OF_NODE_1}
"""

DAMAGES = {
    "a point is gone": (
        f"DELETE FROM metrics WHERE {OF_NODE_0}",
        ("missing", "1 of 4 points of node_node-0_duration_ms are not in MLflow"),
    ),
    "a point has another value": (
        f"UPDATE metrics SET value = 11 WHERE {OF_NODE_0}",
        ("different", "1 of 4 points of node_node-0_duration_ms have another time or value"),
    ),
    "a point has another time": (
        f"UPDATE metrics SET timestamp = 11 WHERE {OF_NODE_1}",
        ("different", "1 of 3 points of node_node-1_duration_ms have another time or value"),
    ),
    "a point is there twice": (
        COPY_A_POINT.format(1, 0),
        ("doubled", "1 points of node_node-1_duration_ms are in MLflow twice"),
    ),
    "a point is there that nobody recorded": (
        COPY_A_POINT.format(0, 97),
        ("different", "1 points of node_node-1_duration_ms are not from the ledger"),
    ),
    "a total has another value": (
        "UPDATE latest_metrics SET value = 2 WHERE run_uuid = :run AND key = 'llm_calls'",
        ("different", "metric llm_calls is 2.0, not 7.0"),
    ),
    "a total is gone": (
        "DELETE FROM latest_metrics WHERE run_uuid = :run AND key = 'total_cost_usd'",
        ("missing", "metric total_cost_usd is not in MLflow"),
    ),
    "a param is gone": (
        "DELETE FROM params WHERE run_uuid = :run AND key = 'slowest_node'",
        ("missing", "param slowest_node is not in MLflow"),
    ),
    "a param has another value": (
        "UPDATE params SET value = 'mine' WHERE run_uuid = :run AND key = 'slowest_node'",
        ("different", "param slowest_node is 'mine', not 'node-0'"),
    ),
    "a tag has another value": (
        "UPDATE tags SET value = 'red' WHERE run_uuid = :run AND key = 'team'",
        ("different", "tag team is 'red', not 'blue'"),
    ),
    "a tag is gone": (
        "DELETE FROM tags WHERE run_uuid = :run AND key = 'agents_obs.coverage'",
        ("missing", "tag agents_obs.coverage is not in MLflow"),
    ),
    "the run has another ending": (
        "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = :run",
        ("different", "status is 'RUNNING', not 'FINISHED'"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_kind_of_damage_is_one_finding_that_names_it(place: Place, whole_run: Any, damage: str) -> None:
    place.book.commit(whole_run(nodes=7))
    place.export()
    sql, expected = DAMAGES[damage]
    place.change(sql)
    assert place.findings() == [expected]


def test_a_run_that_is_deleted_gone_or_doubled_in_mlflow_is_found_with_what_to_do(
    place: Place, whole_run: Any
) -> None:
    place.book.commit(whole_run())
    place.export()
    run_id = place.run_id
    experiment = place.client.get_experiment_by_name(place.experiment).experiment_id
    twin = place.client.create_run(experiment, tags={"agents_obs.run_id": "run"}).info.run_id
    [finding] = place.verify().findings
    assert (finding.kind, finding.run_id, twin in finding.to_do) == ("doubled", "run", True)
    place.client.delete_run(twin)
    place.client.delete_run(run_id)
    [finding] = place.verify().findings
    assert finding == Finding(
        "deleted",
        "run",
        run_id,
        f"MLflow run {run_id} is deleted",
        f"mlflow runs restore --run-id {run_id}, or agents-obs purge --run run",
    )
    place.store()._hard_delete_run(run_id)
    [finding] = place.verify().findings
    assert (finding.kind, finding.to_do) == (
        "missing",
        "agents-obs dead-letters retry --run run --whole-run makes it anew",
    )
    place.book.ledger.retry_whole_run(NAME, 1, 99)
    place.export()
    assert place.findings() == []


def test_what_is_set_aside_or_dropped_is_accounted_for_and_no_finding(place: Place, whole_run: Any) -> None:
    run = whole_run()
    place.book.commit(run)
    place.client.delete_experiment(place.client.create_experiment(place.experiment))
    place.export()
    found = place.verify()
    assert (found.findings, found.balance.events_set_aside, found.runs_compared) == ([], 8, 0)
    place.book.ledger.change_dead_letters(DeadLetterFilter(), LetterState.DROPPED, 99)
    found = place.verify()
    assert (found.findings, found.balance.events_dropped) == ([], 8)


def test_a_renamed_experiment_is_no_reason_to_miss_its_runs(place: Place, whole_run: Any) -> None:
    place.book.commit(whole_run())
    place.export()
    experiment = place.client.get_experiment_by_name(place.experiment)
    place.client.rename_experiment(experiment.experiment_id, f"{place.experiment}-renamed")
    assert place.findings() == []


def test_a_run_that_is_exported_while_it_is_compared_is_compared_again(
    place: Place, whole_run: Any, events: Any
) -> None:
    place.book.commit(whole_run())
    place.export()
    late = iter([1])

    def export_more() -> None:
        if next(late, 0):
            place.book.commit([events.call("late"), events.node("late", 77)], first=8)
            place.export()

    place.accounts.between = export_more
    found = place.verify()
    assert (found.findings, found.points_compared) == ([], 4)


def test_a_run_that_is_purged_while_it_is_compared_is_no_finding(place: Place, whole_run: Any) -> None:
    place.book.commit(whole_run())
    place.export()

    def purge() -> None:
        place.accounts.between = lambda: None
        place.client.delete_run(place.run_id)
        place.book.ledger.purge("run")

    place.accounts.between = purge
    assert place.findings() == []


def test_a_run_whose_rows_are_past_their_time_is_compared_by_its_totals(place: Place, whole_run: Any) -> None:
    from configurable_agents.obsd.ledger import retention

    place.book.commit(whole_run())
    place.export()
    kept = place.book.ask(lambda connection: retention.summed_up(connection, 1, NAME))
    with place.book.ledger.connection as connection:
        assert retention.retire(connection, kept, 1, place.book.ledger.name_id)
        retention.remove_some_rows(connection, 1, limit=100)
    found = place.verify()
    assert (found.findings, found.runs_without_rows, found.points_compared) == ([], 1, 0)
    place.change("DELETE FROM latest_metrics WHERE run_uuid = :run AND key = 'total_cost_usd'")
    assert place.findings() == [("missing", "metric total_cost_usd is not in MLflow")]


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("DELETE FROM llm_calls WHERE seq = 2", "its runs have 8 events in 7 rows"),
        ("UPDATE runs SET events = 9", "8 events were committed and 9 are known of"),
        ("UPDATE exporters SET cursor = 20", "20 of 8 events"),
    ],
)
def test_a_ledger_that_does_not_add_up_is_found_out(
    place: Place, whole_run: Any, sql: str, what: str
) -> None:
    place.book.commit(whole_run())
    place.book.ledger.save_export(NAME, 8, [], [])
    assert place.verify().findings == []
    place.book.ledger.connection.execute(sql)
    findings = place.verify().findings
    assert any(what in finding.what for finding in findings) or (sql.startswith("UPDATE exp") and findings)
    assert "agents-obsd repair" in findings[0].to_do


def test_an_mlflow_that_hangs_is_reported_and_not_waited_for(
    place: Place, whole_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    place.book.commit(whole_run())
    place.export()
    let_go = threading.Event()
    store = mlflow_runs.MlflowRuns(place.client.tracking_uri, deadline_s=0.05)
    monkeypatch.setattr(store._client, "get_run", lambda _: let_go.wait(60))
    with pytest.raises(MLflowUnavailableError, match=r"did not answer within 0\.05 s"):
        store.by_id(place.run_id)
    let_go.set()


def test_findings_beyond_a_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("configurable_agents.observability.verification.FINDINGS_KEPT_MAX", 2)
    balance = Balance(0, 0, 0, 0, 0, 0, NAME, "sqlite:///x", "idle", 0, 0, 0, 0, 0)
    found = Verification(balance)
    found.note(Finding("missing", f"run-{number}", "m", "it", "do") for number in range(5))
    shown = found.to_json()
    assert (shown["finding_count"], len(shown["findings"]), shown["balanced"]) == (5, 2, False)
    assert "and 3 more findings" in list(lines(found))[-1]
    json.dumps(shown)


def test_points_are_compared_only_where_nothing_is_uncertain() -> None:
    """A run in flight may have more points in MLflow than were asked for a moment ago."""
    from configurable_agents.observability.mlflow_runs import FoundPoint
    from configurable_agents.observability.verification import ExpectedPoint, ExpectedRun

    run = ExpectedRun(1, "run", "e", "m", is_attached=False, events=2, dead_letters=0, has_rows=True)
    for expected, count in ((run, 0), (replace(run, status="FINISHED"), 1)):
        check = PointCheck(expected)
        check.add([ExpectedPoint(1, "node_n_duration_ms", 1, 5, 1.0)])
        found = [FoundPoint(1, 5, 1.0), FoundPoint(2, 6, 1.0)]
        assert len(check.compare("node_n_duration_ms", found)) == count
