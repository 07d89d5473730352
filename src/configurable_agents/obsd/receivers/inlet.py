"""What every receiver does with what it has decoded: check each event, hand the batch to the intake."""

from __future__ import annotations

import asyncio

from configurable_agents.obsd.door import check_batch, checked
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.records import Acknowledgement, Batch
from configurable_agents.wire.decode import DecodedBatch


async def hand_in(
    intake: Intake, decoded: DecodedBatch, *, size_bytes: int
) -> asyncio.Future[Acknowledgement]:
    """Puts a batch into the intake, each event with its verdict. Waits while the intake is full.

    Raises `WireFormatError` for a batch that is not the protocol's (see `door.check_batch`).
    """
    check_batch(decoded.producer_id, decoded.first_sequence, len(decoded.events))
    events = checked(decoded.events)
    return await intake.put(Batch(decoded.producer_id, decoded.first_sequence, events), size_bytes=size_bytes)
