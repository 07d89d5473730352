"""Whole runs of workflows: what they return, what is recorded, and how they end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.errors import WorkflowFailedError, WorkflowInputError, WorkflowInvalidError
from configurable_agents.runtime.executor import (
    RunOptions,
    WorkflowResult,
    run_workflow,
    run_workflow_async,
    run_workflow_from_config,
    run_workflow_from_config_async,
)
from configurable_agents.telemetry import Graph, Status
from configurable_agents.testing import MemoryRecorder

FUNCTIONS = """
import asyncio, contextvars, threading, time

together = None

def meet(state):
    together.wait(20)
    time.sleep(0.2)

async def meet_async(state):
    await asyncio.sleep(0.2)

def double(state):
    return state["number"] * 2

def fail(state):
    raise ValueError("no such number")

async def wait_for_ever(state):
    await asyncio.sleep(3600)

def accept(state):
    return {"number": state["number"] + 1, "done": state["number"] + 1 >= 2}
"""

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def module(tmp_path: Path) -> str:
    """The name of a module of functions beside the workflow; one for each test."""
    name = f"module_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS, encoding="utf-8")
    return name


@pytest.fixture
def workflow(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    """Makes workflows of python nodes: `workflow({"a": "double"}, edges)`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(nodes: dict[str, str], edges: list[Any], **config: Any) -> dict[str, Any]:
        outputs = {"double": ["number"], "accept": ["number", "done"]}
        fields = {"number": {"type": "int", "required": True}, "done": {"type": "bool", "default": False}}
        return {
            "schema_version": "1.0",
            "flow": {"name": "numbers", "version": "2.1"},
            "state": {"fields": fields},
            "nodes": [
                {"id": node, "python": f"{module}:{function}", "outputs": outputs.get(function, [])}
                for node, function in nodes.items()
            ],
            "edges": [{"from": source, "to": target} for source, target in edges],
            "config": config,
        }

    return make


def run(config: dict[str, Any], recorder: MemoryRecorder | None = None, **options: Any) -> WorkflowResult:
    chosen = RunOptions(recorder=recorder or MemoryRecorder(), **options)
    return run_workflow_from_config(config, {"number": 3}, chosen)


def test_a_run_returns_its_state_its_record_and_its_profile(workflow: Make) -> None:
    recorder = MemoryRecorder()
    result = run(workflow({"a": "double", "b": "double"}, [("START", "a"), ("a", "b")]), recorder)
    assert result.state == {"number": 12, "done": False}
    record = result.record
    assert (record.workflow, record.experiment, record.status) == ("numbers", "numbers", Status.OK)
    assert (record.node_executions, record.llm_calls, record.tags) == (2, 0, {"workflow_version": "2.1"})
    info = json.loads(record.bottleneck_info)
    assert set(info) == {"slowest_node", "bottlenecks", "total_time_ms"}
    assert info["slowest_node"]["node_id"] in {"a", "b"}
    assert info["total_time_ms"] == pytest.approx(sum(node.duration_ns for node in recorder.nodes) / 1e6)
    assert set(result.node_times_ms) == {"a", "b"}
    started, finished = recorder.runs_started[0], recorder.runs_finished[0]
    assert (record.run_id, record.started_unix_ns, record.finished_unix_ns) == (
        *(started.run_id, started.started_unix_ns),
        finished.finished_unix_ns,
    )


def test_the_declared_graph_is_reported_when_the_run_starts(workflow: Make) -> None:
    recorder = MemoryRecorder()
    run(workflow({"a": "double", "b": "double"}, [("START", "a"), ("a", "b"), ("b", "END")]), recorder)
    assert recorder.runs_started[0].graph == Graph(("a", "b"), (("a", "b"),))


def test_a_file_is_run_with_the_modules_beside_it(workflow: Make, tmp_path: Path) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text(json.dumps(workflow({"a": "double"}, [("START", "a")])), encoding="utf-8")
    assert run_workflow(path, {"number": 3}, RunOptions(recorder=MemoryRecorder())).state["number"] == 6


@pytest.mark.parametrize("function", ["meet", "meet_async"])
def test_three_nodes_of_200_ms_take_about_200_ms_and_are_all_timed(
    workflow: Make, module: str, tmp_path: Path, function: str
) -> None:
    """Threads meet at a barrier before they wait, which they can only do at the same time."""
    import importlib

    importlib.import_module(module).together = threading.Barrier(3)
    config = workflow(dict.fromkeys("abc", function), [("START", ["a", "b", "c"])])
    recorder = MemoryRecorder()
    result = run(config, recorder)
    nodes = {node.node_id: node for node in recorder.nodes}
    assert set(nodes) == {"a", "b", "c"}
    assert all(node.duration_ns >= 199_000_000 for node in nodes.values())
    latest_start = max(node.started_unix_ns for node in nodes.values())
    assert latest_start < min(node.started_unix_ns + node.duration_ns for node in nodes.values())
    assert result.profile.wall_ns < sum(node.duration_ns for node in nodes.values())


def test_two_runs_at_the_same_time_never_see_each_others_nodes(workflow: Make) -> None:
    first = workflow({"a": "meet_async", "b": "double"}, [("START", "a"), ("a", "b")])
    second = workflow({"x": "meet_async", "y": "double"}, [("START", "x"), ("x", "y")])
    recorder = MemoryRecorder()
    options = RunOptions(recorder=recorder)

    async def both() -> list[WorkflowResult]:
        return await asyncio.gather(
            run_workflow_from_config_async(first, {"number": 1}, options),
            run_workflow_from_config_async(second, {"number": 2}, options),
        )

    one, other = asyncio.run(both())
    assert {node.node_id for node in one.profile.nodes} == {"a", "b"}
    assert {node.node_id for node in other.profile.nodes} == {"x", "y"}
    by_run: dict[str, set[str]] = {}
    for node in recorder.nodes:
        by_run.setdefault(node.run_id, set()).add(node.node_id)
    assert by_run == {one.run_id: {"a", "b"}, other.run_id: {"x", "y"}}


def test_runs_in_several_threads_are_apart_too(workflow: Make) -> None:
    results: dict[str, WorkflowResult] = {}

    def work(name: str) -> None:
        results[name] = run(workflow({name: "meet_async"}, [("START", name)]))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: [node.node_id for node in result.profile.nodes] for name, result in results.items()} == {
        name: [name] for name in "abc"
    }


def test_a_run_may_be_started_inside_a_running_event_loop(workflow: Make) -> None:
    config = workflow({"a": "double"}, [("START", "a")])

    async def inside() -> WorkflowResult:
        return run(config)

    assert asyncio.run(inside()).state["number"] == 6


def test_a_failure_names_the_node_and_brings_what_is_known(workflow: Make) -> None:
    config = workflow({"a": "double", "b": "fail"}, [("START", "a"), ("a", "b")])
    recorder = MemoryRecorder()
    with pytest.raises(
        WorkflowFailedError, match=r"workflow numbers failed: node 'b' failed: .*no such number"
    ) as failed:
        run(config, recorder)
    assert failed.value.node_id == "b"
    result = failed.value.result
    assert isinstance(result, WorkflowResult)
    assert result.record.status is Status.ERROR
    assert [
        (node.node_id, node.errors) for node in sorted(result.profile.nodes, key=lambda node: node.node_id)
    ] == [
        ("a", 0),
        ("b", 1),
    ]
    assert recorder.runs_finished[0].error_type == "NodeFailedError"


def test_a_cancelled_run_is_recorded_as_cancelled(workflow: Make) -> None:
    recorder = MemoryRecorder()
    begun = asyncio.Event()

    async def work() -> None:
        options = RunOptions(recorder=recorder, on_progress=lambda _: begun.set())
        config = workflow({"a": "wait_for_ever"}, [("START", "a")])
        task = asyncio.create_task(run_workflow_from_config_async(config, {"number": 1}, options))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert recorder.runs_finished[0].status is Status.CANCELLED
    assert recorder.nodes[0].status is Status.CANCELLED


def test_a_run_beyond_its_timeout_says_which_setting_allows_more(workflow: Make) -> None:
    config = workflow({"a": "wait_for_ever"}, [("START", "a")], execution={"timeout": 0.05})
    with pytest.raises(WorkflowFailedError, match=r"took longer than 0.05 s; raise config.execution.timeout"):
        run(config)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "numbers needs the input 'number' (int); give it with --input number="),
        ({"number": "many"}, "the input 'number' is no int: input should be a valid integer"),
        ({"number": 1, "nmber": 2}, "'nmber' is no field of the state of numbers; did you mean 'number'?"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_the_run_begins(
    workflow: Make, inputs: dict[str, Any], said: str
) -> None:
    recorder = MemoryRecorder()
    with pytest.raises(WorkflowInputError) as refused:
        run_workflow_from_config(
            workflow({"a": "double"}, [("START", "a")]), inputs, RunOptions(recorder=recorder)
        )
    assert said in str(refused.value)
    assert recorder.events == []


def test_a_workflow_that_cannot_run_is_refused_without_being_recorded(workflow: Make) -> None:
    config = workflow({"a": "double"}, [("START", "b")])
    recorder = MemoryRecorder()
    with pytest.raises(WorkflowInvalidError, match="there is no node 'b'"):
        run(config, recorder)
    assert recorder.events == []


def test_a_gate_on_the_duration_fails_or_warns_at_the_end(workflow: Make) -> None:
    gate = {"gates": [{"metric": "duration_ms", "max": 0.001}], "on_fail": "fail"}
    config = workflow({"a": "double"}, [("START", "a")], gates=gate)
    with pytest.raises(
        WorkflowFailedError, match=r"duration_ms is .*, more than the gate's 0\.001"
    ) as failed:
        run(config)
    assert isinstance(failed.value.result, WorkflowResult)
    assert failed.value.result.record.status is Status.ERROR
    warned: list[str] = []
    config["config"]["gates"]["on_fail"] = "warn"
    result = run(config, on_warning=warned.append)
    assert result.record.status is Status.OK
    assert len(warned) == 1
    assert warned[0] in result.warnings


def test_profiling_can_be_switched_off_and_the_nodes_are_recorded_all_the_same(workflow: Make) -> None:
    config = workflow({"a": "double"}, [("START", "a")], observability={"profiling": False})
    recorder = MemoryRecorder()
    result = run(config, recorder)
    assert result.profile.nodes == ()
    assert result.record.bottleneck_info == ""
    assert [node.node_id for node in recorder.nodes] == ["a"]
    assert run(config, profiling=True).record.bottleneck_info


def test_the_experiment_is_the_callers_else_the_configs_else_the_flows(workflow: Make) -> None:
    mlflow = {"mlflow": {"enabled": True, "experiment_name": "from_config"}}
    config = workflow({"a": "double"}, [("START", "a")], observability=mlflow)
    assert run(config).record.experiment == "from_config"
    assert run(config, experiment="mine").record.experiment == "mine"


def test_a_loop_of_functions_ends_when_its_field_says_so(workflow: Make) -> None:
    config = workflow({"a": "accept"}, [("START", "a")])
    config["edges"].append({"from": "a", "loop": {"condition_field": "done", "max_iterations": 9}})
    options = RunOptions(recorder=MemoryRecorder())
    result = run_workflow_from_config(config, {"number": 0}, options)
    assert (result.state["number"], len(result.node_times_ms["a"])) == (2, 2)


def test_a_run_can_be_awaited_from_a_file(workflow: Make, tmp_path: Path) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text(json.dumps(workflow({"a": "double"}, [("START", "a")])), encoding="utf-8")
    work = run_workflow_async(path, {"number": "4"}, RunOptions(recorder=MemoryRecorder()))
    assert asyncio.run(work).state["number"] == 8


RUNNER_PACKAGES = ("langgraph", "langchain", "langchain_core", "pydantic", "yaml", "openai", "anthropic")
"""Typer itself loads pydantic to run a command, any command."""


@pytest.mark.parametrize(
    "statement",
    [
        "import configurable_agents.runtime.executor",
        "import configurable_agents.cli.app",
        "from configurable_agents.cli.app import app; app(['runs', '--help'])",
        "from configurable_agents.cli.app import app; app(['version'])",
        "import configurable_agents.core",
        "import configurable_agents.obsd.app",
    ],
)
def test_nothing_of_the_runner_is_loaded_before_a_workflow_is(statement: str) -> None:
    packages = [name for name in RUNNER_PACKAGES if name != "pydantic" or "app(" not in statement]
    code = f"{statement}; import sys; print('\\n', [name for name in {packages!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].strip()
    assert loaded == "[]", f"{statement} loaded {loaded}"
