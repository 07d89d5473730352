"""What was set aside: listed by run and reason, offered again, or given up; always accounted for."""

from __future__ import annotations

from typing import Any

import pytest

from configurable_agents.errors import NotFoundError
from configurable_agents.obsd.ledger import accounts, dead_letters, export_queries
from configurable_agents.obsd.ledger.dead_letters import LetterState
from configurable_agents.wire.account_records import DeadLetterFilter
from configurable_agents.wire.report_records import ExporterStatus, Scope

EXPORTER = "mlflow"
EVERYTHING = DeadLetterFilter()


@pytest.fixture
def letters(book: Any, events: Any) -> Any:
    """Two runs of 8 events; of the first three are set aside, of the second two, for three reasons."""
    book.commit(events.whole_run("one"))
    book.commit(events.whole_run("two", experiment="billing"), producer=b"\x01" * 16)
    set_aside = [(2, 1, "No room"), (3, 1, "No room"), (5, 1, "deleted"), (10, 2, "deleted"), (16, 2, "gone")]
    book.ledger.save_export(EXPORTER, 16, [(1, "m1", 8), (2, "m2", 8)], set_aside)
    return book


def listed(book: Any, wanted: DeadLetterFilter = EVERYTHING, *, limit: int = 100) -> Any:
    return book.ask(lambda connection: dead_letters.listed(connection, wanted, limit=limit))


def change(book: Any, state: LetterState, wanted: DeadLetterFilter = EVERYTHING) -> int:
    return book.ledger.change_dead_letters(wanted, state, 99)


def account(book: Any) -> ExporterStatus:
    status = book.ask(accounts.with_accounts, ExporterStatus(EXPORTER, "", "idle"))
    assert status.events_accounted == 16
    return status


def test_they_are_listed_by_run_and_reason_with_the_most_frequent_first(letters: Any) -> None:
    found = listed(letters)
    assert [(group.run_id, group.experiment, group.reason, group.events) for group in found.groups] == [
        ("one", "support", "No room", 2),
        ("one", "support", "deleted", 1),
        ("two", "billing", "deleted", 1),
        ("two", "billing", "gone", 1),
    ]
    assert (found.events_set_aside, found.events_retrying, found.events_dropped) == (5, 0, 0)
    some = listed(letters, limit=1)
    assert (len(some.groups), some.group_count, some.events_set_aside) == (1, 4, 5)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (DeadLetterFilter(Scope(run_id="one")), 3),
        (DeadLetterFilter(Scope(experiment="billing")), 2),
        (DeadLetterFilter(reason="no ROOM"), 2),
        (DeadLetterFilter(Scope(run_id="two"), reason="deleted"), 1),
        (DeadLetterFilter(exporter=EXPORTER), 5),
        (DeadLetterFilter(exporter="another"), 0),
    ],
)
def test_filters_narrow_each_other_down_for_every_command(
    letters: Any, wanted: DeadLetterFilter, count: int
) -> None:
    assert listed(letters, wanted).events_set_aside == count
    assert change(letters, LetterState.DROPPED, wanted) == count
    assert account(letters).events_dropped == count


def test_a_run_that_is_not_there_is_an_error_and_no_empty_list(letters: Any) -> None:
    with pytest.raises(NotFoundError):
        listed(letters, DeadLetterFilter(Scope(run_id="three")))


def test_what_is_retried_waits_again_until_it_is_taken_or_refused(letters: Any) -> None:
    assert account(letters).events_exported == 11
    assert change(letters, LetterState.RETRYING) == 5
    assert change(letters, LetterState.RETRYING) == 0, "once is enough"
    status = account(letters)
    assert (status.events_waiting, status.events_set_aside, status.events_exported) == (5, 0, 11)
    letters.ledger.save_export(EXPORTER, 16, [], [(16, 2, "still gone")], [2, 3, 5, 10])
    status = account(letters)
    assert (status.events_waiting, status.events_set_aside, status.events_exported) == (0, 1, 15)
    assert letters.rows("SELECT seq, reason, state FROM dead_letters") == [(16, "still gone", 1)]


def test_an_exporter_is_offered_the_events_themselves_and_their_runs_anew(letters: Any) -> None:
    assert (
        letters.ask(lambda connection: export_queries.read_retries(connection, EXPORTER, limit=9)).seqs()
        == []
    )
    change(letters, LetterState.RETRYING, DeadLetterFilter(Scope(run_id="one")))
    again = letters.ask(lambda connection: export_queries.read_retries(connection, EXPORTER, limit=9))
    assert ([point.seq for point in again.points], again.others) == ([3, 5], [(2, 1)])
    assert (again.points[0].node_id, again.points[0].call_index) == ("node-0", 1)
    assert letters.rows("SELECT run, foreign_id, final_events FROM exported_runs") == [
        (1, "", -1),
        (2, "m2", 8),
    ]


def test_what_is_dropped_stays_in_the_accounts_and_is_not_offered_again(letters: Any) -> None:
    assert change(letters, LetterState.DROPPED) == 5
    status = account(letters)
    assert (status.events_dropped, status.events_set_aside, status.events_exported) == (5, 0, 11)
    assert change(letters, LetterState.RETRYING) == 0
    letters.ledger.save_export(EXPORTER, 16, [], [(16, 2, "again")])
    assert account(letters).events_dropped == 5
    assert {group.state for group in listed(letters).groups} == {LetterState.DROPPED}


def test_a_whole_run_is_offered_again_with_what_was_dropped_and_what_was_taken(letters: Any) -> None:
    change(letters, LetterState.DROPPED)
    assert letters.ledger.retry_whole_run(EXPORTER, 1, 99) == 8
    status = account(letters)
    assert (status.events_waiting, status.events_dropped, status.events_exported) == (8, 2, 6)
    assert letters.ledger.retry_whole_run(EXPORTER, 1, 99) == 8, "again is the same"
    letters.ledger.save_export(EXPORTER, 16, [], [], range(1, 9))
    assert account(letters).events_exported == 14


def test_events_that_were_never_offered_are_not_offered_twice(book: Any, events: Any) -> None:
    book.commit(events.whole_run("one"))
    book.ledger.save_export(EXPORTER, 5, [(1, "m", -1)], [])
    assert book.ledger.retry_whole_run(EXPORTER, 1, 99) == 5
    status = book.ask(accounts.with_accounts, ExporterStatus(EXPORTER, "", "idle"))
    assert (status.events_waiting, status.events_exported) == (8, 0)


def test_very_many_are_changed_in_steps(letters: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("configurable_agents.obsd.limits.DEAD_LETTERS_PER_STEP", 2)
    assert [change(letters, LetterState.RETRYING) for _ in range(4)] == [2, 2, 1, 0]
