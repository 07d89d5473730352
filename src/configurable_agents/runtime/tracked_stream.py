"""A provider's stream on its way through: chunks pass unchanged, and the call is recorded at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from threading import Lock
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from configurable_agents.observability.streams import StreamAccumulator
from configurable_agents.runtime.active_node import status_of
from configurable_agents.runtime.names import error_type_of
from configurable_agents.telemetry import Status

Chunk = TypeVar("Chunk")

Settle = Callable[..., dict[str, Any]]
"""`Run.track_call` with what was known when the stream began."""


class _Measured:
    """When a stream began, bore its first output and ended, and what its chunks said."""

    def __init__(self, source: Any, settle: Settle, unix_ns: Callable[[], int], started_unix_ns: int) -> None:
        self._source = source
        self._settle = settle
        self._unix_ns = unix_ns
        self._started_unix_ns = started_unix_ns
        self._first_token_ns = 0
        self._manager: Any = None
        """What made the source, where that is a context manager such as Anthropic's `messages.stream()`."""
        self._accumulator = StreamAccumulator()
        self._settling = Lock()
        self._is_settled = False
        self.figures: dict[str, Any] | None = None
        """What `track_call` returned; `None` until the stream has ended."""

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._source, name)

    def __del__(self) -> None:
        if "_settling" in self.__dict__:
            self.abandon()

    def abandon(self) -> None:
        """Records the stream as cancelled, unless it has ended."""
        complete = self._accumulator.is_complete
        self._end(Status.OK if complete else Status.CANCELLED)

    def leave_to_parent(self) -> None:
        """In a forked child: whatever becomes of the stream here, the process that opened it records it."""
        self._settling = Lock()
        self._is_settled = True

    def _seen(self, chunk: object) -> None:
        self._accumulator.add(chunk)
        if not self._first_token_ns and self._accumulator.has_output:
            self._first_token_ns = max(1, self._unix_ns() - self._started_unix_ns)

    def _ended(self) -> None:
        self._accumulator.end()
        self._end(Status.OK)

    def _failed(self, error: BaseException) -> None:
        self._end(status_of(error), error_type_of(error))

    def _end(self, status: Status, error_type: str = "") -> None:
        with self._settling:
            if self._is_settled:
                return
            self._is_settled = True
        self.figures = self._settle(
            self._accumulator,
            duration_ns=max(0, self._unix_ns() - self._started_unix_ns),
            time_to_first_token_ns=self._first_token_ns,
            status=status,
            error_type=error_type,
        )


class TrackedStream(_Measured, Generic[Chunk]):
    """Iterate it, or `with` it, like the stream it was made from. For one thread at a time."""

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        try:
            if "_iterator" not in self.__dict__:
                self._iterator: Iterator[Chunk] = iter(self._source)
            chunk = next(self._iterator)
        except StopIteration:
            self._ended()
            raise
        except BaseException as error:
            self._failed(error)
            raise
        self._seen(chunk)
        return chunk

    def __enter__(self) -> Self:
        if not hasattr(self._source, "__iter__"):
            self._manager, self._source = self._source, self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._failed(error)
        self.close()
        if self._manager is not None:
            self._manager.__exit__(kind, error, trace)

    def close(self) -> None:
        """Closes the stream. What of it was not read was not wanted."""
        self.abandon()
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


class TrackedAsyncStream(_Measured, Generic[Chunk]):
    """Iterate it, or `async with` it, like the stream it was made from. For one task at a time."""

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        try:
            if "_iterator" not in self.__dict__:
                self._iterator: AsyncIterator[Chunk] = aiter(self._source)
            chunk = await anext(self._iterator)
        except StopAsyncIteration:
            self._ended()
            raise
        except BaseException as error:
            self._failed(error)
            raise
        self._seen(chunk)
        return chunk

    async def __aenter__(self) -> Self:
        if not hasattr(self._source, "__aiter__"):
            self._manager, self._source = self._source, await self._source.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._failed(error)
        await self.aclose()
        if self._manager is not None:
            await self._manager.__aexit__(kind, error, trace)

    async def close(self) -> None:
        """The same as `aclose`; OpenAI's and Anthropic's streams call it so."""
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the stream. What of it was not read was not wanted."""
        self.abandon()
        close = getattr(self._source, "aclose", None) or getattr(self._source, "close", None)
        if close is not None:
            closing = close()
            if isinstance(closing, Awaitable):
                await closing
