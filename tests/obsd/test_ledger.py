"""The ledger: what is committed is there, once, with its totals; what fails leaves no trace."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configurable_agents.errors import (
    LedgerBusyError,
    LedgerDamagedError,
    LedgerError,
    LedgerFullError,
    LedgerTooNewError,
    RecordRefusedError,
)
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import database, queries
from configurable_agents.obsd.ledger.migrations import schema_version
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.obsd.records import Batch, Refusal
from configurable_agents.observability.cost_summary import CostSummary
from configurable_agents.runtime import bounds
from configurable_agents.telemetry import Event, Graph, Status, Usage
from configurable_agents.wire.report_records import Scope

OTHER = bytes(16)

counted = {
    "executions": "SELECT COUNT(*) FROM node_executions",
    "calls": "SELECT COUNT(*) FROM llm_calls",
    "run events": "SELECT COUNT(*) FROM run_events",
}


def sizes(book: Any) -> dict[str, int]:
    return {name: book.rows(sql)[0][0] for name, sql in counted.items()}


# -- committing -------------------------------------------------------------------------------------


def test_a_run_is_committed_with_its_rows_its_totals_and_the_acknowledgement(book: Any, events: Any) -> None:
    outcome = book.commit(events.whole_run(nodes=4))
    assert [each.next_sequence for each in outcome.acknowledgements] == [10]
    assert sizes(book) == {"executions": 4, "calls": 4, "run events": 2}
    assert book.rows("SELECT next_sequence, events_missing FROM producers") == [(10, 0)]
    assert book.rows("SELECT status, events, node_executions, duration_ns FROM runs") == [
        (Status.OK, 10, 4, 100 * events.MS)
    ]
    summary: CostSummary = book.ask(queries.cost_summary, Scope())
    assert summary.totals.calls == 4
    assert summary.totals.usage == Usage(input_tokens=4000, output_tokens=400)
    assert summary.totals.cost_nanos == 4 * (1000 * 2500 + 100 * 10_000)


def test_events_of_every_kind_keep_their_fields(book: Any, events: Any) -> None:
    top = 2**64 - 1
    book.commit(
        [
            events.started(
                tags=(("team", "care"), ("é", "ü")), graph=Graph(("a",), (("a", "b"),)), mlflow_run_id="m1"
            ),
            events.node_started("open", span_id=top),
            events.node(
                "draft", 2, parent_span_id=top, attempt=3, status=Status.ERROR, error_type="ValueError"
            ),
            events.call(usage=None, anomalies=("odd", "odder"), response_id="r", batch=True, attempt=2),
        ]
    )
    assert book.rows("SELECT tags, graph, attach_mlflow_run_id FROM runs") == [
        ('{"team": "care", "é": "ü"}', '{"nodes": ["a"], "edges": [["a", "b"]]}', "m1")
    ]
    assert book.rows("SELECT span_id, attempt FROM open_nodes") == [(-1, 1)]
    assert book.rows(
        "SELECT span_id, parent_span_id, attempt, status, n.name FROM node_executions x"
        " JOIN names n ON n.id = x.error_type"
    ) == [(2, -1, 3, Status.ERROR, "ValueError")]
    assert book.rows(
        "SELECT input_tokens, anomalies, response_id, batch, attempt, price_status FROM llm_calls"
    ) == [(None, "odd odder", "r", 1, 2, "no_usage")]


def test_an_announced_node_is_open_until_it_ends_or_its_run_does(book: Any, events: Any) -> None:
    book.commit([events.node_started("a", span_id=1), events.node_started("b", span_id=2)])
    book.commit([events.node("a", 1)], first=2)
    assert book.rows("SELECT span_id FROM open_nodes") == [(2,)]
    book.commit([events.finished()], first=3)
    assert book.rows("SELECT span_id FROM open_nodes") == []


def test_a_node_announced_after_it_ended_is_not_open(book: Any, events: Any) -> None:
    """Its end and its announcement come from two threads of its process."""
    book.commit([events.node("a", 1)])
    book.commit([events.node("b", 2), events.node_started("c", span_id=3)], first=1)
    book.commit([events.node_started("a", span_id=1), events.node_started("b", span_id=2)], first=3)
    assert book.rows("SELECT span_id FROM open_nodes") == [(3,)]


def test_a_node_announced_after_its_run_is_over_is_not_open(book: Any, events: Any) -> None:
    book.commit([events.started(), events.finished()])
    book.commit([events.node_started("a", span_id=1)], first=2)
    assert book.rows("SELECT span_id FROM open_nodes") == []


@pytest.mark.parametrize(
    "question",
    [
        lambda ledger: ledger.next_sequence(b"p" * 16),
        lambda ledger: ledger.unfinished_runs(),
        lambda ledger: ledger.exporter_state("mlflow"),
    ],
)
def test_a_question_that_cannot_be_answered_says_what_is_wrong_with_the_ledger(
    book: Any, question: Callable[[SqliteLedger], object]
) -> None:
    for table in ("producers", "exporters"):
        book.ledger.connection.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")
    with pytest.raises(LedgerError, match="the ledger cannot be used"):
        question(book.ledger)


def test_call_indices_are_gapless_per_run_and_node_also_after_a_restart(
    tmp_path: Path, pricer: CallPricer, events: Any
) -> None:
    path = tmp_path / "ledger.db"
    for part in range(3):
        with SqliteLedger(path, pricer) as ledger:
            nodes = [
                events.node(name, 1 + index, run_id=run)
                for index, (run, name) in enumerate([("r1", "a"), ("r1", "b"), ("r2", "a"), ("r1", "a")])
            ]
            ledger.commit([Batch(events.PRODUCER, 4 * part, nodes[:2]), Batch(OTHER, 2 * part, nodes[2:])])
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT r.run_id, n.name, group_concat(call_index, ' ') FROM (SELECT * FROM node_executions"
            " ORDER BY seq) x JOIN runs r ON r.id = x.run JOIN names n ON n.id = x.node"
            " GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
    assert rows == [("r1", "a", "1 2 3 4 5 6"), ("r1", "b", "1 2 3"), ("r2", "a", "1 2 3")]


def test_every_committed_event_has_a_number_of_its_own_without_gaps(book: Any, events: Any) -> None:
    book.commit(events.whole_run(nodes=3)[:-1])
    book.ledger.mark_interrupted(["run"])
    book.commit([RecordRefusedError("odd", "odd"), *events.whole_run("other", nodes=2)], first=7)
    numbers = book.rows(
        "SELECT seq FROM node_executions UNION ALL SELECT seq FROM llm_calls"
        " UNION ALL SELECT seq FROM run_events ORDER BY seq"
    )
    assert [number for (number,) in numbers] == list(range(1, 15))
    assert book.rows("SELECT value FROM counters WHERE name = 'events_committed'") == [(14,)]


def test_the_number_of_an_event_whose_row_was_removed_is_never_used_again(
    tmp_path: Path, pricer: CallPricer, events: Any
) -> None:
    """An exporter that has passed a number would take another event for one that it has had."""
    path = tmp_path / "ledger.db"
    with SqliteLedger(path, pricer) as ledger:
        ledger.commit([Batch(events.PRODUCER, 0, [events.node(), events.node("b", 2)])])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM node_executions")
    with SqliteLedger(path, pricer) as ledger:
        ledger.commit([Batch(events.PRODUCER, 2, [events.node("c", 3)])])
        assert ledger.connection.execute("SELECT seq FROM node_executions").fetchall() == [(3,)]


# -- once -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 12)), max_size=8))
def test_events_sent_again_in_any_cut_are_taken_once(
    new_book: Callable[[], Any], events: Any, cuts: list[tuple[int, int]]
) -> None:
    book, run = new_book(), events.whole_run(nodes=5)
    reached = 0
    for first, end in [*cuts, (0, 12)]:
        batch = run[min(first, reached) : max(end, first)]
        outcome = book.commit(batch, first=min(first, reached))
        reached = max(reached, min(first, reached) + len(batch))
        assert outcome.acknowledgements[0].next_sequence == reached
    assert sizes(book) == {"executions": 5, "calls": 5, "run events": 2}
    assert book.rows("SELECT events_missing FROM producers") == [(0,)]
    book.ledger.close()


def test_duplicates_are_counted_and_not_committed(book: Any, events: Any) -> None:
    run = events.whole_run()
    book.commit(run)
    outcome = book.commit(run)
    assert (outcome.duplicates, outcome.events) == (len(run), [])
    counts = book.ask(queries.counts)
    assert (counts.events_committed, counts.events_duplicate) == (len(run), len(run))


def test_the_same_batch_twice_in_one_transaction_is_taken_once(book: Any, events: Any) -> None:
    batch = Batch(events.PRODUCER, 0, events.whole_run())
    outcome = book.ledger.commit([batch, batch])
    assert [each.next_sequence for each in outcome.acknowledgements] == [8, 8]
    assert sizes(book) == {"executions": 3, "calls": 3, "run events": 2}


def test_producers_are_told_apart(book: Any, events: Any) -> None:
    book.commit([events.node()])
    book.commit([events.node("other", 2)], producer=OTHER)
    assert sizes(book)["executions"] == 2
    assert (book.ledger.next_sequence(events.PRODUCER), book.ledger.next_sequence(OTHER)) == (1, 1)
    assert book.ledger.next_sequence(b"never seen" + bytes(6)) == 0


def test_events_that_never_arrived_are_counted_as_missing(book: Any, events: Any) -> None:
    book.commit([events.node()])
    outcome = book.commit([events.node("b", 2)], first=8)
    assert outcome.acknowledgements[0].next_sequence == 9
    assert book.rows("SELECT next_sequence, events_missing FROM producers") == [(9, 7)]


def test_a_refused_event_is_counted_answered_and_passed_by(book: Any, events: Any) -> None:
    refusal = RecordRefusedError("no_status", "an end without a status")
    batch = [events.started(), refusal, events.node()]
    first = book.commit(batch)
    assert first.acknowledgements[0] == (3, (Refusal(1, "no_status"),))
    again = book.commit(batch)
    assert again.acknowledgements[0] == (3, (Refusal(1, "no_status"),)), "its sender may not have heard"
    assert book.ask(queries.counts).events_refused == {"no_status": 1}
    assert sizes(book) == {"executions": 1, "calls": 0, "run events": 1}


def test_an_event_the_daemon_fails_on_is_refused_alone(
    book: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(book.ledger, "_pricer", fail)
    outcome = book.commit([events.node("a", 1), events.call(), events.node("b", 2)])
    assert outcome.acknowledgements[0] == (3, (Refusal(1, "internal_error"),))
    assert book.rows("SELECT seq FROM node_executions") == [(1,), (2,)]


# -- reports are a function of the events -----------------------------------------------------------


def random_runs(events: Any) -> list[list[Event]]:
    runs = [
        events.whole_run(f"run-{number}", nodes=number + 1, experiment=f"e{number % 2}")
        for number in range(4)
    ]
    runs[1][3] = runs[1][3]._replace(usage=None)
    runs[2][1] = runs[2][1]._replace(model="nobody-knows-me", node_id="Ω")
    runs[3][1] = runs[3][1]._replace(provider="ollama", model="llama3", status=Status.ERROR)
    return runs


def cut_up(run: Sequence[Event], cuts: Sequence[int]) -> list[tuple[int, Sequence[Event]]]:
    edges = [0, *sorted({cut % len(run) for cut in cuts} - {0}), len(run)]
    return [(start, run[start:end]) for start, end in pairwise(edges)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_reports_are_the_same_bytes_however_the_events_arrive(
    new_book: Callable[[], Any], events: Any, data: st.DataObject
) -> None:
    plain, mixed = new_book(), new_book()
    runs = random_runs(events)
    for number, run in enumerate(runs):
        plain.commit(run, producer=bytes([number] * 16))
    waiting = [
        [
            Batch(bytes([number] * 16), first, part)
            for first, part in cut_up(run, data.draw(st.lists(st.integers(1, 9))))
        ]
        for number, run in enumerate(runs)
    ]
    while any(waiting):
        batches = data.draw(st.sampled_from([each for each in waiting if each]))
        together = data.draw(st.integers(1, len(batches)))
        mixed.ledger.commit([batches.pop(0) for _ in range(together)])
    assert mixed.reports() == plain.reports()
    for book in (plain, mixed):
        book.profile_all()
    assert mixed.reports() == plain.reports()
    for book in (plain, mixed):
        book.ledger.close()


def test_totals_equal_the_rows(book: Any, events: Any) -> None:
    for number, run in enumerate(random_runs(events)):
        book.commit(run, producer=bytes([number] * 16))
    assert book.rows(
        "SELECT run, node, calls, errors, total_ns, max_ns FROM node_totals ORDER BY 1, 2"
    ) == book.rows(
        "SELECT run, node, COUNT(*), SUM(status <> 1), SUM(duration_ns), MAX(duration_ns)"
        " FROM node_executions GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert book.rows(
        "SELECT run, node, provider, model, calls, cost_nanos, input_tokens, output_tokens, failed_calls"
        " FROM call_totals ORDER BY 1, 2, 3, 4"
    ) == book.rows(
        "SELECT run, node, provider, model, COUNT(*), SUM(cost_nanos), TOTAL(input_tokens), "
        " TOTAL(output_tokens), SUM(status <> 1) FROM llm_calls GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    )
    assert book.rows("SELECT SUM(events) FROM runs") == book.rows(
        "SELECT value FROM counters WHERE name = 'events_committed'"
    )


def test_totals_beyond_64_bits_stop_there_and_poison_nothing(book: Any, events: Any) -> None:
    """A hostile workflow; without a bound the sum became a float, or stopped the daemon at every resend."""
    longest = [events.node("hostile", span + 1, duration_ns=bounds.DURATION_NS_MAX) for span in range(1000)]
    dearest = [
        events.call(
            f"c{number}", usage=Usage(*[bounds.TOKENS_MAX] * 9), stated_cost_nanos=bounds.COST_NANOS_MAX
        )
        for number in range(10_000)
    ]
    book.commit(longest)
    book.commit(longest, first=1000)
    book.commit(dearest, first=2000)
    book.commit([events.node("draft", 5000, run_id="honest")], first=12_000)
    top = bounds.INT64_MAX
    assert book.rows(
        "SELECT total_ns FROM node_totals JOIN names n ON n.id = node WHERE name = 'hostile'"
    ) == [(top,)]
    assert book.rows("SELECT cost_nanos, input_tokens FROM call_totals") == [(top, top)]
    assert book.ask(queries.profile_report, Scope(run_id="honest")).nodes[0].calls == 1


# -- failing ----------------------------------------------------------------------------------------


TABLES_WRITTEN_TO = ("node_executions", "llm_calls", "run_events", "node_totals", "call_totals", "producers")


@pytest.mark.parametrize("table", TABLES_WRITTEN_TO)
def test_a_commit_that_fails_anywhere_leaves_nothing_and_the_next_takes_it_all(
    book: Any, events: Any, table: str
) -> None:
    book.commit([events.node("before", 99)])
    before = book.reports()
    occasion = "UPDATE" if table == "producers" else "INSERT"
    book.ledger.connection.execute(
        f"CREATE TEMP TRIGGER fault BEFORE {occasion} ON main.{table}"
        " BEGIN SELECT RAISE(ABORT, 'injected'); END"
    )
    with pytest.raises(LedgerError, match="injected"):
        book.commit(events.whole_run("new"), first=1)
    assert book.reports() == before
    assert book.ledger.next_sequence(events.PRODUCER) == 1
    book.ledger.connection.execute("DROP TRIGGER fault")
    book.commit(events.whole_run("new"), first=1)
    assert sizes(book) == {"executions": 4, "calls": 3, "run events": 2}
    assert book.rows("SELECT call_index FROM node_executions WHERE run = 2 ORDER BY seq") == [
        (1,),
        (1,),
        (2,),
    ]


def test_a_commit_that_fails_in_its_very_last_step_is_an_error_and_leaves_nothing(
    book: Any, events: Any
) -> None:
    """A deferred constraint is looked at by COMMIT itself."""
    book.ledger.connection.executescript(
        "PRAGMA foreign_keys = ON; CREATE TEMP TABLE parents (id INTEGER PRIMARY KEY);"
        "CREATE TEMP TABLE children (parent REFERENCES parents DEFERRABLE INITIALLY DEFERRED);"
        "CREATE TEMP TRIGGER fault AFTER INSERT ON main.run_events BEGIN INSERT INTO children VALUES (1); END"
    )
    with pytest.raises(LedgerError, match="FOREIGN KEY"):
        book.commit(events.whole_run())
    assert book.ledger.next_sequence(events.PRODUCER) == 0
    book.ledger.connection.execute("DROP TRIGGER fault")
    assert book.commit(events.whole_run()).acknowledgements[0].next_sequence == 8
    assert sizes(book) == {"executions": 3, "calls": 3, "run events": 2}


def test_what_was_interned_in_a_failed_commit_is_forgotten(book: Any, events: Any) -> None:
    """A name, a run or a rate card remembered from a transaction that was rolled back would dangle."""
    book.ledger.connection.execute(
        "CREATE TEMP TRIGGER fault BEFORE UPDATE ON main.producers BEGIN SELECT RAISE(ABORT, 'injected'); END"
    )
    with pytest.raises(LedgerError):
        book.commit(events.whole_run("lost"))
    book.ledger.connection.execute("DROP TRIGGER fault")
    book.commit(events.whole_run("kept", experiment="other"))
    assert book.rows(
        "SELECT COUNT(*) FROM node_executions x LEFT JOIN names n ON n.id = x.node WHERE n.id IS NULL"
    ) == [(0,)]
    assert book.rows(
        "SELECT COUNT(*) FROM llm_calls c LEFT JOIN rate_cards k ON k.id = c.rate_card WHERE k.id IS NULL"
    ) == [(0,)]
    assert book.rows("SELECT run_id FROM runs") == [("kept",)]


def test_a_lock_of_another_program_refuses_for_now_and_loses_nothing(book: Any, events: Any) -> None:
    book.commit([events.started()])
    book.ledger.connection.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(book.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerBusyError, match="another program holds the ledger"):
            book.commit([events.node()], first=1)
        other.execute("ROLLBACK")
    assert book.commit([events.node()], first=1).duplicates == 0


def test_a_full_disk_refuses_keeps_what_is_there_and_goes_on_when_there_is_room(
    book: Any, events: Any
) -> None:
    book.commit(events.whole_run("first"))
    connection = book.ledger.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [events.node(f"node-{number}", number + 1) for number in range(2000)]
    with pytest.raises(LedgerFullError, match="until there is room"):
        book.commit(many, first=8)
    assert sizes(book)["executions"] == 3
    assert book.ask(queries.cost_summary, Scope()).totals.calls == 3
    connection.execute("PRAGMA max_page_count = 1000000")
    assert book.commit(many, first=8).acknowledgements[0].next_sequence == 2008
    assert sizes(book)["executions"] == 2003


def test_caches_start_again_at_their_bound(book: Any, events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NAMES_CACHED_MAX", 3)
    monkeypatch.setattr(limits, "COUNTERS_CACHED_MAX", 3)
    for part in range(4):
        book.commit(
            [events.node(f"n{number}", 1 + number, run_id=f"r{number}") for number in range(5)],
            first=5 * part,
        )
        assert len(book.ledger.names._ids) <= 3 + 6
    assert book.rows("SELECT MIN(calls), MAX(calls), COUNT(*) FROM node_totals") == [(4, 4, 5)]
    assert book.rows("SELECT COUNT(*), MAX(call_index) FROM node_executions") == [(20, 4)]


# -- runs that end, late or not at all --------------------------------------------------------------


def test_a_run_whose_process_is_gone_is_interrupted_at_its_last_event_and_keeps_its_costs(
    book: Any, events: Any
) -> None:
    book.commit(events.whole_run()[:-1])
    assert book.ledger.mark_interrupted(["run", "never heard of"]) == ["run"]
    assert book.ledger.mark_interrupted(["run"]) == []
    assert book.rows("SELECT status, finished_unix_ns - started_unix_ns, duration_ns FROM runs") == [
        (Status.INTERRUPTED, 30 * events.MS, 30 * events.MS)
    ]
    assert book.ask(queries.cost_summary, Scope()).totals.calls == 3


def test_an_interrupted_run_that_ends_after_all_has_its_own_end(book: Any, events: Any) -> None:
    run = events.whole_run()
    book.commit(run[:-1])
    book.ledger.mark_interrupted(["run"])
    book.commit(run[-1:], first=len(run) - 1)
    assert book.rows("SELECT status, duration_ns FROM runs") == [(Status.OK, 100 * events.MS)]


def test_a_run_given_up_with_a_child_that_told_of_it_first_goes_on_when_its_start_arrives(
    book: Any, events: Any
) -> None:
    book.commit([events.node("in the child", 7)], producer=OTHER)
    book.ledger.mark_interrupted(["run"])
    book.commit([events.started()])
    assert book.rows("SELECT status, finished_unix_ns, duration_ns FROM runs") == [
        (Status.RUNNING, None, None)
    ]
    [run] = book.ledger.unfinished_runs()
    assert run.producer_id == events.PRODUCER


def test_events_before_their_start_belong_to_a_run_that_gets_its_name_later(book: Any, events: Any) -> None:
    book.commit([events.node(), events.started()])
    [run], _ = book.ask(lambda connection: queries.list_runs(connection, Scope(), limit=5))
    assert (run.experiment, run.node_executions) == ("support", 1)


def test_a_run_known_by_its_end_alone_is_in_the_reports(book: Any, events: Any) -> None:
    book.commit([events.finished(finished_unix_ns=5, duration_ns=bounds.DURATION_NS_MAX)])
    [run], matching = book.ask(lambda connection: queries.list_runs(connection, Scope(), limit=5))
    assert (run.run_id, run.status, matching) == ("run", Status.OK, 1)


def test_a_stored_profile_counts_until_late_events_come(book: Any, events: Any) -> None:
    book.commit(events.whole_run())
    assert [run.run_id for run in book.ledger.unfinished_runs()] == ["run"]
    made_from_rows = book.reports()
    book.profile_all()
    assert book.ledger.unfinished_runs() == []
    assert book.reports() == made_from_rows
    book.commit([events.node("late", 50)], first=8)
    assert [run.status for run in book.ledger.unfinished_runs()] == [Status.OK]
    assert {node.node_id for node in book.ask(queries.profile_report, Scope()).nodes} == {
        "node-0",
        "node-1",
        "late",
    }
    book.profile_all()
    [run], _ = book.ask(lambda connection: queries.list_runs(connection, Scope(), limit=1))
    assert '"slowest_node"' in run.bottleneck_info


# -- an exporter's memory ---------------------------------------------------------------------------


def test_a_cursor_never_moves_back_and_what_is_set_aside_is_counted_once(book: Any) -> None:
    assert book.ledger.exporter_state("mlflow") == (0, 0)
    book.ledger.save_export("mlflow", 7, [(1, "m1", -1)], [(3, 1, "no"), (4, 1, "no")])
    book.ledger.save_export("mlflow", 5, [(1, "m1", 9)], [(3, 1, "no again")])
    book.ledger.save_export("mlflow", 7, [(1, "m1", -1)], [])
    assert book.ledger.exporter_state("mlflow")[0] == 7
    assert book.rows("SELECT foreign_id, final_events FROM exported_runs") == [("m1", 9)]
    assert book.rows("SELECT seq, reason FROM dead_letters") == [(3, "no"), (4, "no")]


# -- the file ---------------------------------------------------------------------------------------


def test_a_commit_survives_power_loss_by_the_settings_of_the_connection(book: Any) -> None:
    read = book.ledger.connection.execute
    assert read("PRAGMA journal_mode").fetchone() == ("wal",)
    assert read("PRAGMA synchronous").fetchone() == (2,), "FULL"


@pytest.mark.parametrize("pragma", ["synchronous = NORMAL", "synchronous = OFF", "journal_mode = DELETE"])
def test_settings_that_would_lose_a_commit_are_an_error(book: Any, pragma: str) -> None:
    book.ledger.connection.execute(f"PRAGMA {pragma}")
    with pytest.raises(LedgerError, match="does not allow a durable ledger"):
        database.assert_durable(book.ledger.connection)


def test_a_ledger_is_readable_by_its_owner_only(book: Any, events: Any) -> None:
    book.commit([events.node()])
    for path in book.path.parent.glob("ledger-0.db*"):
        assert path.stat().st_mode & 0o777 == 0o600, path.name


def test_a_ledger_opened_again_has_what_was_committed(
    tmp_path: Path, pricer: CallPricer, events: Any
) -> None:
    path = tmp_path / "ledger.db"
    with SqliteLedger(path, pricer) as ledger:
        ledger.commit([Batch(events.PRODUCER, 0, events.whole_run())])
    with SqliteLedger(path, pricer) as ledger:
        assert ledger.next_sequence(events.PRODUCER) == 8
        assert ledger.seq == 8


def untouched(path: Path, error: type[LedgerError], match: str, pricer: CallPricer) -> None:
    before = path.read_bytes()
    with pytest.raises(error, match=match) as caught:
        SqliteLedger(path, pricer)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_ledger_of_a_newer_version_is_refused_untouched(book: Any, pricer: CallPricer) -> None:
    book.ledger.connection.execute(f"PRAGMA user_version = {schema_version() + 1}")
    book.ledger.close()
    untouched(book.path, LedgerTooNewError, "newer version", pricer)


def test_a_newer_ledger_with_a_log_left_by_a_kill_is_refused_untouched(
    book: Any, tmp_path: Path, pricer: CallPricer
) -> None:
    book.ledger.connection.execute(f"PRAGMA user_version = {schema_version() + 1}")
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{book.path}{suffix}", f"{copy}{suffix}")
    log = Path(f"{copy}-wal").read_bytes()
    untouched(copy, LedgerTooNewError, "newer version", pricer)
    assert Path(f"{copy}-wal").read_bytes() == log


@pytest.mark.parametrize("application_id", [0, 12345])
def test_a_database_of_another_program_is_refused_untouched(
    tmp_path: Path, pricer: CallPricer, application_id: int
) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA application_id = {application_id}; CREATE TABLE theirs (x)")
    untouched(path, LedgerError, "is not a ledger", pricer)


def test_a_start_that_was_cut_off_before_the_first_table_is_no_obstacle(
    tmp_path: Path, pricer: CallPricer
) -> None:
    path = tmp_path / "ledger.db"
    path.touch(0o600)
    with SqliteLedger(path, pricer) as ledger:
        assert ledger.unfinished_runs() == []


def test_a_file_that_is_no_database_is_damaged_and_left_untouched(tmp_path: Path, pricer: CallPricer) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database, but longer than a header of one hundred bytes " * 10)
    untouched(path, LedgerDamagedError, "left untouched", pricer)


def test_damage_in_the_middle_of_the_file_is_found_at_the_start_and_left_untouched(
    book: Any, events: Any, pricer: CallPricer
) -> None:
    book.commit([events.node(f"node-{number}", number + 1) for number in range(3000)])
    book.ledger.close()
    with book.path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xde\xad" * 2048)
    untouched(book.path, LedgerDamagedError, "left untouched", pricer)


def test_a_folder_in_the_place_of_the_ledger_is_a_ledger_error(tmp_path: Path, pricer: CallPricer) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(LedgerError, match="cannot be opened"):
        SqliteLedger(tmp_path / "ledger.db", pricer)
    with pytest.raises(LedgerError, match="cannot be made"):
        SqliteLedger(tmp_path / "missing" / "ledger.db", pricer)
