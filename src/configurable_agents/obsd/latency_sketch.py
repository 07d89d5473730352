"""Percentiles of durations that can be kept small and merged over runs.

Up to `EXACT_COUNT_MAX` durations are kept as they are. Beyond it only how many fell into each bucket is
kept: 128 buckets from one power of two to the next, as HdrHistogram has them (Tene, hdrhistogram.org). A
bucket is the upper half of the duration's 32-bit float, so that a list of durations becomes a list of
buckets without a look at each. Merging in any order gives the same percentiles.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

from configurable_agents.errors import WireFormatError

RELATIVE_ERROR = 0.01
"""Of a percentile beyond `EXACT_COUNT_MAX` durations, at most; the buckets allow for 0.4 %."""

EXACT_COUNT_MAX = 1_000
"""Up to here percentiles are exact (nearest rank)."""

_EXACT, _BUCKETS = b"E", b"B"
STORED_BYTES_MAX = 1024 * 1024
"""A stored sketch unpacks to at most this; the largest there can be takes 70 kilobytes."""

_UPPER_HALF = slice(1 if sys.byteorder == "little" else 0, None, 2)
_BUCKETS_END = 0x7F80
"""The bucket of infinity: none of a duration is as high."""


class LatencySketch:
    """Durations in ns. Not thread-safe."""

    __slots__ = ("_buckets", "_values")

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._values = array("q", values)
        self._buckets: Counter[int] | None = None
        self._settle()

    @property
    def count(self) -> int:
        return len(self._values) if self._buckets is None else self._buckets.total()

    @property
    def is_exact(self) -> bool:
        return self._buckets is None

    def add_all(self, values: Iterable[int]) -> None:
        self._values.extend(values)
        self._settle()

    def merge(self, other: LatencySketch) -> None:
        """Takes in all of the other's durations; the other stays as it is."""
        if other._buckets is not None:
            if self._buckets is None:
                self._buckets = Counter()
            self._buckets.update(other._buckets)
        self._values.extend(other._values)
        self._settle()

    def percentile_ns(self, percent: int) -> int | None:
        """Nearest rank: a duration that at least `percent` of them do not exceed; `None` when empty."""
        count = self.count
        if not count:
            return None
        rank = max(-(-count * percent // 100), 1)
        if self._buckets is None:
            return sorted(self._values)[rank - 1]
        return _middle_ns(_bucket_of_rank(self._buckets, rank))

    def to_bytes(self) -> bytes:
        """A compact form for the ledger."""
        if self._buckets is None:
            return _EXACT + zlib.compress(array("q", sorted(self._values)).tobytes())
        buckets = sorted(self._buckets.items())
        counts = array("q", [count for _, count in buckets])
        return _BUCKETS + zlib.compress(
            counts.tobytes() + array("H", [bucket for bucket, _ in buckets]).tobytes()
        )

    @classmethod
    def from_bytes(cls, stored: bytes) -> LatencySketch:
        """Raises `WireFormatError` for anything that `to_bytes` did not make."""
        unpacker = zlib.decompressobj()
        try:
            content = unpacker.decompress(stored[1:], STORED_BYTES_MAX)
            if stored[:1] == _EXACT and unpacker.eof:
                values = array("q")
                values.frombytes(content)
                return cls(values)
            if stored[:1] == _BUCKETS and unpacker.eof:
                return cls._of_buckets(content)
        except (zlib.error, ValueError) as error:
            raise WireFormatError(f"a stored sketch cannot be read: {error}") from error
        raise WireFormatError("a stored sketch is of an unknown kind, cut off or too large")

    @classmethod
    def _of_buckets(cls, content: bytes) -> LatencySketch:
        counts, buckets = array("q"), array("H")
        held, rest = divmod(len(content), counts.itemsize + buckets.itemsize)
        if rest:
            raise ValueError("its last bucket is cut off")
        counts.frombytes(content[: held * counts.itemsize])
        buckets.frombytes(content[held * counts.itemsize :])
        if any(count < 1 for count in counts) or any(bucket >= _BUCKETS_END for bucket in buckets):
            raise ValueError("it has a bucket that no duration falls into")
        found = cls()
        found._buckets = Counter(dict(zip(buckets, counts, strict=True)))
        return found

    def _settle(self) -> None:
        """Durations that are too many to be kept go into their buckets."""
        if self._buckets is None:
            if len(self._values) <= EXACT_COUNT_MAX:
                return
            self._buckets = Counter()
        self._buckets.update(_buckets_of(self._values))
        del self._values[:]


def merged(sketches: Iterable[LatencySketch]) -> LatencySketch:
    """All durations of all of them."""
    found = LatencySketch()
    for sketch in sketches:
        found.merge(sketch)
    return found


def _buckets_of(values_ns: Sequence[int]) -> Sequence[int]:
    return array("H", array("f", values_ns).tobytes())[_UPPER_HALF]


def _bucket_of_rank(buckets: Counter[int], rank: int) -> int:
    below = 0
    for bucket in sorted(buckets):
        below += buckets[bucket]
        if below >= rank:
            return bucket
    raise AssertionError("a rank is never beyond the count")


def _middle_ns(bucket: int) -> int:
    """Halfway between its shortest and its longest duration; exact below 256 ns."""
    first, end = (_lower_bound_ns(each) for each in (bucket, bucket + 1))
    return (math.ceil(first) + math.ceil(end) - 1) // 2


def _lower_bound_ns(bucket: int) -> float:
    (bound,) = struct.unpack(">f", struct.pack(">HH", bucket, 0))
    return float(bound)
