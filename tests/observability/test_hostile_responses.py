"""Whatever a workflow passes: a verdict for each, its oddities counted, no exception, no made-up number."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

from configurable_agents import observe_run
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.telemetry import Status


class Hostile(NamedTuple):
    response: Any
    verdict: str
    anomalies: str
    """As they are counted."""
    tokens: int = 0
    provider: Any = "openai"
    model: Any = "gpt-4o"


def chat(**usage: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "usage": {"completion_tokens": 5, **usage}}


RESPONSES = [
    Hostile(None, "no_usage", "no_response"),
    Hostile({}, "no_usage", "unknown_response_shape"),
    Hostile("text", "no_usage", "unknown_response_shape"),
    Hostile({"usage": {}}, "no_usage", "no_token_counts"),
    Hostile({"usage": 7}, "no_usage", "usage_not_an_object"),
    Hostile({"error": {"code": 500}}, "no_usage", "error_response"),
    Hostile(chat(prompt_tokens=-1), "no_usage", "negative_token_count"),
    Hostile(chat(prompt_tokens="10"), "no_usage", "token_count_not_an_integer"),
    Hostile(chat(prompt_tokens=float("nan")), "no_usage", "token_count_not_an_integer"),
    Hostile(chat(prompt_tokens=float("inf")), "no_usage", "token_count_not_an_integer"),
    Hostile(chat(prompt_tokens=True), "no_usage", "token_count_not_an_integer"),
    Hostile(chat(prompt_tokens=10**15), "no_usage", "implausible_token_count"),
    Hostile(
        chat(prompt_tokens=10, prompt_tokens_details={"cached_tokens": 11}),
        "priced",
        "cached_exceeds_input",
        tokens=15,
    ),
    Hostile(chat(prompt_tokens=10), "unpriced", "model_name_too_long", tokens=15, model="m" * 10_000),
    Hostile(chat(prompt_tokens=10), "priced", "model_not_a_string", tokens=15, model={"m": 1}),
    Hostile(chat(prompt_tokens=10), "unpriced", "provider_name_too_long", tokens=15, provider="p" * 10_000),
]


def test_every_hostile_response_has_a_verdict_and_its_oddities_are_counted(daemon, eventually) -> None:
    with observe_run("hostile", run_id="hostile", home=daemon.home.folder) as run:
        told = [run.track_call(each.provider, each.model, each.response) for each in RESPONSES]
    for each, figures in zip(RESPONSES, told, strict=True):
        tokens = None if each.verdict == "no_usage" else each.tokens
        assert (figures["price_status"], figures["total_tokens"]) == (each.verdict, tokens), each
        assert figures["anomalies"] == each.anomalies.split(), each
        assert (figures["cost_usd"] is None) == (each.verdict != "priced"), each
    json.dumps(told)
    with ReportClient(daemon.home) as client:
        eventually(lambda: [run.status for run in client.runs(Scope())[0]] == [Status.OK])
        found = client.grouped_costs(Scope(run_id="hostile"), ["anomaly", "price-status"], sort="cost", top=0)
    counted = {group.values: group.totals.calls for group in found.groups}
    assert counted == Counter((each.anomalies, each.verdict) for each in RESPONSES)
    assert found.totals.total_tokens == sum(each.tokens for each in RESPONSES)
