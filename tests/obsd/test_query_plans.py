"""What a question makes SQLite look at: a report on one run must not cost more in a larger ledger."""

from __future__ import annotations

import sqlite3
from importlib import resources

import pytest

from configurable_agents.obsd.ledger import (
    profile_blocks,
    profile_queries,
    purging,
    queries,
    retention,
    timeline_queries,
    writer,
)
from configurable_agents.obsd.ledger.scopes import IN_SCOPE, ResolvedScope

PARAMETERS = ResolvedScope(None, 1, 0, "", "run").parameters | {
    "limit": 10,
    "rows": 10,
    "running": 4,
    "long": 10,
}
OF_ONE_RUN = {
    name: sql
    for module in (profile_queries, queries)
    for name, sql in vars(module).items()
    if isinstance(sql, str) and IN_SCOPE in sql and sql.lstrip().startswith("SELECT")
}


@pytest.fixture(scope="module")
def connection() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:")
    folder = resources.files("configurable_agents.obsd.ledger")
    made.executescript(folder.joinpath("schema.sql").read_text(encoding="utf-8"))
    return made


@pytest.mark.parametrize("name", OF_ONE_RUN)
def test_a_question_about_one_run_scans_no_table(connection: sqlite3.Connection, name: str) -> None:
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {OF_ONE_RUN[name]}", PARAMETERS)]
    materialized = {step.split()[-1] for step in plan if step.startswith("MATERIALIZE")}
    scanned = {step.split()[1] for step in plan if step.startswith("SCAN")}
    assert scanned <= materialized, plan


def test_the_questions_are_found() -> None:
    assert len(OF_ONE_RUN) > 5


def test_the_newest_runs_are_found_without_a_look_at_the_others(connection: sqlite3.Connection) -> None:
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {queries._RUNS}", PARAMETERS)]
    assert {step.split()[1] for step in plan if step.startswith("SCAN")} == {"newest"}, plan
    assert any(step.startswith("SEARCH call_totals USING PRIMARY KEY (run=?)") for step in plan), plan


@pytest.mark.parametrize(
    "sql",
    [writer._UNFINISHED, queries._LIVE_COUNT, timeline_queries._NEWEST_LIVE],
    ids=["all", "count", "live"],
)
def test_runs_that_are_not_over_are_found_without_a_look_at_the_others(
    connection: sqlite3.Connection, sql: str
) -> None:
    """The daemon asks every few seconds, and a live view more often."""
    limit = (10,) * sql.count("?")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", limit)]
    assert plan[0].endswith("USING INDEX runs_unfinished"), plan
    assert not any(step.startswith("SCAN") for step in plan[1:]), plan


@pytest.mark.parametrize(
    "sql",
    [
        *retention._DELETE_RUN,
        *profile_blocks._FORGET,
        purging._HEARD_OF_SINCE,
        purging._NAMES_USED_SINCE,
        purging._CARDS_USED_SINCE,
    ],
)
def test_the_removal_of_a_run_scans_no_table(connection: sqlite3.Connection, sql: str) -> None:
    """Commits of events wait for it."""
    parameters = {"seq": 0} if ":seq" in sql else (1,)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    scanned = {step.split()[1] for step in plan if step.startswith("SCAN")}
    assert scanned <= {"heard", "known", "open_nodes", "exporters"}, plan
