"""A report over many runs says the same, whether they were added up before or are read one by one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from configurable_agents.errors import NotFoundError
from configurable_agents.obsd.ledger import profile_blocks, queries
from configurable_agents.obsd.ledger.profile_blocks import BLOCK_RUNS, BLOCK_RUNS_MIN
from configurable_agents.obsd.ledger.scopes import RUN_LAST, resolve
from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.telemetry import Event, Status
from configurable_agents.wire.report_records import Scope

RUNS = 2 * BLOCK_RUNS + 20
EVERYTHING = Scope()
SUPPORT = Scope(experiment="support")


@pytest.fixture
def many(book: Any, events: Any) -> Any:
    """Runs of two experiments by turns, three of one to one of the other, as long as chance has it."""
    chance = random.Random(11)
    made: list[Event] = []
    for number in range(1, RUNS + 1):
        run_id, experiment = f"run-{number}", "support" if number % 4 else "other"
        started = events.T0 + number
        made.append(events.started(run_id, experiment, started_unix_ns=started))
        for span in range(1, chance.randint(2, 9)):
            took = round(chance.lognormvariate(17, 2))
            status = Status.ERROR if chance.random() < 0.1 else Status.OK
            name = f"node-{chance.randint(0, 4)}"
            made.append(
                events.node(
                    name, span, run_id=run_id, duration_ns=took, started_unix_ns=started, status=status
                )
            )
            made.append(
                events.call(f"call-{span}", run_id=run_id, span_id=span, duration_ns=took, node_id=name)
            )
        made.append(events.finished(run_id))
    book.commit(made)
    book.profile_all()
    return book


def report_on(book: Any, scope: Scope) -> ProfileReport:
    report: ProfileReport = book.ask(queries.profile_report, scope)
    return report


def add_up(book: Any) -> int:
    """As the daemon does. Says how many blocks there were to add up."""
    wanted = book.ask(profile_blocks.wanted, 0, RUN_LAST)
    book.ledger.store_profile_blocks([book.ask(queries.summed_block, each) for each in wanted])
    return len(wanted)


def kept(book: Any, scope: Scope) -> list[int]:
    def ask(connection: Any) -> list[int]:
        return [key.block for key in profile_blocks.blocks_of(connection, resolve(connection, scope)).kept]

    blocks: list[int] = book.ask(ask)
    return blocks


@pytest.mark.parametrize("scope", [EVERYTHING, SUPPORT, Scope(experiment="other")])
def test_the_report_is_the_same_as_from_single_runs(many: Any, scope: Scope) -> None:
    before = report_on(many, scope)
    assert kept(many, scope) == []

    assert add_up(many) == 4
    assert len(kept(many, scope)) == (4 if scope is EVERYTHING else 2)
    assert report_on(many, scope) == before


def test_a_part_of_a_block_is_read_run_by_run(many: Any, events: Any) -> None:
    since = Scope(since_unix_ns=events.T0 + BLOCK_RUNS // 2)
    before = report_on(many, since)
    add_up(many)

    assert kept(many, since) == [1, 1]
    assert report_on(many, since) == before
    assert report_on(many, since).run_count == RUNS - BLOCK_RUNS // 2 + 1


def test_a_late_event_has_its_block_read_run_by_run_until_it_is_added_up_again(
    many: Any, events: Any
) -> None:
    add_up(many)
    many.commit([events.node("late", 99, run_id="run-3", duration_ns=10**12)], first=10**6)
    late = report_on(many, SUPPORT)

    assert late.nodes[0].node_id == "late"
    assert kept(many, SUPPORT) == [1]
    many.profile_all()
    assert add_up(many) == 1
    assert kept(many, SUPPORT) == [1, 0]
    assert report_on(many, SUPPORT).nodes == late.nodes


def test_a_removed_run_is_in_no_sum(many: Any) -> None:
    add_up(many)
    before = report_on(many, SUPPORT)
    many.ledger.remove_runs([5])

    assert kept(many, SUPPORT) == [1]
    assert many.rows("SELECT COUNT(*) FROM profile_block_nodes WHERE block = 0") == [(0,)]
    assert report_on(many, SUPPORT).run_count == before.run_count - 1
    assert sum(node.calls for node in report_on(many, SUPPORT).nodes) < sum(
        node.calls for node in before.nodes
    )


def test_a_run_that_is_gone_when_its_turn_comes_is_not_found(many: Any) -> None:
    many.ledger.remove_runs([5])

    with pytest.raises(NotFoundError, match="no run is called 'run-5'"):
        many.ask(queries.final_profile, "run-5")


def test_a_block_waits_for_its_last_run(book: Any, events: Any) -> None:
    in_flight = [events.started("slow"), events.node("draft", run_id="slow")]
    others = [each for number in range(BLOCK_RUNS) for each in events.whole_run(f"run-{number}", nodes=1)]
    book.commit([*in_flight, *others])
    book.profile_all()
    assert add_up(book) == 0
    book.commit([events.finished("slow")], first=10**6)
    book.profile_all()

    assert add_up(book) == 1
    assert add_up(book) == 0
    assert report_on(book, SUPPORT).run_count == BLOCK_RUNS + 1


def test_a_block_that_is_not_full_and_one_with_few_runs_are_left(book: Any, events: Any) -> None:
    def runs(first: int, last: int, experiment: str) -> list[Event]:
        return [
            each
            for number in range(first, last)
            for each in events.whole_run(f"run-{number}", nodes=1, experiment=experiment)
        ]

    book.commit([*runs(0, BLOCK_RUNS_MIN - 1, "few"), *runs(BLOCK_RUNS_MIN - 1, BLOCK_RUNS - 2, "support")])
    book.profile_all()
    assert add_up(book) == 0
    book.commit(runs(BLOCK_RUNS - 2, BLOCK_RUNS + 5, "support"), first=10**6)
    book.profile_all()
    assert add_up(book) == 1
    assert kept(book, EVERYTHING) == [0]


def test_the_history_of_a_node_is_that_of_its_newest_runs(many: Any) -> None:
    before = {node.node_id: node.p95_history_ns for node in report_on(many, SUPPORT).nodes}
    add_up(many)

    assert {node.node_id: node.p95_history_ns for node in report_on(many, SUPPORT).nodes} == before
    assert all(before.values())
