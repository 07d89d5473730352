"""One run of a workflow: its recorder, its analyzer, its costs, its place in the context.

    with observe_run(experiment="support-bot", workflow="triage") as run:
        response = client.chat.completions.create(...)
        run.track_call(provider="openai", model="gpt-4o", response=response)

What a caller gives wrongly is refused at once, with `InvalidValueError`. Once the run has begun, nothing
that concerns recording raises into the workflow.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import Token
from dataclasses import replace
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast, overload
from weakref import WeakSet

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime import bounds
from configurable_agents.runtime.active_node import (
    SNAPSHOT_TRIES_MAX,
    ActiveNode,
    RunScope,
    carried,
    carry,
    innermost,
    leave,
    status_of,
)
from configurable_agents.runtime.arguments import (
    UsableArguments,
    checked_count,
    checked_ending,
    checked_graph,
    checked_span_id,
    checked_tags,
)
from configurable_agents.runtime.bottlenecks import BottleneckAnalyzer
from configurable_agents.runtime.critical_path import Span
from configurable_agents.runtime.fork_safety import repair_after_fork
from configurable_agents.runtime.names import (
    checked_name,
    checked_run_id,
    checked_text,
    error_type_of,
    fitting_text,
)
from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.telemetry import (
    NO_SPAN,
    Event,
    Graph,
    LlmCall,
    NodeFinished,
    Recorder,
    RunFinished,
    RunStarted,
    Status,
)

if TYPE_CHECKING:  # pricing is loaded by the first LLM call, the client by the first run that records
    from configurable_agents.client.home import Home
    from configurable_agents.observability.cost_estimator import CostEstimator
    from configurable_agents.observability.cost_summary import CostSummary
    from configurable_agents.observability.multi_provider_tracker import (
        AssessedCall,
        MultiProviderCostTracker,
    )
    from configurable_agents.runtime.tracked_stream import TrackedAsyncStream, TrackedStream

__all__ = ["Run", "RunContext", "carry", "current_run", "observe_run"]

EndingName: TypeAlias = Literal["ok", "error", "cancelled"]
"""`Status.label` of what a call or an execution can end with."""

UNREADABLE_CALL = "unreadable_call"

P = ParamSpec("P")
R = TypeVar("R")
Chunk = TypeVar("Chunk")
Function = TypeVar("Function", bound=Callable[..., Any])


def observe_run(
    experiment: str = "default",
    workflow: str = "workflow",
    *,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
    graph: Graph | None = None,
    mlflow_run_id: str = "",
    home: Home | str | os.PathLike[str] | None = None,
    recorder: Recorder | None = None,
    estimator: CostEstimator | None = None,
) -> RunContext:
    """Observes what runs inside: `with` or `async with` it, or decorate a function, each call a run.

    `experiment` groups runs in reports and names the MLflow experiment. `run_id` must be new; by default
    it is made. `graph` declares nodes and edges where they are known. `mlflow_run_id` is an existing
    MLflow run to write into. Events go to `recorder`, by default to the spool in `home` (default:
    `AGENTS_OBS_HOME`, else the platform's state folder), from which the daemon takes them.

    Raises `InvalidValueError` at once for names or tags that cannot be recorded. If the recording cannot
    be set up, one warning is logged and the run is profiled and priced in this process only.
    """
    started = RunStarted(
        run_id="" if run_id is None else checked_run_id(run_id),
        experiment=checked_name(experiment, what="experiment"),
        workflow=checked_name(workflow, what="workflow"),
        started_unix_ns=0,
        tags=checked_tags(tags),
        graph=checked_graph(graph),
        mlflow_run_id=checked_text(mlflow_run_id, what="mlflow_run_id"),
    )
    return RunContext(started, _checked_home(home), _checked_recorder(recorder), estimator)


def current_run() -> Run | None:
    """The run the current code belongs to; `None` outside of any."""
    current = innermost.get()
    owner = None if current is None else current.scope.owner
    return owner if isinstance(owner, Run) else None


class RunContext:
    """Opens runs. Made by `observe_run`. Each entry is a run of its own."""

    def __init__(
        self,
        template: RunStarted,
        home: Home | str | os.PathLike[str] | None,
        recorder: Recorder | None,
        estimator: CostEstimator | None,
    ) -> None:
        self._template = template
        self._home = home
        self._recorder = recorder
        self._estimator = estimator
        self._entered: list[tuple[Run, Token[ActiveNode | None]]] = []

    def __enter__(self) -> Run:
        recorder = self._recorder or _default_recorder(self._home)
        estimator: CostEstimator | Callable[[], CostEstimator | None] | None = self._estimator
        if estimator is None and self._recorder is None:
            estimator = functools.partial(_home_estimator, self._home)
            _load_prices_soon(self._home)
        run = Run(self._template, recorder, estimator)
        self._entered.append((run, innermost.set(run.scope.root)))
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run, token = self._entered.pop(self._entry_to_leave())
        leave(token, run.scope.root)
        run.finish(error)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Function) -> Function:
        """Makes each call of a function or coroutine function a run; see `current_run`."""
        if self._template.run_id:
            raise InvalidValueError("a decorated function makes many runs; leave run_id out")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidValueError("observe the function that iterates a generator, not the generator")
        if not callable(function):
            raise InvalidValueError(f"observe_run decorates functions, not {type(function).__name__}")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def observed_async(*args: Any, **kwargs: Any) -> Any:
                with self._afresh():
                    return await function(*args, **kwargs)

            return cast(Function, observed_async)

        @functools.wraps(function)
        def observed(*args: Any, **kwargs: Any) -> Any:
            with self._afresh():
                return function(*args, **kwargs)

        return cast(Function, observed)

    def _afresh(self) -> RunContext:
        return RunContext(self._template, self._home, self._recorder, self._estimator)

    def _entry_to_leave(self) -> int:
        """The run the current context is in; else the last, for blocks that end in a foreign context."""
        current = current_run()
        for index, (run, _) in enumerate(self._entered):
            if run is current:
                return index
        return len(self._entered) - 1


class Run:
    """A run in flight or finished. Every method may be called from any thread or task."""

    def __init__(
        self,
        template: RunStarted,
        recorder: Recorder | None,
        estimator: CostEstimator | Callable[[], CostEstimator | None] | None,
    ) -> None:
        """Starts the clock and records the start. Runs are opened with `observe_run`."""
        run_id = template.run_id or os.urandom(16).hex()
        self.scope = RunScope(run_id, recorder=recorder, analyzer=BottleneckAnalyzer(), owner=self)
        self._started = template._replace(run_id=run_id, started_unix_ns=self.scope.unix_ns())
        self._finished: RunFinished | None = None
        self._estimator = estimator
        self._tracker: MultiProviderCostTracker | None = None
        self._tracker_lock = RLock()
        """Reentrant: the garbage collector may track a dropped stream while its thread is inside."""
        self._unreadable_calls = 0
        self._streams: WeakSet[TrackedStream[Any] | TrackedAsyncStream[Any]] = WeakSet()
        repair_after_fork(self)
        self._record(self._started)
        self._tell_recorder("attach")

    @property
    def run_id(self) -> str:
        return self.scope.run_id

    @property
    def started_unix_ns(self) -> int:
        """When it began, by its own clock."""
        return self._started.started_unix_ns

    @property
    def analyzer(self) -> BottleneckAnalyzer:
        """Adds up the nodes of this run, in this process."""
        analyzer = self.scope.analyzer
        assert analyzer is not None  # noqa: S101  given in __init__ and never taken away
        return analyzer

    @property
    def tracker(self) -> MultiProviderCostTracker:
        """Adds up the costs of this run, in this process. Loaded when first asked for."""
        tracker = self._tracker
        if tracker is None:
            from configurable_agents.observability.multi_provider_tracker import (  # noqa: PLC0415
                MultiProviderCostTracker,
            )

            with self._tracker_lock:
                estimator = self._estimator() if callable(self._estimator) else self._estimator
                tracker = self._tracker = self._tracker or MultiProviderCostTracker(
                    estimator=estimator, counts_responses_once=True
                )
        return tracker

    def track_call(
        self,
        provider: str | None = None,
        model: str | None = None,
        response: object = None,
        *,
        started_unix_ns: int | None = None,
        duration_ns: int | None = None,
        time_to_first_token_ns: int = 0,
        service_tier: str = "",
        batch: bool = False,
        status: Status | EndingName = Status.OK,
        error_type: str = "",
        attempt: int = 1,
        span_id: int | str | None = None,
        node_id: str | None = None,
        call_id: str | None = None,
    ) -> dict[str, Any]:
        """Prices the response of an LLM call, records the call and returns its figures.

        `response` is the SDK's object or its dict; prompts and completions are not kept. An empty
        `provider` or `model` is taken from the response. The call belongs to the node that runs now, unless
        `span_id` and `node_id` say otherwise. Without `started_unix_ns` the call ended now. A call that
        failed is recorded without a response: `status="error"`, with the name of its error in `error_type`.

        The result has `input_tokens`, `output_tokens`, `total_tokens`, `cost_usd` (each `None` when not
        known), `provider`, `model`, `price_status`, `anomalies` and `call_id`, among others. Never raises: an
        argument that cannot be used is left out and named in `anomalies`.
        """
        usable = UsableArguments()
        now_ns = self.scope.unix_ns()
        lasted_ns = usable.number("duration_ns", duration_ns, maximum=bounds.DURATION_NS_MAX)
        began_ns = usable.number("started_unix_ns", started_unix_ns, maximum=bounds.TIME_NS_MAX)
        began_ns = began_ns or now_ns - lasted_ns
        ending = usable.ending(status, error_type)
        place = self._place(usable, span_id, node_id)
        tier = usable.text("service_tier", service_tier)
        in_batch = usable.flag("batch", batch)
        assessed, figures = self._assess(
            provider,
            model,
            response,
            at_unix_ns=began_ns,
            service_tier=tier,
            batch=in_batch,
            ending=ending,
        )
        reading = assessed.reading
        call = LlmCall(
            run_id=self.run_id,
            call_id=usable.text("call_id", call_id) or os.urandom(8).hex(),
            span_id=place.span_id,
            node_id=place.node_id,
            provider=fitting_text(assessed.provider),
            model=fitting_text(assessed.model),
            usage=reading.usage,
            started_unix_ns=began_ns,
            duration_ns=lasted_ns,
            status=ending,
            service_tier=tier or fitting_text(reading.service_tier),
            batch=in_batch,
            time_to_first_token_ns=usable.number(
                "time_to_first_token_ns", time_to_first_token_ns, maximum=bounds.DURATION_NS_MAX
            ),
            response_id=fitting_text(reading.response_id),
            stated_cost_nanos=reading.stated_cost_nanos,
            error_type=usable.text("error_type", error_type),
            attempt=usable.number("attempt", attempt, maximum=bounds.ATTEMPT_MAX) or 1,
            anomalies=(*usable.anomalies, *reading.anomalies)[: bounds.ANOMALIES_MAX],
            provider_known_by=assessed.provider_known_by,
            model_known_by=assessed.model_known_by,
            model_as_given=fitting_text(assessed.model_as_given),
        )
        self._record(call)
        return {**figures, "anomalies": list(call.anomalies), "call_id": call.call_id}

    @overload
    def track_stream(
        self,
        stream: AsyncIterable[Chunk],
        *,
        provider: str | None = None,
        model: str | None = None,
        started_unix_ns: int | None = None,
        service_tier: str = "",
        batch: bool = False,
        attempt: int = 1,
        call_id: str | None = None,
    ) -> TrackedAsyncStream[Chunk]: ...
    @overload
    def track_stream(
        self,
        stream: Iterable[Chunk],
        *,
        provider: str | None = None,
        model: str | None = None,
        started_unix_ns: int | None = None,
        service_tier: str = "",
        batch: bool = False,
        attempt: int = 1,
        call_id: str | None = None,
    ) -> TrackedStream[Chunk]: ...
    def track_stream(
        self,
        stream: Any,
        *,
        provider: str | None = None,
        model: str | None = None,
        started_unix_ns: int | None = None,
        service_tier: str = "",
        batch: bool = False,
        attempt: int = 1,
        call_id: str | None = None,
    ) -> TrackedStream[Any] | TrackedAsyncStream[Any]:
        """`stream`, to be iterated in its place; the call is recorded once it has ended.

        Chunks pass unchanged, as do other attributes of the stream; only what is iterated here is seen. A
        context manager that makes a stream (Anthropic's `messages.stream()`) is entered with `with`.

        The call belongs to the node that runs now and lasts from now (or `started_unix_ns`, taken before the
        request) to the end of the stream; the time to its first token is the time to the first chunk with
        output. A stream that is closed, dropped or still open when the run ends is recorded as cancelled,
        one that raises as failed; what its usage said until then counts, with the anomaly
        `stream_ended_early`.

        OpenAI's chat streams carry usage only with `stream_options={"include_usage": True}`.
        """
        from configurable_agents.runtime.tracked_stream import (  # noqa: PLC0415  loaded by the first stream
            TrackedAsyncStream,
            TrackedStream,
        )

        usable = UsableArguments()
        began_ns = usable.number("started_unix_ns", started_unix_ns, maximum=bounds.TIME_NS_MAX)
        place = self._place(usable, None, None)
        settle = functools.partial(
            self.track_call,
            provider,
            model,
            started_unix_ns=began_ns or self.scope.unix_ns(),
            service_tier=service_tier,
            batch=batch,
            attempt=attempt,
            span_id=place.span_id,
            node_id=place.node_id,
            call_id=call_id,
        )
        is_async = hasattr(stream, "__aiter__") or hasattr(stream, "__aenter__")
        kind: Any = TrackedAsyncStream if is_async and not hasattr(stream, "__iter__") else TrackedStream
        tracked: TrackedStream[Any] | TrackedAsyncStream[Any] = kind(
            stream, settle, self.scope.unix_ns, settle.keywords["started_unix_ns"]
        )
        self._streams.add(tracked)
        return tracked

    def record_node(
        self,
        node_id: str,
        *,
        started_unix_ns: int,
        duration_ns: int,
        span_id: int | str | None = None,
        parent_span_id: int | str = NO_SPAN,
        status: Status | EndingName = Status.OK,
        error_type: str = "",
        attempt: int = 1,
    ) -> int:
        """Records an execution that was measured elsewhere, and returns its span id.

        Ids are integers or 16 hexadecimal digits. Parents and children may be recorded in any order.
        Raises `InvalidValueError` for values that cannot be recorded.
        """
        checked_name(node_id, what="node_id")
        event = NodeFinished(
            self.run_id,
            self.scope.next_span_id() if span_id is None else checked_span_id(span_id, what="span_id"),
            checked_span_id(parent_span_id, what="parent_span_id", minimum=NO_SPAN),
            node_id,
            checked_count(attempt, what="attempt", minimum=1, maximum=bounds.ATTEMPT_MAX),
            checked_count(started_unix_ns, what="started_unix_ns", minimum=1, maximum=bounds.TIME_NS_MAX),
            checked_count(duration_ns, what="duration_ns", minimum=0, maximum=bounds.DURATION_NS_MAX),
            checked_ending(status),
            checked_text(error_type, what="error_type"),
        )
        if event.parent_span_id == event.span_id:
            raise InvalidValueError(f"the execution of {node_id!r} cannot be its own parent")
        self._profile(event)
        self._record(event)
        return event.span_id

    def cost_summary(self) -> CostSummary:
        """What the calls tracked in this process cost, with its coverage. `.to_json()` gives the dict."""
        from configurable_agents.observability.cost_summary import CostSummary  # noqa: PLC0415

        known = CostSummary() if self._tracker is None else self._tracker.summary()
        return replace(known, experiment=self._started.experiment, run_id=self.run_id, run_count=1)

    def profile(self) -> ProfileReport:
        """Where the time of this run went so far, as far as it was measured in this process."""
        finished = self._finished
        return replace(
            self.analyzer.report(),
            experiment=self._started.experiment,
            workflow=self._started.workflow,
            run_id=self.run_id,
            run_count=1,
            status=Status.RUNNING if finished is None else finished.status,
            wall_ns=(
                self.scope.unix_ns() - self._started.started_unix_ns
                if finished is None
                else finished.duration_ns
            ),
        )

    def bind(self, function: Callable[P, R]) -> Callable[P, R]:
        """`function`, to be called from a thread that does not inherit the context; it then runs in this run.

        And in the node that is current now, if it is one of this run. See `carry` for what can be bound.
        """
        current = innermost.get()
        mine = current is not None and current.scope.owner is self
        return carried(function, current if mine else self.scope.root)

    def finish(self, error: BaseException | None) -> None:
        """Stops the clock and records the end. In a forked child it does nothing: the run is its parent's."""
        scope = self.scope
        if self._finished is not None or not scope.belongs_to_this_process():
            return
        for stream in self._open_streams():
            stream.abandon()
        ended_unix_ns = scope.unix_ns()
        self._finished = RunFinished(
            self.run_id,
            ended_unix_ns,
            ended_unix_ns - self._started.started_unix_ns,
            Status.OK if error is None else status_of(error),
            "" if error is None else error_type_of(error),
        )
        self._record(self._finished)
        self._tell_recorder("detach")

    def after_fork_in_child(self) -> None:
        """Streams that the parent process opened are the parent's to record, as its nodes are."""
        self._tracker_lock = RLock()
        if self._tracker is not None:
            self._tracker.after_fork_in_child()
        for stream in self._open_streams():
            stream.leave_to_parent()

    def _open_streams(self) -> list[TrackedStream[Any] | TrackedAsyncStream[Any]]:
        """Other threads begin some meanwhile, so a copy is tried again."""
        for _ in range(SNAPSHOT_TRIES_MAX):
            with suppress(RuntimeError):  # "Set changed size during iteration"
                return list(self._streams)
        return []

    def _record(self, event: Event) -> None:
        recorder = self.scope.recorder
        if recorder is not None:
            try:
                recorder.record(event)
            except Exception as failure:  # noqa: BLE001  whatever a recorder does, the workflow goes on
                self.scope.recording_failed(failure)

    def _tell_recorder(self, what: str) -> None:
        """Recorders that announce long-running nodes have `attach(scope)` and `detach(scope)`."""
        tell = getattr(self.scope.recorder, what, None)
        if tell is not None:
            try:
                tell(self.scope)
            except Exception as failure:  # noqa: BLE001  whatever a recorder does, the workflow goes on
                self.scope.recording_failed(failure)

    def _profile(self, event: NodeFinished) -> None:
        parent = self.scope.open_nodes.get(event.parent_span_id)
        if parent is not None:
            started_ns = event.started_unix_ns - self.scope.unix_offset_ns
            ended_ns = started_ns + event.duration_ns
            if ended_ns > parent.started_ns:
                parent.add_measured_child(max(started_ns, parent.started_ns), ended_ns)
        self.analyzer.record_span(
            Span(
                event.span_id,
                event.parent_span_id,
                event.node_id,
                event.started_unix_ns,
                event.duration_ns,
                event.status is not Status.OK,
            )
        )

    def _place(self, usable: UsableArguments, span_id: object, node_id: object) -> _Place:
        """The execution a call belongs to: as given, else the innermost of this run."""
        current = innermost.get()
        if current is None or current.scope.owner is not self:
            current = self.scope.root
        chosen = current.span_id if span_id is None else usable.span_id(span_id, otherwise=current.span_id)
        known = current if chosen == current.span_id else self.scope.open_nodes.get(chosen)
        named = usable.text("node_id", node_id)
        return _Place(chosen, named or ("" if known is None else known.node_id))

    def _assess(
        self,
        provider: str | None,
        model: str | None,
        response: object,
        *,
        at_unix_ns: int,
        service_tier: str,
        batch: bool,
        ending: Status,
    ) -> tuple[AssessedCall, dict[str, Any]]:
        """The call as the tracker sees it, or as one of which nothing is known."""
        try:
            assessed = self.tracker.assess(
                provider, model, response, at_unix_ns=at_unix_ns, service_tier=service_tier, batch=batch
            )
        except Exception as failure:  # noqa: BLE001  whatever a response is, the workflow goes on
            self._note_unreadable(failure)
            assessed = _unreadable_call()
        return assessed, self.tracker.add(assessed, failed=ending is not Status.OK)

    def _note_unreadable(self, failure: Exception) -> None:
        self._unreadable_calls += 1
        if self._unreadable_calls == 1:
            logging.getLogger(__name__).warning(
                "a call of run %s could not be priced; it and others like it are counted without usage",
                self.run_id,
                exc_info=failure,
            )


class _Place(NamedTuple):
    span_id: int
    node_id: str


def _unreadable_call() -> AssessedCall:
    from configurable_agents.observability.cost_estimator import Price  # noqa: PLC0415
    from configurable_agents.observability.multi_provider_tracker import AssessedCall  # noqa: PLC0415
    from configurable_agents.observability.usage import UsageReading  # noqa: PLC0415
    from configurable_agents.telemetry import PriceStatus  # noqa: PLC0415

    reading = UsageReading(anomalies=(UNREADABLE_CALL,))
    return AssessedCall("unknown", "", reading, Price(PriceStatus.NO_USAGE, reason="could not be read"))


def _default_recorder(home: Home | str | os.PathLike[str] | None) -> Recorder | None:
    """This process's emitter for `home`; `None` after one warning when it cannot be had."""
    try:
        from configurable_agents.client.home import Home  # noqa: PLC0415
        from configurable_agents.client.process import process_recorder  # noqa: PLC0415

        return process_recorder(home if isinstance(home, Home) else Home.from_environment(home))
    except Exception as failure:  # noqa: BLE001  a workflow never fails because it cannot be recorded
        logging.getLogger(__name__).warning(
            "this run is not recorded, only profiled in its own process: %s", failure
        )
        return None


def _load_prices_soon(home: Home | str | os.PathLike[str] | None) -> None:
    """Nothing is said of what fails: the first call meets it again."""
    with suppress(Exception):
        from configurable_agents.client.home import Home  # noqa: PLC0415
        from configurable_agents.client.process import load_prices_soon  # noqa: PLC0415

        load_prices_soon(home if isinstance(home, Home) else Home.from_environment(home))


def _home_estimator(home: Home | str | os.PathLike[str] | None) -> CostEstimator | None:
    """This process's estimator with the prices of `home`; `None` when they cannot be had."""
    from configurable_agents.client.home import Home  # noqa: PLC0415
    from configurable_agents.client.process import process_estimator  # noqa: PLC0415

    try:
        return process_estimator(home if isinstance(home, Home) else Home.from_environment(home))
    except Exception as failure:  # noqa: BLE001  a workflow never fails because of a price
        logging.getLogger(__name__).warning("the prices of the state folder are not used: %s", failure)
        return None


def _checked_home(home: Any) -> Home | str | os.PathLike[str] | None:
    if home is None or isinstance(home, str | os.PathLike):
        return home
    from configurable_agents.client.home import Home  # noqa: PLC0415

    if isinstance(home, Home):
        return home
    raise InvalidValueError(f"home must be a path or a Home, not {type(home).__name__}")


def _checked_recorder(recorder: object) -> Recorder | None:
    if recorder is None or (isinstance(recorder, Recorder) and not isinstance(recorder, type)):
        return recorder
    raise InvalidValueError(f"recorder must have a method record(event); {recorder!r} has none")
