"""What no run could do without is said by `validate`, and before a run begins."""

# ruff: noqa: E501 - a case for each line

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configurable_agents.core.readiness import lacking, read_ready_workflow
from configurable_agents.errors import ConfigurationError, WorkflowInvalidError
from configurable_agents.runtime.executor import (
    RunOptions,
    WorkflowExecution,
    run_to_end,
    run_workflow_from_config,
)
from configurable_agents.testing import MemoryRecorder

WORKFLOW = """\
schema_version: "1.0"
flow: {name: greeting}
state:
  fields:
    name: {type: str, required: true}
    text: {type: str, default: ""}
nodes:
  - id: greet
    prompt: Greet {name}
    outputs: [text]
    tools: ["greeting_tools:wave"]
    llm: {model: gpt-4o-mini}
edges: [{from: START, to: greet}, {from: greet, to: END}]
"""


def problems_of(folder: Path, text: str) -> list[str]:
    path = folder / "w.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WorkflowInvalidError) as refused:
        read_ready_workflow(path)
    return [problem.removeprefix(f"{path}:") for problem in refused.value.problems]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    (tmp_path / "greeting_tools.py").write_text("def wave() -> str:\n    return 'wave'\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{model: gpt-4o-mini}", "{provider: opnai, model: x}",
         "12: nodes[0].llm.provider: unknown provider 'opnai'; did you mean 'openai'?; there are openai, anthropic"),
        ("{model: gpt-4o-mini}", "{temperature: 0.5}", "8: nodes[0]: node 'greet' has no model; set config.llm"),
        ("{model: gpt-4o-mini}", "{model: nobody-knows}", "8: nodes[0]: node 'greet': who serves 'nobody-knows'?"),
        ("greeting_tools:wave", "no_such_module:wave", "11: nodes[0].tools[0]: cannot import 'no_such_module'"),
        ("greeting_tools:wave", "greeting_tools:nod", "11: nodes[0].tools[0]: there is no function 'nod' in"),
        ('"greeting_tools:wave"', "web_search", "11: nodes[0].tools[0]: node 'greet': the tool 'web_search' is none"),
    ],
)  # fmt: skip
def test_what_a_run_would_refuse_is_a_problem_with_its_line(
    tools: Path, provider: Any, old: str, new: str, said: str
) -> None:
    (problem,) = problems_of(tools, WORKFLOW.replace(old, new))
    assert problem.startswith(said)


def test_it_is_said_together_with_all_other_problems(tools: Path, provider: Any) -> None:
    text = WORKFLOW.replace("greeting_tools:wave", "no_such_module:wave").replace(
        "Greet {name}", "Greet {nam}"
    )
    assert [problem.partition(":")[0] for problem in problems_of(tools, text)] == ["9", "11"]


def test_a_key_that_is_missing_here_is_no_problem_of_the_file(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tools / "w.yaml"
    path.write_text(WORKFLOW, encoding="utf-8")
    assert lacking(read_ready_workflow(path)) == ("no key for openai: set OPENAI_API_KEY",)


def test_an_unknown_provider_is_a_wrong_configuration_in_python_too(data: Any) -> None:
    config = data(config={"llm": {"provider": "foo", "model": "x"}})
    with pytest.raises(ConfigurationError, match="unknown provider 'foo'; there are openai, anthropic"):
        run_workflow_from_config(config, {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))


def test_what_fails_before_the_run_begins_is_raised_as_it_is(
    checked: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no result yet that a `WorkflowFailedError` could hold."""
    execution = WorkflowExecution(checked(), {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigurationError, match="no key for openai"):
        run_to_end(execution.run())
    assert not execution.has_begun


@pytest.mark.parametrize(("written", "asked"), [("MistralAI", "mistralai"), ("bedrock", "bedrock")])
def test_langchain_is_asked_by_the_name_it_knows(data: Any, written: str, asked: str) -> None:
    """Reports call these `mistral` and `aws`."""
    from configurable_agents.core.models import langchain_name, model_name
    from configurable_agents.core.schema import Llm

    settings = Llm(provider=written, model="a-model")
    assert langchain_name(settings, model_name(settings, node_id="n")) == asked
