"""Rows of `node_executions` on their way into the ledger: one by one, and blocks of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from configurable_agents.obsd.ledger.bulk import BulkWrite
from configurable_agents.telemetry import Status
from configurable_agents.wire.blocks import ExecutionBlock, Groups

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Row = tuple[int | None, ...]

_INSERT = BulkWrite("INSERT INTO node_executions", width=11)
_INSERT_BLOCK = BulkWrite("INSERT INTO node_executions", width=9, constants=f"{int(Status.OK)},NULL")

_RUN, _SPAN_ID = 1, 4
"""Columns."""


class ExecutionRows:
    """What a transaction inserts, in the order of `seq`."""

    def __init__(self) -> None:
        self._parts: list[list[Row] | npt.NDArray[np.int64]] = []

    def singles(self) -> list[Row]:
        """Where to append rows until the next block."""
        last = self._parts[-1] if self._parts else None
        if not isinstance(last, list):
            last = []
            self._parts.append(last)
        return last

    def add_block(
        self,
        block: ExecutionBlock,
        seq: int,
        groups: Groups,
        *,
        runs: Sequence[int],
        nodes: Sequence[int],
        calls_before: Sequence[int],
    ) -> None:
        """Its rows have the numbers after `seq`. `runs`, `nodes` and `calls_before` are by group."""
        import numpy as np  # noqa: PLC0415 - without it there are no blocks

        which, figures = groups.which, block.figures
        rows = np.empty((len(block), 9), np.int64)
        rows[:, 0] = np.arange(seq + 1, seq + 1 + len(block))
        rows[:, _RUN] = np.array(runs, np.int64)[which]
        rows[:, 2] = np.array(nodes, np.int64)[which]
        rows[:, 3] = np.array(calls_before, np.int64)[which] + groups.positions
        rows[:, _SPAN_ID] = figures.span_ids.view(np.int64)
        rows[:, 5] = figures.parent_span_ids.view(np.int64)
        rows[:, 6] = np.array([each.attempt for each in block.attempts], np.int64)[block.which]
        rows[:, 7] = figures.started_unix_ns
        rows[:, 8] = figures.durations_ns
        self._parts.append(rows)

    def write(self, connection: sqlite3.Connection) -> None:
        for part in self._parts:
            if isinstance(part, list):
                _INSERT.write(connection, part)
            else:
                _INSERT_BLOCK.write_flat(connection, part.ravel().tolist())

    def spans(self) -> Iterator[tuple[int | None, ...]]:
        """Run and span of each."""
        for part in self._parts:
            if isinstance(part, list):
                yield from ((row[_RUN], row[_SPAN_ID]) for row in part)
            else:
                yield from map(tuple, part[:, [_RUN, _SPAN_ID]].tolist())
