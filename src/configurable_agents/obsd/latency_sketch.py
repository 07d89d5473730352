"""Percentiles of durations that can be kept small and merged over runs.

Up to `EXACT_COUNT_MAX` durations are kept as they are; beyond it a DDSketch keeps them within 1 % of the
exact percentile (Masson et al., "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
Guarantees", VLDB 2019). Merging in any order gives the same percentiles within that error.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable
from typing import Any

from configurable_agents.errors import WireFormatError

RELATIVE_ERROR = 0.01
"""Of a percentile beyond `EXACT_COUNT_MAX` durations."""

EXACT_COUNT_MAX = 1_000
"""Up to here percentiles are exact (nearest rank)."""

_EXACT, _SKETCH = b"E", b"D"
STORED_BYTES_MAX = 1024 * 1024
"""A stored sketch unpacks to at most this; real ones take tens of kilobytes."""


class LatencySketch:
    """Durations in ns. Not thread-safe."""

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._values: list[int] = []
        self._sketch: Any = None
        self.add_all(values)

    @property
    def count(self) -> int:
        return len(self._values) if self._sketch is None else round(self._sketch.count)

    @property
    def is_exact(self) -> bool:
        return self._sketch is None

    def add_all(self, values: Iterable[int]) -> None:
        if self._sketch is None:
            self._values.extend(values)
            if len(self._values) <= EXACT_COUNT_MAX:
                return
            self._sketch = _new_sketch()
            values, self._values = self._values, []
        add = self._sketch.add
        for value in values:
            add(value)

    def merge(self, other: LatencySketch) -> None:
        """Takes in all of the other's durations; the other stays as it is."""
        if other._sketch is None:
            self.add_all(other._values)
            return
        if self._sketch is None:
            values, self._values = self._values, []
            self._sketch = _new_sketch()
            self.add_all(values)
        self._sketch.merge(other._sketch)

    def percentile_ns(self, percent: int) -> int | None:
        """Nearest rank: a duration that at least `percent` of them do not exceed; `None` when empty."""
        count = self.count
        if not count:
            return None
        rank = max(-(-count * percent // 100), 1)
        if self._sketch is None:
            return sorted(self._values)[rank - 1]
        found: float = self._sketch.get_quantile_value(min(1.0, (rank - 0.5) / (count - 1)))
        return round(found)

    def to_bytes(self) -> bytes:
        """A compact form for the ledger."""
        if self._sketch is None:
            return _EXACT + zlib.compress(array("q", sorted(self._values)).tobytes())
        from ddsketch.pb.proto import DDSketchProto  # noqa: PLC0415 - it loads protobuf

        return _SKETCH + zlib.compress(DDSketchProto.to_proto(self._sketch).SerializeToString())

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
            if stored[:1] == _SKETCH and unpacker.eof:
                return cls._of_sketch(content)
        except (zlib.error, ValueError) as error:
            raise WireFormatError(f"a stored sketch cannot be read: {error}") from error
        raise WireFormatError("a stored sketch is of an unknown kind, cut off or too large")

    @classmethod
    def _of_sketch(cls, content: bytes) -> LatencySketch:
        from ddsketch.pb.proto import DDSketchProto, pb  # noqa: PLC0415 - they load protobuf
        from google.protobuf.message import DecodeError  # noqa: PLC0415

        try:
            message = pb.DDSketch.FromString(content)
        except DecodeError as error:
            raise ValueError(error) from error
        found = cls()
        found._sketch = DDSketchProto.from_proto(message)
        return found


def merged(sketches: Iterable[LatencySketch]) -> LatencySketch:
    """All durations of all of them."""
    found = LatencySketch()
    for sketch in sketches:
        found.merge(sketch)
    return found


def _new_sketch() -> Any:
    from ddsketch import DDSketch  # noqa: PLC0415 - only for more durations than are kept exactly

    return DDSketch(relative_accuracy=RELATIVE_ERROR)
