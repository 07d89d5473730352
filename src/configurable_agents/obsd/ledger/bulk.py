"""Many rows with few statements: stepping through a statement once for each row costs as much as the row."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

ROWS_PER_STATEMENT = 40
"""More gain nothing; SQLite takes 32,766 values in a statement, and the widest row here has 36."""


class BulkWrite:
    """`before VALUES (…), (…) … after`, for rows of a fixed width. Belongs to no connection."""

    def __init__(self, before: str, *, width: int, constants: str = "", after: str = "") -> None:
        """`constants`, SQL separated by commas, are the same last values of every row."""
        row = f"({','.join([*'?' * width, *([constants] if constants else [])])})"
        self._width = width
        self._one = f"{before} VALUES {row} {after}"
        self._many = f"{before} VALUES {','.join([row] * ROWS_PER_STATEMENT)} {after}"

    def write(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        """In their order, within the caller's transaction."""
        self.write_flat(connection, list(chain.from_iterable(rows)))

    def write_flat(self, connection: sqlite3.Connection, values: Sequence[Any]) -> None:
        """The same for rows that follow one another in one sequence of values."""
        step = self._width * ROWS_PER_STATEMENT
        whole = len(values) - len(values) % step
        connection.executemany(self._many, (values[at : at + step] for at in range(0, whole, step)))
        connection.executemany(
            self._one, (values[at : at + self._width] for at in range(whole, len(values), self._width))
        )
