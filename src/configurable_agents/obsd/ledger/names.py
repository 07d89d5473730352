"""Names as rows of the ledger, and what becomes of those beyond a bound: they are `__other__`."""

from __future__ import annotations

import sqlite3
from collections.abc import Container

from configurable_agents.obsd import limits
from configurable_agents.telemetry import OTHER_NAME

_FIND = "SELECT id FROM names WHERE name = ?"
_ADD = "INSERT INTO names (name) VALUES (?) RETURNING id"
_COUNT = "SELECT COUNT(*) FROM names"

_NODES_OF_RUN = """
SELECT name, id FROM names WHERE id IN (
    SELECT node FROM node_totals WHERE run = :run UNION SELECT node FROM call_totals WHERE run = :run
    UNION SELECT node FROM open_nodes WHERE run = :run
)
"""
_MODELS_OF_RUN = """
SELECT p.name, m.name, p.id, m.id
FROM (SELECT DISTINCT provider, model FROM call_totals WHERE run = ?) c
JOIN names p ON p.id = c.provider JOIN names m ON m.id = c.model
"""

_BOUNDLESS = frozenset(("", OTHER_NAME))
"""No node at all, and the node of all others: neither counts as one of a run's nodes."""


class Names:
    """The names in use, kept in memory up to a bound. Within the ledger's transaction.

    A run keeps its first `RUN_NODES_MAX` nodes and `RUN_MODELS_MAX` models apart, the ledger its first
    `NAMES_MAX` names; what comes after them is added up under `__other__`. So no total ever misses
    anything, and nothing that a workflow sends can make the number of rows of totals grow without end.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.forget()

    def forget(self) -> None:
        """Everything is read again from the file."""
        self._ids: dict[str, int] = {}
        self._count = -1
        self._nodes: dict[int, dict[str, int]] = {}
        self._models: dict[int, dict[tuple[str, str], tuple[int, int]]] = {}
        self._of_runs_count = 0
        self.folded_count = 0

    def trim(self) -> None:
        if len(self._ids) > limits.NAMES_CACHED_MAX:
            self._ids.clear()
        if self._of_runs_count > limits.RUN_NAMES_CACHED_MAX:
            self._nodes.clear()
            self._models.clear()
            self._of_runs_count = 0

    def id_of(self, name: str) -> int:
        """The row of a name, made when it is new; that of `__other__` when the ledger has enough names."""
        found = self._ids.get(name)
        if found is not None:
            return found
        row = self._connection.execute(_FIND, (name,)).fetchone()
        if row is None:
            if name not in _BOUNDLESS and self._stored_count() >= limits.NAMES_MAX:
                return self._other()
            row = self._connection.execute(_ADD, (name,)).fetchone()
            self._count += 1
        self._ids[name] = found = int(row[0])
        return found

    def node_of(self, run: int, node_id: str) -> int:
        """The row of a node's name in a run; that of `__other__` when the run has enough of them."""
        nodes = self._nodes.get(run)
        if nodes is None:
            nodes = self._load_nodes(run)
        found = nodes.get(node_id)
        if found is not None:
            return found
        if node_id in _BOUNDLESS:
            return self.id_of(node_id)
        if len(nodes) >= limits.RUN_NODES_MAX:
            return self._other()
        found = self.id_of(node_id)
        if not self.is_other(found):
            nodes[node_id] = found
            self._of_runs_count += 1
        return found

    def model_of(self, run: int, provider: str, model: str) -> tuple[int, int]:
        """The same for provider and model, which count, and are folded, as a pair."""
        models = self._models.get(run)
        if models is None:
            models = self._load_models(run)
        found = models.get((provider, model))
        if found is not None:
            return found
        if len(models) < limits.RUN_MODELS_MAX:
            found = self.id_of(provider), self.id_of(model)
            if not any(map(self.is_other, found)):
                models[provider, model] = found
                self._of_runs_count += 1
                return found
        other = self._other()
        return other, other

    def begin_run(self, run: int) -> None:
        """A run that is new has no names yet: that need not be looked up."""
        self._nodes[run] = {}
        self._models[run] = {}
        self._of_runs_count += 1

    def is_other(self, row: int) -> bool:
        return row == self._ids.get(OTHER_NAME)

    def has_other(self, rows: Container[int]) -> bool:
        """Whether that of `__other__` is among rows."""
        return self._ids.get(OTHER_NAME) in rows

    def take_folded_count(self) -> int:
        """How often a name went to `__other__` since this was last asked."""
        count, self.folded_count = self.folded_count, 0
        return count

    def _other(self) -> int:
        self.folded_count += 1
        return self.id_of(OTHER_NAME)

    def _stored_count(self) -> int:
        if self._count < 0:
            self._count = int(self._connection.execute(_COUNT).fetchone()[0])
        return self._count

    def _load_nodes(self, run: int) -> dict[str, int]:
        rows = self._connection.execute(_NODES_OF_RUN, {"run": run})
        nodes = self._nodes[run] = {name: row for name, row in rows if name not in _BOUNDLESS}
        self._of_runs_count += 1 + len(nodes)
        return nodes

    def _load_models(self, run: int) -> dict[tuple[str, str], tuple[int, int]]:
        rows = self._connection.execute(_MODELS_OF_RUN, (run,))
        models = self._models[run] = {
            (provider, model): (provider_row, model_row)
            for provider, model, provider_row, model_row in rows
            if model != OTHER_NAME
        }
        self._of_runs_count += 1 + len(models)
        return models
