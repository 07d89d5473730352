"""docs/json.md against real output: every key documented, every documented key there, with its type."""

import dataclasses
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from configurable_agents.cli.contracts import result_json, run_json, status_json
from configurable_agents.cli.purge import purge_json
from configurable_agents.errors import WireFormatError
from configurable_agents.observability.cache_economics import CacheReport, CacheUse
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.observability.cost_groups import of_summary
from configurable_agents.observability.cost_summary import CallTotals, ModelCost
from configurable_agents.observability.receipts import PriceEntry, Receipt
from configurable_agents.observability.repricing import ModelRepricing, RepricingReport
from configurable_agents.observability.verification import Balance, Finding, Verification
from configurable_agents.runtime.comparison import compared
from configurable_agents.runtime.executor import WorkflowResult
from configurable_agents.runtime.past_runs import PastNode, PastRun
from configurable_agents.runtime.time_report import ModelProfile, RunTimes, Speedup
from configurable_agents.runtime.what_if import WhatIf
from configurable_agents.telemetry import LlmCall, PriceStatus, Status, Usage
from configurable_agents.wire.account_records import DeadLetterGroup, DeadLetters, PurgeReport

PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"
KEY_ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \|", re.MULTILINE)
PLAIN_TYPES = {"string": str, "integer": int, "number": (int, float), "null": type(None), "boolean": bool}


@pytest.fixture(scope="module")
def contract() -> dict[str, dict[str, str]]:
    """Keys and types by section of the page."""
    parts = re.split(r"^##+ (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    sections = {
        title: dict(KEY_ROW.findall(text)) for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    for title in ("Provider", "Group", "Rest"):
        sections[title] = sections["Model"] | sections[title]
    sections["Result run"] = sections["runs --json"] | sections["Result run"]
    sections["Cache entry"] = sections["Cache use"] | sections["Cache entry"]
    return sections


def problems(value, type_name, contract, path="") -> list[str]:
    """What in a value is not as its type says."""
    type_name = type_name.strip()
    if type_name == "any":
        return []
    if " or " in type_name:
        found = [problems(value, part, contract, path) for part in type_name.split(" or ")]
        return [] if [] in found else found[0]
    if type_name.startswith("list of "):
        assert isinstance(value, list), path
        return in_each(enumerate(value), type_name[8:], contract, path)
    if type_name.startswith("map of "):
        assert isinstance(value, dict), path
        return in_each(value.items(), type_name[7:], contract, path)
    if type_name in PLAIN_TYPES:
        fits = isinstance(value, PLAIN_TYPES[type_name]) and isinstance(value, bool) is (
            type_name == "boolean"
        )
        return [] if fits else [f"{path}: {value!r} is no {type_name}"]
    return in_object(value, contract[type_name], contract, path)


def in_each(items, type_name, contract, path) -> list[str]:
    return [
        problem for key, item in items for problem in problems(item, type_name, contract, f"{path}[{key}]")
    ]


def in_object(value, keys, contract, path) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no object"]
    differing = [f"{path}.{key}: not in both" for key in keys.keys() ^ value.keys()]
    return differing + [
        problem
        for key in keys.keys() & value.keys()
        for problem in problems(value[key], keys[key], contract, f"{path}.{key}")
    ]


def test_the_cost_report_is_as_documented(samples, contract):
    assert problems(samples.cost.to_json(), "cost-report --json", contract) == []


def test_the_profile_report_is_as_documented(samples, contract):
    assert problems(samples.profile.to_json(50.0), "profile-report --json", contract) == []


def test_the_list_of_runs_is_as_documented(samples, contract):
    listed = [run_json(run) for run in samples.runs]
    assert problems(listed, "list of runs --json", contract) == []
    assert {run["status"] for run in listed} == {"ok", "error", "running", "interrupted", "cancelled"}
    assert [run["bottleneck_info"] is None for run in listed] == [False, False, True, False, False]


@pytest.mark.parametrize("profiled", [True, False])
def test_the_result_of_a_run_is_as_documented(samples, contract, profiled):
    """Without a profile the executions are not counted: unknown, not none."""
    run = replace(samples.runs[0], node_executions=7 if profiled else 0)
    result = WorkflowResult({"text": "x", "n": 1}, run, samples.profile, samples.cost, ("a warning",))
    found = result_json(result, profiled=profiled)
    assert problems(found, "run --output", contract) == []
    assert found["run"]["node_executions"] == (7 if profiled else None)
    assert (found["profile"] is None) is not profiled


def test_the_status_is_as_documented_and_shows_no_password(samples, contract):
    status = status_json(samples.status)
    assert problems(status, "status --json", contract) == []
    assert "secret" not in json.dumps(status)


def test_grouped_costs_are_as_documented(samples, contract):
    whole = of_summary(samples.cost, ("provider", "model"), sort="cost", top=2)
    for grouped in (whole, replace(whole, wasted=whole.totals, rest=None)):
        assert problems(grouped.to_json(), "cost-report --by --json", contract) == []


def test_the_cache_report_is_as_documented(contract):
    use = CacheUse("draft", "anthropic", "claude-sonnet-4-5", 2, 100, 50, 10, 5, 10, 3, 0)
    assert problems(CacheReport((use,), run_count=1).to_json(), "caches --json", contract) == []


def test_a_repricing_is_as_documented(samples, contract):
    entries = [
        ModelRepricing(entry.provider, entry.model, 1, entry.totals, entry.totals)
        for entry in samples.cost.models
    ]
    report = RepricingReport(tuple(entries), 3, 2, applied=True, table_version="genai-prices 0.2.3")
    assert problems(report.to_json(), "reprice --json", contract) == []


def test_receipts_are_as_documented(contract):
    usage = Usage(1_000, 10, output_tokens=7, audio_output_tokens=3)
    call = LlmCall("run", "call", 1, "draft", "openai", "gpt-4o", usage, 1, 1, model_as_given="openai/gpt-4o")
    card = CostEstimator().rate_card("openai", "gpt-4o", at_unix_ns=1)
    priced = PriceEntry(PriceStatus.PRICED, 10, 10, card)
    former = PriceEntry(PriceStatus.UNPRICED, replaced_at_unix_ns=5, replaced_because="a new table")
    receipts = [Receipt(call, priced, history=(former,)), Receipt(call._replace(usage=None), former)]
    listed = [receipt.to_json() for receipt in receipts]
    assert problems(listed, "list of explain --json", contract) == []
    assert listed[0]["lines"][0]["rate_usd"] == "2.5"
    assert listed[1]["lines"] == []


def test_dead_letters_are_as_documented(contract):
    groups = (
        DeadLetterGroup("mlflow", "run", "research", 1, "deleted", 3, 1, 2),
        DeadLetterGroup("mlflow", "", "", 3, "deleted", 3, 1, 2),
    )
    found = DeadLetters(groups, 2, 3, 0, 3).to_json()
    assert problems(found, "dead-letters list --json", contract) == []
    assert [group["state"] for group in found["groups"]] == ["set aside", "dropped"]


def test_a_verification_is_as_documented(contract):
    balance = Balance(5, 5, 0, 0, 5, 5, "mlflow", "sqlite:///x", "idle", 5, 0, 0, 0, 1)
    found = Verification(balance, 1, 2)
    assert problems(found.to_json(), "verify --json", contract) == []
    found.note([Finding("missing", "run", "m1", "it", "do"), Finding("different", "", "", "it", "do")])
    assert problems(found.to_json(), "verify --json", contract) == []


@pytest.mark.parametrize("deleted", [[], ["m1"]])
def test_a_purge_is_as_documented(contract, deleted):
    report = PurgeReport("run", "research", 1, 25, mlflow_run_id="m1", purged=True, bytes_removed=True)
    found = purge_json(report, report, deleted)
    assert problems(found, "purge --json", contract) == []
    assert found["mlflow_run_id_remaining"] == (None if deleted else "m1")


def test_a_comparison_is_as_documented(contract):
    run = PastRun("r", 1, Status.OK, 9, (PastNode("n", 1, 9, 9, 0),), samples_models())
    found = compared([run], [PastRun("s", 2, Status.OK, 10)], [run] * 5)
    assert problems(found.to_json(), "diff --json", contract) == []


def samples_models() -> tuple[ModelCost, ...]:
    return (ModelCost("openai", "gpt-4o", CallTotals(1)),)


def test_a_profile_with_a_critical_path_is_as_documented(samples, contract):
    times = RunTimes(9_000, 1_000, concurrency_ns={1: 9_000}, speedups=(Speedup("draft", 10),))
    answer = WhatIf("draft", 0.5, 9_000, 8_000).to_json("r")
    known = dataclasses.replace(
        samples.profile, times=times, models=(ModelProfile("openai", "gpt-4o", 1, 9),)
    )
    whole = {**known.to_json(50.0), "what_if": [answer]}
    assert problems(whole, "profile-report --json", contract) == []


def test_the_check_itself_notices_a_key_too_many_a_key_too_few_and_a_wrong_type(samples, contract):
    whole = samples.cost.to_json()
    assert problems(whole | {"surprise": 1}, "cost-report --json", contract) == [".surprise: not in both"]
    assert problems({**whole, "run_count": "8"}, "cost-report --json", contract)
    del whole["by_provider"]["openai"]["models"]["gpt-4o"]["tokens"]
    assert problems(whole, "cost-report --json", contract)


def test_the_totals_of_the_cost_report_are_the_sums_of_its_parts(samples):
    report = samples.cost.to_json()
    providers = report["by_provider"].values()
    assert report["total_cost_nanos"] == sum(part["total_cost_nanos"] or 0 for part in providers)
    assert report["by_provider"]["acme"]["total_cost_nanos"] is None
    assert report["total_tokens"] == sum(part["total_tokens"] for part in providers)
    for part in providers:
        models = part["models"].values()
        assert (part["total_cost_nanos"] or 0) == sum(model["total_cost_nanos"] or 0 for model in models)


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_bottlenecks_that_are_no_json_object_are_an_error(samples, text):
    import dataclasses

    with pytest.raises(WireFormatError, match=samples.runs[0].run_id):
        run_json(dataclasses.replace(samples.runs[0], bottleneck_info=text))
