"""One node: what it asks, what it makes of the answer, and what becomes of failures."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.core import retries
from configurable_agents.core.checks import Checked
from configurable_agents.core.models import ChatModels
from configurable_agents.core.node_executor import EXECUTION_TIME, NodeServices, execute_node
from configurable_agents.core.progress import Happening, Progress
from configurable_agents.errors import (
    ConfigurationError,
    MissingPackageError,
    NodeFailedError,
    NodeTimeoutError,
    OutputMismatchError,
    ProviderKeyError,
)
from configurable_agents.observe import observe_run
from configurable_agents.telemetry import Status
from configurable_agents.testing import MemoryRecorder

STATE = {"name": "Ada", "text": "", "facts": None, "count": 0}
FIELDS = {
    "name": {"type": "str", "required": True},
    "text": {"type": "str", "default": ""},
    "facts": {"type": "object", "schema": {"bio": "str", "tags": "list[str]"}},
    "count": {"type": "int", "default": 0},
}


class Bench:
    """Runs the first node of a workflow and keeps what was recorded and told."""

    def __init__(self) -> None:
        self.recorder = MemoryRecorder()
        self.told: list[Progress] = []

    def execute(self, checked: Checked, folder: Path | None = None, state: Any = None) -> dict[str, Any]:
        async def work() -> dict[str, Any]:
            async with ChatModels() as models, observe_run(recorder=self.recorder) as run:
                services = NodeServices(
                    checked.plan.workflow, models, run, folder=folder, notify=self.told.append
                )
                node = next(iter(checked.plan.nodes.values()))
                return await execute_node(node, state or STATE, services)

        return asyncio.run(work())

    @property
    def executions(self) -> list[tuple[str, int, str]]:
        return [(node.node_id, node.attempt, node.error_type) for node in self.recorder.nodes]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of our own choice are short; what a provider asks for is not touched."""
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.001)


def node(**changes: Any) -> dict[str, Any]:
    return {"id": "greet", "prompt": "Greet {state.name}", "outputs": ["text"], **changes}


def one_node(checked: Callable[..., Checked], execution: Any = None, **changes: Any) -> Checked:
    config = {"llm": {"provider": "openai", "model": "gpt-4o-mini"}, "execution": execution or {}}
    return checked(nodes=[node(**changes)], state={"fields": FIELDS}, config=config)


# --- asking ----------------------------------------------------------------------------------------


def test_the_answer_is_the_output_and_carries_its_time(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer("Hello, Ada."))
    outputs = bench.execute(one_node(checked))
    assert outputs["text"] == "Hello, Ada."
    assert outputs[EXECUTION_TIME] == pytest.approx(bench.recorder.nodes[0].duration_ns / 1e6, rel=0.5, abs=5)
    assert provider.requests[0]["messages"] == [{"content": "Greet Ada", "role": "user"}]


def test_the_call_is_recorded_in_its_node_with_the_tokens_it_states(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer(tokens=(120, 30)))
    bench.execute(one_node(checked))
    (call,) = bench.recorder.calls
    (execution,) = bench.recorder.nodes
    assert (call.provider, call.model, call.node_id, call.span_id) == (
        *("openai", "gpt-4o-mini", "greet"),
        execution.span_id,
    )
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens) == (120, 30)
    assert (call.status, call.response_id) == (Status.OK, "chatcmpl-1")
    assert 0 < call.duration_ns <= execution.duration_ns


def test_inputs_are_resolved_before_the_prompt(bench: Bench, checked: Any, provider: Any) -> None:
    bench.execute(one_node(checked, prompt="Say {greeting}", inputs={"greeting": "hello to {state.name}"}))
    assert provider.requests[0]["messages"][0]["content"] == "Say hello to Ada"


@pytest.mark.parametrize(
    "llm",
    [
        {"model": "openai/gpt-4o-mini"},
        {"model": "openai:gpt-4o-mini"},
        {"provider": "openai", "model": "gpt-4o-mini"},
        {"model": "gpt-4o-mini"},
    ],
)
def test_models_may_be_written_in_several_ways(bench: Bench, checked: Any, provider: Any, llm: Any) -> None:
    bench.execute(checked(config={"llm": llm}))
    assert provider.requests[0]["model"] == "gpt-4o-mini"
    assert (bench.recorder.calls[0].provider, bench.recorder.calls[0].model) == ("openai", "gpt-4o-mini")


def test_a_node_overrides_the_common_settings_one_by_one(bench: Bench, checked: Any, provider: Any) -> None:
    bench.execute(
        checked(
            nodes=[node(llm={"temperature": 0.1, "model": "gpt-4o"})],
            config={
                "llm": {"provider": "openai", "model": "gpt-4o-mini", "temperature": 0.9, "max_tokens": 77}
            },
        )
    )
    asked = provider.requests[0]
    assert (asked["model"], asked["temperature"]) == ("gpt-4o", 0.1)
    assert asked.get("max_completion_tokens", asked.get("max_tokens")) == 77


# --- answers with a schema -------------------------------------------------------------------------

FACTS = {
    "type": "object",
    "fields": [
        {"name": "facts", "type": "object", "schema": {"bio": "str", "tags": "list[str]"}},
        {"name": "count", "type": "int", "description": "how many"},
    ],
}


def test_an_answer_of_a_schema_becomes_data(bench: Bench, checked: Any, provider: Any, answer: Any) -> None:
    provider.answers(answer('{"facts": {"bio": "b", "tags": ["x"]}, "count": 3}'))
    outputs = bench.execute(one_node(checked, outputs=["facts", "count"], output_schema=FACTS))
    assert outputs["facts"] == {"bio": "b", "tags": ["x"]}
    assert outputs["count"] == 3
    form = provider.requests[0]["response_format"]["json_schema"]
    assert form["strict"] is True
    assert form["schema"]["properties"]["count"] == {"type": "integer", "description": "how many"}


def test_a_schema_of_one_simple_type_gives_one_value(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer('{"value": 41}'))
    assert bench.execute(one_node(checked, outputs=["count"], output_schema={"type": "int"}))["count"] == 41


def test_a_schema_of_one_object_fills_one_field(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer('{"bio": "b", "tags": []}'))
    schema = {"type": "object", "schema": {"bio": "str", "tags": "list[str]"}}
    outputs = bench.execute(one_node(checked, outputs=["facts"], output_schema=schema))
    assert outputs["facts"] == {"bio": "b", "tags": []}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("certainly!", "breaks the schema: certainly!"),
        ('{"facts": {"bio": "b", "tags": []}}', "'count' is missing, it has facts"),
        ('{"facts": {"bio": "b", "tags": []}, "count": "many"}', "the output 'count' is no int"),
        ('{"facts": {"bio": "b"}, "count": 1}', "the output 'facts' is no object: tags: field required"),
    ],
)
def test_a_model_that_breaks_the_schema_is_asked_again_and_every_answer_is_paid_for(
    bench: Bench, checked: Any, provider: Any, answer: Any, content: str, said: str
) -> None:
    provider.answers(answer(content))
    with pytest.raises(NodeFailedError, match="node 'greet' failed") as failed:
        bench.execute(one_node(checked, {"max_retries": 2}, outputs=["facts", "count"], output_schema=FACTS))
    assert said in str(failed.value)
    assert isinstance(failed.value.__cause__, OutputMismatchError)
    assert [call.usage.total_tokens for call in bench.recorder.calls if call.usage] == [15, 15, 15]
    assert [entry for entry in bench.executions if entry[0] == "greet"] == [
        ("greet", attempt, "OutputMismatchError") for attempt in (1, 2, 3)
    ]


@pytest.mark.usefixtures("impatient")
def test_a_schema_kept_at_the_second_attempt_is_kept(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer("no"), answer('{"value": 41}'))
    assert bench.execute(one_node(checked, outputs=["count"], output_schema={"type": "int"}))["count"] == 41
    assert bench.executions == [("greet", 1, "OutputMismatchError"), ("greet/wait", 2, ""), ("greet", 2, "")]
    assert [call.attempt for call in bench.recorder.calls] == [1, 2]


# --- refusals --------------------------------------------------------------------------------------


def test_a_wrong_key_is_said_at_once_with_the_variable_to_check(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer("Incorrect API key provided.", status=401))
    with pytest.raises(NodeFailedError, match=r"openai refused the key \(401\); check OPENAI_API_KEY"):
        bench.execute(one_node(checked))
    assert len(provider.requests) == 1
    (call,) = bench.recorder.calls
    assert (call.status, call.error_type, call.usage) == (Status.ERROR, "OpenAIAuthenticationError", None)
    assert bench.recorder.nodes[0].status is Status.ERROR


@pytest.mark.parametrize("header", [("retry-after-ms", "40"), ("retry-after", "0.04")])
def test_a_rate_limit_is_waited_for_as_long_as_the_provider_asks(
    bench: Bench, checked: Any, provider: Any, answer: Any, header: tuple[str, str]
) -> None:
    provider.answers(answer("slow down", status=429, headers=dict([header])), answer("there"))
    assert bench.execute(one_node(checked))["text"] == "there"
    assert bench.executions[1:] == [("greet/wait", 2, ""), ("greet", 2, "")]
    assert bench.recorder.nodes[1].duration_ns >= 39_000_000
    assert [call.status for call in bench.recorder.calls] == [Status.ERROR, Status.OK]
    waits = [told.wait_s for told in bench.told if told.happening is Happening.RETRYING]
    assert waits == [0.04]


def test_a_wait_longer_than_anyone_waits_is_not_waited_for(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer("tomorrow", status=429, headers={"retry-after": "86400"}))
    with pytest.raises(NodeFailedError, match=r"openai limits the rate \(429\)"):
        bench.execute(one_node(checked))
    assert len(provider.requests) == 1


@pytest.mark.usefixtures("impatient")
def test_a_provider_that_fails_is_asked_as_often_as_allowed(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer("oops", status=500))
    with pytest.raises(NodeFailedError, match=r"openai failed \(500\); try again later: .*\(attempt 3\)"):
        bench.execute(one_node(checked, {"max_retries": 2}))
    assert len(provider.requests) == 3
    assert [told.happening.value for told in bench.told] == [
        *("started", "retrying", "started", "retrying", "started", "failed")
    ]


@pytest.mark.parametrize(
    ("status", "said"), [(404, "openai has no model 'gpt-4o-mini'"), (400, "refused the request")]
)
def test_what_another_attempt_would_not_change_is_not_tried_again(
    bench: Bench, checked: Any, provider: Any, answer: Any, status: int, said: str
) -> None:
    provider.answers(answer("no", status=status))
    with pytest.raises(NodeFailedError, match=said):
        bench.execute(one_node(checked))
    assert len(provider.requests) == 1


@pytest.mark.usefixtures("impatient")
def test_a_provider_that_is_not_there_is_said_to_be(
    bench: Bench, checked: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(NodeFailedError, match="openai cannot be reached; check the network and the base URL"):
        bench.execute(one_node(checked, {"max_retries": 1}))
    assert len(bench.recorder.calls) == 2


@pytest.mark.usefixtures("impatient")
def test_an_attempt_that_takes_too_long_is_cut_off_and_recorded_as_such(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer(hangs=True), answer("late"))
    assert bench.execute(one_node(checked, {"timeout": 3.0}))["text"] == "late"
    assert bench.executions[0] == ("greet", 1, "NodeTimeoutError")
    cut_off, answered = bench.recorder.calls
    assert (cut_off.status, cut_off.usage, answered.status) == (Status.CANCELLED, None, Status.OK)
    assert cut_off.duration_ns > 0


def test_a_cancelled_node_and_its_call_are_recorded_as_cancelled(
    bench: Bench, checked: Any, provider: Any, answer: Any
) -> None:
    provider.answers(answer(hangs=True))

    async def work() -> None:
        async with ChatModels() as models, observe_run(recorder=bench.recorder) as run:
            plan = one_node(checked).plan
            services = NodeServices(plan.workflow, models, run, notify=bench.told.append)
            task = asyncio.create_task(execute_node(plan.nodes["greet"], STATE, services))
            await asyncio.to_thread(provider.asked.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())
    assert bench.recorder.nodes[0].status is Status.CANCELLED
    assert bench.recorder.calls[0].status is Status.CANCELLED
    assert bench.told[-1].happening is Happening.CANCELLED


# --- what is missing -------------------------------------------------------------------------------


def test_a_missing_key_names_its_variable(
    bench: Bench, checked: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(NodeFailedError, match="no key for openai: set OPENAI_API_KEY") as failed:
        bench.execute(one_node(checked))
    assert isinstance(failed.value.__cause__, ProviderKeyError)


def test_a_missing_package_comes_with_the_command_that_installs_it(bench: Bench, checked: Any) -> None:
    with pytest.raises(NodeFailedError, match="groq needs a package: pip install langchain-groq") as failed:
        bench.execute(checked(config={"llm": {"model": "groq/llama-3.3-70b"}}))
    assert isinstance(failed.value.__cause__, MissingPackageError)


def test_a_model_that_nobody_is_known_to_serve_asks_for_its_provider(bench: Bench, checked: Any) -> None:
    with pytest.raises(NodeFailedError, match="who serves 'our-own-9b'"):
        bench.execute(checked(config={"llm": {"model": "our-own-9b"}}))
    with pytest.raises(NodeFailedError, match=r"has no model; set config\.llm"):
        bench.execute(checked(config={}))


# --- functions and tools ---------------------------------------------------------------------------

MODULE = '''
import asyncio, threading
threads = []

def double(state):
    threads.append(threading.current_thread())
    return {"count": state["count"] * 2}

async def shout(state):
    await asyncio.sleep(0)
    return state["name"].upper()

def wrong(state):
    return {"text": 1, "count": "many"}

def broken(state):
    raise KeyError("lost")

def look_up(topic: str, depth: int = 1) -> str:
    """Looks a topic up."""
    if topic == "nothing":
        raise LookupError("no such topic")
    return f"{topic} at {depth}"

async def linger(topic: str) -> str:
    """Never ends."""
    await asyncio.Event().wait()

async def give_up(topic: str) -> str:
    """Ends badly."""
    raise LookupError("gave up")
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a module of functions of its own name, so that tests do not see each other's."""
    name = f"functions_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend("/nowhere")
    return tmp_path


def function(folder: Path, name: str) -> str:
    return f"functions_{folder.name}:{name}"


def test_a_plain_function_runs_in_a_thread_and_a_coroutine_on_the_loop(
    bench: Bench, checked: Any, folder: Path
) -> None:
    state = {**STATE, "count": 4}
    changes: Any = {"prompt": None, "python": function(folder, "double"), "outputs": ["count"]}
    assert bench.execute(one_node(checked, **changes), folder, state)["count"] == 8
    assert sys.modules[f"functions_{folder.name}"].threads[0] is not threading.main_thread()
    changes = {"prompt": None, "python": function(folder, "shout"), "outputs": ["text"]}
    assert bench.execute(one_node(checked, **changes), folder)["text"] == "ADA"
    assert bench.executions == [("greet", 1, ""), ("greet", 1, "")]


@pytest.mark.parametrize(
    ("name", "outputs", "said"),
    [
        ("wrong", ["count"], "the output 'count' is no int"),
        ("broken", ["count"], "raised KeyError: 'lost'"),
        ("shout", ["text", "count"], "returned str; return a dict with text, count"),
        ("absent", ["text"], "there is no function 'absent'"),
    ],
)
def test_a_function_that_fails_is_said_and_not_run_again(
    bench: Bench, checked: Any, folder: Path, name: str, outputs: list[str], said: str
) -> None:
    changes: Any = {"prompt": None, "python": function(folder, name), "outputs": outputs}
    with pytest.raises(NodeFailedError) as failed:
        bench.execute(one_node(checked, **changes), folder)
    assert said in str(failed.value)
    assert len(bench.recorder.nodes) == 1


def test_a_module_that_is_not_there_is_named(bench: Bench, checked: Any, folder: Path) -> None:
    with pytest.raises(NodeFailedError, match="cannot import 'no_such_module'") as failed:
        bench.execute(one_node(checked, prompt=None, python="no_such_module:f"), folder)
    assert isinstance(failed.value.__cause__, ConfigurationError)


def call_of(topic: str) -> dict[str, Any]:
    return {
        "id": "call_1",
        "type": "function",
        "function": {"name": "look_up", "arguments": f'{{"topic": "{topic}", "depth": 2}}'},
    }


def test_a_tool_the_model_asks_for_is_run_timed_and_its_result_given_back(
    bench: Bench, checked: Any, provider: Any, answer: Any, folder: Path
) -> None:
    provider.answers(answer("", tool_calls=[call_of("sea")]), answer("The sea."))
    outputs = bench.execute(one_node(checked, tools=[function(folder, "look_up")]), folder)
    assert outputs["text"] == "The sea."
    offered = provider.requests[0]["tools"][0]["function"]
    assert (offered["name"], offered["description"]) == ("look_up", "Looks a topic up.")
    assert provider.requests[1]["messages"][-1]["content"] == "sea at 2"
    tool, whole = bench.recorder.nodes
    assert (tool.node_id, tool.parent_span_id, whole.node_id) == ("greet/look_up", whole.span_id, "greet")
    assert len(bench.recorder.calls) == 2


def test_after_its_tools_the_model_is_asked_for_the_form(
    bench: Bench, checked: Any, provider: Any, answer: Any, folder: Path
) -> None:
    provider.answers(answer("", tool_calls=[call_of("sea")]), answer("Done."), answer('{"value": 5}'))
    tools = [function(folder, "look_up")]
    outputs = bench.execute(
        one_node(checked, tools=tools, outputs=["count"], output_schema={"type": "int"}), folder
    )
    assert outputs["count"] == 5
    assert len(bench.recorder.calls) == 3


def test_a_tool_that_fails_fails_the_node_unless_it_may_go_on(
    bench: Bench, checked: Any, provider: Any, answer: Any, folder: Path
) -> None:
    provider.answers(answer("", tool_calls=[call_of("nothing")]), answer("I see."))
    name = function(folder, "look_up")
    tolerant = one_node(checked, tools=[{"name": name, "on_error": "continue"}])
    assert bench.execute(tolerant, folder)["text"] == "I see."
    assert provider.requests[1]["messages"][-1]["content"] == "LookupError: no such topic"

    provider.answers(answer("", tool_calls=[call_of("nothing")]))
    with pytest.raises(NodeFailedError, match="LookupError: no such topic"):
        bench.execute(one_node(checked, tools=[name]), folder)
    assert bench.executions[-2:] == [("greet/look_up", 1, "LookupError"), ("greet", 1, "LookupError")]


def test_a_tool_that_fails_ends_the_others_with_their_node(
    bench: Bench, checked: Any, provider: Any, answer: Any, folder: Path
) -> None:
    both = [
        {
            "id": name,
            "type": "function",
            "function": {"name": name, "arguments": '{"topic": "sea"}'},
        }
        for name in ("linger", "give_up")
    ]
    provider.answers(answer("", tool_calls=both))
    tools = [function(folder, name) for name in ("linger", "give_up")]
    with pytest.raises(NodeFailedError, match="LookupError: gave up"):
        bench.execute(one_node(checked, tools=tools), folder)
    assert bench.executions == [
        ("greet/give_up", 1, "LookupError"),
        ("greet/linger", 1, "CancelledError"),
        ("greet", 1, "LookupError"),
    ]


def test_a_model_that_asks_for_tools_for_ever_is_stopped(
    bench: Bench, checked: Any, provider: Any, answer: Any, folder: Path
) -> None:
    provider.answers(answer("", tool_calls=[call_of("sea")]))
    with pytest.raises(NodeFailedError, match="asked for tools 20 times in a row"):
        bench.execute(one_node(checked, tools=[function(folder, "look_up")]), folder)
    assert len(bench.recorder.calls) == 20


def test_timeouts_are_an_error_of_their_own() -> None:
    assert issubclass(NodeTimeoutError, TimeoutError)
