"""What is purged is gone from the ledger and its bytes, stays in the accounts, and does not come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.errors import InvalidValueError, NotFoundError
from configurable_agents.obsd.ledger import accounts, profile_blocks, purging, queries
from configurable_agents.obsd.purging import blot_out
from configurable_agents.telemetry import Status
from configurable_agents.wire.report_records import ExporterStatus, Scope

EXPORTER = "mlflow"
SECRETS = ("run-of-ada", "secret-experiment", "secret-workflow", "secret-node", "secret-tag", "secret-model")


def secret_run(events: Any, *, nodes: int = 30) -> list[Any]:
    run_id, name, *_ = SECRETS
    run = [events.started(run_id, name, workflow="secret-workflow", tags={"customer": "secret-tag"})]
    for number in range(1, nodes + 1):
        run.append(events.call(f"secret-call-{number}", run_id=run_id, model="secret-model", span_id=number))
        run.append(events.node("secret-node", number, run_id=run_id, error_type="secret-error"))
    return [*run, events.finished(run_id)]


@pytest.fixture
def crowd(book: Any, events: Any) -> Any:
    """A ledger with many runs in which the secret one came in the middle, and grew while others came."""
    secret = secret_run(events)
    for number in range(120):
        book.commit(
            events.whole_run(f"run-{number:04}-{'x' * (number % 40)}"), producer=number.to_bytes(16, "big")
        )
        if 40 <= number < 40 + len(secret):
            book.commit([secret[number - 40]], first=number - 40, producer=b"\xff" * 16)
    book.profile_all()
    return book


def account(book: Any) -> ExporterStatus:
    return book.ask(accounts.with_accounts, ExporterStatus(EXPORTER, "", "idle"))


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_nothing_of_a_purged_run_is_left_in_any_byte_of_the_ledger(crowd: Any) -> None:
    assert all(secret.encode() in bytes_in(crowd.path.parent) for secret in SECRETS)
    assert crowd.ledger.purge("run-of-ada") == 62
    assert crowd.ledger.fold_in_log()
    assert b"secret-" not in bytes_in(crowd.path.parent)
    assert b"run-of-ada" not in bytes_in(crowd.path.parent)
    assert crowd.ask(queries.counts).runs_total == 120
    with pytest.raises(NotFoundError):
        crowd.ask(queries.cost_summary, Scope(run_id="run-of-ada"))


def test_what_other_runs_use_stays_and_their_reports_are_the_same_to_the_byte(
    new_book: Callable[[], Any], events: Any
) -> None:
    """Against a ledger that never had the run."""
    with_it, without = new_book(), new_book()
    shared = [event._replace(run_id="gone") for event in events.whole_run("gone")]
    for book in (with_it, without):
        book.commit(events.whole_run("stays"), producer=b"\x01" * 16)
    with_it.commit(shared, producer=b"\x02" * 16)
    for book in (with_it, without):
        book.profile_all()
    with_it.ledger.purge("gone")
    assert with_it.reports() == without.reports()
    names = "SELECT name FROM names ORDER BY name"
    assert with_it.rows(names) == without.rows(names)
    assert with_it.rows("SELECT card FROM rate_cards") == without.rows("SELECT card FROM rate_cards")


def test_what_runs_add_up_to_tells_nothing_of_a_purged_one(book: Any, events: Any) -> None:
    for number in range(profile_blocks.BLOCK_RUNS + 1):
        node = "secret-node" if number == 50 else "node"
        run_id = f"run-{number:04}"
        run = [events.started(run_id), events.node(node, 1, run_id=run_id), events.finished(run_id)]
        book.commit(run, producer=number.to_bytes(16, "big"))
    book.profile_all()
    wanted = book.ask(profile_blocks.wanted, 1, profile_blocks.BLOCK_RUNS)
    book.ledger.store_profile_blocks([book.ask(queries.summed_block, each) for each in wanted])
    assert book.rows("SELECT COUNT(*) FROM profile_blocks") == [(1,)]
    book.ledger.purge("run-0050")
    assert book.ledger.fold_in_log()
    assert b"secret-node" not in bytes_in(book.path.parent)
    report = book.ask(queries.profile_report, Scope())
    assert [(node.node_id, node.calls) for node in report.nodes] == [("node", profile_blocks.BLOCK_RUNS)]


def test_every_table_that_names_a_run_is_emptied_of_it(book: Any, events: Any) -> None:
    """A table that is added later and forgotten in the purge fails this."""
    book.commit([events.started("run"), *[events.call(str(n), run_id="run") for n in range(3)]])
    book.commit([*events.whole_run("run")[2:]], first=10)
    book.profile_all()
    book.ledger.save_export(EXPORTER, 3, [(1, "m", 9)], [(2, 1, "no")])
    with_run = [
        table
        for (table,) in book.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")
        if any(column == "run" for (_, column, *_) in book.rows(f"PRAGMA table_info({table})"))
    ]
    assert {"dead_letters", "node_executions", "exported_runs", "call_groups"} <= set(with_run)
    book.ledger.purge("run")
    assert {table: book.rows(f"SELECT COUNT(*) FROM {table}")[0][0] for table in with_run} == dict.fromkeys(
        with_run, 0
    )


def test_sending_its_events_again_does_not_bring_a_run_back(book: Any, events: Any) -> None:
    run = events.whole_run("run")
    book.commit(run)
    book.ledger.purge("run")
    outcome = book.commit(run)
    assert (outcome.duplicates, outcome.events) == (len(run), [])
    assert book.ask(queries.counts).runs_total == 0


def test_a_late_event_of_a_purged_run_is_refused_and_its_neighbours_are_taken(book: Any, events: Any) -> None:
    run = events.whole_run("run")
    book.commit(run)
    book.ledger.purge("run")
    late = [
        events.node(run_id="other"),
        events.node(run_id="run"),
        events.call(run_id="run"),
        events.node(span_id=2, run_id="other"),
    ]
    outcome = book.commit(late, first=len(run))
    assert [(each.sequence - len(run), each.reason) for each in outcome.acknowledgements[0].refusals] == [
        (1, "run_purged"),
        (2, "run_purged"),
    ]
    assert len(outcome.events) == 2
    counts = book.ask(queries.counts)
    assert (counts.events_refused, counts.events_committed) == ({"run_purged": 2}, len(run) + 2)
    assert account(book).events_accounted == counts.events_committed


def test_a_new_run_under_the_id_of_a_purged_one_is_a_new_run(book: Any, events: Any) -> None:
    run = events.whole_run("run")
    book.commit(run)
    book.ledger.purge("run")
    outcome = book.commit(run, first=len(run))
    assert len(outcome.events) == len(run)
    assert book.rows("SELECT id, events FROM runs") == [(2, len(run))], "under a number of its own"
    assert book.rows("SELECT COUNT(*) FROM purged_runs") == [(0,)]


def test_a_run_in_flight_is_refused_with_what_to_do(book: Any, events: Any) -> None:
    book.commit(events.whole_run("run")[:-1])
    for refused in (
        lambda: book.ledger.purge("run"),
        lambda: book.ask(purging.run_to_purge, "run", EXPORTER),
    ):
        with pytest.raises(InvalidValueError, match="run is in flight; end its workflow first"):
            refused()
    assert book.ask(queries.counts).runs_total == 1


@pytest.mark.parametrize("cursor", [0, 4, 8, 12, 16])
def test_the_accounts_balance_wherever_the_exporter_is(book: Any, events: Any, cursor: int) -> None:
    """The run to purge is events 9 to 16 of 24; of those before and in it one each is set aside."""
    for number, run_id in enumerate(("first", "gone", "last")):
        book.commit(events.whole_run(run_id), producer=bytes([number]) * 16)
    set_aside = [each for each in ((3, 1, "no"), (11, 2, "no")) if each[0] <= cursor]
    book.ledger.save_export(EXPORTER, cursor, [], set_aside)
    book.ledger.purge("gone")
    status = account(book)
    assert status.events_accounted == 24
    assert status.events_purged == 8
    assert status.events_waiting == 24 - 8 - (min(cursor, 8))
    assert status.events_set_aside == (cursor >= 3)
    for following in (cursor, 13, 24):
        book.ledger.save_export(EXPORTER, following, [], [])
        assert account(book).events_accounted == 24
    status = account(book)
    assert (status.events_waiting, status.events_exported) == (0, 16 - (cursor >= 3))
    assert book.rows("SELECT COUNT(*) FROM purged_ahead") == [(0,)]


def test_what_others_begin_to_use_after_it_was_looked_for_stays(book: Any, events: Any) -> None:
    """It is looked for without holding up commits, so that there may be some before the purge."""
    more = {"run_id": "gone", "node_id": "n", "status": Status.ERROR, "error_type": "E"}
    book.commit([*events.whole_run("gone", experiment="x"), events.node(**more)])
    known = book.ask(purging.unshared, "gone")
    assert len(known.names) > 3
    assert len(known.cards) == 1
    other = [*events.whole_run("other", experiment="x"), events.node(**{**more, "run_id": "other"})]
    book.commit(other, producer=b"o" * 16)
    book.ledger.purge("gone", known)
    before = book.reports()
    alone = book.ask(queries.executions, "other")
    assert {each.node_id for each in alone} == {"node-0", "node-1", "n"}
    assert '"x"' in before
    assert book.rows("SELECT COUNT(*) FROM rate_cards") == [(1,)]
    assert ("E",) in book.rows("SELECT name FROM names")


def test_what_a_run_says_after_it_was_looked_at_goes_with_it(book: Any, events: Any) -> None:
    book.commit(events.whole_run("gone"))
    known = book.ask(purging.unshared, "gone")
    late = events.node("late-and-secret", 99, run_id="gone")
    book.commit([late], first=len(events.whole_run("gone")))
    book.ledger.purge("gone", known)
    assert book.rows("SELECT name FROM names WHERE name LIKE 'late%'") == []


def test_a_name_told_of_a_node_that_runs_stays(book: Any, events: Any) -> None:
    book.commit(events.whole_run("gone"))
    known = book.ask(purging.unshared, "gone")
    book.commit([events.started("other"), events.node_started("node-0", run_id="other")], producer=b"o" * 16)
    book.ledger.purge("gone", known)
    assert ("node-0",) in book.rows("SELECT name FROM names")


def test_the_id_of_a_run_is_blotted_out_of_the_log_and_of_those_before_it(tmp_path: Path) -> None:
    log = tmp_path / "agents-obsd.log"
    log.write_text("INFO interrupted run=run-of-ada\nINFO run=run-of-adam run=run-of-ada end\n")
    (tmp_path / "agents-obsd.log.1").write_text("INFO run-of-ada")
    with log.open("a") as still_open:
        blot_out(log, "run-of-ada")
        still_open.write("INFO more\n")
    assert log.read_text() == (
        "INFO interrupted run=**********\nINFO run=**********m run=********** end\nINFO more\n"
    )
    assert (tmp_path / "agents-obsd.log.1").read_text() == "INFO **********"
