"""Many rows with few statements: stepping through a statement once for each row costs as much as the row."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

ROWS_PER_STATEMENT = (100, 10, 1)
"""Most rows go in the largest, the rest in smaller ones; with 40 or 200 rows in it a row costs a tenth more.
SQLite takes 32,766 values in a statement, and the widest row here has 36."""


class BulkWrite:
    """`before VALUES (…), (…) … after`, for rows of a fixed width. Belongs to no connection."""

    def __init__(self, before: str, *, width: int, constants: str = "", after: str = "") -> None:
        """`constants`, SQL separated by commas, are the same last values of every row."""
        row = f"({','.join([*'?' * width, *([constants] if constants else [])])})"
        self._width = width
        self._statements = [
            (count, f"{before} VALUES {','.join([row] * count)} {after}") for count in ROWS_PER_STATEMENT
        ]

    def write(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        """In their order, within the caller's transaction."""
        self.write_flat(connection, list(chain.from_iterable(rows)))

    def write_flat(self, connection: sqlite3.Connection, values: Sequence[Any]) -> None:
        """The same for rows that follow one another in one sequence of values."""
        at = 0
        for count, statement in self._statements:
            step = self._width * count
            end = len(values) - (len(values) - at) % step
            connection.executemany(
                statement, (values[start : start + step] for start in range(at, end, step))
            )
            at = end
