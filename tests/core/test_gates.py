"""What a run may cost: checked before each call, and at the end."""

from __future__ import annotations

from typing import Any

import pytest

from configurable_agents.core.checks import Checked, workflow_of
from configurable_agents.core.readiness import check_ready
from configurable_agents.errors import (
    ConfigurationError,
    MissingPackageError,
    WorkflowFailedError,
    WorkflowInvalidError,
)
from configurable_agents.runtime.executor import RunOptions, WorkflowResult, run_workflow_from_config
from configurable_agents.testing import MemoryRecorder

CALL_NANOS = 10_000 * 150 + 1_000 * 600
"""gpt-4o-mini: $0.15 and $0.60 for a million tokens; each scripted answer states 10,000 and 1,000 tokens."""


def two_calls(data: Any, *, maximum: float, on_fail: str) -> dict[str, Any]:
    nodes = [{"id": name, "prompt": "Greet {name}", "outputs": ["text"]} for name in ("first", "second")]
    gates = {"gates": [{"metric": "cost_usd", "max": maximum}], "on_fail": on_fail}
    edges = [{"from": "START", "to": "first"}, {"from": "first", "to": "second"}]
    llm = {"provider": "openai", "model": "gpt-4o-mini"}
    result: dict[str, Any] = data(nodes=nodes, edges=edges, config={"llm": llm, "gates": gates})
    return result


def test_a_call_is_not_made_once_the_gate_is_reached(data: Any, provider: Any, answer: Any) -> None:
    provider.answers(answer(tokens=(10_000, 1_000)))
    config = two_calls(data, maximum=CALL_NANOS / 1e9, on_fail="fail")
    with pytest.raises(
        WorkflowFailedError, match=r"node 'second' failed: \$0.002100 of cost_usd is spent"
    ) as failed:
        run_workflow_from_config(config, {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))
    assert len(provider.requests) == 1
    assert isinstance(failed.value.result, WorkflowResult)
    assert failed.value.result.record.total_cost_nanos == CALL_NANOS


def test_a_gate_that_warns_lets_the_run_go_on_and_says_so_once(data: Any, provider: Any, answer: Any) -> None:
    provider.answers(answer(tokens=(10_000, 1_000)))
    config = two_calls(data, maximum=CALL_NANOS / 1e9, on_fail="warn")
    result = run_workflow_from_config(config, {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))
    assert len(provider.requests) == 2
    assert len([warning for warning in result.warnings if "cost_usd" in warning]) == 1


def test_a_run_within_its_gates_says_nothing(data: Any, provider: Any, answer: Any) -> None:
    provider.answers(answer(tokens=(10_000, 1_000)))
    config = two_calls(data, maximum=3 * CALL_NANOS / 1e9, on_fail="fail")
    result = run_workflow_from_config(config, {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))
    assert result.warnings == ()


def unpriced(data: Any, provider: Any, answer: Any, *gates: dict[str, Any], on_fail: str) -> dict[str, Any]:
    """Two requests, both for a model without a price; one call, as their answers have one id."""
    provider.answers(answer(tokens=(10_000, 1_000), model="a-model-without-a-price"))
    config = two_calls(data, maximum=1.0, on_fail=on_fail)
    config["config"]["llm"]["model"] = "a-model-without-a-price"
    config["config"]["gates"]["gates"] = list(gates)
    return config


@pytest.mark.parametrize(("bound", "requests"), [("max", 1), ("min", 2)])
def test_a_gate_fails_on_a_cost_that_is_not_known_as_soon_as_that_is_certain(
    data: Any, provider: Any, answer: Any, bound: str, requests: int
) -> None:
    config = unpriced(data, provider, answer, {"metric": "cost_usd", bound: 1.0}, on_fail="fail")
    with pytest.raises(WorkflowFailedError) as failed:
        run_workflow_from_config(config, {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))
    assert str(failed.value).endswith(
        "the gate on cost_usd cannot judge 1 call without a known price (openai/a-model-without-a-price);"
        " give the model one in prices.toml, or set on_fail: warn"
    )
    assert len(provider.requests) == requests


@pytest.mark.parametrize("bound", ["max", "min"])
def test_a_gate_that_warns_says_once_what_it_does_not_know(
    data: Any, provider: Any, answer: Any, bound: str
) -> None:
    config = unpriced(data, provider, answer, {"metric": "cost_usd", bound: 1.0}, on_fail="warn")
    result = run_workflow_from_config(config, {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))
    assert result.warnings == ("the gate on cost_usd knows nothing of 1 call without a known price",)


def test_what_is_not_known_does_not_matter_where_it_decides_nothing(
    data: Any, provider: Any, answer: Any
) -> None:
    """A minimum that is reached without it, and a gate on something else."""
    gates = ({"metric": "cost_usd", "min": 0.0}, {"metric": "total_tokens", "max": 11_000, "min": 11_000})
    config = unpriced(data, provider, answer, *gates, on_fail="fail")
    result = run_workflow_from_config(config, {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))
    assert result.warnings == ()


@pytest.mark.parametrize("metric", ["cost_usd", "total_tokens"])
def test_a_gate_fails_on_an_answer_without_usage(data: Any, provider: Any, answer: Any, metric: str) -> None:
    provider.answers(answer(tokens=None))
    config = two_calls(data, maximum=1.0, on_fail="fail")
    config["config"]["gates"]["gates"] = [{"metric": metric, "max": 30_000}]
    with pytest.raises(
        WorkflowFailedError,
        match=rf"the gate on {metric} cannot judge \d calls? without usage; have the provider",
    ):
        run_workflow_from_config(config, {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))


@pytest.mark.parametrize("bound", ["max", "min"])
def test_a_gate_cannot_judge_tokens_of_calls_without_usage_and_says_so(
    data: Any, provider: Any, answer: Any, bound: str
) -> None:
    """A call that the provider refused, and the one that took its place."""
    refused = answer(content="slower", status=429, headers={"retry-after": "0"})
    provider.answers(refused, answer(tokens=(10_000, 1_000)))
    config = two_calls(data, maximum=1.0, on_fail="fail")
    config["config"]["gates"]["gates"] = [{"metric": "total_tokens", bound: 30_000}]
    result = run_workflow_from_config(config, {"name": "Ada"}, RunOptions(recorder=MemoryRecorder()))
    assert result.costs.totals.no_usage_calls == 1
    assert result.warnings == ("the gate on total_tokens knows nothing of 1 call without usage",)


@pytest.mark.parametrize("bound", [float("nan"), float("inf")])
def test_a_bound_that_nothing_can_cross_is_refused(data: Any, bound: float) -> None:
    with pytest.raises(WorkflowInvalidError, match="finite number"):
        workflow_of(two_calls(data, maximum=bound, on_fail="fail"))


def test_a_missing_package_is_said_before_the_run_begins(
    checked: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("configurable_agents.core.readiness.find_spec", lambda _: None)
    with pytest.raises(
        MissingPackageError, match=r"openai, which needs: pip install 'agents-obs\[runner,openai\]'"
    ):
        check_ready(checked())


def test_a_tool_of_another_runner_is_said_before_the_run_begins(data: Any, provider: Any) -> None:
    nodes = [{"id": "greet", "prompt": "x", "outputs": ["text"], "tools": ["web_search"]}]
    with_tool: Checked = workflow_of(data(nodes=nodes))
    with pytest.raises(ConfigurationError, match="the tool 'web_search' is none of this runner's"):
        check_ready(with_tool)
