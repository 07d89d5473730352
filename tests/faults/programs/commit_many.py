"""Commits to a ledger as the daemon's writer does: commit_many.py HOME JOURNALS COMMITS [--keep-going]

Each commit is a batch of ten events. What the ledger refuses for a reason that passes is tried again;
anything else ends the program with code 3, as it ends the daemon. Prints how often it was refused.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from harness.journal import JournalWriter

from configurable_agents.client.home import Home
from configurable_agents.errors import LedgerError, LedgerNotNowError
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.records import Batch
from configurable_agents.observability.cost_estimator import Price
from configurable_agents.telemetry import Event, LlmCall, NodeFinished, PriceStatus, RunStarted, Status

EVENTS_OF_A_COMMIT = 10
RETRY_S = 0.01
FAIL_STOP_EXIT_CODE = 3


def main() -> int:
    home, journals, commits = Home.from_environment(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    producer_id = os.urandom(16)
    journal = JournalWriter(journals, producer_id, kind="protocol")
    refused = 0
    try:
        with SqliteLedger(home.ledger, unpriced) as ledger:
            for number in range(commits):
                events = make(producer_id.hex(), number)
                for event in events:
                    journal.intend(event)
                batch = Batch(producer_id, number * EVENTS_OF_A_COMMIT, events)
                refused += commit(ledger, batch)
                journal.acknowledged((number + 1) * EVENTS_OF_A_COMMIT)
    except LedgerError as error:
        print(error, file=sys.stderr)
        return FAIL_STOP_EXIT_CODE
    print(refused)
    return 0


def commit(ledger: SqliteLedger, batch: Batch) -> int:
    """Returns how often it was refused first."""
    refused = 0
    while True:
        try:
            ledger.commit([batch])
        except LedgerNotNowError:
            refused += 1
            time.sleep(RETRY_S)
        else:
            return refused


def make(run_id: str, number: int) -> list[Event]:
    now = time.time_ns()
    first = 1 + number * EVENTS_OF_A_COMMIT
    nodes: list[Event] = [
        NodeFinished(run_id, span_id, 0, f"step-{span_id % 3}", 1, now, span_id, Status.OK, "")
        for span_id in range(first, first + EVENTS_OF_A_COMMIT)
    ]
    if number == 0:
        nodes[0] = RunStarted(run_id, "faults", "commits", now)
    return nodes


def unpriced(call: LlmCall) -> Price:
    return Price(PriceStatus.UNPRICED)


if __name__ == "__main__":
    sys.exit(main())
