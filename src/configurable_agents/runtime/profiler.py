"""Measures the nodes of a workflow.

    @profile_node("draft")
    def draft(state): ...

Outside of a run (`observe_run`) and without an analyzer (`set_profiler`) this only calls the function.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import Token
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime import bounds
from configurable_agents.runtime.active_node import (
    ActiveNode,
    Placeholder,
    RunScope,
    carry,
    innermost,
    leave,
)
from configurable_agents.runtime.bottlenecks import BottleneckAnalyzer, NodeTimings
from configurable_agents.runtime.names import checked_name

__all__ = [
    "BottleneckAnalyzer",
    "NodeTimings",
    "ProfiledNode",
    "carry",
    "get_profiler",
    "profile_node",
    "reset_profiler",
    "set_profiler",
]


P = ParamSpec("P")
R = TypeVar("R")
Function = TypeVar("Function", bound=Callable[..., Any])
ContextToken = Token[ActiveNode | None]


def profile_node(node_id: str, *, attempt: int = 1) -> ProfiledNode:
    """Measures each execution of a function, or of a `with` block, as one execution of `node_id`.

    Functions, coroutine functions, generator and async generator functions keep their kind and type. A
    generator counts from its first step to its exhaustion; one that is closed early counts as
    `cancelled`, one that is never started not at all. Exceptions pass unchanged; their class name is
    recorded. `attempt` is 2 for the first retry of a node, and so on.

    Raises `InvalidValueError` at once when the name cannot be recorded, and nothing later.
    """
    if callable(node_id):
        raise InvalidValueError('profile_node needs the name of the node: @profile_node("name")')
    return ProfiledNode(checked_name(node_id, what="node_id"), checked_attempt(attempt))


class ProfiledNode:
    """A decorator and a context manager, `with` or `async with`. Made by `profile_node`.

    One object may decorate many functions and be entered many times, also recursively and, where each
    has its own context, from several threads or tasks.
    """

    __slots__ = ("_attempt", "_entered", "_node_id")

    def __init__(self, node_id: str, attempt: int) -> None:
        self._node_id = node_id
        self._attempt = attempt
        self._entered: list[tuple[ActiveNode | None, ContextToken | None]] = []

    def __call__(self, function: Function) -> Function:
        if isinstance(function, staticmethod | classmethod):
            return cast(Function, type(function)(self(function.__func__)))
        if not callable(function):
            raise InvalidValueError(
                f"profile_node decorates functions, not {type(function).__name__} {function!r}"
            )
        return cast(Function, _wrapper_for(function)(function, self._node_id, self._attempt))

    def __enter__(self) -> None:
        parent = innermost.get()
        if parent is None:
            self._entered.append((None, None))
            return
        node = ActiveNode(parent, self._node_id, self._attempt)
        self._entered.append((node, innermost.set(node)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        node, token = self._entered.pop(self._entry_to_leave())
        if node is not None and token is not None:
            leave(token, node)
            node.finish(error)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _entry_to_leave(self) -> int:
        """The one the current context is in; else the last, for blocks that end in a foreign context."""
        last = len(self._entered) - 1
        if last == 0:
            return 0
        current = innermost.get()
        while current is not None:
            for index in range(last, -1, -1):
                if self._entered[index][0] is current:
                    return index
            current = None if current.parent is current else current.parent
        return last


def get_profiler() -> BottleneckAnalyzer | None:
    """The analyzer of the current run or of `set_profiler`; `None` outside of both."""
    current = innermost.get()
    return None if current is None else current.scope.analyzer


def set_profiler(analyzer: BottleneckAnalyzer | None) -> ContextToken:
    """Has nodes from here on added up by `analyzer`, in this context and those copied from it.

    Within a run its events are recorded as before; only their adding up goes elsewhere, at most until the
    current node ends. `None` switches adding up off. The result undoes it: `reset_profiler(token)`.
    """
    if analyzer is not None and not isinstance(analyzer, BottleneckAnalyzer):
        raise InvalidValueError(
            f"set_profiler takes a BottleneckAnalyzer or None, not {type(analyzer).__name__}"
        )
    current = innermost.get()
    if current is not None and current.scope.run_id:
        return innermost.set(Placeholder(current.scope.with_analyzer(analyzer), beneath=current))
    return innermost.set(None if analyzer is None else RunScope(analyzer=analyzer).root)


def reset_profiler(token: ContextToken) -> None:
    """Undoes the `set_profiler` that gave the token, in the same context."""
    innermost.reset(token)


def checked_attempt(attempt: object) -> int:
    if isinstance(attempt, bool) or not isinstance(attempt, int) or not 1 <= attempt <= bounds.ATTEMPT_MAX:
        raise InvalidValueError(f"attempt must be a whole number from 1, not {attempt!r}")
    return attempt


def _wrapper_for(function: Callable[..., Any]) -> Callable[[Callable[..., Any], str, int], Any]:
    if _is_kind(function, inspect.isasyncgenfunction):
        return _profiled_async_generator
    if _is_kind(function, inspect.isgeneratorfunction):
        return _profiled_generator
    if _is_kind(function, inspect.iscoroutinefunction):
        return _profiled_coroutine
    return _profiled_function


def _is_kind(function: Callable[..., Any], test: Callable[[Any], bool]) -> bool:
    """Also for objects with such a `__call__`, but not for classes, whose call makes an instance."""
    return test(function) or (not isinstance(function, type) and test(type(function).__call__))


def _profiled_function(function: Callable[P, R], node_id: str, attempt: int) -> Callable[P, R]:
    get_active, set_active, reset_active = innermost.get, innermost.set, innermost.reset

    @functools.wraps(function)
    def profiled(*args: P.args, **kwargs: P.kwargs) -> R:
        parent = get_active()
        if parent is None:
            return function(*args, **kwargs)
        node = ActiveNode(parent, node_id, attempt)
        token = set_active(node)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            node.finish(error)
            raise
        else:
            node.finish(None)
            return result
        finally:
            reset_active(token)

    return profiled


def _profiled_coroutine(function: Callable[P, Any], node_id: str, attempt: int) -> Callable[P, Any]:
    get_active, set_active = innermost.get, innermost.set

    @functools.wraps(function)
    async def profiled(*args: P.args, **kwargs: P.kwargs) -> Any:
        parent = get_active()
        if parent is None:
            return await function(*args, **kwargs)
        node = ActiveNode(parent, node_id, attempt)
        token = set_active(node)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            node.finish(error)
            raise
        else:
            node.finish(None)
            return result
        finally:
            leave(token, node)

    return profiled


def _profiled_generator(
    function: Callable[P, Generator[Any, Any, Any]], node_id: str, attempt: int
) -> Callable[P, Generator[Any, Any, Any]]:
    @functools.wraps(function)
    def profiled(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        parent = innermost.get()
        if parent is None:
            return (yield from function(*args, **kwargs))
        node = ActiveNode(parent, node_id, attempt)
        try:
            result = yield from _stepped(function(*args, **kwargs), node)
        except BaseException as error:
            node.finish(error)
            raise
        node.finish(None)
        return result

    return profiled


def _stepped(body: Generator[Any, Any, Any], active: ActiveNode) -> Generator[Any, Any, Any]:
    """`yield from body`, but `active` is in the context only while the body runs."""
    step: Callable[[Any], Any] = body.send
    argument: Any = None
    while True:
        token = innermost.set(active)
        try:
            value = step(argument)
        except StopIteration as stop:
            return stop.value
        finally:
            argument = None  # may be an exception whose traceback holds this frame
            active = (
                innermost.get() or active
            )  # a block entered in the body stays entered until its next step
            innermost.reset(token)
        try:
            argument = yield value
            step = body.send
        except BaseException as thrown:  # noqa: BLE001  thrown in by the consumer, and thrown on
            argument = thrown
            step = body.throw


def _profiled_async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], node_id: str, attempt: int
) -> Callable[P, AsyncGenerator[Any, Any]]:
    @functools.wraps(function)
    async def profiled(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        active = parent = innermost.get()
        node = active = None if parent is None else ActiveNode(parent, node_id, attempt)
        try:
            body = function(*args, **kwargs)
            step: Callable[[Any], Any] = body.asend
            argument: Any = None
            while True:
                token = innermost.set(active)
                try:
                    value = await step(argument)
                except StopAsyncIteration:
                    break
                finally:
                    argument = None
                    active = innermost.get()
                    leave(token, node)
                try:
                    argument = yield value
                    step = body.asend
                except BaseException as thrown:  # noqa: BLE001  thrown in by the consumer, and thrown on
                    argument = thrown
                    step = body.athrow
        except BaseException as error:
            if node is not None:
                node.finish(error)
            raise
        if node is not None:
            node.finish(None)

    return profiled
