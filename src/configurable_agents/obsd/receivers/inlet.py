"""What every receiver does with the bytes of a batch: read it, check each event, hand it to the intake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from configurable_agents.obsd.door import check_batch, checked
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.records import Acknowledgement, Batch
from configurable_agents.wire.batches import decode_batch


async def hand_in(
    intake: Intake, data: bytes, *, heard: Callable[[bytes], None] = lambda _: None
) -> asyncio.Future[Acknowledgement]:
    """Puts a batch into the intake, each event with its verdict. Waits while the intake is full.

    `heard` is told who sent it, and may refuse it with a `WireFormatError`. Raises one for bytes that are
    no batch, or none of the protocol's (see `door.check_batch`), and `OverloadedError` (see `Intake.put`).
    """

    def make() -> Batch:
        batch = checked_batch(data)
        heard(batch.producer_id)
        return batch

    return await intake.put(make, size_bytes=len(data))


def checked_batch(data: bytes) -> Batch:
    """Reads a batch and gives each of its events a verdict."""
    decoded = decode_batch(data)
    check_batch(decoded.producer_id, decoded.first_sequence, len(decoded.events))
    return Batch(decoded.producer_id, decoded.first_sequence, checked(decoded.events))
