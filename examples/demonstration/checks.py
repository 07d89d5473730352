"""Whether the reports say what happened: sums, the providers' own counts, the node made slow, MLflow."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from demonstration.failure import DemoError
from demonstration.processes import Commands
from demonstration.workflows import Workflow

TOKEN_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")


class Check(NamedTuple):
    passed: bool
    sentence: str


def checks(
    commands: Commands, workflows: tuple[Workflow, ...], *, stated: Mapping[str, Any], mlflow_uri: str
) -> Iterator[Check]:
    """Each check as soon as it is known. `stated` is what the simulated providers say they answered."""
    whole = commands.read("agents-obs", "cost-report")
    parts = {
        workflow.experiment: commands.read("agents-obs", "cost-report", "--experiment", workflow.experiment)
        for workflow in workflows
    }
    yield _total_is_sum(whole, whole["by_provider"].values(), "providers")
    yield _total_is_sum(whole, parts.values(), "experiments")
    yield _tokens_are_those_stated(whole, stated)
    for workflow in workflows:
        yield _bottleneck_is_the_slow_node(commands, workflow)
    first = workflows[0].experiment
    yield _mlflow_agrees(commands, first, parts[first], mlflow_uri)


def _total_is_sum(whole: Mapping[str, Any], parts: Any, what: str) -> Check:
    parts = list(parts)
    cost_nanos = sum(part["total_cost_nanos"] for part in parts)
    tokens = sum(part["total_tokens"] or 0 for part in parts)
    passed = (cost_nanos, tokens) == (whole["total_cost_nanos"], whole["total_tokens"])
    return Check(
        passed,
        f"the total, ${whole['total_cost_usd']:.6f} and {whole['total_tokens']:,} tokens,"
        f" is the sum of {len(parts)} {what}",
    )


def _tokens_are_those_stated(whole: Mapping[str, Any], stated: Mapping[str, Any]) -> Check:
    stated_counts = {
        name: (sums["calls"], sum(sums[token_class] for token_class in TOKEN_CLASSES))
        for name, sums in stated.items()
    }
    reported_counts = {
        name: (part["call_count"], part["total_tokens"]) for name, part in whole["by_provider"].items()
    }
    calls = sum(count for count, _ in stated_counts.values())
    return Check(
        stated_counts == reported_counts,
        f"calls and tokens of each provider are what its {calls:,} responses stated",
    )


def _bottleneck_is_the_slow_node(commands: Commands, workflow: Workflow) -> Check:
    profile = commands.read("agents-obs", "profile-report", "--experiment", workflow.experiment)
    slowest = (profile["slowest_node"] or {}).get("node_id")
    shares = {entry["node_id"]: entry["percent_of_total"] for entry in profile["bottlenecks"]}
    found = ", ".join(f"{node_id} ({share:.0f} %)" for node_id, share in shares.items()) or "no node"
    passed = slowest == workflow.slow_node and list(shares) == [workflow.slow_node]
    return Check(
        passed, f"{workflow.experiment}: the bottleneck is {found}; {workflow.slow_node} was made slow"
    )


def _mlflow_agrees(commands: Commands, experiment: str, ours: Mapping[str, Any], mlflow_uri: str) -> Check:
    scope = ("--experiment", experiment, "--mlflow-uri", mlflow_uri)
    try:
        theirs = commands.read("agents-obs", "cost-report", *scope)
    except DemoError as error:
        return Check(False, str(error))
    passed = all(
        ours[key] == theirs[key] for key in ("total_cost_nanos", "total_tokens", "call_count", "run_count")
    )
    return Check(
        passed,
        f"MLflow holds the same for {experiment}: {theirs['run_count']} runs, {theirs['call_count']} calls,"
        f" ${theirs['total_cost_usd']:.6f}",
    )


def statements(address: str) -> dict[str, Any]:
    """What the simulated providers stated, by provider."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{address}/statements", timeout=10) as response:
        return json.load(response)["providers"]
