"""The removal of one run with everything that is known of it, for whoever wants it gone."""

from __future__ import annotations

import hashlib
import json
import sqlite3

from configurable_agents.errors import InvalidValueError
from configurable_agents.obsd.ledger.retention import delete_run
from configurable_agents.obsd.ledger.scopes import experiment_of, resolve
from configurable_agents.telemetry import Status
from configurable_agents.wire.account_records import PurgeReport
from configurable_agents.wire.report_records import Scope

_ABOUT = """
SELECT r.status, r.events, r.attach_mlflow_run_id, COALESCE(x.foreign_id, '')
FROM runs r LEFT JOIN exported_runs x ON x.run = r.id AND x.exporter = :exporter WHERE r.id = :run
"""

_PURGED_AHEAD = """
INSERT INTO purged_ahead SELECT seq FROM (
    SELECT seq FROM node_executions WHERE run = :run UNION ALL SELECT seq FROM llm_calls WHERE run = :run
    UNION ALL SELECT seq FROM run_events WHERE run = :run
) WHERE seq > COALESCE((SELECT min(cursor) FROM exporters), 0)
"""

_NAMES_OF_RUN = """
SELECT experiment FROM runs WHERE id = :run UNION SELECT workflow FROM runs WHERE id = :run
UNION SELECT node FROM node_totals WHERE run = :run UNION SELECT node FROM open_nodes WHERE run = :run
UNION SELECT error_type FROM node_executions WHERE run = :run AND error_type IS NOT NULL
UNION SELECT node FROM llm_calls WHERE run = :run UNION SELECT provider FROM llm_calls WHERE run = :run
UNION SELECT model FROM llm_calls WHERE run = :run
UNION SELECT node FROM call_totals WHERE run = :run UNION SELECT provider FROM call_totals WHERE run = :run
UNION SELECT model FROM call_totals WHERE run = :run
"""

_IN = "IN (SELECT value FROM json_each(:ids))"

_NAMES_IN_USE = (
    f"SELECT experiment FROM runs WHERE experiment {_IN}",
    f"SELECT workflow FROM runs WHERE workflow {_IN}",
    f"SELECT node FROM node_totals WHERE node {_IN}",
    f"SELECT node FROM open_nodes WHERE node {_IN}",
    f"SELECT node FROM call_totals WHERE node {_IN}",
    f"SELECT provider FROM call_totals WHERE provider {_IN}",
    f"SELECT model FROM call_totals WHERE model {_IN}",
    f"SELECT error_type FROM node_executions WHERE error_type {_IN}",
    f"SELECT node FROM llm_calls WHERE node {_IN}",
    f"SELECT provider FROM llm_calls WHERE provider {_IN}",
    f"SELECT model FROM llm_calls WHERE model {_IN}",
)
"""Small tables first: what is found there is not looked for in the large ones."""

_CARDS_OF_RUN = """
SELECT rate_card FROM llm_calls WHERE run = :run AND rate_card IS NOT NULL
UNION SELECT h.rate_card FROM price_history h JOIN llm_calls c ON c.seq = h.call
WHERE c.run = :run AND h.rate_card IS NOT NULL
"""
_CARDS_IN_USE = (
    f"SELECT DISTINCT rate_card FROM llm_calls WHERE rate_card {_IN}",
    f"SELECT DISTINCT rate_card FROM price_history WHERE rate_card {_IN}",
)

_COUNT = "INSERT INTO counters VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"


def run_to_purge(connection: sqlite3.Connection, run_id: str, exporter: str) -> PurgeReport:
    """Raises `NotFoundError` as reports do, and `InvalidValueError` for a run in flight."""
    scope = Scope(run_id=run_id)
    found = resolve(connection, scope)
    status, events, attached, foreign_id = connection.execute(
        _ABOUT, {"run": found.run, "exporter": exporter}
    ).fetchone()
    if status == Status.RUNNING:
        raise InvalidValueError(
            f"run {found.run_id} is in flight; end its workflow first (what has no process any more is"
            " interrupted by itself within 30 s), then purge it"
        )
    return PurgeReport(
        found.run_id,
        experiment_of(connection, found),
        status,
        events,
        mlflow_run_id=foreign_id or attached,
        is_attached=bool(attached),
    )


def purge(connection: sqlite3.Connection, run_id: str) -> int:
    """Within a transaction: removes a run that is over. Returns how many events it had.

    They are counted as purged. The run's id is kept as a digest only, by which late events are refused.
    Raises as `run_to_purge`.
    """
    run_to_purge(connection, run_id, "")
    run = connection.execute("SELECT id FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0]
    parameters = {"run": run}
    names = {row for (row,) in connection.execute(_NAMES_OF_RUN, parameters)}
    cards = {row for (row,) in connection.execute(_CARDS_OF_RUN, parameters)}
    connection.execute(_PURGED_AHEAD, parameters)
    connection.execute("DELETE FROM dead_letters WHERE run = ?", (run,))
    events = delete_run(connection, run) or 0
    _delete_unused(connection, "names", names, _NAMES_IN_USE)
    _delete_unused(connection, "rate_cards", cards, _CARDS_IN_USE)
    connection.execute("INSERT OR IGNORE INTO purged_runs VALUES (?)", (digest(run_id),))
    connection.execute(_COUNT, ("events_purged", events))
    return events


def was_purged(connection: sqlite3.Connection, run_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM purged_runs WHERE run_id_digest = ?", (digest(run_id),))
    return found.fetchone() is not None


def allow_again(connection: sqlite3.Connection, run_id: str) -> None:
    """Within a transaction: a run that starts under the id of a purged one is a new run."""
    connection.execute("DELETE FROM purged_runs WHERE run_id_digest = ?", (digest(run_id),))


def digest(run_id: str) -> bytes:
    return hashlib.blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _delete_unused(
    connection: sqlite3.Connection, table: str, candidates: set[int], in_use: tuple[str, ...]
) -> None:
    left = set(candidates)
    for question in in_use:
        if left:
            rows = connection.execute(question, {"ids": json.dumps(sorted(left))})
            left -= {row for (row,) in rows}
    connection.executemany(f"DELETE FROM {table} WHERE id = ?", [(row,) for row in left])
