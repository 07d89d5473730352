"""Which failures are worth another attempt, and how long to wait before it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from configurable_agents.errors import NodeTimeoutError, OutputMismatchError

RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
"""Of waits that we choose. Each doubles the one before, give or take a quarter."""
DOUBLINGS_MAX = 10
LONGEST_ASKED_WAIT_S = 300.0
"""A provider that asks for a longer wait is not waited for."""
JITTER = 0.25
CAUSES_MAX = 10


def wait_before_retry_s(error: BaseException, attempt: int) -> float | None:
    """Seconds to wait after the failed `attempt` (from 1); `None` when another one would not help."""
    asked_s = asked_wait_s(error)
    if not is_retryable(error):
        return None
    if asked_s is not None:
        return asked_s if asked_s <= LONGEST_ASKED_WAIT_S else None
    wait_s: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(attempt - 1, DOUBLINGS_MAX))
    return wait_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards no secret


def is_retryable(error: BaseException) -> bool:
    """Statuses that say "later", connections that broke, answers that came late or broke the schema."""
    if isinstance(error, NodeTimeoutError | OutputMismatchError | ConnectionError | TimeoutError):
        return True
    status = status_code(error)
    if status is not None:
        return status in RETRYABLE_STATUSES
    return any(_is_connection_error(cause) for cause in causes(error))


def status_code(error: BaseException) -> int | None:
    """The HTTP status behind an error of any provider's SDK."""
    for cause in causes(error):
        for name in ("status_code", "code"):
            value = getattr(cause, name, None)
            if isinstance(value, int) and 400 <= value < 600:
                return value
    return None


def asked_wait_s(error: BaseException) -> float | None:
    """What the provider asks for: `retry-after-ms`, else `retry-after` in seconds or as a date."""
    for cause in causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", None)
        if isinstance(headers, Mapping) or hasattr(headers, "get"):
            asked_s: float | None = _asked_in(headers)
            return asked_s
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what lies behind it."""
    found: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _asked_in(headers: Any) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    return seconds if seconds is not None or not text else _seconds_until(str(text))


def _number(text: object) -> float | None:
    try:
        number = float(str(text))
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _seconds_until(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _is_connection_error(error: BaseException) -> bool:
    """SDKs wrap the errors of their HTTP library, and name them alike."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"APIConnectionError", "TransportError", "ModelConnectionError", "ConnectError"})
