"""What every receiver does with what it has decoded: check each event, hand the batch to the intake."""

from __future__ import annotations

import asyncio

from configurable_agents.errors import RecordRefusedError, WireFormatError
from configurable_agents.obsd import limits
from configurable_agents.obsd.door import check
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.records import Acknowledgement, Batch
from configurable_agents.wire.decode import DecodedBatch


async def hand_in(
    intake: Intake, decoded: DecodedBatch, *, size_bytes: int
) -> asyncio.Future[Acknowledgement]:
    """Puts a batch into the intake, each event with its verdict. Waits while the intake is full.

    Raises `WireFormatError` for a batch whose identity or size is not the protocol's.
    """
    if len(decoded.producer_id) != limits.PRODUCER_ID_BYTES:
        raise WireFormatError(
            f"a producer id has {limits.PRODUCER_ID_BYTES} bytes, this one {len(decoded.producer_id)}"
        )
    if len(decoded.events) > limits.BATCH_EVENTS_MAX:
        raise WireFormatError(
            f"a batch has at most {limits.BATCH_EVENTS_MAX} events, this one {len(decoded.events)}"
        )
    if decoded.first_sequence > limits.INT64_MAX - limits.BATCH_EVENTS_MAX:
        raise WireFormatError("a sequence is out of range")
    events = [
        event if isinstance(event, RecordRefusedError) else check(event) or event for event in decoded.events
    ]
    return await intake.put(Batch(decoded.producer_id, decoded.first_sequence, events), size_bytes=size_bytes)
