"""More names than anyone means: what is beyond a bound is added up as `__other__`, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configurable_agents.client.channel import open_channel
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import call_queries, queries
from configurable_agents.obsd.ledger.repricing import repriced_slice
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.runs import LiveRuns
from configurable_agents.observability.multi_provider_tracker import MODELS_MAX
from configurable_agents.telemetry import OTHER_NAME, Usage
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames
from configurable_agents.wire.v1 import telemetry_pb2 as pb

MEMORY_BYTES_MAX = 256 * 1024 * 1024


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three nodes and two models to a run."""
    monkeypatch.setattr(limits, "RUN_NODES_MAX", 3)
    monkeypatch.setattr(limits, "RUN_MODELS_MAX", 2)


def node_calls(book: Any) -> dict[str, int]:
    return dict(book.rows("SELECT n.name, t.calls FROM node_totals t JOIN names n ON n.id = t.node"))


def costs(book: Any) -> dict[tuple[str, str], int]:
    return {
        (model.provider, model.model): model.totals.cost_nanos
        for model in book.ask(queries.cost_summary, Scope()).models
    }


def test_nodes_beyond_the_bound_are_added_up_as_one(book: Any, few: None, events: Any) -> None:
    executions = [events.node(f"n{number % 6}", number + 1, duration_ns=number) for number in range(60)]
    book.commit([events.started(), *executions[:30]])
    book.commit(executions[30:], first=31)
    assert node_calls(book) == {"n0": 10, "n1": 10, "n2": 10, OTHER_NAME: 30}
    assert book.rows("SELECT SUM(total_ns), SUM(calls) FROM node_totals") == [(sum(range(60)), 60)]
    assert book.rows("SELECT MAX(call_index) FROM node_executions GROUP BY node ORDER BY 1") == [
        (10,), (10,), (10,), (30,),
    ]  # fmt: skip
    assert book.rows("SELECT value FROM counters WHERE name = 'names_folded'") == [(30,)]


def test_a_name_that_is_folded_leaves_no_row_of_its_own(book: Any, few: None, events: Any) -> None:
    book.commit([events.node(f"n{number}", number + 1) for number in range(50)])
    assert len(book.rows("SELECT * FROM names WHERE name LIKE 'n%'")) == 3


def test_each_run_has_its_own_nodes(book: Any, few: None, events: Any) -> None:
    for run in ("a", "b"):
        book.commit(
            [events.node(f"{run}{number}", number + 1, run_id=run) for number in range(3)],
            producer=run.encode() * 16,
        )
    assert OTHER_NAME not in node_calls(book)


def test_a_restart_keeps_the_nodes_and_models_that_a_run_had(
    book: Any, few: None, events: Any, pricer: Any
) -> None:
    first = [events.call("c0", node_id="n0"), events.node("n1", 2), events.node_started("n2", span_id=3)]
    book.commit([events.started(), *first])
    book.ledger.close()
    again = book._replace(ledger=SqliteLedger(book.path, pricer))
    later = [events.node(name, number + 10) for number, name in enumerate(("n0", "n1", "n2", "n3"))]
    calls = [events.call(f"c{number}", model=f"m{number}") for number in range(1, 4)]
    again.commit([*later, *calls], first=4)
    again.ledger.close()
    assert node_calls(book) == {"n0": 1, "n1": 2, "n2": 1, OTHER_NAME: 1}
    assert costs(book).keys() == {("openai", "gpt-4o"), ("openai", "m1"), (OTHER_NAME, OTHER_NAME)}


def test_a_call_whose_model_is_folded_costs_what_its_own_model_costs(
    book: Any, few: None, events: Any
) -> None:
    models = ["gpt-4o", "gpt-4o-mini", "gpt-4-turbo", "o3", "gpt-4-turbo"]
    calls = [
        events.call(f"c{number}", model=model, node_id=f"n{number}") for number, model in enumerate(models)
    ]
    book.commit(calls)
    found = costs(book)
    alone = dict(book.rows("SELECT call_id, cost_nanos FROM llm_calls"))
    assert found[OTHER_NAME, OTHER_NAME] == alone["c2"] + alone["c3"] + alone["c4"] > 0
    assert alone["c2"] == alone["c4"] != alone["c3"]
    [receipt] = book.ask(lambda connection: call_queries.receipts(connection, Scope(), "c3", limit=1))
    assert receipt.call.model_as_given == "o3"


def test_a_call_whose_model_is_folded_keeps_its_price_when_calls_are_repriced(
    book: Any, few: None, events: Any, pricer: Any
) -> None:
    book.commit([events.call(f"c{number}", model=model) for number, model in enumerate(("a", "b", "gpt-4o"))])
    repriced = book.ask(lambda connection: repriced_slice(connection, pricer, 1, 0, at_unix_ns=None))
    assert [each.is_changed for each in repriced] == [False] * 3
    assert repriced[2].price.cost_nanos > 0


def test_a_ledger_with_as_many_names_as_it_may_have_takes_no_more(
    book: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.commit([events.started(), events.node("known", 1)])
    monkeypatch.setattr(limits, "NAMES_MAX", 0)
    book.commit([events.node("known", 2), events.node("new", 3), events.started("b", "newcomers")], first=2)
    assert node_calls(book) == {"known": 2, OTHER_NAME: 1}
    assert book.rows("SELECT name FROM names WHERE name LIKE 'new%'") == []
    runs, _ = book.ask(lambda connection: queries.list_runs(connection, Scope(), limit=9))
    assert {run.experiment for run in runs} == {"support", OTHER_NAME}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.sampled_from(["gpt-4o", "o3", "gpt-4.1", "x", "y"]), st.booleans()
        ),
        max_size=40,
    )
)
def test_totals_are_those_of_a_ledger_without_bounds(
    new_book: Callable[[], Any], events: Any, reported: list[tuple[str, str, bool]]
) -> None:
    def sums(*, bounded: bool) -> list[Any]:
        book = new_book()
        with pytest.MonkeyPatch.context() as patch:
            if bounded:
                patch.setattr(limits, "RUN_NODES_MAX", 2)
                patch.setattr(limits, "RUN_MODELS_MAX", 2)
                patch.setattr(limits, "RUN_NAMES_CACHED_MAX", 1)
            for number, (node, model, again) in enumerate(reported):
                response = f"r{number // 2}" if again else ""
                usage = Usage(input_tokens=number, output_tokens=7)
                call = events.call(f"c{number}", node_id=node, model=model, usage=usage, response_id=response)
                book.commit([call, events.node(node, number + 1, duration_ns=number)], first=2 * number)
        found = [
            *book.rows("SELECT SUM(calls), SUM(total_ns), MAX(max_ns) FROM node_totals"),
            *book.rows(
                "SELECT SUM(calls), SUM(cost_nanos), SUM(input_tokens), SUM(merged_calls) FROM call_totals"
            ),
            *book.rows("SELECT SUM(cost_nanos) FROM llm_calls WHERE counted"),
        ]
        book.ledger.close()
        return found

    assert sums(bounded=True) == sums(bounded=False)


@pytest.mark.parametrize("profiled", [True, False])
def test_a_report_over_runs_adds_up_the_nodes_beyond_its_bound(
    book: Any, events: Any, monkeypatch: pytest.MonkeyPatch, profiled: bool
) -> None:
    for number in range(4):
        run = f"run-{number}"
        executions = [events.node(f"{run}-{node}", node + 1, run_id=run) for node in range(3)]
        book.commit([events.started(run), *executions, events.finished(run)], producer=bytes([number] * 16))
    if profiled:
        book.profile_all()
    whole = book.ask(queries.profile_report, Scope())
    monkeypatch.setattr(limits, "REPORT_NODES_MAX", 5)
    bounded = book.ask(queries.profile_report, Scope())
    nodes = {node.node_id: node.calls for node in bounded.nodes}
    assert (len(nodes), nodes[OTHER_NAME], sum(nodes.values())) == (6, 7, 12)
    assert (bounded.all_total_ns, bounded.all_self_ns) == (whole.all_total_ns, whole.all_self_ns)
    assert all(node.p95_ns is not None for node in bounded.nodes)


def test_a_live_analyzer_adds_up_the_same(few: None, events: Any) -> None:
    live = LiveRuns()
    live.take([events.started(), *(events.node(f"n{number % 6}", number + 1) for number in range(60))])
    analyzer = live.analyzer("run")
    assert analyzer is not None
    nodes = {node.node_id: node.calls for node in analyzer.report().nodes}
    assert nodes == {"n0": 10, "n1": 10, "n2": 10, OTHER_NAME: 30}


def test_live_runs_together_keep_a_bounded_number_of_figures(
    events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIVE_FIGURES_MAX", 100)
    live = LiveRuns()
    for run in "abcd":
        live.take(
            [
                events.started(run),
                *(events.node(f"n{n}", n + 1, run_id=run, parent_span_id=999) for n in range(30)),
            ]
        )
    kept = [run for run in "abcd" if live.analyzer(run) is not None]
    assert kept == ["c", "d"], "30 nodes, less a few that wait to be added up, and 30 intervals each"
    live.take([events.finished("c")])
    live.forget("d")
    assert live._figures == 0


def test_of_very_many_unfinished_runs_those_silent_longest_are_looked_at_first(
    book: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        book.commit([events.started(f"run-{number}")], producer=bytes([number] * 16))
    monkeypatch.setattr(limits, "UNFINISHED_RUNS_MAX", 2)
    assert [run.run_id for run in book.ledger.unfinished_runs()] == ["run-0", "run-1"]
    assert book.ledger.mark_interrupted(["run-0"]) == ["run-0"]
    book.profile_all()
    assert [run.run_id for run in book.ledger.unfinished_runs()] == ["run-1", "run-2"]


def test_a_run_and_the_process_that_records_it_fold_alike() -> None:
    assert limits.RUN_MODELS_MAX == MODELS_MAX


def test_very_many_names_leave_the_daemon_small(daemon: Any, home: Home, events: Any) -> None:
    """The long form, with 10^7 names, is `scripts/flood_names.py`."""
    encoder, count = EventEncoder(), 60_000
    with open_channel(home) as channel:
        batches = (
            batch_of_frames(
                bytes(16),
                first,
                b"".join(
                    encoder.encode(events.node(f"node-{span:032}", span + 1))
                    for span in range(first, first + 1000)
                ),
            )
            for first in range(0, count, 1000)
        )
        report = channel.stream_stream(
            "/configurable_agents.wire.v1.TelemetryService/Report", response_deserializer=pb.Ack.FromString
        )
        last = [ack.next_sequence for ack in report(batches, timeout=60)][-1]
    with ReportClient(home) as client:
        nodes = {node.node_id: node.calls for node in client.profile_report(Scope(run_id="run")).nodes}
        status = client.status()
    assert (last, len(nodes), sum(nodes.values())) == (count, limits.RUN_NODES_MAX + 1, count)
    assert nodes[OTHER_NAME] == status.names_folded == count - limits.RUN_NODES_MAX
    assert psutil.Process(daemon.pid).memory_info().rss < MEMORY_BYTES_MAX
