"""Reads a producer's spool behind its writer, in the same process."""

from __future__ import annotations

from collections.abc import Callable

from configurable_agents.client.segments import HEAD_BYTES, Segment
from configurable_agents.client.spool import Extent
from configurable_agents.client.spool_reader import READ_BYTES, Chunk, read_chunks


class SpoolFollower:
    """Hands out chunks of frames from a sequence on, across segments, as they appear.

    For one thread. `extent` tells how far the spool reaches; it is called often.
    """

    def __init__(self, extent: Callable[[], Extent], first_sequence: int) -> None:
        self._extent = extent
        self.sequence = first_sequence
        """Everything below it has been handed out, or is no longer there because it is committed."""
        self._seen_sequence = first_sequence
        self._segment: Segment | None = None
        self._offset = HEAD_BYTES
        self._sequence_at_offset = 0

    def next_chunk(self) -> Chunk | None:
        """The next frames that are there whole, or `None` when there are none yet."""
        extent = self._extent()
        self._seen_sequence = extent.next_sequence
        if self.sequence >= extent.next_sequence:
            return None
        while True:
            if self._segment is None and not self._enter_first(extent.segments):
                return None
            # The list is older than this read: a segment with a successor in it is complete.
            chunk = self._read(extent)
            if chunk is not None:
                return chunk
            if not self._enter_next(extent.segments):
                return None

    @property
    def is_behind(self) -> bool:
        """Whether there was more at the last look than has been handed out."""
        return self.sequence < self._seen_sequence

    def _read(self, extent: Extent) -> Chunk | None:
        """What the newest segment has beyond the extent is left to the next look, which counts it too."""
        assert self._segment is not None  # noqa: S101 - for the type checker
        is_newest = self._segment == extent.segments[-1]
        size = max(0, extent.newest_bytes - self._offset) if is_newest else READ_BYTES
        try:
            for chunk in read_chunks(
                self._segment,
                offset=self._offset,
                first_sequence=self._sequence_at_offset,
                chunk_bytes=min(size, READ_BYTES),
                verify=False,
            ):
                self._offset = chunk.end_offset
                self._sequence_at_offset = chunk.first_sequence + chunk.event_count
                if self._sequence_at_offset > self.sequence:
                    self.sequence = self._sequence_at_offset
                    return chunk
        except FileNotFoundError:
            return None  # taken in by the daemon, which removes only what it has committed
        return None

    def _enter_first(self, segments: list[Segment]) -> bool:
        begun = [each for each in segments if each.first_sequence <= self.sequence]
        return self._enter(begun[-1] if begun else segments[0] if segments else None)

    def _enter_next(self, segments: list[Segment]) -> bool:
        assert self._segment is not None  # noqa: S101 - for the type checker
        later = [each for each in segments if each.first_sequence > self._segment.first_sequence]
        return self._enter(later[0] if later else None)

    def _enter(self, segment: Segment | None) -> bool:
        if segment is None:
            return False
        self._segment = segment
        self._offset = HEAD_BYTES
        self._sequence_at_offset = segment.first_sequence
        return True
