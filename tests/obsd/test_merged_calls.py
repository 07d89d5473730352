"""One physical call is billed once, whoever reports it, however often and in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.ledger.cost_groups import grouped_costs
from configurable_agents.telemetry import Usage
from configurable_agents.wire.report_records import Scope

ONE_CALL_NANOS = 1000 * 2500 + 100 * 10_000


def totals(book: Any) -> Any:
    return book.ask(queries.cost_summary, Scope()).totals


def test_the_same_response_reported_twice_is_one_call_and_the_report_says_so(book: Any, events: Any) -> None:
    book.commit([events.call("a", response_id="resp-1"), events.call("b", response_id="resp-1")])
    found = totals(book)
    assert (found.calls, found.cost_nanos, found.merged_calls) == (1, ONE_CALL_NANOS, 1)
    assert found.usage == Usage(1000, output_tokens=100)
    assert book.rows("SELECT COUNT(*), SUM(counted) FROM llm_calls") == [(2, 1)], "every report is kept"


def test_it_is_so_across_commits_producers_nodes_and_models(book: Any, events: Any) -> None:
    bare = {"response_id": "resp-1", "node_id": "", "span_id": 0, "model": "gpt-4o-mini"}
    book.commit([events.call("b", **bare, usage=Usage(999, output_tokens=100))])
    book.commit([events.call("a", response_id="resp-1")], producer=bytes(16))
    found = totals(book)
    assert (found.calls, found.cost_nanos, found.merged_calls) == (1, ONE_CALL_NANOS, 1)
    assert book.rows("SELECT n.name FROM call_totals t JOIN names n ON n.id = t.model") == [("gpt-4o",)]


def test_a_report_with_usage_counts_instead_of_one_without(book: Any, events: Any) -> None:
    book.commit([events.call("early", response_id="resp-1", usage=None)])
    assert totals(book).no_usage_calls == 1
    book.commit([events.call("late", response_id="resp-1")], first=1)
    found = totals(book)
    assert (found.calls, found.no_usage_calls, found.priced_calls, found.merged_calls) == (1, 0, 1, 1)


def test_the_profile_counts_calls_as_the_costs_do_and_says_which_have_no_duration(
    book: Any, events: Any
) -> None:
    """The report that counts may be another than the one that was timed."""
    book.commit(
        [
            events.call("a", response_id="resp-1", duration_ns=5_000),
            events.call("b", response_id="resp-1", duration_ns=5_000),
            events.call("c", response_id="resp-2", duration_ns=0),
            events.call("d", response_id="resp-3", duration_ns=0),
            events.call("e", response_id="resp-3", duration_ns=7_000, usage=None),
        ]
    )
    [model] = book.ask(queries.profile_report, Scope()).models
    assert (model.calls, model.timed_calls, model.untimed_calls) == (3, 2, 1)
    assert (model.p50_ns, model.max_ns) == (5_000, 7_000)
    assert totals(book).calls == model.calls


def test_the_same_id_in_another_run_or_from_a_local_server_is_another_call(book: Any, events: Any) -> None:
    local = {"provider": "ollama", "model": "llama3", "response_id": "chatcmpl-7"}
    book.commit(
        [
            events.call("a", response_id="resp-1"),
            events.call("b", response_id="resp-1", run_id="other"),
            events.call("c", **local),
            events.call("d", **local),
            events.call("e"),
            events.call("f"),
        ]
    )
    found = totals(book)
    assert (found.calls, found.merged_calls) == (6, 0)


def test_calls_of_a_local_server_are_not_further_reports_where_others_are(book: Any, events: Any) -> None:
    local = {"provider": "ollama", "model": "llama3", "response_id": "chatcmpl-7"}
    book.commit(
        [
            events.call("a", response_id="resp-1"),
            events.call("b", response_id="resp-1"),
            events.call("c", **local),
            events.call("d", **local),
        ]
    )
    found = book.ask(grouped_costs, Scope(), ("provider",))
    assert {group.values[0]: group.totals.merged_calls for group in found.groups} == {
        "openai": 1,
        "ollama": 0,
    }
    assert found.totals.merged_calls == totals(book).merged_calls == 1


def test_it_is_one_call_in_the_profile_of_its_model_too(book: Any, events: Any) -> None:
    """With the time of whoever measured it."""
    twice = [events.call(name, response_id="resp-1", duration_ns=30_000_000) for name in ("a", "b")]
    unmeasured = events.call("c", response_id="resp-2", duration_ns=0, stated_cost_nanos=5)
    measured = events.call("d", response_id="resp-2", duration_ns=10_000_000)
    alone = events.call("e", duration_ns=20_000_000)
    book.commit([events.started(), *twice, unmeasured, measured, alone, events.finished()])
    (model,) = book.ask(queries.profile_report, Scope()).models
    assert model.calls == totals(book).calls == 3
    assert (model.p50_ns, model.p99_ns) == (20_000_000, 30_000_000)
    assert model.output_tokens_per_s == 300 / 0.06


counts = st.lists(st.integers(0, 3), min_size=9, max_size=9)
usages = st.one_of(st.none(), counts.map(lambda each: Usage(*each)))
reports = st.lists(
    st.fixed_dictionaries(
        {
            "response_id": st.sampled_from(["", "r1", "r2"]),
            "node_id": st.sampled_from(["", "draft", "ask"]),
            "model": st.sampled_from(["gpt-4o", "gpt-4o-mini", "nobody-knows"]),
            "usage": usages,
            "stated_cost_nanos": st.one_of(st.none(), st.integers(0, 5)),
            "anomalies": st.sampled_from([(), ("stream_ended_early",)]),
        }
    ),
    max_size=7,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=reports, data=st.data())
def test_the_order_of_arrival_and_the_cut_into_commits_never_change_a_report(
    new_book: Any, events: Any, said: list[dict[str, Any]], data: st.DataObject
) -> None:
    calls = [events.call(f"c{number}", **fields) for number, fields in enumerate(said)]
    together, one_by_one = new_book(), new_book()
    together.commit([events.started(), *calls])
    one_by_one.commit([events.started()])
    for number, call in enumerate(data.draw(st.permutations(calls)), start=1):
        one_by_one.commit([call], first=number)
    assert together.reports() == one_by_one.reports()
    keyed = (
        "SELECT r.name, SUM(t.calls), SUM(t.merged_calls) FROM call_totals t JOIN names r ON r.id = t.node"
    )
    assert together.rows(f"{keyed} GROUP BY 1 ORDER BY 1") == one_by_one.rows(
        f"{keyed} GROUP BY 1 ORDER BY 1"
    )
    found = totals(together)
    assert found.calls + found.merged_calls == len(calls)
    identified = {call.response_id for call in calls if call.response_id}
    assert found.calls == len(identified) + sum(not call.response_id for call in calls)
    for book in (together, one_by_one):
        counted = book.rows("SELECT COUNT(*), COALESCE(SUM(cost_nanos), 0) FROM llm_calls WHERE counted")
        assert counted == [(found.calls, found.cost_nanos)], "the totals are the sum of what counts"
        book.ledger.close()
