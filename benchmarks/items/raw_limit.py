"""How much of SQLite's own speed is left once there are producers, a wire, checks, totals and
acknowledgements.

The limit is a bare `executemany` of the very rows the daemon has just written, into a ledger with the
same schema and settings, in one process that does nothing else, committing as many rows at a time as
one producer has on its way (8,000). It and the daemon take turns.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from configurable_agents.obsd.ledger.database import open_for_writing
from items.ingest import WHY
from measuring.daemons import daemon_in, send, state_folder
from measuring.figures import Result, Series, Size, at_least, ratio

TITLE = "Ratio to the raw limit"

EVENTS = {Size.TINY: 16_000, Size.NORMAL: 200_000, Size.LONG: 1_000_000}
ROUNDS = {Size.TINY: 1, Size.NORMAL: 5, Size.LONG: 9}
COMMIT_ROWS = 8_000


def measure(size: Size) -> Result:
    ours, limit = [], []
    for _ in range(ROUNDS[size]):
        with state_folder() as home:
            with daemon_in(home):
                sent = send(home, events=EVENTS[size])
                ours.append(sent["events"] / sent["seconds"])
            limit.append(written_raw(home.ledger, home.folder / "raw.db").rows_per_second)
    daemon_rate = Series("the daemon, 1 producer", "events/s", tuple(ours))
    raw_rate = Series("executemany of the same rows", "rows/s", tuple(limit))
    share = ratio("daemon / executemany", daemon_rate, raw_rate)
    percent = Series("of the raw limit", "%", tuple(100 * each for each in share.samples))
    return Result(
        series=(daemon_rate, raw_rate),
        ratios=(share,),
        verdicts=(at_least("≥ 50 % of executemany of the same rows", percent, 50, remark=WHY),),
    )


class Written(NamedTuple):
    rows_per_second: float
    cpu_us_per_row: float


def written_raw(ledger: Path, copy: Path) -> Written:
    """Writes the executions of one ledger into another, and nothing else."""
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as source:
        rows = source.execute("SELECT * FROM node_executions ORDER BY rowid").fetchall()
    insert = f"INSERT INTO node_executions VALUES ({','.join('?' * len(rows[0]))})"
    with closing(open_for_writing(copy)) as target:
        began, cpu_before = time.perf_counter(), time.process_time()
        for start in range(0, len(rows), COMMIT_ROWS):
            target.execute("BEGIN IMMEDIATE")
            target.executemany(insert, rows[start : start + COMMIT_ROWS])
            target.execute("COMMIT")
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_before
    return Written(len(rows) / seconds, 1e6 * cpu_seconds / len(rows))
