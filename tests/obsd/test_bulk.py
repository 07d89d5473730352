"""Rows written many at a time are the same rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from configurable_agents.obsd.ledger.bulk import ROWS_PER_STATEMENT, BulkWrite

MOST, SOME, _ = ROWS_PER_STATEMENT
COUNTS = (0, 1, SOME - 1, SOME, SOME + 1, MOST - 1, MOST, MOST + 1, 3 * MOST + 2 * SOME + 3)


@pytest.mark.parametrize("count", COUNTS)
def test_any_number_of_rows_is_written_in_order(count):
    rows = [(number, f"row {number}") for number in range(count)]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE notes (number, text)")
        BulkWrite("INSERT INTO notes", width=2).write(connection, rows)
        assert connection.execute("SELECT * FROM notes ORDER BY rowid").fetchall() == rows


@pytest.mark.parametrize("count", COUNTS)
def test_rows_of_the_same_key_are_added_up_also_within_a_statement(count):
    add = BulkWrite(
        "INSERT INTO sums", width=2, after="ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
    )
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE sums (name TEXT PRIMARY KEY, value)")
        add.write(connection, [("odd" if number % 2 else "even", number) for number in range(count)])
        found = dict(connection.execute("SELECT * FROM sums"))
    assert found.get("even", 0) == sum(range(0, count, 2))
    assert found.get("odd", 0) == sum(range(1, count, 2))
