"""One HTTP request and its reply, between the server and the providers' formats."""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from simulated.completions import Tokens

RATE_LIMIT_HEADER = "x-simulate-rate-limit"
"""`N`: answer 429 to the first N attempts. SDKs that do not count their retries are always refused."""
RETRY_COUNT_HEADER = "x-stainless-retry-count"
RECENT_STATEMENTS_MAX = 1000

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"


class Request(NamedTuple):
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Mapping[str, Any]

    @property
    def wants_stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def is_rate_limited(self) -> bool:
        limit = self.headers.get(RATE_LIMIT_HEADER, "0")
        retries = self.headers.get(RETRY_COUNT_HEADER, "0")
        return limit.isdecimal() and retries.isdecimal() and int(retries) < int(limit)


class Statement(NamedTuple):
    """What a response told its caller it used; `tokens` is `None` when it told nothing."""

    provider: str
    model: str
    response_id: str
    tokens: Tokens | None


class Part(NamedTuple):
    """Bytes of a body, and how long the model takes before them, in seconds at speed 1."""

    delay_s: float
    data: bytes


class Reply(NamedTuple):
    status: int
    content_type: str
    parts: Iterable[Part]
    headers: tuple[tuple[str, str], ...] = ()
    statement: Statement | None = None

    @property
    def is_streamed(self) -> bool:
        return self.content_type != JSON


class StatementBook:
    """The sums of all statements, to compare a report with. Safe for threads."""

    def __init__(self) -> None:
        self._providers: dict[str, dict[str, int]] = {}
        self._recent: deque[Statement] = deque(maxlen=RECENT_STATEMENTS_MAX)
        self._lock = threading.Lock()

    def add(self, statement: Statement) -> None:
        with self._lock:
            sums = self._providers.setdefault(
                statement.provider, dict.fromkeys(("calls", "calls_without_usage", *Tokens._fields), 0)
            )
            sums["calls"] += 1
            if statement.tokens is None:
                sums["calls_without_usage"] += 1
            else:
                for name, count in statement.tokens._asdict().items():
                    sums[name] += count
            self._recent.append(statement)

    def to_json(self) -> dict[str, Any]:
        with self._lock:
            recent = [
                {**one._asdict(), "tokens": one.tokens and one.tokens._asdict()} for one in self._recent
            ]
            return {
                "providers": {name: dict(sums) for name, sums in self._providers.items()},
                "recent": recent,
            }


def json_reply(
    status: int,
    body: Mapping[str, Any],
    *,
    delay_s: float = 0.0,
    headers: tuple[tuple[str, str], ...] = (),
    statement: Statement | None = None,
) -> Reply:
    return Reply(status, JSON, [Part(delay_s, json.dumps(body).encode())], headers, statement)


def event(body: Mapping[str, Any], *, name: str = "") -> bytes:
    """One server-sent event."""
    heading = f"event: {name}\n" if name else ""
    return f"{heading}data: {json.dumps(body)}\n\n".encode()


def new_id(prefix: str, *, digits: int = 24) -> str:
    return prefix + secrets.token_hex(digits // 2)
