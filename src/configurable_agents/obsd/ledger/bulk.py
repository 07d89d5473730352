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

    def __init__(self, before: str, *, width: int, after: str = "") -> None:
        row = f"({','.join('?' * width)})"
        self._one = f"{before} VALUES {row} {after}"
        self._many = f"{before} VALUES {','.join([row] * ROWS_PER_STATEMENT)} {after}"

    def write(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        """In their order, within the caller's transaction."""
        whole = len(rows) - len(rows) % ROWS_PER_STATEMENT
        connection.executemany(
            self._many,
            (
                tuple(chain.from_iterable(rows[at : at + ROWS_PER_STATEMENT]))
                for at in range(0, whole, ROWS_PER_STATEMENT)
            ),
        )
        connection.executemany(self._one, rows[whole:])
