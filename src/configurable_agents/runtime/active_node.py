"""Which run, and which node of it, the current code belongs to.

One `ContextVar` holds the innermost `ActiveNode`; through it everything else is found. So runs never
mix between threads or asyncio tasks. Executors that copy the context into their threads (asyncio,
LangGraph) need nothing; for a plain `threading.Thread`, which starts with an empty context, see `carry`.

An `ActiveNode` is made and finished for every execution of a node, so these two steps are written for
speed: no locks, no branches that can be avoided.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import os
from collections.abc import Callable
from contextvars import ContextVar, Token
from operator import attrgetter
from threading import Lock
from time import perf_counter_ns, time_ns
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime.bottlenecks import BottleneckAnalyzer
from configurable_agents.runtime.fork_safety import repair_after_fork
from configurable_agents.runtime.names import error_type_of
from configurable_agents.telemetry import NO_SPAN, NodeFinished, NodeStarted, Recorder, Status

P = ParamSpec("P")
R = TypeVar("R")

CHILDREN_KEPT_MAX = 64
"""Children a running node remembers one by one; beyond it, finished ones are folded into a sum."""

SNAPSHOT_TRIES_MAX = 1_000

OK = Status.OK
new_tuple = tuple.__new__
by_start = attrgetter("started_ns")


class RunScope:
    """What the nodes of one run share. Safe to use from any thread.

    Without a run (`set_profiler` alone) there is a scope too: its `run_id` is empty, it has no recorder.
    """

    __slots__ = (
        "__weakref__",
        "analyzer",
        "lock",
        "next_span_id",
        "open_nodes",
        "owner",
        "pid",
        "recorder",
        "recording_failures",
        "root",
        "run_id",
        "started_ns",
        "unix_offset_ns",
    )

    def __init__(
        self,
        run_id: str = "",
        *,
        recorder: Recorder | None = None,
        analyzer: BottleneckAnalyzer | None = None,
        owner: object = None,
    ) -> None:
        self.run_id = run_id
        self.recorder = recorder
        self.analyzer = analyzer
        self.owner = owner
        """The `Run` this scope belongs to, for those who find the scope through the context."""
        self.open_nodes: dict[int, ActiveNode] = {}
        """Executions that have started and not finished, by span id. Whoever removes one records it."""
        self.pid = os.getpid()
        self.started_ns = perf_counter_ns()
        self.unix_offset_ns = time_ns() - self.started_ns
        """Unix time less the monotonic clock at the start: a wall clock that jumps later changes nothing."""
        self.next_span_id = span_ids()
        self.recording_failures = 0
        self.lock = Lock()
        self.root: ActiveNode = Placeholder(self)
        repair_after_fork(self)

    def with_analyzer(self, analyzer: BottleneckAnalyzer | None) -> RunScope:
        """A view of the same run whose nodes are added up elsewhere."""
        view = RunScope(self.run_id, recorder=self.recorder, analyzer=analyzer, owner=self.owner)
        view.open_nodes = self.open_nodes
        view.pid = self.pid
        view.started_ns = self.started_ns
        view.unix_offset_ns = self.unix_offset_ns
        view.next_span_id = self.next_span_id
        return view

    def unix_ns(self) -> int:
        """The Unix time now, by the clock of this run."""
        return self.unix_offset_ns + perf_counter_ns()

    def belongs_to_this_process(self) -> bool:
        """False in a forked child: the run is its parent's to finish."""
        return self.pid == os.getpid()

    def unannounced_nodes(self, older_than_ns: int) -> list[NodeStarted]:
        """Open executions that have run for at least `older_than_ns`; each is returned once, ever."""
        started_before_ns = perf_counter_ns() - older_than_ns
        with self.lock:
            found = [
                node
                for node in self._snapshot()
                if not node.announced and node.started_ns <= started_before_ns and not node.ended_ns
            ]
            for node in found:
                node.announced = True
        return [node.started_event() for node in found]

    def _snapshot(self) -> list[ActiveNode]:
        """Nodes open right now. Other threads start and end some meanwhile, so a copy is tried again."""
        for _ in range(SNAPSHOT_TRIES_MAX):
            try:
                return list(self.open_nodes.values())
            except RuntimeError:  # "dictionary changed size during iteration"
                continue
        return []  # the caller asks again with the next batch

    def recording_failed(self, error: Exception) -> None:
        """Counts a recorder that raised, and says so once: the workflow goes on."""
        self.recording_failures += 1
        if self.recording_failures == 1:
            import logging  # noqa: PLC0415  costs a workflow that has no trouble nothing

            logging.getLogger("configurable_agents").warning(
                "the recorder of run %s raised %s (%s); the workflow goes on, events may be missing",
                self.run_id or "(none)",
                type(error).__name__,
                error,
            )

    def after_fork_in_child(self) -> None:
        """Executions that the parent process began are the parent's to record; span ids start anew."""
        self.lock = Lock()
        self.open_nodes.clear()
        self.next_span_id = span_ids()


class ActiveNode:
    """One execution of a node, from its start to its end."""

    __slots__ = (
        "announced",
        "attempt",
        "children",
        "ended_ns",
        "fold_at",
        "folded",
        "node_id",
        "parent",
        "scope",
        "span_id",
        "started_ns",
    )

    scope: RunScope
    parent: ActiveNode
    """The enclosing execution; the root of a run is its own parent."""
    children: list[ActiveNode] | None
    """Executions started inside this one; `None` where nobody asks for self time (roots, finished nodes)."""
    folded: FoldedChildren | None

    def __init__(self, parent: ActiveNode, node_id: str, attempt: int) -> None:
        """Starts the clock."""
        self.parent = parent
        self.scope = scope = parent.scope
        self.node_id = node_id
        self.attempt = attempt
        self.announced = False
        self.ended_ns = 0
        self.children = []
        self.folded = None
        self.fold_at = CHILDREN_KEPT_MAX
        self.span_id = span_id = scope.next_span_id()
        siblings = parent.children
        self.started_ns = perf_counter_ns()
        scope.open_nodes[span_id] = self
        if siblings is not None:
            siblings.append(self)
            if len(siblings) > parent.fold_at:
                parent.fold_children()

    def finish(self, error: BaseException | None) -> None:
        """Stops the clock and reports. Only the first call does anything. Never raises an `Exception`."""
        ended_ns = perf_counter_ns()
        scope = self.scope
        if scope.open_nodes.pop(self.span_id, None) is None:
            return  # finished before, or begun by the process we were forked from
        self.ended_ns = ended_ns
        started_ns = self.started_ns
        duration_ns = ended_ns - started_ns
        children = self.children
        self.children = None
        try:
            self_ns = duration_ns if not children else duration_ns - self._covered_ns(children)
            if error is None:
                status, error_type = OK, ""
            else:
                status, error_type = status_of(error), error_type_of(error)
            analyzer = scope.analyzer
            if analyzer is not None:
                analyzer.record_ns(self.node_id, duration_ns, self_ns, status is not OK)
            recorder = scope.recorder
            if recorder is not None:
                recorder.record(
                    new_tuple(
                        NodeFinished,
                        (
                            scope.run_id,
                            self.span_id,
                            self.parent.span_id,
                            self.node_id,
                            self.attempt,
                            scope.unix_offset_ns + started_ns,
                            duration_ns,
                            status,
                            error_type,
                        ),
                    )
                )
        except Exception as failure:  # noqa: BLE001  whatever a recorder does, the workflow goes on
            scope.recording_failed(failure)

    def add_measured_child(self, started_ns: int, ended_ns: int) -> None:
        """Has self time leave out a child that was measured elsewhere, by the same monotonic clock."""
        siblings = self.children
        if siblings is not None:
            child = Placeholder(self.scope, beneath=self)
            child.started_ns, child.ended_ns = started_ns, ended_ns
            siblings.append(child)
            if len(siblings) > self.fold_at:
                self.fold_children()

    def started_event(self) -> NodeStarted:
        scope = self.scope
        return NodeStarted(
            scope.run_id,
            self.span_id,
            self.parent.span_id,
            self.node_id,
            self.attempt,
            scope.unix_offset_ns + self.started_ns,
        )

    def fold_children(self) -> None:
        """Replaces what children did until now by a sum, so that a node with endless children stays small.

        Exact: of children that are still open, what they do from now on is added later.
        """
        children = self.children
        if children is None:
            return
        with self.scope.lock:
            seen = children[:]
            count = len(seen)
            still_open = [child for child in seen if not child.ended_ns]
            now_ns = perf_counter_ns()
            self.folded = FoldedChildren(self._covered_until(seen, now_ns), now_ns)
            children[:count] = still_open  # others may have been appended behind them meanwhile
            self.fold_at = max(CHILDREN_KEPT_MAX, 2 * len(still_open))

    def _covered_ns(self, children: list[ActiveNode]) -> int:
        """Time in which at least one child ran, children that outlive this node included."""
        return self._covered_until(children, self.ended_ns)

    def _covered_until(self, children: list[ActiveNode], until_ns: int) -> int:
        """The union of the children's intervals up to `until_ns`."""
        covered_ns, reached_ns = self.folded or NOTHING_FOLDED
        for child in sorted(children, key=by_start):  # threads may have overtaken each other
            start_ns = child.started_ns
            end_ns = child.ended_ns
            if start_ns < reached_ns:  # noqa: PLR1730  as fast as possible: runs for every child
                start_ns = reached_ns
            if not end_ns or end_ns > until_ns:
                end_ns = until_ns
            if end_ns > start_ns:
                covered_ns += end_ns - start_ns
                reached_ns = end_ns
        return covered_ns


class FoldedChildren(NamedTuple):
    """Children that are no longer remembered one by one."""

    covered_ns: int
    until_ns: int
    """All of the monotonic clock before this is accounted for."""


NOTHING_FOLDED = FoldedChildren(0, 0)


class Placeholder(ActiveNode):
    """Has a place in the context but no time of its own: the root of a run, or another analyzer's view."""

    __slots__ = ()

    def __init__(self, scope: RunScope, *, beneath: ActiveNode | None = None) -> None:
        self.parent = beneath or self
        self.scope = scope
        self.node_id = beneath.node_id if beneath else ""
        self.attempt = beneath.attempt if beneath else 1
        self.announced = True
        self.started_ns = self.ended_ns = 0
        self.children = beneath.children if beneath else None
        self.folded = None
        self.fold_at = CHILDREN_KEPT_MAX
        self.span_id = beneath.span_id if beneath else NO_SPAN

    def fold_children(self) -> None:
        if self.parent is not self:
            self.parent.fold_children()
            self.fold_at = self.parent.fold_at


# The one piece of module state: how code finds the run it belongs to.
innermost: ContextVar[ActiveNode | None] = ContextVar("configurable_agents_active_node", default=None)


def leave(token: Token[ActiveNode | None], node: ActiveNode | None) -> None:
    """Puts the context back to what it was before `innermost.set(node)` gave `token`.

    A coroutine or a generator may be closed from another context than the one it ran in (by the
    garbage collector, by a thread pool that takes each step elsewhere). That context is not ours to change,
    unless it is a copy in which `node` is still the innermost.
    """
    try:
        innermost.reset(token)
    except ValueError:
        if innermost.get() is node:
            before = token.old_value
            innermost.set(before if isinstance(before, ActiveNode) else None)


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, to be called from a thread or callback that does not inherit the current context.

    It then runs in the run and the node that are current now. For functions and coroutine functions;
    carry the function that consumes a generator, not the generator function. Raises `InvalidValueError`
    for those. Carries nothing else of the context.
    """
    return carried(function, innermost.get())


def carried(function: Callable[P, R], node: ActiveNode | None) -> Callable[P, R]:
    """`function`, which then runs with `node` as the innermost."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidValueError(
            "a generator function runs in the context of whoever iterates it;"
            " carry the function that iterates it instead"
        )
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            token = innermost.set(node)
            try:
                return await function(*args, **kwargs)
            finally:
                leave(token, node)

        return cast(Callable[P, R], run_async)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        token = innermost.set(node)
        try:
            return function(*args, **kwargs)
        finally:
            innermost.reset(token)

    return run


def status_of(error: BaseException) -> Status:
    """How something ended that ended with `error`.

    What is no `Exception` tells code to stop (`asyncio.CancelledError`, `KeyboardInterrupt`,
    `GeneratorExit`, trio's `Cancelled`), which is no failure. `sys.exit()` with success is none either.
    """
    if isinstance(error, Exception):
        return Status.ERROR
    if isinstance(error, SystemExit):
        return Status.ERROR if error.code else Status.OK
    if isinstance(error, BaseExceptionGroup) and error.subgroup(Exception) is not None:
        return Status.ERROR
    return Status.CANCELLED


def span_ids() -> Callable[[], int]:
    """Gives unique ids from 1 to 2**64-1; two processes of one run do not meet in practice."""
    first = int.from_bytes(os.urandom(8), "big") >> 1 or 1
    return itertools.count(first).__next__
