"""Rows that go after their time: money and profiles stay, to the last digit, and nothing waiting is lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.errors import NotFoundError, RowsRetiredError
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import (
    cache_queries,
    call_queries,
    cost_groups,
    queries,
    repricing,
    retention,
    timeline_queries,
)
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.telemetry import Event, Status, Usage
from configurable_agents.wire.report_records import Scope

EXPORTER = "mlflow"
LATER = 2**62
RAW_TABLES = ("node_executions", "llm_calls", "price_history")
GROUPINGS = (
    ("provider",),
    ("model", "node"),
    ("run", "status"),
    ("tag:team", "workflow"),
    ("day", "attempt"),
    ("price-status", "wasted"),
    ("anomaly",),
    ("token-class",),
    ("token-class", "model"),
)


def mixed_run(events: Any, run_id: str, number: int) -> list[Event]:
    """Calls of every kind: failed, unpriced, free, without usage, with caches, reported twice."""
    day_ns = 86_400_000_000_000
    cached = Usage(input_tokens=500, cache_read_tokens=9_000, cache_write_tokens=2_000, output_tokens=77)
    calls = [
        events.call("plain"),
        events.call("cached", model="claude-sonnet-4-5", provider="anthropic", usage=cached),
        events.call("again", model="claude-sonnet-4-5", provider="anthropic", usage=cached, span_id=2),
        events.call("unknown", model="nobody-knows-me"),
        events.call("free", provider="ollama", model="llama3"),
        events.call("silent", usage=None),
        events.call("failed", status=Status.ERROR, attempt=2),
        events.call("vain", span_id=3),
        events.call("twice-1", response_id="resp"),
        events.call("twice-2", response_id="resp", node_id="other"),
        events.call("next day", started_unix_ns=events.T0 + day_ns * number),
    ]
    nodes = [
        events.node("draft", 1, duration_ns=(7 + number) * events.MS),
        events.node("review", 2, parent_span_id=1),
        events.node("draft", 3, status=Status.ERROR, error_type="ValueError"),
    ]
    started = events.started(run_id, f"e{number % 2}", tags=(("team", f"t{number % 3}"),))
    return [
        started,
        *(event._replace(run_id=run_id) for event in [*calls, *nodes]),
        events.finished(run_id),
    ]


@pytest.fixture
def kept_book(book: Any, events: Any) -> Any:
    """Four runs that are over, profiled and exported."""
    for number in range(4):
        book.commit(mixed_run(events, f"run-{number}", number), producer=bytes([number] * 16))
    book.profile_all()
    export_all(book)
    return book


def export_all(book: Any) -> None:
    committed = book.ask(queries.counts).events_committed
    finals = book.rows("SELECT id, 'm' || id, events FROM runs WHERE status <> 4")
    book.ledger.save_export(EXPORTER, committed, finals, [])


def all_reports(book: Any) -> str:
    with closing(open_readonly(book.path)) as connection, queries.snapshot(connection):
        scopes = [Scope(), Scope(experiment="e1"), *(Scope(run_id=f"run-{number}") for number in range(4))]
        return json.dumps(
            [
                [
                    queries.cost_summary(connection, scope).to_json(),
                    str(cost_groups.wasted_totals(connection, scope)),
                    queries.profile_report(connection, scope).to_json(),
                    cache_queries.cache_report(connection, scope).to_json(),
                    [str(cost_groups.grouped_costs(connection, scope, by)) for by in GROUPINGS],
                    [str(run) for run in timeline_queries.past_runs(connection, scope)],
                ]
                for scope in scopes
            ],
            indent=0,
        )


def open_readonly(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)


def due(book: Any, *, exporter: str = EXPORTER, before: int = LATER) -> list[int]:
    return book.ask(lambda connection: retention.to_retire(connection, exporter, before, limit=100))


def retire(book: Any, run: int, *, exporter: str = EXPORTER) -> bool:
    kept = book.ask(retention.summed_up, run, exporter)
    return kept is not None and book.ledger.retire(kept)


def retire_all(book: Any) -> Iterator[str]:
    """Yields what was done after each transaction."""
    for run in due(book):
        assert retire(book, run)
        yield f"run {run} retired"
        while book.ledger.remove_some_rows(run):
            yield f"rows of run {run} removed"


def test_every_report_says_the_same_after_each_step_of_the_removal(
    kept_book: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETIRED_ROWS_PER_STEP", 5)
    before = all_reports(kept_book)
    steps = list[str]()
    for step in retire_all(kept_book):
        steps.append(step)
        assert all_reports(kept_book) == before, step
    assert len(steps) > 12
    assert [kept_book.rows(f"SELECT COUNT(*) FROM {table}") for table in RAW_TABLES] == [[(0,)]] * 3
    assert kept_book.ask(retention.still_have_rows) == []


def test_what_was_removed_is_counted_and_the_balance_is_untouched(kept_book: Any) -> None:
    before = kept_book.ask(queries.counts).events_committed, kept_book.ledger.exporter_state(EXPORTER)[:2]
    list(retire_all(kept_book))
    counters = dict(kept_book.rows("SELECT name, value FROM counters"))
    assert (counters["events_retired"], counters["runs_retired"]) == (4 * 14, 4)
    after = kept_book.ask(queries.counts).events_committed, kept_book.ledger.exporter_state(EXPORTER)[:2]
    assert after == before


def test_questions_about_single_calls_and_executions_say_that_they_are_gone(
    kept_book: Any, pricer: CallPricer
) -> None:
    list(retire_all(kept_book))
    gone = Scope(run_id="run-1")
    for ask in (
        lambda connection: timeline_queries.timeline(connection, gone, 0),
        lambda connection: call_queries.receipts(connection, gone, "", limit=5),
        lambda connection: call_queries.receipts(connection, gone, "plain", limit=5),
        lambda connection: repricing.runs_in(connection, gone),
    ):
        with pytest.raises(RowsRetiredError, match=r"run run-1 were removed on .*; its totals are kept"):
            kept_book.ask(ask)
    with pytest.raises(RowsRetiredError, match="4 runs of this scope lost their single calls"):
        kept_book.ask(repricing.runs_in, Scope())
    with pytest.raises(NotFoundError, match="among those kept \\(4 runs lost theirs"):
        kept_book.ask(lambda connection: call_queries.receipts(connection, Scope(), "plain", limit=5))


# -- what is kept ---------------------------------------------------------------------------------------


def test_a_run_in_flight_is_kept(book: Any, events: Any) -> None:
    book.commit([events.started(), events.node()])
    export_all(book)
    assert due(book) == []
    assert due(book, exporter="") == []


def test_a_run_that_is_not_profiled_yet_is_kept(book: Any, events: Any) -> None:
    book.commit(events.whole_run())
    export_all(book)
    assert due(book) == []
    book.profile_all()
    assert len(due(book)) == 1


def test_what_is_not_exported_is_kept(book: Any, events: Any) -> None:
    book.commit(events.whole_run())
    book.profile_all()
    assert due(book) == []
    assert len(due(book, exporter="")) == 1, "where nothing is exported, nothing waits for it"
    book.ledger.save_export(EXPORTER, 3, book.rows("SELECT id, 'm', events FROM runs"), [])
    assert retire(book, 1) is False, "its last events are behind the cursor"
    export_all(book)
    assert retire(book, 1) is True


def test_a_run_with_events_that_are_set_aside_is_kept(kept_book: Any) -> None:
    [seq] = kept_book.rows("SELECT max(seq) FROM llm_calls WHERE run = 2")[0]
    kept_book.ledger.save_export(EXPORTER, 0, [], [(seq, 2, "refused")])
    assert due(kept_book) == [1, 3, 4]


def test_a_run_that_something_came_for_lately_is_kept(kept_book: Any) -> None:
    assert due(kept_book, before=1) == []


def test_a_run_that_changed_while_it_was_summed_up_is_left_for_the_next_time(
    kept_book: Any, events: Any
) -> None:
    kept = kept_book.ask(retention.summed_up, 1, EXPORTER)
    kept_book.commit([events.call("late", run_id="run-0")], first=100)
    assert kept_book.ledger.retire(kept) is False
    assert kept_book.rows("SELECT COUNT(*) FROM call_groups") == [(0,)]


# -- late and resent events -------------------------------------------------------------------------------


def test_events_that_come_after_the_removal_are_counted_once_in_every_sum(
    kept_book: Any, events: Any
) -> None:
    before: Any = kept_book.ask(queries.cost_summary, Scope(run_id="run-0"))
    list(retire_all(kept_book))
    kept_book.commit(
        [
            events.call("late", run_id="run-0"),
            events.node("late", 99, run_id="run-0"),
            events.node("draft", 98, run_id="run-0"),
        ],
        first=17,
        producer=bytes(16),
    )
    kept_book.profile_all()
    scope = Scope(run_id="run-0")
    summary: Any = kept_book.ask(queries.cost_summary, scope)
    grouped: Any = kept_book.ask(cost_groups.grouped_costs, scope, ("model",))
    assert summary.totals.cost_nanos == before.totals.cost_nanos + 1000 * 2500 + 100 * 10_000
    assert grouped.totals == summary.totals
    profile: Any = kept_book.ask(queries.profile_report, scope)
    assert {node.node_id: node.calls for node in profile.nodes} == {"draft": 3, "review": 1, "late": 1}
    assert kept_book.ledger.unfinished_runs() == []


def test_resent_events_of_a_removed_run_are_duplicates(kept_book: Any, events: Any) -> None:
    list(retire_all(kept_book))
    assert kept_book.ledger.remove_runs([1, 2, 3, 4]) == 4
    again = kept_book.commit(mixed_run(events, "run-0", 0), producer=bytes(16))
    assert (again.duplicates, again.events) == (16, [])
    assert kept_book.rows("SELECT COUNT(*) FROM runs") == [(0,)]


# -- whole runs -------------------------------------------------------------------------------------------


def test_only_retired_runs_are_removed_and_nothing_of_them_stays(kept_book: Any) -> None:
    def removable() -> object:
        return kept_book.ask(lambda connection: retention.to_remove(connection, EXPORTER, LATER, limit=9))

    assert removable() == []
    list(retire_all(kept_book))
    assert removable() == [1, 2, 3, 4]
    kept_book.ledger.remove_runs([1, 2, 3, 4])
    tables = [table for (table,) in kept_book.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    filled = {table for table in tables if kept_book.rows(f"SELECT COUNT(*) FROM {table}") != [(0,)]}
    assert filled == {"names", "producers", "rate_cards", "counters", "exporters", "sqlite_sequence"}


def test_the_number_of_a_removed_run_is_never_used_again(kept_book: Any, events: Any) -> None:
    list(retire_all(kept_book))
    kept_book.ledger.remove_runs([1, 2, 3, 4])
    kept_book.commit(events.whole_run("new"), producer=b"another producer")
    assert kept_book.rows("SELECT id FROM runs") == [(5,)]


# -- space ------------------------------------------------------------------------------------------------


def test_removed_rows_make_the_file_smaller(book: Any, events: Any) -> None:
    for number in range(20):
        book.commit(events.whole_run(f"run-{number}", nodes=200), producer=bytes([number] * 16))
    book.profile_all()
    export_all(book)
    assert book.ledger.fold_in_log()
    before = book.path.stat().st_size
    list(retire_all(book))
    free, steps = book.ask(retention.free_pages), 0
    while book.ledger.return_space():
        steps += 1
    assert steps <= free // limits.RETURNED_PAGES_PER_STEP, "each gives back many pages"
    assert book.ledger.fold_in_log()
    assert book.path.stat().st_size < before / 2


def test_a_log_that_somebody_reads_behind_is_folded_in_when_he_is_done(book: Any, events: Any) -> None:
    book.commit(events.whole_run("a"))
    log = book.path.with_name(book.path.name + "-wal")
    with closing(open_readonly(book.path)) as reader:
        with queries.snapshot(reader):
            reader.execute("SELECT COUNT(*) FROM runs").fetchall()
            book.commit(events.whole_run("b"), producer=bytes(16))
            assert book.ledger.fold_in_log() is False
            assert log.stat().st_size > 0
        assert book.ledger.fold_in_log() is True
    assert log.stat().st_size == 0


def test_a_removal_that_was_cut_short_goes_on_after_a_restart(
    kept_book: Any, pricer: CallPricer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETIRED_ROWS_PER_STEP", 2)
    assert retire(kept_book, 1)
    kept_book.ledger.remove_some_rows(1)
    kept_book.ledger.close()
    with SqliteLedger(kept_book.path, pricer) as ledger:
        assert kept_book.ask(retention.still_have_rows) == [1]
        while ledger.remove_some_rows(1):
            pass
        assert kept_book.ask(retention.still_have_rows) == []
