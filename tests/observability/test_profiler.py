"""profile_node: measures functions of every kind, and changes nothing about them."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime import active_node
from configurable_agents.runtime.active_node import RunScope, innermost
from configurable_agents.runtime.profiler import (
    BottleneckAnalyzer,
    carry,
    get_profiler,
    profile_node,
    reset_profiler,
    set_profiler,
)
from configurable_agents.telemetry import NO_SPAN, Event, NodeFinished, Status
from configurable_agents.testing import MemoryRecorder


class Clock:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, duration_ns: int) -> None:
        self.now_ns += duration_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(active_node, "perf_counter_ns", clock)
    return clock


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


@pytest.fixture
def scope(recorder: MemoryRecorder) -> Iterator[RunScope]:
    """A run without its door: what `observe_run` puts into the context."""
    scope = RunScope("run-1", recorder=recorder, analyzer=BottleneckAnalyzer())
    token = innermost.set(scope.root)
    yield scope
    innermost.reset(token)


@pytest.fixture
def timed_scope(clock: Clock, scope: RunScope) -> RunScope:
    scope.unix_offset_ns = 500_000
    return scope


def self_times(scope: RunScope) -> dict[str, int]:
    assert scope.analyzer is not None
    return {node.node_id: node.self_ns for node in scope.analyzer.report().nodes}


# --- functions -------------------------------------------------------------------------------------


def test_a_call_is_recorded_with_its_time(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    @profile_node("draft", attempt=2)
    def draft(text: str, *, loud: bool = False) -> str:
        clock.advance(70)
        return text.upper() if loud else text

    assert draft("hello", loud=True) == "HELLO"

    (node,) = recorder.nodes
    assert node == NodeFinished("run-1", node.span_id, NO_SPAN, "draft", 2, 501_000, 70, Status.OK, "")
    assert isinstance(node, NodeFinished)


def test_a_wall_clock_that_jumps_changes_no_time(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = profile_node("a")(lambda: clock.advance(10))
    node()
    monkeypatch.setattr(active_node, "time_ns", lambda: 10**18)
    node()

    assert [(event.started_unix_ns, event.duration_ns) for event in recorder.nodes] == [
        (501_000, 10),
        (501_010, 10),
    ]


def test_nested_calls_know_their_parent_and_leave_its_self_time(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    @profile_node("inner")
    def inner() -> None:
        clock.advance(30)

    @profile_node("outer")
    def outer() -> None:
        clock.advance(5)
        inner()
        clock.advance(5)
        inner()

    outer()

    first, second, whole = recorder.nodes
    assert first.parent_span_id == second.parent_span_id == whole.span_id
    assert whole.parent_span_id == NO_SPAN
    assert whole.duration_ns == 70
    assert self_times(timed_scope) == {"outer": 10, "inner": 60}


def test_recursion_counts_each_level_once_in_self_time(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    @profile_node("descend")
    def descend(depth: int) -> int:
        clock.advance(1)
        return 0 if depth == 0 else 1 + descend(depth - 1)

    assert descend(200) == 200

    assert self_times(timed_scope) == {"descend": 201}
    assert len({node.span_id for node in recorder.nodes}) == 201


def test_an_exception_passes_unchanged_and_keeps_its_time(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    failure = ValueError("not the message of an event")

    @profile_node("fails")
    def fails() -> None:
        clock.advance(9)
        raise failure

    with pytest.raises(ValueError, match="not the message") as caught:
        fails()

    assert caught.value is failure
    (node,) = recorder.nodes
    assert (node.duration_ns, node.status, node.error_type) == (9, Status.ERROR, "ValueError")
    assert timed_scope.analyzer is not None
    assert timed_scope.analyzer.report().nodes[0].errors == 1
    assert innermost.get() is timed_scope.root


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), Status.CANCELLED),
        (asyncio.CancelledError(), Status.CANCELLED),
        (GeneratorExit(), Status.CANCELLED),
        (SystemExit(0), Status.OK),
        (SystemExit(), Status.OK),
        (SystemExit(3), Status.ERROR),
        (TimeoutError(), Status.ERROR),
        (BaseExceptionGroup("stop", [asyncio.CancelledError()]), Status.CANCELLED),
        (BaseExceptionGroup("both", [asyncio.CancelledError(), ValueError()]), Status.ERROR),
        (ExceptionGroup("all", [ValueError()]), Status.ERROR),
    ],
)
def test_being_told_to_stop_is_no_failure(
    scope: RunScope, recorder: MemoryRecorder, error: BaseException, status: Status
) -> None:
    @profile_node("a")
    def stop() -> None:
        raise error

    with pytest.raises(type(error)):
        stop()

    assert [(node.status, node.error_type) for node in recorder.nodes] == [(status, type(error).__name__)]


def test_the_class_name_of_an_error_is_made_fit_to_record(scope: RunScope, recorder: MemoryRecorder) -> None:
    @profile_node("a")
    def fails() -> None:
        raise type("Bad\nName" * 100, (Exception,), {})

    with pytest.raises(Exception):  # noqa: B017, PT011
        fails()

    assert len(recorder.nodes[0].error_type) == 256
    assert recorder.nodes[0].error_type.startswith("Bad?Name")


def test_outside_of_a_run_the_function_is_only_called() -> None:
    @profile_node("a")
    def plain() -> object:
        return innermost.get()

    @profile_node("a")
    async def coroutine() -> object:
        return innermost.get()

    @profile_node("a")
    def generator() -> Iterator[object]:
        yield innermost.get()

    @profile_node("a")
    async def async_generator() -> AsyncGenerator[object, None]:
        yield innermost.get()

    async def collect() -> list[object]:
        return [item async for item in async_generator()]

    with profile_node("b"):
        assert innermost.get() is None
    assert plain() is None
    assert asyncio.run(coroutine()) is None
    assert list(generator()) == [None]
    assert asyncio.run(collect()) == [None]


def test_the_decorated_function_keeps_its_name_signature_and_kind() -> None:
    @profile_node("a")
    def plain(first: int, *, second: str = "x") -> str:
        """Says what it does."""
        return second * first

    assert plain.__name__ == "plain"
    assert plain.__doc__ == "Says what it does."
    assert list(inspect.signature(plain).parameters) == ["first", "second"]

    async def coroutine() -> None: ...
    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncGenerator[int, None]:
        yield 1

    decorate = profile_node("a")
    assert inspect.iscoroutinefunction(decorate(coroutine))
    assert inspect.isgeneratorfunction(decorate(generator))
    assert inspect.isasyncgenfunction(decorate(async_generator))


def test_methods_static_methods_and_class_methods_can_be_decorated(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    class Agent:
        @profile_node("method")
        def method(self) -> Agent:
            return self

        @profile_node("static")
        @staticmethod
        def static(value: int) -> int:
            return value

        @classmethod
        @profile_node("class")
        def of_class(cls) -> type[Agent]:
            return cls

        @profile_node("class outside")
        @classmethod
        def of_class_outside(cls) -> type[Agent]:
            return cls

    agent = Agent()
    assert agent.method() is agent
    assert Agent.static(3) == 3
    assert Agent.of_class() is Agent.of_class_outside() is Agent
    assert [node.node_id for node in recorder.nodes] == ["method", "static", "class", "class outside"]


def test_callable_objects_and_partials_are_measured_by_their_kind(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    class Node:
        async def __call__(self, value: int) -> int:
            await asyncio.sleep(0)
            return value

    async def twice(value: int) -> int:
        return 2 * value

    measured = profile_node("object")(Node())
    part = profile_node("partial")(functools.partial(twice, 4))

    async def main() -> tuple[int, int]:
        return await measured(3), await part()

    assert asyncio.run(main()) == (3, 8)
    assert [node.node_id for node in recorder.nodes] == ["object", "partial"]


@pytest.mark.parametrize("node_id", ["", None, 5, b"a", "a\nb", "a\x00", "\x9b", "\ud800", "x" * 257])
def test_a_name_that_cannot_be_recorded_is_refused_at_decoration(node_id: Any) -> None:
    with pytest.raises(InvalidValueError, match="node_id"):
        profile_node(node_id)


@pytest.mark.parametrize("attempt", [0, -1, 1.0, True, "1", 2**32])
def test_an_attempt_that_is_no_count_is_refused_at_decoration(attempt: Any) -> None:
    with pytest.raises(InvalidValueError, match="attempt"):
        profile_node("a", attempt=attempt)


def test_forgetting_the_name_is_explained() -> None:
    with pytest.raises(InvalidValueError, match=r'@profile_node\("name"\)'):

        @profile_node  # type: ignore[arg-type]
        def draft() -> None: ...


def test_decorating_what_is_no_function_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="decorates functions, not int"):
        profile_node("a")(5)  # type: ignore[type-var]


# --- recording never disturbs -----------------------------------------------------------------------


def test_a_recorder_that_raises_is_reported_once_and_the_workflow_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def record(self, event: Event) -> None:
            raise OSError(28, "No space left on device")

    scope = RunScope("run-1", recorder=Broken(), analyzer=BottleneckAnalyzer())
    token = innermost.set(scope.root)
    with caplog.at_level(logging.WARNING):
        assert [profile_node("a")(lambda: 7)() for _ in range(3)] == [7, 7, 7]
    innermost.reset(token)

    assert scope.recording_failures == 3
    (message,) = caplog.messages
    assert "run-1" in message
    assert "No space left on device" in message
    assert scope.analyzer is not None
    assert scope.analyzer.report().nodes[0].calls == 3


# --- coroutines -------------------------------------------------------------------------------------


def test_a_coroutine_is_measured_until_it_returns(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    @profile_node("ask")
    async def ask() -> str:
        await asyncio.sleep(0)
        clock.advance(40)
        await asyncio.sleep(0)
        return "answer"

    assert asyncio.run(ask()) == "answer"

    (node,) = recorder.nodes
    assert (node.duration_ns, node.status) == (40, Status.OK)


def test_gathered_nodes_leave_their_parent_the_union_of_their_times(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    @profile_node("branch")
    async def branch(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def tick() -> None:
        for _ in range(6):
            clock.advance(10)
            await asyncio.sleep(0)

    @profile_node("fan out")
    async def fan_out() -> None:
        clock.advance(7)
        await asyncio.gather(branch(2), branch(4), branch(1), tick())
        clock.advance(1)

    asyncio.run(fan_out())

    durations = {}
    for node in recorder.nodes:
        durations.setdefault(node.node_id, []).append(node.duration_ns)
    (whole,) = durations["fan out"]
    assert len(durations["branch"]) == 3
    assert self_times(timed_scope)["fan out"] == whole - max(durations["branch"])
    assert sum(durations["branch"]) > max(durations["branch"])


def test_a_task_that_outlives_its_parent_still_leaves_its_self_time(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    @profile_node("late")
    async def late() -> None:
        await asyncio.sleep(0)
        clock.advance(100)

    @profile_node("hasty")
    async def hasty() -> asyncio.Task[None]:
        clock.advance(5)
        task = asyncio.create_task(late())
        await asyncio.sleep(0)
        clock.advance(20)
        return task

    async def main() -> None:
        await (await hasty())

    asyncio.run(main())

    assert [node.node_id for node in recorder.nodes] == ["hasty", "late"]
    assert self_times(timed_scope) == {"hasty": 5, "late": 120}


def test_a_cancelled_task_is_recorded_as_cancelled(scope: RunScope, recorder: MemoryRecorder) -> None:
    @profile_node("waits")
    async def waits(started: asyncio.Event) -> None:
        started.set()
        await asyncio.Event().wait()

    async def main() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(waits(started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert [(n.status, n.error_type) for n in recorder.nodes] == [(Status.CANCELLED, "CancelledError")]


def test_a_coroutine_closed_from_another_context_leaves_that_context_alone(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    @profile_node("abandoned")
    async def abandoned() -> None:
        await asyncio.sleep(0)

    coroutine = abandoned()
    contextvars.copy_context().run(coroutine.send, None)
    with profile_node("elsewhere"):
        here = innermost.get()
        coroutine.close()
        assert innermost.get() is here

    assert recorder.nodes[0].status is Status.CANCELLED


# --- generators -------------------------------------------------------------------------------------


@pytest.fixture
def counting(clock: Clock) -> Callable[[], Generator[object, Any, str]]:
    @profile_node("stream")
    def counting() -> Generator[object, Any, str]:
        for _ in range(3):
            clock.advance(10)
            yield innermost.get()
        return "done"

    return counting


def test_a_generator_is_measured_until_it_is_exhausted(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder, counting: Callable[[], Iterator[object]]
) -> None:
    stream = counting()
    clock.advance(1_000)  # not started yet
    for active in stream:
        assert active is not timed_scope.root, "in the body the node is active"
        assert innermost.get() is timed_scope.root, "between steps the caller's context is as it was"
        assert recorder.nodes == []
        clock.advance(5)

    (node,) = recorder.nodes
    assert (node.duration_ns, node.status) == (45, Status.OK)


def test_a_generator_that_is_never_started_records_nothing(
    scope: RunScope, recorder: MemoryRecorder, counting: Callable[[], Generator[object, Any, str]]
) -> None:
    counting().close()
    del counting

    assert recorder.events == []
    assert scope.open_nodes == {}


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_generator_that_is_abandoned_is_recorded_as_cancelled(
    scope: RunScope,
    recorder: MemoryRecorder,
    counting: Callable[[], Generator[object, Any, str]],
    how: str,
) -> None:
    stream = counting()
    next(stream)
    if how == "closed":
        stream.close()
    del stream

    assert [(node.status, node.error_type) for node in recorder.nodes] == [
        (Status.CANCELLED, "GeneratorExit")
    ]
    assert innermost.get() is scope.root


def test_a_generator_talks_with_its_consumer_as_before(scope: RunScope, recorder: MemoryRecorder) -> None:
    @profile_node("dialogue")
    def dialogue() -> Generator[Any, Any, str]:
        heard = []
        try:
            while len(heard) < 3:
                try:
                    heard.append((yield len(heard)))
                except KeyError as error:
                    heard.append(type(error).__name__)
        finally:
            heard.append("closed")
        return ",".join(map(str, heard))

    talk = dialogue()
    assert next(talk) == 0
    assert talk.send("hello") == 1
    assert talk.throw(KeyError("x")) == 2
    with pytest.raises(StopIteration) as stopped:
        talk.send("bye")

    assert stopped.value.value == "hello,KeyError,bye,closed"
    assert [node.status for node in recorder.nodes] == [Status.OK]


@pytest.mark.parametrize("thrown_in", [True, False])
def test_an_exception_in_a_generator_passes_and_is_recorded(
    scope: RunScope, recorder: MemoryRecorder, thrown_in: bool
) -> None:
    @profile_node("fails")
    def fails() -> Generator[int, None, None]:
        yield 1
        raise LookupError

    stream = fails()
    next(stream)
    with pytest.raises(LookupError):
        stream.throw(LookupError()) if thrown_in else next(stream)

    assert [(node.status, node.error_type) for node in recorder.nodes] == [(Status.ERROR, "LookupError")]
    assert innermost.get() is scope.root


def test_a_generator_that_ignores_its_closing_fails_as_before(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    @profile_node("stubborn")
    def stubborn() -> Generator[int, None, None]:
        while True:
            try:
                yield 1
            except GeneratorExit:
                yield 2
                return

    stream = stubborn()
    next(stream)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        stream.close()


def test_nodes_in_a_generator_are_its_children_and_nodes_between_its_steps_are_not(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    step = profile_node("inside")(lambda: clock.advance(10))
    between = profile_node("between")(lambda: clock.advance(100))

    @profile_node("stream")
    def stream() -> Iterator[None]:
        step()
        yield
        step()

    for _ in stream():
        between()

    parents = {node.node_id: node.parent_span_id for node in recorder.nodes}
    (span_id,) = (node.span_id for node in recorder.nodes if node.node_id == "stream")
    assert parents == {"inside": span_id, "between": NO_SPAN, "stream": NO_SPAN}


def test_a_block_entered_in_a_generator_stays_entered_at_its_next_step(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    @profile_node("stream")
    def stream() -> Iterator[None]:
        with profile_node("block"):
            yield
            profile_node("leaf")(lambda: None)()
        profile_node("after")(lambda: None)()

    for _ in stream():
        assert innermost.get() is scope.root

    by_name = {node.node_id: node for node in recorder.nodes}
    assert by_name["leaf"].parent_span_id == by_name["block"].span_id
    assert by_name["after"].parent_span_id == by_name["block"].parent_span_id == by_name["stream"].span_id


def test_two_generators_may_be_consumed_in_turns(scope: RunScope, recorder: MemoryRecorder) -> None:
    @profile_node("leaf")
    def leaf() -> None: ...

    def stream() -> Iterator[None]:
        for _ in range(2):
            leaf()
            yield

    first, second = profile_node("first")(stream)(), profile_node("second")(stream)()
    for _ in zip(first, second, strict=False):
        assert innermost.get() is scope.root
    list(second)

    spans = {node.span_id: node.node_id for node in recorder.nodes}
    parents = [spans[node.parent_span_id] for node in recorder.nodes if node.node_id == "leaf"]
    assert parents == ["first", "second", "first", "second"]


def test_an_async_generator_is_measured_until_it_is_exhausted(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    @profile_node("stream")
    async def stream() -> AsyncGenerator[object, None]:
        for _ in range(3):
            clock.advance(10)
            await asyncio.sleep(0)
            yield innermost.get()

    async def main() -> None:
        before = innermost.get()
        async for active in stream():
            assert active is not before
            assert innermost.get() is before
            clock.advance(5)

    asyncio.run(main())

    assert [(node.duration_ns, node.status) for node in recorder.nodes] == [(45, Status.OK)]


def test_a_block_entered_in_an_async_generator_stays_entered_at_its_next_step(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    @profile_node("stream")
    async def stream() -> AsyncGenerator[None, None]:
        with profile_node("block"):
            yield
            profile_node("leaf")(lambda: None)()
        profile_node("after")(lambda: None)()

    async def main() -> None:
        async for _ in stream():
            assert innermost.get() is scope.root

    asyncio.run(main())

    by_name = {node.node_id: node for node in recorder.nodes}
    assert by_name["leaf"].parent_span_id == by_name["block"].span_id
    assert by_name["after"].parent_span_id == by_name["block"].parent_span_id == by_name["stream"].span_id


def test_an_async_generator_talks_with_its_consumer_as_before(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    @profile_node("dialogue")
    async def dialogue() -> AsyncGenerator[Any, Any]:
        heard: list[Any] = []
        while len(heard) < 2:
            try:
                heard.append((yield list(heard)))
            except KeyError:
                heard.append("KeyError")
        yield heard
        raise LookupError

    async def main() -> None:
        talk = dialogue()
        assert await anext(talk) == []
        assert await talk.asend("hello") == ["hello"]
        assert await talk.athrow(KeyError()) == ["hello", "KeyError"]
        with pytest.raises(LookupError):
            await anext(talk)

    asyncio.run(main())

    assert [(node.status, node.error_type) for node in recorder.nodes] == [(Status.ERROR, "LookupError")]


@pytest.mark.parametrize("how", ["closed", "dropped", "never started", "cancelled"])
def test_an_async_generator_that_is_abandoned_is_cancelled_and_cleans_up(
    scope: RunScope, recorder: MemoryRecorder, how: str
) -> None:
    cleaned = []

    @profile_node("stream")
    async def stream() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            cleaned.append(innermost.get())

    async def main() -> None:
        items = stream()
        if how == "never started":
            await items.aclose()
            return
        await anext(items)
        if how == "closed":
            await items.aclose()
        elif how == "cancelled":
            task = asyncio.ensure_future(anext(items))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        del items

    asyncio.run(main())

    statuses = [node.status for node in recorder.nodes]
    assert statuses == ([] if how == "never started" else [Status.CANCELLED])
    assert [getattr(node, "node_id", None) for node in cleaned] == ["stream"] * len(statuses)


# --- blocks -----------------------------------------------------------------------------------------


def test_a_block_is_measured_like_a_function(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    def fail() -> None:
        clock.advance(4)
        raise OSError("gone")

    with profile_node("outer"):
        clock.advance(3)
        with pytest.raises(OSError, match="gone"), profile_node("inner"):
            fail()

    assert [(n.node_id, n.duration_ns, n.status) for n in recorder.nodes] == [
        ("inner", 4, Status.ERROR),
        ("outer", 7, Status.OK),
    ]
    assert innermost.get() is timed_scope.root


def test_an_async_block_is_measured_too(scope: RunScope, recorder: MemoryRecorder) -> None:
    async def main() -> None:
        async with profile_node("block"):
            await asyncio.sleep(0)

    asyncio.run(main())

    assert [node.node_id for node in recorder.nodes] == ["block"]


def test_one_block_object_may_be_entered_again_and_by_many_tasks(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    block = profile_node("block")

    async def use(turns: int) -> int:
        async with block:
            mine = innermost.get()
            assert mine is not None
            for _ in range(turns):
                await asyncio.sleep(0)
            with block:
                pass
            assert innermost.get() is mine
        return mine.span_id

    async def main() -> list[int]:
        return await asyncio.gather(*(use(turns) for turns in (5, 1, 3)))

    span_ids = asyncio.run(main())

    outer = [node for node in recorder.nodes if node.parent_span_id == NO_SPAN]
    slow, fast, middling = span_ids
    assert [node.span_id for node in outer] == [fast, middling, slow], "each task ended its own"
    assert sorted(n.parent_span_id for n in recorder.nodes if n not in outer) == sorted(span_ids)


@pytest.mark.parametrize("copied", [True, False])
def test_a_block_may_end_in_another_context_than_it_began(
    scope: RunScope, recorder: MemoryRecorder, copied: bool
) -> None:
    block = profile_node("block")
    contextvars.copy_context().run(block.__enter__)
    elsewhere = contextvars.copy_context() if copied else contextvars.Context()
    elsewhere.run(block.__exit__, None, None, None)

    assert [node.node_id for node in recorder.nodes] == ["block"]
    assert elsewhere.get(innermost) is (scope.root if copied else None)


def test_a_block_that_ends_in_a_copy_of_its_context_does_not_stay_active_there(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    block = profile_node("block")
    began = contextvars.copy_context()
    began.run(block.__enter__)
    ended = began.copy()
    ended.run(block.__exit__, None, None, None)

    assert ended[innermost] is scope.root


# --- threads and contexts ---------------------------------------------------------------------------


def test_a_plain_thread_sees_no_run_unless_it_is_carried(scope: RunScope, recorder: MemoryRecorder) -> None:
    @profile_node("work")
    def work() -> None: ...

    with profile_node("parent"):
        for target in (work, carry(work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    child, parent = recorder.nodes[-2:]
    assert (child.node_id, child.parent_span_id) == ("work", parent.span_id)


def test_nodes_in_a_thread_pool_with_copied_context_belong_to_their_parent(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    @profile_node("work")
    def work(number: int) -> int:
        return number

    with profile_node("parent"), ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(contextvars.copy_context().run, work, number) for number in range(20)]
        assert [job.result() for job in jobs] == list(range(20))

    *children, parent = recorder.nodes
    assert {node.parent_span_id for node in children} == {parent.span_id}
    assert len({node.span_id for node in children}) == 20


def test_a_carried_function_runs_in_its_node_many_times_at_once(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    together = threading.Barrier(4)

    @profile_node("work")
    def work() -> None:
        together.wait()

    with profile_node("parent"):
        carried = carry(work)
    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(carried) for _ in range(4)]:
            job.result()
        assert pool.submit(innermost.get).result() is None

    (parent,) = (node for node in recorder.nodes if node.node_id == "parent")
    assert [n.parent_span_id for n in recorder.nodes if n.node_id == "work"] == [parent.span_id] * 4


def test_a_carried_coroutine_function_runs_in_its_node(scope: RunScope, recorder: MemoryRecorder) -> None:
    @profile_node("work")
    async def work() -> int:
        await asyncio.sleep(0)
        return 5

    carried = carry(work)

    assert contextvars.Context().run(asyncio.run, carried()) == 5
    assert len(recorder.nodes) == 1


def test_carrying_a_generator_function_is_refused_with_the_remedy() -> None:
    def generator() -> Iterator[int]:
        yield 1

    with pytest.raises(InvalidValueError, match="carry the function that iterates it"):
        carry(generator)


def test_two_runs_in_one_event_loop_never_mix() -> None:
    async def run(name: str) -> MemoryRecorder:
        recorder = MemoryRecorder()
        innermost.set(RunScope(name, recorder=recorder).root)

        @profile_node(name)
        async def work() -> None:
            await asyncio.sleep(0)

        for _ in range(20):
            await work()
        return recorder

    async def main() -> list[MemoryRecorder]:
        return await asyncio.gather(*(asyncio.create_task(run(f"run-{n}")) for n in range(5)))

    for number, recorder in enumerate(asyncio.run(main())):
        assert {(n.run_id, n.node_id) for n in recorder.nodes} == {(f"run-{number}", f"run-{number}")}
        assert len(recorder.nodes) == 20


# --- set_profiler -----------------------------------------------------------------------------------


def test_without_a_run_nodes_are_added_up_by_the_analyzer_that_was_set() -> None:
    analyzer = BottleneckAnalyzer()
    token = set_profiler(analyzer)
    assert get_profiler() is analyzer
    profile_node("a")(lambda: None)()
    reset_profiler(token)
    profile_node("b")(lambda: None)()

    assert get_profiler() is None
    assert [node.node_id for node in analyzer.report().nodes] == ["a"]


def test_setting_no_profiler_switches_it_off() -> None:
    first = set_profiler(BottleneckAnalyzer())
    second = set_profiler(None)

    assert get_profiler() is None

    reset_profiler(second)
    reset_profiler(first)


def test_a_profiler_set_in_one_thread_or_task_is_not_seen_in_another() -> None:
    async def task() -> BottleneckAnalyzer | None:
        set_profiler(BottleneckAnalyzer())
        await asyncio.sleep(0)
        return get_profiler()

    async def main() -> list[BottleneckAnalyzer | None]:
        return await asyncio.gather(task(), task())

    first, second = asyncio.run(main())
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(get_profiler).result() is None

    assert first is not second
    assert get_profiler() is None


def test_within_a_run_another_profiler_only_takes_the_adding_up(
    timed_scope: RunScope, clock: Clock, recorder: MemoryRecorder
) -> None:
    mine = BottleneckAnalyzer()
    leaf = profile_node("leaf")(lambda: clock.advance(10))

    with profile_node("outer"):
        clock.advance(1)
        token = set_profiler(mine)
        for _ in range(500):
            leaf()
        assert get_profiler() is mine
        reset_profiler(token)
        leaf()

    assert [node.node_id for node in mine.report().nodes] == ["leaf"]
    assert mine.report().nodes[0].calls == 500
    assert self_times(timed_scope) == {"outer": 1, "leaf": 10}
    outer = recorder.nodes[-1]
    assert {node.parent_span_id for node in recorder.nodes[:-1]} == {outer.span_id}
    assert len(recorder.nodes) == 502


def test_a_profiler_set_in_a_node_lasts_until_the_node_ends(scope: RunScope) -> None:
    @profile_node("a")
    def node() -> None:
        set_profiler(None)
        assert get_profiler() is None

    node()

    assert get_profiler() is scope.analyzer


@pytest.mark.parametrize("analyzer", [5, "x", BottleneckAnalyzer])
def test_what_is_no_analyzer_is_refused(analyzer: Any) -> None:
    with pytest.raises(InvalidValueError, match="takes a BottleneckAnalyzer"):
        set_profiler(analyzer)


# --- many children, long nodes, forks ---------------------------------------------------------------


@pytest.mark.parametrize("gap_ns", [0, 3])
def test_a_node_with_endless_children_stays_small_and_its_self_time_exact(
    timed_scope: RunScope, clock: Clock, gap_ns: int
) -> None:
    leaf = profile_node("leaf")(lambda: clock.advance(10))
    kept = 0
    with profile_node("outer"):
        outer = innermost.get()
        assert outer is not None
        for _ in range(2_000):
            clock.advance(gap_ns)
            leaf()
            kept = max(kept, len(outer.children or ()))

    assert kept <= active_node.CHILDREN_KEPT_MAX + 1
    assert self_times(timed_scope) == {"outer": 2_000 * gap_ns, "leaf": 20_000}


def test_self_time_stays_exact_when_a_long_child_runs_beside_many_short_ones(
    timed_scope: RunScope, clock: Clock
) -> None:
    leaf = profile_node("leaf")(lambda: clock.advance(10))

    @profile_node("long")
    def long() -> Iterator[None]:
        for _ in range(300):
            yield

    with profile_node("outer"):
        for _ in range(100):
            clock.advance(1)
            leaf()
        beside = long()
        for _ in beside:
            clock.advance(1)
            leaf()
        for _ in range(100):
            clock.advance(1)
            leaf()

    assert self_times(timed_scope)["outer"] == 200


def test_more_open_children_than_are_kept_are_no_trouble(timed_scope: RunScope, clock: Clock) -> None:
    @profile_node("branch")
    async def branch() -> None:
        await asyncio.sleep(0)
        clock.advance(1)

    @profile_node("outer")
    async def outer() -> None:
        clock.advance(50)
        await asyncio.gather(*(branch() for _ in range(1_000)))

    asyncio.run(outer())

    assert self_times(timed_scope)["outer"] == 50


def test_a_long_running_node_is_announced_once(timed_scope: RunScope, clock: Clock) -> None:
    with profile_node("outer"):
        clock.advance(100)
        with profile_node("inner"):
            clock.advance(10)
            (outer,) = timed_scope.unannounced_nodes(older_than_ns=50)
            assert (outer.node_id, outer.started_unix_ns, outer.run_id) == ("outer", 501_000, "run-1")
            clock.advance(100)
            (inner,) = timed_scope.unannounced_nodes(older_than_ns=50)
            assert (inner.node_id, inner.parent_span_id) == ("inner", outer.span_id)
            assert timed_scope.unannounced_nodes(older_than_ns=0) == []
    assert timed_scope.unannounced_nodes(older_than_ns=0) == []


def test_open_nodes_can_be_listed_while_threads_start_and_end_some(scope: RunScope) -> None:
    done = threading.Event()
    work = carry(profile_node("work")(lambda: None))

    def churn() -> None:
        for _ in range(5_000):
            work()
        done.set()

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    announced = []
    while not done.is_set():
        announced += [node.span_id for node in scope.unannounced_nodes(older_than_ns=0)]
    for thread in threads:
        thread.join()

    assert len(announced) == len(set(announced))
    assert scope.open_nodes == {}


def test_span_ids_fit_the_wire_and_differ_between_runs() -> None:
    first, second = RunScope("a"), RunScope("b")
    ids = [scope.next_span_id() for scope in (first, second) for _ in range(1_000)]

    assert len(set(ids)) == 2_000
    assert all(0 < span_id < 2**64 for span_id in ids)


def in_forked_child(work: Callable[[], str]) -> str:
    """What `work` says in a forked child."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_a_forked_child_leaves_the_nodes_of_its_parent_to_it(
    scope: RunScope, recorder: MemoryRecorder
) -> None:
    def child() -> str:
        profile_node("in child")(lambda: None)()
        outer.__exit__(None, None, None)
        return " ".join(f"{node.node_id}:{node.span_id}:{node.parent_span_id}" for node in recorder.nodes)

    outer = profile_node("outer")
    outer.__enter__()
    node = innermost.get()
    assert node is not None
    said = in_forked_child(child)
    profile_node("in parent")(lambda: None)()
    outer.__exit__(None, None, None)

    name, span_id, parent_span_id = said.split(":")
    assert name == "in child", "the child recorded its own node only"
    assert int(parent_span_id) == node.span_id
    assert int(span_id) not in {node.span_id for node in recorder.nodes}
    assert [node.node_id for node in recorder.nodes] == ["in parent", "outer"]


def test_a_child_forked_while_a_lock_was_held_is_not_stuck(scope: RunScope) -> None:
    analyzer = scope.analyzer
    assert analyzer is not None
    with analyzer._lock, scope.lock:
        said = in_forked_child(lambda: f"{analyzer.report().nodes} {scope.unannounced_nodes(0)}")

    assert said == "() []"


def test_a_node_that_ends_while_its_own_thread_reads_the_report_is_counted(scope: RunScope) -> None:
    analyzer = scope.analyzer
    assert analyzer is not None
    with analyzer._lock:  # as when the garbage collector closes a generator inside of `report`
        for _ in range(100):
            profile_node("a")(lambda: None)()

    assert analyzer.report().nodes[0].calls == 100
