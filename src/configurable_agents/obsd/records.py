"""The seams of the daemon: what receivers hand in, what a ledger takes and gives, whoever they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from configurable_agents.errors import RecordRefusedError
from configurable_agents.obsd.profiles import MadeProfile, ProfileBlock
from configurable_agents.observability.cost_estimator import Price
from configurable_agents.telemetry import Event, LlmCall, Status
from configurable_agents.wire.blocks import EventSequence


class Batch(NamedTuple):
    """Consecutive events of one producer; a refused event stands as its refusal."""

    producer_id: bytes
    first_sequence: int
    events: Sequence[Event | RecordRefusedError]


class Refusal(NamedTuple):
    sequence: int
    reason: str


class Acknowledgement(NamedTuple):
    """Everything of the producer below `next_sequence` is durable, or refused for good."""

    next_sequence: int
    refusals: tuple[Refusal, ...] = ()


@dataclass(slots=True)
class Committed:
    """The outcome of one transaction."""

    acknowledgements: list[Acknowledgement] = field(default_factory=list)
    """One per batch, in their order."""
    events: EventSequence[Event] = field(default_factory=EventSequence)
    """The events that were new, in the order of commit."""
    duplicates: int = 0


class Pricer(Protocol):
    """Prices a call. Never raises: what it cannot price it says so in the price's status."""

    def __call__(self, call: LlmCall) -> Price: ...


class UnfinishedRun(NamedTuple):
    """A run in flight, or one that is over and whose profile is older than its events."""

    run_id: str
    producer_id: bytes
    status: Status
    last_received_unix_ns: int
    executions: int = 0


class Ledger(Protocol):
    """The writing side. One thread owns it; every method is one transaction, durable when it returns.

    Errors: `LedgerNotNowError` when there is no room or no lock (nothing changed, try again later),
    `LedgerError` for anything else (the ledger must not be written to again).
    """

    def commit(self, batches: Sequence[Batch]) -> Committed:
        """Takes in batches of any producers; duplicates are recognised by their position."""

    def next_sequence(self, producer_id: bytes) -> int:
        """Everything of the producer below it is committed or refused; 0 for one never seen."""

    def unfinished_runs(self) -> list[UnfinishedRun]:
        """Runs in flight, and runs that are over and still want their profile."""

    def mark_interrupted(self, run_ids: Sequence[str]) -> list[str]:
        """Ends runs that never said they did. Returns those that were in flight."""

    def store_profiles(self, made: Sequence[MadeProfile]) -> list[int]:
        """Keeps the profiles of runs that are over. Returns the runs' rows."""

    def store_profile_blocks(self, blocks: Sequence[ProfileBlock]) -> None:
        """Keeps what runs add up to, for reports over many of them."""

    def exporter_state(self, exporter: str) -> tuple[int, int]:
        """Its cursor and its last success in Unix ns."""

    def save_export(
        self,
        exporter: str,
        cursor: int,
        runs: Iterable[tuple[int, str, int]],
        set_aside: Iterable[tuple[int, int, str]],
        retried: Iterable[int] = (),
    ) -> None:
        """Remembers what the exporter's other side now has; its cursor never moves back."""
