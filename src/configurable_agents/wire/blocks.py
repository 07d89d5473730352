"""Ordinary finished executions (see `wire.ordinary`) in columns: taken apart, and added up, many at once.

Without numpy there are none: every event is then read by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, cached_property, lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

from google.protobuf.message import DecodeError

from configurable_agents.telemetry import NodeFinished, Status
from configurable_agents.wire.ordinary import (
    CONSTANT_BYTES_MAX,
    DURATION_TAG,
    FIGURES,
    NODE_FINISHED_TAG,
    PARENT_SPAN_TAG,
    SPAN_TAG,
    STARTED_TAG,
    constants,
)
from configurable_agents.wire.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    import numpy.typing as npt

try:
    import numpy as np
except ImportError:  # it comes with the extra [daemon]
    np = None  # type: ignore[assignment]

E = TypeVar("E")

BLOCK_EVENTS_MIN = 64
"""Fewer are read one by one: a block has its price, whatever its length."""

EVENTS_PER_ATTEMPT_MIN = 2
"""A batch with fewer on average is read one by one: what its events begin with is read once for each."""

ATTEMPTS_KEPT_MAX = 8_192
"""What so many different events begin with is remembered. What was not met longest is forgotten."""


class NodeAttempt(NamedTuple):
    """What many executions have in common."""

    run_id: str
    node_id: str
    attempt: int


class ExecutionBlock:
    """Consecutive executions that went well. Never changed once it is made.

    `attempts` are distinct and stand in the order in which they first occur; `which` says of each
    execution which of them it was. Times and durations are below 2^63 and 2^42 ns, whoever sent them.
    """

    def __init__(
        self,
        attempts: Sequence[NodeAttempt],
        which: npt.NDArray[np.intp],
        figures: Figures,
    ) -> None:
        self.attempts = attempts
        self.which = which
        self.figures = figures

    def __len__(self) -> int:
        return len(self.which)

    @property
    def has_children(self) -> bool:
        """Whether any of them was part of another execution."""
        return bool(self.figures.parent_span_ids.any())

    def executions(self) -> list[NodeFinished]:
        """The same one by one."""
        found = self.figures
        whole = map(self.attempts.__getitem__, self.which.tolist())
        return [
            NodeFinished(run_id, span_id, parent_id, node_id, attempt, started, duration, Status.OK, "")
            for (run_id, node_id, attempt), span_id, parent_id, started, duration in zip(
                whole,
                found.span_ids.tolist(),
                found.parent_span_ids.tolist(),
                found.started_unix_ns.tolist(),
                found.durations_ns.tolist(),
                strict=True,
            )
        ]

    @cached_property
    def by_attempt(self) -> Groups:
        """A group for each of `attempts`."""
        return self._grouped(self.which, len(self.attempts))

    def first_started_unix_ns(self, attempt: int) -> int:
        """When the first execution of an attempt, given by its place in `attempts`, started."""
        return int(self.figures.started_unix_ns[np.argmax(self.which == attempt)])

    def grouped(self, groups: Sequence[int]) -> Groups:
        """In fewer groups: the number of each attempt's, from 0 without a gap."""
        return self._grouped(np.array(groups, np.intp)[self.which], max(groups) + 1)

    def _grouped(self, which: npt.NDArray[np.intp], count: int) -> Groups:
        # Numbers of 16 bits are sorted by their digits, in a third of the time.
        order = np.argsort(which.astype(np.uint16) if count <= 2**16 else which, kind="stable")
        counts = np.bincount(which, minlength=count)
        ends = np.cumsum(counts)
        starts = ends - counts
        started, durations = self.figures.started_unix_ns[order], self.figures.durations_ns[order]
        positions = np.empty(len(which), np.int64)
        positions[order] = np.arange(1, len(which) + 1) - np.repeat(starts, counts)
        return Groups(
            which,
            positions,
            counts.tolist(),
            np.add.reduceat(durations, starts).tolist(),
            np.maximum.reduceat(durations, starts).tolist(),
            np.maximum.reduceat(started + durations, starts).tolist(),
            order[ends - 1].tolist(),
        )


class Figures(NamedTuple):
    """Columns, all of them of unsigned 64-bit integers: no sum of two, and none of the durations of four
    million executions, can be too large for them."""

    span_ids: npt.NDArray[np.uint64]
    parent_span_ids: npt.NDArray[np.uint64]
    started_unix_ns: npt.NDArray[np.uint64]
    durations_ns: npt.NDArray[np.uint64]


class Groups(NamedTuple):
    """A block's executions in groups, none of them empty, and what each group adds up to."""

    which: npt.NDArray[np.intp]
    """By execution: its group."""
    positions: npt.NDArray[np.int64]
    """By execution: which of its group it is, from 1."""
    counts: list[int]
    """By group, as are all that follow."""
    total_ns: list[int]
    max_ns: list[int]
    last_ended_unix_ns: list[int]
    """When the last one ended."""
    last_places: list[int]
    """Where in the block the last one stands."""


def joined(blocks: Sequence[ExecutionBlock]) -> ExecutionBlock:
    """One block of several that follow one another."""
    if len(blocks) == 1:
        return blocks[0]
    numbers: dict[NodeAttempt, int] = {}
    which = [
        np.array([numbers.setdefault(attempt, len(numbers)) for attempt in block.attempts], np.intp)[
            block.which
        ]
        for block in blocks
    ]
    columns = zip(*(block.figures for block in blocks), strict=True)
    return ExecutionBlock(
        list(numbers), np.concatenate(which), Figures(*(np.concatenate(column) for column in columns))
    )


class EventSequence(Sequence[E], Generic[E]):
    """Events in their order, blocks among them. As a sequence it has one event after the other; its
    `parts` are the same without taking blocks apart."""

    def __init__(self, parts: Sequence[list[E] | ExecutionBlock] = ()) -> None:
        self._parts: list[list[E] | ExecutionBlock] = list(parts)

    @property
    def parts(self) -> Sequence[list[E] | ExecutionBlock]:
        return self._parts

    def extend(self, events: list[E]) -> None:
        if self._parts and isinstance(self._parts[-1], list):
            self._parts[-1] += events
        elif events:
            self._parts.append(list(events))

    def add_block(self, block: ExecutionBlock) -> None:
        self._parts.append(block)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[E]:
        for part in self._parts:
            yield from one_by_one(part)

    def __eq__(self, other: object) -> bool:
        """Whether the other one, or a list, has the same events; how they are kept does not matter."""
        return isinstance(other, EventSequence | list) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it can be added to

    @overload
    def __getitem__(self, index: int) -> E: ...
    @overload
    def __getitem__(self, index: slice) -> list[E]: ...
    def __getitem__(self, index: int | slice) -> E | list[E]:
        return list(self)[index]


def parts_of(events: Sequence[E]) -> Sequence[Sequence[E] | ExecutionBlock]:
    """The blocks of events, if there are any, and what lies between them."""
    return events.parts if isinstance(events, EventSequence) else (events,)


def one_by_one(part: Sequence[E] | ExecutionBlock) -> Sequence[E]:
    """The events of a part."""
    return part.executions() if isinstance(part, ExecutionBlock) else part  # type: ignore[return-value]


_first_byte_of = itemgetter(slice(1))
_beginning_of = itemgetter(slice(None, -FIGURES.size))
_end_of = itemgetter(slice(-FIGURES.size, None))


def find_blocks(bodies: Sequence[bytes]) -> list[tuple[int, ExecutionBlock]]:
    """The blocks among encoded events, each with its place. Others may be ordinary as well."""
    if np is None or _FIRST_BYTE * BLOCK_EVENTS_MIN not in b"".join(map(_first_byte_of, bodies)):
        return []  # as it is where calls to models stand between executions
    beginnings = list(map(_beginning_of, bodies))
    numbers = {beginning: number for number, beginning in enumerate(dict.fromkeys(beginnings))}
    if len(numbers) * EVENTS_PER_ATTEMPT_MIN > len(bodies):
        return []
    known = [_attempt_of(beginning) for beginning in numbers]
    which = np.fromiter(map(numbers.__getitem__, beginnings), np.intp, len(bodies))
    figures, fit = _figures_of(bodies)
    if None not in known and fit.all():
        return [(0, ExecutionBlock(known, which, figures))]  # type: ignore[arg-type]
    fit &= np.array([attempt is not None for attempt in known])[which]
    return [(start, _part(known, which, figures, slice(start, end))) for start, end in _stretches(fit)]


def _part(
    known: Sequence[NodeAttempt | None], which: npt.NDArray[np.intp], figures: Figures, place: slice
) -> ExecutionBlock:
    """A block of its own, with those attempts only that occur in it."""
    numbers = which[place].tolist()
    places = {number: at for at, number in enumerate(dict.fromkeys(numbers))}
    return ExecutionBlock(
        [known[number] for number in places],
        np.array([places[number] for number in numbers], np.intp),
        Figures(*(column[place] for column in figures)),
    )


def _stretches(fit: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """From where to where all are fit, if it is far enough."""
    edges = np.flatnonzero(np.diff(fit, prepend=False, append=False)).tolist()
    found = zip(edges[::2], edges[1::2], strict=True)
    return [(start, end) for start, end in found if end - start >= BLOCK_EVENTS_MIN]


def _attempt_of(beginning: bytes) -> NodeAttempt | None:
    """Whose execution begins like this; `None` when it is not what `constants` makes of anything."""
    if len(beginning) > CONSTANT_BYTES_MAX or beginning[:1] != _FIRST_BYTE or beginning[-1:] != _LAST_BYTE:
        return None
    return _attempt_of_known(beginning)


_FIRST_BYTE, _LAST_BYTE = bytes((NODE_FINISHED_TAG,)), bytes((SPAN_TAG,))


@lru_cache(maxsize=ATTEMPTS_KEPT_MAX)
def _attempt_of_known(beginning: bytes) -> NodeAttempt | None:
    length_bytes = 1 if beginning[1:2] < b"\x80" else 2  # `CONSTANT_BYTES_MAX` leaves room for no more
    try:
        found = pb.NodeFinished.FromString(beginning[1 + length_bytes : -1])
    except DecodeError:
        return None
    attempt = NodeAttempt(found.run_id, found.node_id, found.attempt)
    return attempt if constants(*attempt) == beginning else None


def _figures_of(bodies: Sequence[bytes]) -> tuple[Figures, npt.NDArray[np.bool_]]:
    """What the last bytes of each are when read as figures, and whether they can be read so."""
    ends = b"".join(map(_end_of, bodies))
    if len(ends) != len(bodies) * FIGURES.size:
        ends = b"".join([_end_of(body).ljust(FIGURES.size, b"\0") for body in bodies])
    found = np.frombuffer(ends, _columns())
    started: npt.NDArray[Any] = found["started_low"].astype(np.uint64)
    fit = (
        (found["parent_span_tag"] == PARENT_SPAN_TAG)
        & (found["started_tag"] == STARTED_TAG)
        & (found["duration_tag"] == DURATION_TAG)
        & (started & _CONTINUED_8 == _CONTINUED_8)
        & (found["started_high"] < 0x80)
        & (found["duration_low"] & _CONTINUED_4 == _CONTINUED_4)
        & (found["duration_high"] & 0x8080 == 0x0080)
    )
    started = _without_marks(started) | found["started_high"].astype(np.uint64) << 56
    durations = _without_marks(found["duration_low"] | found["duration_high"].astype(np.uint64) << 32)
    return Figures(
        found["span_id"].astype(np.uint64), found["parent_span_id"].astype(np.uint64), started, durations
    ), fit


@cache
def _columns() -> np.dtype[np.void]:
    """`FIGURES` once more, in as few numbers as there can be."""
    return np.dtype(
        [
            ("span_id", "<u8"),
            ("parent_span_tag", "u1"),
            ("parent_span_id", "<u8"),
            ("started_tag", "u1"),
            ("started_low", "<u8"),
            ("started_high", "u1"),
            ("duration_tag", "u1"),
            ("duration_low", "<u4"),
            ("duration_high", "<u2"),
        ]
    )


_CONTINUED_8, _CONTINUED_4 = 0x8080808080808080, 0x80808080
"""The marks of a varint's bytes that are not its last."""


def _without_marks(varints: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Eight groups of 7 bits, one in each byte, joined: first two and two, then four and four."""
    pairs = (varints & 0x007F007F007F007F) | (varints & 0x7F007F007F007F00) >> 1
    fours = (pairs & 0x00003FFF00003FFF) | (pairs & 0x3FFF00003FFF0000) >> 2
    return (fours & 0x0FFFFFFF) | (fours & 0x0FFFFFFF00000000) >> 4
