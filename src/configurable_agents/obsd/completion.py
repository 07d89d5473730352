"""Work that is done to its end, whether who asked for it still waits or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """The outcome of the work. A caller that is cancelled meanwhile leaves when the work is done.

    gRPC cancels the task of a call when its client hangs up or its deadline passes, and the shields of
    anyio do not hold against that: they hold against anyio's own cancellation only.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # nobody hears of it any more
        raise cancelled
    return task.result()
