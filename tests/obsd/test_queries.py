"""Questions to the ledger: names are found or what there is is said, and figures are those of the scope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from configurable_agents.errors import AgentsObsError, InvalidValueError, NotFoundError
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import queries
from configurable_agents.telemetry import Status
from configurable_agents.wire.report_records import Scope


@pytest.fixture
def three(book: Any, events: Any) -> Any:
    """Three runs of two experiments; `b2` is the newest."""
    for number, (run_id, experiment) in enumerate([("a1", "support"), ("b1", "billing"), ("b2", "billing")]):
        run = events.whole_run(run_id, nodes=number + 1, experiment=experiment)
        run[0] = run[0]._replace(started_unix_ns=events.T0 + number * 10**9)
        book.commit(run, producer=bytes([number] * 16))
    return book


def resolved(book: Any, **scope: Any) -> str:
    return str(book.ask(queries.resolve, Scope(**scope)).run_id)


def complaint(book: Any, kind: type[AgentsObsError], **scope: Any) -> str:
    with pytest.raises(kind) as caught:
        book.ask(queries.resolve, Scope(**scope))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("scope", "run_id"),
    [
        ({"run_id": "a1"}, "a1"),
        ({"run_id": "a"}, "a1"),
        ({"run_id": "latest"}, "b2"),
        ({"run_id": "latest", "experiment": "support"}, "a1"),
        ({"run_id": "b1", "experiment": "billing"}, "b1"),
        ({"experiment": "billing"}, ""),
        ({}, ""),
    ],
)
def test_a_run_is_found_by_its_id_its_beginning_or_as_the_latest(
    three: Any, scope: dict[str, str], run_id: str
) -> None:
    assert resolved(three, **scope) == run_id


def test_a_whole_id_wins_over_longer_ones_that_begin_with_it(three: Any, events: Any) -> None:
    three.commit(events.whole_run("a11"), producer=b"\x09" * 16)
    assert resolved(three, run_id="a1") == "a1"


@pytest.mark.parametrize(
    ("scope", "kind", "said"),
    [
        ({"experiment": "suport"}, NotFoundError, "did you mean 'support'?"),
        ({"experiment": "xyz"}, NotFoundError, "there are: 'billing', 'support'"),
        ({"experiment": ""}, None, ""),
        ({"run_id": "zzz"}, NotFoundError, "the newest are: b2, b1, a1"),
        ({"run_id": "b"}, InvalidValueError, "several runs begin with 'b'"),
        ({"run_id": "a1", "experiment": "billing"}, NotFoundError, "is not of the experiment 'billing'"),
        ({"run_id": "%"}, NotFoundError, "no run is called '%'"),
        ({"run_id": "latest", "since_unix_ns": 2**62}, NotFoundError, "no run is called 'latest'"),
    ],
)
def test_what_is_not_found_is_answered_with_what_there_is(
    three: Any, scope: dict[str, Any], kind: type[AgentsObsError] | None, said: str
) -> None:
    if kind is None:
        assert resolved(three, **scope) == ""
    else:
        assert said in complaint(three, kind, **scope)


def test_an_empty_ledger_says_so(book: Any) -> None:
    assert "the ledger is empty" in complaint(book, NotFoundError, experiment="any")
    assert "the ledger is empty" in complaint(book, NotFoundError, run_id="any")
    assert book.ask(queries.cost_summary, Scope()).totals.calls == 0
    assert book.ask(queries.profile_report, Scope()).nodes == ()


def test_a_report_counts_what_is_in_its_scope(three: Any, events: Any) -> None:
    def calls(**scope: Any) -> tuple[int, int, int]:
        cost = three.ask(queries.cost_summary, Scope(**scope))
        profile = three.ask(queries.profile_report, Scope(**scope))
        assert cost.run_count == profile.run_count
        return cost.totals.calls, sum(node.calls for node in profile.nodes), cost.run_count

    assert calls() == (6, 6, 3)
    assert calls(experiment="billing") == (5, 5, 2)
    assert calls(run_id="b1") == (2, 2, 1)
    assert calls(since_unix_ns=events.T0 + 10**9) == (5, 5, 2)
    assert calls(since_unix_ns=2**62) == (0, 0, 0)


def test_a_report_of_a_run_names_its_experiment_workflow_and_status(three: Any) -> None:
    report = three.ask(queries.profile_report, Scope(run_id="latest"))
    assert (report.experiment, report.workflow, report.run_id) == ("billing", "triage", "b2")
    assert report.status is Status.OK
    assert three.ask(queries.cost_summary, Scope(run_id="a")).experiment == "support"


@pytest.mark.parametrize(("limit", "shown"), [(0, 3), (1, 1), (2, 2), (10**6, 3), (-1, 3)])
def test_runs_are_listed_newest_first_up_to_a_limit(three: Any, limit: int, shown: int) -> None:
    runs, matching = three.ask(lambda connection: queries.list_runs(connection, Scope(), limit=limit))
    assert [run.run_id for run in runs] == ["b2", "b1", "a1"][:shown]
    assert matching == 3


def test_no_limit_of_a_caller_goes_beyond_ours(
    book: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RUNS_LISTED_MAX", 5)
    monkeypatch.setattr(limits, "RUNS_LISTED_DEFAULT", 4)
    book.commit([events.started(f"run-{number}") for number in range(9)])

    def listed(limit: int) -> int:
        return len(book.ask(lambda connection: queries.list_runs(connection, Scope(), limit=limit))[0])

    assert [listed(limit) for limit in (-5, 0, 2, 5, 9)] == [4, 4, 2, 5, 5]


def test_a_run_too_long_to_be_read_at_once_is_reported_from_its_totals(
    book: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PROFILED_SPANS_MAX", 10)
    book.commit([events.node("n", span) for span in range(1, 21)])
    [node] = book.ask(queries.profile_report, Scope()).nodes
    assert (node.calls, node.total_ns, node.p95_ns) == (20, 200 * events.MS, None)


def test_a_long_run_in_flight_is_reported_from_its_analyzer_if_there_is_one(
    book: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIVE_ROWS_MAX", 5)
    book.commit([events.node("n", span) for span in range(1, 11)])
    asked: list[str] = []

    def from_analyzer(answer: Callable[[], Any]) -> Any:
        def live(run_id: str) -> Any:
            asked.append(run_id)
            return answer()

        return book.ask(queries.profile_report, Scope(), live)

    marked = book.ask(queries.profile_report, Scope()).nodes[0].__class__("marked", 1, 1, 1, 1, 0)
    assert from_analyzer(lambda: (marked,)).nodes[0].node_id == "marked"
    assert from_analyzer(lambda: None).nodes[0].calls == 10
    assert asked == ["run", "run"]


def test_percentiles_of_several_runs_are_those_of_all_their_executions(three: Any) -> None:
    three.profile_all()
    alone = three.ask(queries.profile_report, Scope(run_id="a1")).nodes[0]
    together = three.ask(queries.profile_report, Scope()).nodes
    assert alone.p95_ns is not None
    assert next(node for node in together if node.node_id == alone.node_id).p95_ns == alone.p95_ns
