"""observe_run: one run, from its first event to its last."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import configurable_agents
from configurable_agents import current_run, observe_run
from configurable_agents.client.home import Home
from configurable_agents.client.process import close_process_recorders, process_recorder
from configurable_agents.errors import InvalidValueError
from configurable_agents.observe import Run
from configurable_agents.runtime import active_node
from configurable_agents.runtime.active_node import RunScope, innermost
from configurable_agents.runtime.bounds import ANOMALIES_MAX
from configurable_agents.runtime.profiler import get_profiler, profile_node
from configurable_agents.telemetry import NO_SPAN, Event, Graph, NodeStarted, RunStarted, Status, Usage
from configurable_agents.testing import MemoryRecorder

OPENAI_RESPONSE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100},
}


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


@pytest.fixture
def run(recorder: MemoryRecorder) -> Iterator[Run]:
    with observe_run("support-bot", "triage", recorder=recorder) as run:
        yield run


# --- the run itself ---------------------------------------------------------------------------------


def test_a_run_records_its_start_its_nodes_and_its_end(recorder: MemoryRecorder) -> None:
    graph = Graph(("classify", "answer"), (("classify", "answer"),))

    with observe_run(
        "support-bot", "triage", tags={"team": "care"}, graph=graph, mlflow_run_id="abc", recorder=recorder
    ) as run:
        profile_node("classify")(lambda: None)()

    started, node, finished = recorder.events
    assert isinstance(started, RunStarted)
    assert started == RunStarted(
        run.run_id, "support-bot", "triage", started.started_unix_ns, (("team", "care"),), graph, "abc"
    )
    assert node == recorder.nodes[0]
    assert node.run_id == run.run_id
    (end,) = recorder.runs_finished
    assert finished is end
    assert (end.run_id, end.status, end.error_type) == (run.run_id, Status.OK, "")
    assert end.finished_unix_ns - started.started_unix_ns == end.duration_ns
    assert started.started_unix_ns <= recorder.nodes[0].started_unix_ns <= end.finished_unix_ns


def test_a_run_has_a_new_id_unless_one_is_given(recorder: MemoryRecorder) -> None:
    with observe_run(recorder=recorder) as first, observe_run(recorder=recorder) as second:
        assert first.run_id != second.run_id
    with observe_run(run_id="replay-7", recorder=recorder) as third:
        assert third.run_id == "replay-7"


def test_an_async_block_is_a_run_too(recorder: MemoryRecorder) -> None:
    async def main() -> None:
        async with observe_run(recorder=recorder) as run:
            assert current_run() is run
            await profile_node("a")(asyncio.sleep)(0)
        assert current_run() is None

    asyncio.run(main())

    assert [type(event).__name__ for event in recorder.events] == [
        "RunStarted",
        "NodeFinished",
        "RunFinished",
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), Status.ERROR),
        (SystemExit(2), Status.ERROR),
        (SystemExit(0), Status.OK),
        (KeyboardInterrupt(), Status.CANCELLED),
        (asyncio.CancelledError(), Status.CANCELLED),
    ],
)
def test_the_way_a_run_ends_is_recorded_and_its_exception_passes(
    recorder: MemoryRecorder, error: BaseException, status: Status
) -> None:
    with pytest.raises(type(error)) as caught, observe_run(recorder=recorder) as run:
        raise error

    assert caught.value is error
    (end,) = recorder.runs_finished
    assert (end.status, end.error_type) == (status, type(error).__name__)
    assert run.profile().status is status
    assert innermost.get() is None


def test_a_wall_clock_that_jumps_during_a_run_changes_no_duration(
    recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with observe_run(recorder=recorder):
        monkeypatch.setattr(active_node, "time_ns", lambda: 1)
        profile_node("a")(lambda: None)()

    (start,), (end,) = recorder.runs_started, recorder.runs_finished
    assert start.started_unix_ns <= recorder.nodes[0].started_unix_ns <= end.finished_unix_ns


def test_nested_runs_are_independent(recorder: MemoryRecorder) -> None:
    node = profile_node("node")(lambda: None)

    with observe_run(recorder=recorder) as outer, profile_node("outer node"):
        with observe_run(recorder=recorder) as inner:
            node()
        node()
        assert current_run() is outer

    inner_node, node_after, outer_node = recorder.nodes
    assert (inner_node.run_id, inner_node.parent_span_id) == (inner.run_id, NO_SPAN)
    assert (node_after.run_id, node_after.parent_span_id) == (outer.run_id, outer_node.span_id)
    assert [node.calls for node in inner.profile().nodes] == [1]


def test_a_decorated_function_is_a_run_each_time(recorder: MemoryRecorder) -> None:
    @observe_run("jobs", "nightly", recorder=recorder)
    def job(value: int) -> tuple[int, Run | None]:
        return value, current_run()

    @observe_run("jobs", "async", recorder=recorder)
    async def async_job() -> Run | None:
        await asyncio.sleep(0)
        return current_run()

    (first, first_run), (second, second_run) = job(1), job(2)

    async def main() -> list[Run | None]:
        return await asyncio.gather(async_job(), async_job())

    runs = [first_run, second_run, *asyncio.run(main())]
    assert (first, second) == (1, 2)
    assert len({run.run_id for run in runs if run is not None}) == 4
    assert len(recorder.runs_finished) == 4


def test_decorating_what_cannot_be_one_run_per_call_is_refused() -> None:
    def generator() -> Iterator[int]:
        yield 1

    with pytest.raises(InvalidValueError, match="leave run_id out"):
        observe_run(run_id="one")(len)
    with pytest.raises(InvalidValueError, match="iterates a generator"):
        observe_run()(generator)
    with pytest.raises(InvalidValueError, match="decorates functions"):
        observe_run()(5)  # type: ignore[type-var]


def test_one_context_object_opens_a_run_at_each_entry(recorder: MemoryRecorder) -> None:
    context = observe_run(recorder=recorder)
    with context as outer, context as inner:
        assert outer.run_id != inner.run_id
        assert current_run() is inner

    assert [event.run_id for event in recorder.runs_finished] == [inner.run_id, outer.run_id]


def test_a_run_may_end_in_another_context_than_it_began(recorder: MemoryRecorder) -> None:
    context = observe_run(recorder=recorder)
    contextvars.copy_context().run(context.__enter__)
    context.__exit__(None, None, None)

    assert len(recorder.runs_finished) == 1
    assert innermost.get() is None


def test_finishing_twice_records_one_end(run: Run, recorder: MemoryRecorder) -> None:
    run.finish(None)
    run.finish(ValueError())

    assert [event.status for event in recorder.runs_finished] == [Status.OK]


# --- what is refused at entry -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"experiment": ""},
        {"experiment": None},
        {"experiment": 5},
        {"experiment": "a\nb"},
        {"experiment": "x" * 257},
        {"workflow": b"bytes"},
        {"workflow": "\x1b[0m"},
        {"run_id": ""},
        {"run_id": 7},
        {"mlflow_run_id": None},
        {"tags": [("a", "b")]},
        {"tags": {"a": 1}},
        {"tags": {1: "a"}},
        {"tags": {"": "a"}},
        {"tags": {"a": "x" * 257}},
        {"tags": {"a": "\x00"}},
        {"tags": {str(number): "" for number in range(33)}},
        {"graph": {"nodes": ["a"]}},
        {"graph": Graph(("",), ())},
        {"graph": Graph(("a",), (("a", "b\n"),))},
        {"graph": Graph(tuple(map(str, range(10_001))), ())},
        {"home": 5},
        {"recorder": 5},
        {"recorder": MemoryRecorder},
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError) as caught:
        observe_run(**arguments)

    assert "\n" not in str(caught.value)


def test_tags_at_the_limits_are_taken(recorder: MemoryRecorder) -> None:
    tags = {f"key {number}": "x" * 256 for number in range(32)}

    with observe_run("é" * 256, tags=tags, recorder=recorder):
        pass

    assert dict(recorder.runs_started[0].tags) == tags


# --- recording that fails ---------------------------------------------------------------------------


def test_a_state_folder_that_cannot_be_used_costs_one_warning_and_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    with observe_run(home=blocked / "home") as run:
        profile_node("a")(lambda: None)()
        figures = run.track_call("openai", "gpt-4o", OPENAI_RESPONSE)

    (message,) = caplog.messages
    assert str(blocked) in message
    assert figures["total_tokens"] == 1_100
    assert [node.node_id for node in run.profile().nodes] == ["a"]


def test_a_recorder_that_raises_costs_one_warning_and_no_run(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def record(self, event: Event) -> None:
            raise OSError("no space")

        def attach(self, scope: RunScope) -> None:
            raise OSError("no thread")

    with caplog.at_level(logging.WARNING), observe_run(recorder=Broken()) as run:
        profile_node("a")(lambda: None)()
        run.track_call("openai", "gpt-4o", OPENAI_RESPONSE)
        run.record_node("b", started_unix_ns=1, duration_ns=1)

    assert len(caplog.messages) == 1
    assert {node.node_id for node in run.profile().nodes} == {"a", "b"}


def test_by_default_a_run_is_recorded_into_the_spool_of_its_home(tmp_path: Path) -> None:
    home = Home.from_environment(tmp_path / "home")
    try:
        with observe_run(home=home.folder):
            profile_node("a")(lambda: None)()
        with observe_run(home=home):
            pass

        assert process_recorder(home).recorded_events == 5
    finally:
        close_process_recorders()


def test_a_recorder_that_announces_long_nodes_is_told_of_the_run() -> None:
    class Announcing(MemoryRecorder):
        def __init__(self) -> None:
            super().__init__()
            self.scopes: list[RunScope] = []

        def attach(self, scope: RunScope) -> None:
            self.scopes.append(scope)

        def detach(self, scope: RunScope) -> None:
            self.scopes.remove(scope)

    recorder = Announcing()
    with observe_run(recorder=recorder) as run, profile_node("long"):
        (scope,) = recorder.scopes
        (node,) = scope.unannounced_nodes(older_than_ns=0)
        assert isinstance(node, NodeStarted)
        assert (node.run_id, node.node_id) == (run.run_id, "long")
    assert recorder.scopes == []
    assert recorder.nodes[0].span_id == node.span_id


def test_a_forked_child_that_leaves_the_block_records_nothing_of_the_run(tmp_path: Path) -> None:
    said = tmp_path / "said"
    recorder = MemoryRecorder()
    pid = os.getpid()
    child = 0
    try:
        with observe_run(recorder=recorder), profile_node("parent's"):
            child = os.fork()
            profile_node("own")(lambda: None)()
    finally:
        if os.getpid() != pid:
            said.write_text(" ".join(type(event).__name__ for event in recorder.events))
            os._exit(0)
    os.waitpid(child, 0)

    assert said.read_text() == "RunStarted NodeFinished"
    assert [type(event).__name__ for event in recorder.events] == [
        "RunStarted",
        "NodeFinished",
        "NodeFinished",
        "RunFinished",
    ]


def test_a_forked_child_tracks_calls_whatever_its_parent_was_in_the_middle_of(tmp_path: Path) -> None:
    """The locks of a run may be held by threads that are not in the child."""
    said = tmp_path / "said"
    child = 0
    with observe_run(recorder=MemoryRecorder()) as run:
        run.track_call("openai", "gpt-4o", OPENAI_RESPONSE)
        with run._tracker_lock, run.tracker._lock, run.tracker.estimator._lock:
            child = in_child(lambda: forked_calls(run, said))
        os.waitpid(child, 0)
    assert said.read_text() == "2 calls"


def forked_calls(run: Run, said: Path) -> None:
    """In a thread of its own, which none of the locks belongs to."""
    thread = threading.Thread(
        target=run.track_call, args=("openai", "gpt-4o-mini", {**OPENAI_RESPONSE, "id": "2"}), daemon=True
    )
    thread.start()
    thread.join(30)
    if not thread.is_alive():
        said.write_text(f"{run.cost_summary().totals.calls} calls")


def test_a_stream_that_was_open_at_a_fork_is_recorded_by_the_parent_only(tmp_path: Path) -> None:
    said = tmp_path / "said"
    recorder = MemoryRecorder()
    with observe_run(recorder=recorder) as run:
        stream = run.track_stream(iter([OPENAI_RESPONSE]), provider="openai", model="gpt-4o")

        def read_on() -> None:
            list(stream)
            run.finish(None)
            said.write_text(f"{len(recorder.calls)} calls")

        os.waitpid(in_child(read_on), 0)
        list(stream)
    assert said.read_text() == "0 calls"
    assert len(recorder.calls) == 1


def in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


# --- LLM calls --------------------------------------------------------------------------------------


def test_a_tracked_call_is_priced_and_recorded_in_the_node_that_runs(
    run: Run, recorder: MemoryRecorder
) -> None:
    @profile_node("classify")
    def classify() -> dict[str, Any]:
        return run.track_call(provider="openai", model="gpt-4o", response=OPENAI_RESPONSE)

    figures = classify()

    (call,), (node,) = recorder.calls, recorder.nodes
    assert figures["input_tokens"] == 1_000
    assert figures["output_tokens"] == 100
    assert figures["total_tokens"] == 1_100
    assert figures["cost_usd"] == pytest.approx(1_000 * 2.5e-6 + 100 * 10e-6)
    assert (figures["provider"], figures["model"]) == ("openai", "gpt-4o")
    assert figures["call_id"] == call.call_id
    assert (call.run_id, call.span_id, call.node_id) == (run.run_id, node.span_id, "classify")
    assert (call.provider, call.model, call.response_id) == ("openai", "gpt-4o", "chatcmpl-1")
    assert call.usage == Usage(input_tokens=1_000, output_tokens=100)
    assert (call.status, call.attempt, call.anomalies) == (Status.OK, 1, ())
    assert call.started_unix_ns <= recorder.nodes[0].started_unix_ns + node.duration_ns


def test_a_tracked_call_takes_what_its_caller_knows(run: Run, recorder: MemoryRecorder) -> None:
    run.track_call(
        "openai",
        "gpt-4o",
        OPENAI_RESPONSE,
        started_unix_ns=1_750_000_000_000_000_000,
        duration_ns=5_000,
        time_to_first_token_ns=1_000,
        service_tier="flex",
        batch=True,
        status=Status.ERROR,
        error_type="TimeoutError",
        attempt=3,
        span_id="00000000000000ff",
        node_id="elsewhere",
        call_id="call-1",
    )

    (call,) = recorder.calls
    assert call._replace(usage=None, response_id="") == call._replace(
        call_id="call-1",
        span_id=255,
        node_id="elsewhere",
        usage=None,
        started_unix_ns=1_750_000_000_000_000_000,
        duration_ns=5_000,
        status=Status.ERROR,
        service_tier="flex",
        batch=True,
        time_to_first_token_ns=1_000,
        response_id="",
        error_type="TimeoutError",
        attempt=3,
        anomalies=(),
    )
    assert run.cost_summary().totals.failed_calls == 1


def test_a_call_of_known_duration_ended_now(run: Run, recorder: MemoryRecorder) -> None:
    before = run.scope.unix_ns()
    run.track_call("openai", "gpt-4o", OPENAI_RESPONSE, duration_ns=60_000_000_000)
    after = run.scope.unix_ns()

    (call,) = recorder.calls
    assert before <= call.started_unix_ns + call.duration_ns <= after


def test_a_call_outside_of_nodes_belongs_to_the_run(run: Run, recorder: MemoryRecorder) -> None:
    run.track_call("openai", "gpt-4o", OPENAI_RESPONSE)

    assert (recorder.calls[0].span_id, recorder.calls[0].node_id) == (NO_SPAN, "")


def test_a_call_tracked_from_another_run_does_not_take_that_ones_node(
    run: Run, recorder: MemoryRecorder
) -> None:
    with observe_run(recorder=MemoryRecorder()), profile_node("foreign"):
        run.track_call("openai", "gpt-4o", OPENAI_RESPONSE)

    (call,) = recorder.calls
    assert (call.run_id, call.span_id, call.node_id) == (run.run_id, NO_SPAN, "")


def test_a_call_given_the_span_of_an_open_node_takes_its_name(run: Run, recorder: MemoryRecorder) -> None:
    with profile_node("outer"):
        outer = innermost.get()
        assert outer is not None
        with profile_node("inner"):
            run.track_call("openai", "gpt-4o", OPENAI_RESPONSE, span_id=outer.span_id)

    assert (recorder.calls[0].span_id, recorder.calls[0].node_id) == (outer.span_id, "outer")


class Hostile:
    """A response whose every attribute raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "response",
    [
        None,
        5,
        "text",
        [],
        {},
        {"usage": "many"},
        {"usage": {"prompt_tokens": -1}},
        object(),
        Hostile,
    ],
)
def test_a_response_without_readable_usage_is_counted_and_never_raises(
    run: Run, recorder: MemoryRecorder, response: Any
) -> None:
    figures = run.track_call("openai", "gpt-4o", Hostile() if response is Hostile else response)

    assert figures["cost_usd"] is None
    assert figures["price_status"] == "no_usage"
    assert recorder.calls[0].usage is None
    totals = run.cost_summary().totals
    assert (totals.calls, totals.no_usage_calls) == (1, 1)


def test_an_estimator_that_fails_costs_one_warning_and_no_call(
    recorder: MemoryRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    with observe_run(recorder=recorder, estimator="none") as run:  # type: ignore[arg-type]
        for _ in range(3):
            figures = run.track_call("openai", "gpt-4o", OPENAI_RESPONSE)

    assert len(caplog.messages) == 1
    assert figures["anomalies"] == ["unreadable_call"]
    assert figures["price_status"] == "no_usage"
    assert [call.usage for call in recorder.calls] == [None] * 3


@pytest.mark.parametrize(
    ("name", "status"), [("ok", Status.OK), ("error", Status.ERROR), ("cancelled", Status.CANCELLED)]
)
def test_an_ending_may_be_given_by_its_name(
    run: Run, recorder: MemoryRecorder, name: Any, status: Status
) -> None:
    figures = run.track_call("openai", "gpt-4o", status=name, error_type="RateLimitError")
    run.record_node("node", started_unix_ns=1, duration_ns=1, status=name)
    assert (recorder.calls[0].status, recorder.nodes[0].status) == (status, status)
    assert "status_unusable" not in figures["anomalies"]


def test_no_other_name_is_an_ending(run: Run) -> None:
    for name in ("running", "interrupted", "OK", ""):
        with pytest.raises(InvalidValueError, match='status must be "ok", "error" or "cancelled"'):
            run.record_node("node", started_unix_ns=1, duration_ns=1, status=name)  # type: ignore[arg-type]


def test_arguments_that_cannot_be_used_are_left_out_and_named(run: Run, recorder: MemoryRecorder) -> None:
    with profile_node("node"):
        figures = run.track_call(
            "openai",
            "gpt-4o",
            OPENAI_RESPONSE,
            started_unix_ns=-5,
            duration_ns=float("nan"),  # type: ignore[arg-type]
            time_to_first_token_ns="soon",  # type: ignore[arg-type]
            service_tier=5,  # type: ignore[arg-type]
            batch="yes",  # type: ignore[arg-type]
            status="bad",  # type: ignore[arg-type]
            error_type="Bad\nName",
            attempt=True,
            span_id="zz",
            node_id="x" * 300,
            call_id=b"id",  # type: ignore[arg-type]
        )

    (call,), (node,) = recorder.calls, recorder.nodes
    assert call.span_id == node.span_id
    assert call.node_id == "x" * 256
    assert (call.duration_ns, call.time_to_first_token_ns, call.service_tier) == (0, 0, "")
    assert (call.batch, call.status, call.error_type, call.attempt) == (False, Status.ERROR, "Bad?Name", 1)
    assert call.started_unix_ns > 0
    assert call.call_id
    assert set(figures["anomalies"]) == {
        f"{name}_unusable"
        for name in (
            *("started_unix_ns", "duration_ns", "time_to_first_token_ns", "service_tier", "batch", "status"),
            *("error_type", "attempt", "span_id", "node_id", "call_id"),
        )
    }
    assert len(call.anomalies) <= ANOMALIES_MAX


def test_a_run_without_calls_does_not_load_the_pricing() -> None:
    program = (
        "import sys\n"
        "from configurable_agents import observe_run\n"
        "from configurable_agents.testing import MemoryRecorder\n"
        "with observe_run(recorder=MemoryRecorder()) as run: pass\n"
        "print([name for name in ('configurable_agents.observability.multi_provider_tracker',"
        " 'genai_prices', 'grpc', 'mlflow', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_cost_summary_names_its_run_and_adds_its_calls(run: Run) -> None:
    assert run.cost_summary().totals.calls == 0
    run.track_call("openai", "gpt-4o", OPENAI_RESPONSE)
    run.track_call("ollama", "llama3", {"prompt_eval_count": 5, "eval_count": 7})

    summary = run.cost_summary()

    assert (summary.experiment, summary.run_id, summary.run_count) == ("support-bot", run.run_id, 1)
    assert summary.totals.calls == 2
    assert list(summary.by_provider()) == ["openai", "ollama"]
    assert run.tracker.summary().totals == summary.totals


def test_many_threads_track_calls_of_one_run_exactly(run: Run, recorder: MemoryRecorder) -> None:
    def work(thread: int) -> None:
        for number in range(50):
            run.track_call("openai", "gpt-4o", {**OPENAI_RESPONSE, "id": f"chatcmpl-{thread}-{number}"})

    threads = [threading.Thread(target=run.bind(work), args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    totals = run.cost_summary().totals
    assert (totals.calls, totals.total_tokens) == (400, 400 * 1_100)
    assert len({call.call_id for call in recorder.calls}) == 400


def test_a_response_tracked_twice_is_one_call(run: Run, recorder: MemoryRecorder) -> None:
    first = run.track_call("openai", "gpt-4o", {**OPENAI_RESPONSE, "usage": None})
    second = run.track_call("openai", "gpt-4o", OPENAI_RESPONSE)
    run.track_call("openai", "gpt-4o", OPENAI_RESPONSE)
    totals = run.cost_summary().totals
    assert (first["price_status"], second["price_status"]) == ("no_usage", "priced")
    assert (totals.calls, totals.no_usage_calls, totals.merged_calls) == (1, 0, 2)
    assert totals.cost_nanos == second["cost_nanos"]
    assert len(recorder.calls) == 3, "every report is recorded; the daemon decides for itself"


# --- nodes measured elsewhere -----------------------------------------------------------------------


def test_executions_measured_elsewhere_are_recorded_with_their_nesting(
    run: Run, recorder: MemoryRecorder
) -> None:
    child = run.record_node(
        "tool", started_unix_ns=1_000_100, duration_ns=50, parent_span_id="00000000000000aa", attempt=2
    )
    parent = run.record_node(
        "agent",
        started_unix_ns=1_000_000,
        duration_ns=200,
        span_id="00000000000000AA",
        status=Status.ERROR,
        error_type="ToolError",
    )

    first, second = recorder.nodes
    assert (first.span_id, first.parent_span_id, first.attempt) == (child, 0xAA, 2)
    assert (second.span_id, second.parent_span_id, second.error_type) == (parent, NO_SPAN, "ToolError")
    assert parent == 0xAA
    assert {node.node_id: node.self_ns for node in run.profile().nodes} == {"agent": 150, "tool": 50}
    assert run.analyzer.report().nodes[0].errors == 1


@pytest.mark.parametrize("lasted_s", [10, 5])
def test_of_a_child_that_began_before_its_parent_only_what_lies_within_it_is_left_out(
    run: Run, lasted_s: int
) -> None:
    with profile_node("outer"):
        current = innermost.get()
        assert current is not None
        began_unix_ns = current.scope.unix_offset_ns + current.started_ns - 10 * 10**9
        run.record_node(
            "child",
            started_unix_ns=began_unix_ns,
            duration_ns=lasted_s * 10**9 + 1_000,
            parent_span_id=current.span_id,
        )
    outer = next(node for node in run.profile().nodes if node.node_id == "outer")
    assert outer.self_ns == outer.total_ns - (1_000 if lasted_s == 10 else 0)


def test_a_child_measured_elsewhere_leaves_the_self_time_of_the_node_that_runs(
    recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000]
    monkeypatch.setattr(active_node, "perf_counter_ns", lambda: now[0])
    with observe_run(recorder=recorder) as run, profile_node("outer"):
        outer = innermost.get()
        assert outer is not None
        for _ in range(200):
            began = run.scope.unix_ns()
            now[0] += 10
            run.record_node("tool", started_unix_ns=began, duration_ns=10, parent_span_id=outer.span_id)
            now[0] += 1

    assert {node.node_id: node.self_ns for node in run.profile().nodes} == {"outer": 200, "tool": 2_000}


@pytest.mark.parametrize(
    "wrong",
    [
        {"node_id": ""},
        {"node_id": 5},
        {"started_unix_ns": 0},
        {"started_unix_ns": 1.5},
        {"started_unix_ns": 2**63},
        {"duration_ns": -1},
        {"duration_ns": "5"},
        {"duration_ns": 10**16 + 1},
        {"span_id": 0},
        {"span_id": 2**64},
        {"span_id": "xyz"},
        {"span_id": "0x000000000000ff"},
        {"parent_span_id": -1},
        {"span_id": 5, "parent_span_id": 5},
        {"status": Status.RUNNING},
        {"status": "done"},
        {"status": True},
        {"error_type": None},
        {"attempt": 0},
    ],
)
def test_an_execution_that_cannot_be_is_refused(
    run: Run, recorder: MemoryRecorder, wrong: dict[str, Any]
) -> None:
    good = {"node_id": "a", "started_unix_ns": 1, "duration_ns": 1}

    with pytest.raises(InvalidValueError):
        run.record_node(**{**good, **wrong})

    assert recorder.nodes == []
    assert run.profile().nodes == ()


# --- profile, context, concurrency ------------------------------------------------------------------


def test_the_profile_names_its_run_and_its_wall(recorder: MemoryRecorder) -> None:
    with observe_run("support-bot", "triage", recorder=recorder) as run:
        assert get_profiler() is run.analyzer
        profile_node("a")(lambda: None)()
        running = run.profile()
        assert running.status is Status.RUNNING
        assert running.wall_ns >= running.nodes[0].total_ns

    profile = run.profile()
    assert (profile.experiment, profile.workflow, profile.run_id) == ("support-bot", "triage", run.run_id)
    assert (profile.status, profile.run_count) == (Status.OK, 1)
    assert profile.wall_ns == recorder.runs_finished[0].duration_ns


def test_a_bound_function_runs_in_the_node_it_was_bound_in(run: Run, recorder: MemoryRecorder) -> None:
    work = profile_node("work")(current_run)

    with profile_node("parent"), ThreadPoolExecutor(2) as pool:
        assert pool.submit(work).result() is None, "a plain pool does not carry the run"
        assert pool.submit(run.bind(work)).result() is run

    child, parent = recorder.nodes
    assert child.parent_span_id == parent.span_id


def test_a_function_bound_outside_of_the_run_runs_in_the_run(recorder: MemoryRecorder) -> None:
    with observe_run(recorder=recorder) as run:
        pass
    work = run.bind(profile_node("late")(current_run))

    with observe_run(recorder=MemoryRecorder()):
        assert work() is run

    assert [node.node_id for node in recorder.nodes] == ["late"]


def test_runs_in_tasks_of_one_loop_never_mix() -> None:
    node = profile_node("node")(asyncio.sleep)

    async def workflow(number: int) -> tuple[Run, MemoryRecorder]:
        recorder = MemoryRecorder()
        async with observe_run(f"experiment {number}", recorder=recorder) as run:
            for turn in range(10):
                await asyncio.gather(node(0), node(0))
                run.track_call("ollama", "llama3", {"prompt_eval_count": turn, "eval_count": number})
        return run, recorder

    async def main() -> list[tuple[Run, MemoryRecorder]]:
        return await asyncio.gather(*(workflow(number) for number in range(6)))

    for number, (run, recorder) in enumerate(asyncio.run(main())):
        assert {event.run_id for event in recorder.events} == {run.run_id}
        assert run.profile().nodes[0].calls == len(recorder.nodes) == 20
        assert run.cost_summary().totals.usage.output_tokens == 10 * number


def test_runs_in_threads_never_mix() -> None:
    node = profile_node("node")(lambda: None)
    together = threading.Barrier(6)

    def workflow(number: int) -> tuple[Run, MemoryRecorder]:
        recorder = MemoryRecorder()
        with observe_run(recorder=recorder) as run:
            together.wait()
            for _ in range(100 + number):
                node()
        return run, recorder

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(workflow, range(6)))

    for number, (run, recorder) in enumerate(done):
        assert {event.run_id for event in recorder.events} == {run.run_id}
        assert run.profile().nodes[0].calls == len(recorder.nodes) == 100 + number


# --- the package and its double ---------------------------------------------------------------------


def test_the_package_offers_the_run_and_loads_it_only_when_asked() -> None:
    program = (
        "import sys, configurable_agents;"
        "print('configurable_agents.observe' in sys.modules, configurable_agents.__version__);"
        "configurable_agents.observe_run; print('configurable_agents.observe' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", configurable_agents.__version__, "True"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        configurable_agents.nothing  # noqa: B018


def test_the_recorder_for_tests_keeps_events_by_kind(run: Run, recorder: MemoryRecorder) -> None:
    run.record_node("a", started_unix_ns=1, duration_ns=1)
    run.track_call("ollama", "llama3", {})

    assert [len(kind) for kind in (recorder.runs_started, recorder.nodes, recorder.calls)] == [1, 1, 1]
    assert recorder.runs_finished == []
    recorder.clear()
    assert recorder.events == []
