"""What a client writes down of itself: what it is about to record, what it recorded, what was acknowledged.

A journal is one file per producer, one JSON array per line, each handed to the kernel by one call, so it
survives whatever ends the client. Its first line names the client's kind:

- `recorder`: what `record` has returned from must arrive, acknowledged or not;
- `protocol`: a client without a spool, of which what was acknowledged must arrive.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from configurable_agents.telemetry import Event, LlmCall, NodeFinished, RunFinished, RunStarted

SUFFIX = ".journal"


class Key(NamedTuple):
    """Tells an event from all others."""

    run_id: str
    kind: str
    identity: str


@dataclass(slots=True)
class Entry:
    key: Key
    detail: list[object]
    """What must come back unchanged."""
    intended_unix_ns: int
    recorded_unix_ns: int = 0
    """0: recording it never returned, or said that it was not recorded."""


@dataclass(slots=True)
class ClientJournal:
    """What one producer wrote down, in its order."""

    producer_id: bytes
    kind: str
    entries: list[Entry] = field(default_factory=list)
    acknowledged: int = 0
    """Events below this position were acknowledged, the last time at `acknowledged_unix_ns`."""
    acknowledged_unix_ns: int = 0
    dropped: int = 0

    def must_arrive(self) -> list[Entry]:
        if self.kind == "protocol":
            return self.entries[: self.acknowledged]
        return [entry for entry in self.entries if entry.recorded_unix_ns]


class JournalWriter:
    """For one thread at a time."""

    def __init__(self, folder: Path, producer_id: bytes, *, kind: str) -> None:
        path = folder / f"{producer_id.hex()}{SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._count = 0
        self._line("client", producer_id.hex(), kind)

    def intend(self, event: Event) -> int:
        """Before an event is recorded. Returns its number."""
        number = self._count
        self._count += 1
        self._line("intended", number, *key_of(event), detail_of(event), time.time_ns())
        return number

    def recorded(self, number: int) -> None:
        self._line("recorded", number, time.time_ns())

    def dropped(self, number: int) -> None:
        self._line("dropped", number, time.time_ns())

    def acknowledged(self, position: int) -> None:
        self._line("acknowledged", position, time.time_ns())

    def close(self) -> None:
        os.close(self._file)

    def _line(self, *values: object) -> None:
        # Not `write`: tests that fail the calls of that name mean those of the spool.
        os.writev(self._file, [json.dumps(values).encode() + b"\n"])


def read_journals(folder: Path) -> list[ClientJournal]:
    return [read_journal(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]


def read_journal(path: Path) -> ClientJournal:
    lines = path.read_bytes().splitlines(keepends=True)
    whole = (json.loads(line) for line in lines if line.endswith(b"\n"))
    _, producer, kind = next(whole)
    journal = ClientJournal(bytes.fromhex(producer), kind)
    for what, *values in whole:
        _take(journal, what, values)
    return journal


def read_acknowledged(folder: Path) -> dict[bytes, int]:
    """How far each producer was acknowledged; without reading all of its journal, which may be long."""
    found = {}
    for path in folder.glob(f"*{SUFFIX}"):
        data = path.read_bytes()
        _, is_there, line = data[: data.rfind(b"\n") + 1].rpartition(b'["acknowledged", ')
        found[bytes.fromhex(path.stem)] = int(line.split(b",")[0]) if is_there else 0
    return found


def _take(journal: ClientJournal, what: str, values: list[object]) -> None:
    if what == "intended":
        _, run_id, kind, identity, detail, at = values
        journal.entries.append(Entry(Key(run_id, kind, identity), detail, at))  # type: ignore[arg-type]
    elif what == "recorded":
        number, at = values
        journal.entries[number].recorded_unix_ns = at  # type: ignore[index, assignment]
    elif what == "dropped":
        journal.dropped += 1
    elif what == "acknowledged":
        journal.acknowledged, journal.acknowledged_unix_ns = values  # type: ignore[assignment]
    else:
        raise ValueError(f"a journal has no line {what!r}")


def key_of(event: Event) -> Key:
    kind = type(event)
    if kind is NodeFinished:
        return Key(event.run_id, "node", str(event.span_id))
    if kind is LlmCall:
        return Key(event.run_id, "call", event.call_id)
    if kind is RunStarted:
        return Key(event.run_id, "start", "")
    if kind is RunFinished:
        return Key(event.run_id, "end", "")
    raise ValueError(f"{kind.__name__} is not kept in the ledger")


def detail_of(event: Event) -> list[object]:
    """In the order of the oracle's queries."""
    kind = type(event)
    if kind is NodeFinished:
        times = (event.started_unix_ns, event.duration_ns)
        return [event.node_id, str(event.parent_span_id), event.attempt, *times, int(event.status)]
    if kind is LlmCall:
        usage = list(event.usage) if event.usage is not None else [None] * 9
        times = (event.started_unix_ns, event.duration_ns)
        return [event.node_id, event.provider, event.model, *times, int(event.status), *usage]
    if kind is RunStarted:
        return [event.experiment, event.workflow, event.started_unix_ns]
    return [int(event.status), event.finished_unix_ns, event.duration_ns]


def must_arrive(journals: Iterable[ClientJournal]) -> int:
    """How many events in all."""
    return sum(len(journal.must_arrive()) for journal in journals)
