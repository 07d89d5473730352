"""Names in MLflow: ordinary ones stay as they are, all others are encoded so that none is lost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from configurable_agents.observability import mlflow_names as names
from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost
from configurable_agents.telemetry import PriceStatus, Usage

PRICED, UNPRICED, NO_USAGE = PriceStatus.PRICED, PriceStatus.UNPRICED, PriceStatus.NO_USAGE


def summary_of(*calls: tuple[str, str, PriceStatus, int]) -> CostSummary:
    """Of calls with ten tokens each: provider, model, status, cost in nano-dollars."""
    return CostSummary.of(
        ModelCost(
            provider,
            model,
            CallTotals.of_call(None if status is NO_USAGE else Usage(7, output_tokens=3), status, cost),
        )
        for provider, model, status, cost in calls
    )


@pytest.mark.parametrize(
    "name", ["draft", "Draft v2.1", "a/b/c", "llama3:8b", "x-1_y", "node_0", "get_xml", "_"]
)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert names.encode_name(name) == name
    assert names.name_tag(name) is None


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("a[0]", "a_0x5b_0_0x5d_"),
        ("prüfen", "pr_0xfc_fen"),
        ("a\n", "a_0xa_"),
        ("/a//b/", "_0x2f_a/_0x2f_b_0x2f_"),
        ("../a/./b", "_0x2e_./a/_0x2e_/b"),
        (" a ", "_0x20_a_0x20_"),
        ("", "_0x_"),
        ("a_0x5b_", "a_0x5f_0x5b_"),
        ("\x00", "_0x0_"),
    ],
)
def test_other_names_are_encoded_and_decoded(name: str, encoded: str) -> None:
    assert names.encode_name(name) == encoded
    assert names.decode_name(encoded) == name


hard_text = st.text(max_size=80) | st.text("_0x/. a5bcut[", max_size=40) | st.text(max_size=600)


@given(hard_text)
@example("/" * 60)
@example("a/" * 60)
@example("_0xcut_" + "0" * 32)
def test_every_text_gives_keys_that_mlflow_accepts_and_that_come_back(text: str) -> None:
    keys = [
        names.node_metric(text),
        names.provider_key(text, "cost_usd"),
        names.model_metric(text, text, "tokens"),
    ]
    for key in keys:
        assert key.isascii()
        assert len(key) <= names.KEY_CHARS_MAX
        _validate_metric_name(key)
    tags = {}
    for chars_max in (names.NODE_CHARS_MAX, names.MODEL_CHARS_MAX):
        tag = names.name_tag(text, chars_max=chars_max)
        if tag is not None:
            _validate_tag(*tag)
            tags[tag[0]] = tag[1]
    originals = names.original_names(tags)
    assert names.node_of_metric(keys[0], originals) == text
    model = names.model_of_metric(keys[2], originals)
    assert model is not None
    assert (model.model, model.what) == (text, "tokens")
    if len(text) < 9:
        assert names.provider_of_key(keys[1]) == (text, "cost_usd")


@given(hard_text, hard_text)
def test_two_names_never_become_one(one: str, other: str) -> None:
    assert (names.encode_name(one) == names.encode_name(other)) == (one == other)


def test_long_names_that_differ_at_the_end_stay_apart() -> None:
    one, other = "x" * 300 + "a", "x" * 300 + "b"
    assert names.encode_name(one) != names.encode_name(other)
    assert len(names.encode_name(one)) == names.NODE_CHARS_MAX


@pytest.mark.parametrize(
    "key", ["loss", "node_a", "provider_x", "model/a/cost_usd", "model//m/cost_usd", "node_a_duration_s"]
)
def test_metrics_of_others_are_not_taken_for_ours(key: str) -> None:
    assert names.node_of_metric(key) is None
    assert names.provider_of_key(key) is None
    assert names.model_of_metric(key) is None


def test_foreign_tags_that_look_like_ours_are_passed_over() -> None:
    tags = {names.TAG_NAME_PREFIX + "a": "not json", names.TAG_NAME_PREFIX + "b": "5", "c": '"d"'}
    assert names.original_names(tags) == {}


def test_an_escape_of_no_character_stands_for_itself() -> None:
    assert names.decode_name("_0xffffffff_") == "_0xffffffff_"


def test_the_metrics_of_a_run_have_the_names_of_the_documentation() -> None:
    summary = summary_of(("openai", "gpt-4o", PRICED, 2_500), ("openrouter", "openai/gpt-5", PRICED, 500))
    assert names.cost_metrics(summary) == {
        "total_cost_usd": 3e-06,
        "total_tokens": 20,
        "llm_calls": 2,
        "unpriced_calls": 0,
        "provider_openai_cost_usd": 2.5e-06,
        "provider_openai_tokens": 10,
        "provider_openai_calls": 1,
        "provider_openrouter_cost_usd": 5e-07,
        "provider_openrouter_tokens": 10,
        "provider_openrouter_calls": 1,
        "model/openai/gpt-4o/cost_usd": 2.5e-06,
        "model/openai/gpt-4o/tokens": 10,
        "model/openai/gpt-4o/calls": 1,
        "model/openrouter/openai/gpt-5/cost_usd": 5e-07,
        "model/openrouter/openai/gpt-5/tokens": 10,
        "model/openrouter/openai/gpt-5/calls": 1,
    }


def test_a_cost_that_is_not_known_is_left_out_and_not_zero() -> None:
    summary = summary_of(("house", "m", UNPRICED, 0), ("house", "m", NO_USAGE, 0))
    metrics = names.cost_metrics(summary)
    assert not [key for key in metrics if "cost" in key]
    assert (metrics["unpriced_calls"], metrics["model/house/m/unpriced_calls"]) == (2, 2)
    assert names.cost_params(summary) == {"provider_house_tokens": "10"}


def test_the_params_of_a_run_are_plain_decimals() -> None:
    summary = summary_of(("openai", "gpt-4o", PRICED, 12_000_000_345))
    params = names.cost_params(summary)
    assert params == {"provider_openai_cost_usd": "12.000000345", "provider_openai_tokens": "10"}
    for key, value in params.items():
        _validate_param(key, value)


def test_the_tags_of_a_run_hold_coverage_and_exact_totals() -> None:
    summary = summary_of(("openai", "gpt-4o", PRICED, 1), ("openai", "prüf", UNPRICED, 0))
    tags = names.cost_tags(summary)
    coverage = json.loads(tags["agents_obs.coverage"])
    assert (coverage["unpriced_calls"], coverage["calls_covered_percent"]) == (1, 50.0)
    assert names.exact_models(tags["agents_obs.cost"]) == summary.models
    assert tags["agents_obs.name.pr_0xfc_f"] == '"pr\\u00fcf"'


def test_exact_totals_that_do_not_fit_a_tag_are_left_out() -> None:
    summary = summary_of(*(("openai", f"model-{number}", PRICED, 1) for number in range(500)))
    assert "agents_obs.cost" not in names.cost_tags(summary)


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "null",
        "{}",
        "5",
        "{}x",
        "[5]",
        '[["a"]]',
        '[["a",1]]',
        '[["a","b",-1]]',
        '[["a","b",1,2]]',
        "[" * 10_000,
    ],
)
def test_a_tag_that_is_no_exact_total_is_not_read_as_one(tag: str) -> None:
    assert names.exact_models(tag) is None


class SomeProfile:
    def __init__(self, bottlenecks: int) -> None:
        self.entries = [{"node_id": f"node {number}"} for number in range(bottlenecks)]

    def bottleneck_info(self) -> dict[str, object]:
        slowest = self.entries[0] if self.entries else None
        return {"slowest_node": slowest, "bottlenecks": self.entries, "total_time_ms": 12.5}

    def to_json(self) -> dict[str, object]:
        return self.bottleneck_info()

    def advice(self) -> str | None:
        return "speed up node 0" if self.entries else None


def test_the_profile_of_a_run_is_in_params_and_a_tag() -> None:
    profile = SomeProfile(2)
    assert names.profile_params(profile) == {
        "slowest_node": "node 0",
        "bottlenecks": "node 0, node 1",
        "total_time_ms": "12.5",
    }
    assert json.loads(names.profile_tags(profile)["agents_obs.bottleneck_info"]) == profile.bottleneck_info()
    assert names.profile_tags(profile)["agents_obs.advice"] == "speed up node 0"
    assert "agents_obs.advice" not in names.profile_tags(SomeProfile(0))
    assert names.profile_metrics(12.5) == {"total_duration_ms": 12.5}


def test_a_profile_without_nodes_has_empty_params() -> None:
    assert names.profile_params(SomeProfile(0))["slowest_node"] == ""


def test_a_long_list_of_bottlenecks_is_shortened_to_fit_its_tag() -> None:
    tag = names.profile_tags(SomeProfile(2_000))["agents_obs.bottleneck_info"]
    assert len(tag) <= names.TAG_CHARS_MAX
    assert len(json.loads(tag)["bottlenecks"]) > 100


def test_the_names_are_known_without_mlflow() -> None:
    program = "import sys, configurable_agents.observability.mlflow_names; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_tag_of_what_was_wasted_is_read_back_and_a_foreign_one_is_not() -> None:
    wasted = CallTotals(2, 5, Usage(1, 2, 3), priced_calls=1, unpriced_calls=1, failed_calls=2)
    tags = names.cost_tags(CostSummary(wasted=wasted))
    assert names.wasted_totals(tags[names.TAG_WASTED]) == wasted
    assert names.TAG_WASTED not in names.cost_tags(CostSummary())
    for foreign in ("", "[", "7", "{}", "[1]", '["x"]', json.dumps([-1] * 21), "[" * 100_000):
        assert names.wasted_totals(foreign) is None


def test_tokens_that_no_call_told_are_left_out_of_metrics_and_params() -> None:
    silent = CostSummary.of([ModelCost("acme", "m", CallTotals(2, no_usage_calls=2))])
    assert [name for name in names.cost_metrics(silent) if "tokens" in name] == []
    assert names.cost_params(silent) == {}
    half = CostSummary.of([ModelCost("acme", "m", CallTotals(2, usage=Usage(7), no_usage_calls=1))])
    assert names.cost_metrics(half)["total_tokens"] == names.cost_metrics(half)["provider_acme_tokens"] == 7
