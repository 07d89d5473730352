"""The 1,329 recorded usages, tracked by 8 processes at once, with and without a kill -9 of the daemon.

What must come out is computed here, by the providers' own rules, without the code under test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from genai_prices import Usage, calc_price

pytestmark = [pytest.mark.acceptance, pytest.mark.shared_data]

PROCESSES = 8
USAGES = 1329
NANOS = Decimal(10**9)


class Truth(NamedTuple):
    """What a call must have in the ledger, by the provider's documentation."""

    input_tokens: int
    """All that was sent, cached or not."""
    output_tokens: int
    """All that came back, visible or not."""


def openai_shaped(usage: dict[str, Any]) -> Truth:
    return Truth(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)


def responses(usage: dict[str, Any]) -> Truth:
    return Truth(usage["input_tokens"], usage["output_tokens"])


def anthropic(usage: dict[str, Any]) -> Truth:
    """The caches are apart from the input; with iterations, the bill is their sum."""
    parts = usage.get("iterations") or [usage]
    sent = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return Truth(
        sum(part.get(name) or 0 for part in parts for name in sent),
        sum(part.get("output_tokens") or 0 for part in parts),
    )


def gemini(usage: dict[str, Any]) -> Truth:
    """Thoughts are apart from the candidates, what tools brought in is apart from the prompt."""
    return Truth(
        (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0),
        (usage.get("candidatesTokenCount") or 0) + (usage.get("thoughtsTokenCount") or 0),
    )


def converse(usage: dict[str, Any]) -> Truth:
    return Truth(
        usage["inputTokens"]
        + (usage.get("cacheReadInputTokens") or 0)
        + (usage.get("cacheWriteInputTokens") or 0),
        usage["outputTokens"],
    )


def ollama(usage: dict[str, Any]) -> Truth:
    return Truth(usage.get("prompt_eval_count") or 0, usage.get("eval_count") or 0)


RULES: dict[str, tuple[str, Callable[[dict[str, Any]], Truth]]] = {
    "chat": ("prompt_tokens", openai_shaped),
    "completions": ("prompt_tokens", openai_shaped),
    "responses": ("input_tokens", responses),
    "messages": ("output_tokens", anthropic),
    "bedrock-invoke": ("output_tokens", anthropic),
    "bedrock-invoke-stream": ("output_tokens", anthropic),
    "generateContent": ("promptTokenCount", gemini),
    "generateContent-stream": ("promptTokenCount", gemini),
    "converse": ("inputTokens", converse),
    "converse-stream": ("inputTokens", converse),
    "ollama-chat": ("eval_count", ollama),
}
"""By flavour: a key that a usage of it has, and how it is counted."""

INDEPENDENTLY_COUNTED_MIN = 1200
"""So many of the usages must fall under these rules; the others are tested one by one elsewhere."""

PLAIN_FLAVOURS = {
    ("openai", "chat"): "openai",
    ("openai", "responses"): "openai",
    ("anthropic", "messages"): "anthropic",
    ("google-gemini", "generateContent"): "google",
}
"""Provider and flavour, and who that is in the price table."""

SPECIAL_COUNTS = {
    "audio_tokens",
    "cached_tokens",
    "cachedContentTokenCount",
    "toolUsePromptTokenCount",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_write_tokens",
    "web_search_requests",
    "web_fetch_requests",
}

INDEPENDENTLY_PRICED_MIN = 450

UNDATED_UNIX_S = 1_767_225_600


def truth_of(row: dict[str, Any]) -> Truth | None:
    key, rule = RULES.get(row["flavor"], ("", None))
    usage = row["usage"]
    if rule is None or not usage or key not in usage:
        return None
    return rule(usage)


def plain_price(row: dict[str, Any]) -> Decimal | None:
    """The list price of a call with nothing special about it, asked of the price table directly."""
    truth = truth_of(row) if is_plain(row) else None
    if truth is None:
        return None
    try:
        price = calc_price(
            Usage(input_tokens=truth.input_tokens, output_tokens=truth.output_tokens),
            (row["model"] or row["req_model"]).removeprefix("models/"),
            provider_id=PLAIN_FLAVOURS[row["provider"], row["flavor"]],
            genai_request_timestamp=datetime.fromtimestamp(row["created"] or UNDATED_UNIX_S, tz=UTC),
        )
    except (LookupError, ValueError):
        return None
    return price.total_price


def is_plain(row: dict[str, Any]) -> bool:
    """Of OpenAI, Anthropic or Google, at the standard tier, without caches, audio, tools or regions."""
    if (row["provider"], row["flavor"]) not in PLAIN_FLAVOURS or not row["usage"] or row["features"]:
        return False
    if row["service_tier"] not in (None, "default", "standard"):
        return False
    return not any(special(row["usage"]))


def special(usage: dict[str, Any]) -> Iterator[object]:
    """Everything about a usage that would have a price of its own."""
    for name, value in usage.items():
        if isinstance(value, dict):
            yield from special(value)
        elif name in SPECIAL_COUNTS:
            yield value
        elif name in ("promptTokensDetails", "candidatesTokensDetails"):
            yield any(part["modality"] != "TEXT" for part in value)
        elif name == "inference_geo":
            yield value not in (None, "global", "not_available")
    yield usage.get("iterations")


@pytest.fixture
def rows(shared_data: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (shared_data / "usages.jsonl").read_text().splitlines()]
    assert len(found) == USAGES
    return found


CALLS = """
SELECT call_id,
    input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens + audio_input_tokens,
    output_tokens + reasoning_tokens + audio_output_tokens, price_status, cost_nanos, r.run_id
FROM llm_calls c JOIN runs r ON r.id = c.run
"""


def test_eight_processes_track_the_recorded_usages_exactly(workplace, start, shared_data, rows):
    start(mlflow=True)
    processes = [
        workplace.launch("track_usages.py", shared_data / "usages.jsonl", f"usages-{index}", index, PROCESSES)
        for index in range(PROCESSES)
    ]
    returned = [json.loads(line) for each in processes for line in workplace.finish(each).splitlines()]
    check_everything(workplace, rows, returned=returned)


def test_a_kill_of_the_daemon_in_the_middle_loses_nothing_and_doubles_nothing(
    workplace, start, shared_data, rows
):
    daemon = start(mlflow=True)
    processes = [
        workplace.launch(
            "track_usages.py", shared_data / "usages.jsonl", f"usages-{index}", index, PROCESSES, "pause"
        )
        for index in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout.readline() == "half\n"
    for process in processes[:4]:
        process.stdin.write("\n")
        process.stdin.flush()
    workplace.kill_daemon(daemon.pid)
    for process in processes[4:6]:
        process.stdin.write("\n")
        process.stdin.flush()
    assert workplace.finish(processes[4]), "a workflow ends well while there is no daemon"
    workplace.restart_daemon()
    for process in processes[6:]:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        if process is not processes[4]:
            workplace.finish(process)
    check_everything(workplace, rows, returned=None)


def check_everything(workplace, rows, *, returned) -> None:
    workplace.wait_until_settled(runs=PROCESSES)
    calls = {call_id: rest for call_id, *rest in workplace.rows(CALLS)}
    check_ledger_rows(workplace, rows, calls)
    if returned is not None:
        check_returned_figures(returned, calls)
    check_report(workplace, calls)
    check_mlflow(workplace, calls)


def check_ledger_rows(workplace, rows, calls) -> None:
    assert len(workplace.rows(CALLS)) == len(calls) == USAGES, "each call once"
    counted = priced = 0
    for number, row in enumerate(rows):
        sent, received, status, cost_nanos, run_id = calls[f"line-{number}"]
        assert run_id == f"usages-{number % PROCESSES}"
        if row["usage"] is None:
            assert (sent, received, status) == (None, None, "no_usage")
        truth = truth_of(row)
        if truth is not None:
            assert (sent, received) == truth, f"line {number}: {row['usage']}"
            counted += 1
        price = plain_price(row)
        if price is not None:
            assert (status, cost_nanos) == ("priced", round(price * NANOS)), f"line {number}: {row['model']}"
            priced += 1
        if status == "priced" and (sent or received):
            assert cost_nanos > 0, f"line {number}: a silent $0 for {row['provider']}/{row['model']}"
    assert counted >= INDEPENDENTLY_COUNTED_MIN
    assert priced >= INDEPENDENTLY_PRICED_MIN


def check_returned_figures(returned, calls) -> None:
    """What `track_call` told the workflow is what the daemon has committed."""
    assert len(returned) == USAGES
    for figures in returned:
        _, _, status, cost_nanos, _ = calls[figures["call_id"]]
        assert figures["price_status"] == status
        known = status in ("priced", "stated", "free")
        assert figures["cost_nanos"] == (cost_nanos if known else None)


def check_report(workplace, calls) -> None:
    report = workplace.report("cost-report", "--experiment", "usages")
    assert report["total_cost_nanos"] == sum(call[3] for call in calls.values())
    assert report["total_tokens"] == sum((call[0] or 0) + (call[1] or 0) for call in calls.values())
    assert report["call_count"] == USAGES
    assert report["run_count"] == PROCESSES
    by_provider = report["by_provider"].values()
    assert sum(part["total_cost_nanos"] or 0 for part in by_provider) == report["total_cost_nanos"]
    assert sum(part["total_tokens"] for part in by_provider) == report["total_tokens"]
    assert sum(part["call_count"] for part in by_provider) == USAGES
    statuses = [call[2] for call in calls.values()]
    for status in ("priced", "stated", "free", "unpriced", "no_usage"):
        assert report["coverage"][f"{status}_calls"] == statuses.count(status), status


def check_mlflow(workplace, calls) -> None:
    from configurable_agents.observability.multi_provider_tracker import generate_cost_report

    uri = f"sqlite:///{workplace.home.mlflow_database}"
    daemon = workplace.report("cost-report", "--experiment", "usages")
    mlflow = generate_cost_report("usages", uri)
    for key in ("total_cost_nanos", "total_tokens", "call_count", "run_count", "coverage"):
        assert mlflow[key] == daemon[key], key
    assert mlflow["by_provider"] == daemon["by_provider"]

    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("usages")
    found = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["agents_obs.run_id"] for run in found) == [
        f"usages-{index}" for index in range(PROCESSES)
    ]
    for run in found:
        check_mlflow_run(client, run, calls)


def check_mlflow_run(client, run, calls) -> None:
    mine = [call for call in calls.values() if call[4] == run.data.tags["agents_obs.run_id"]]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["llm_calls"] == len(mine)
    assert round(run.data.metrics["total_cost_usd"] * 1e9) == sum(call[3] for call in mine)
    for name, value in run.data.params.items():
        if name.startswith("provider_") and name.endswith("_cost_usd"):
            assert float(value) == pytest.approx(run.data.metrics[name], abs=1e-9)
    histories = [
        client.get_metric_history(run.info.run_id, name)
        for name in run.data.metrics
        if name.startswith("node_") and name.endswith("_duration_ms")
    ]
    assert sum(map(len, histories)) == len(mine), "each call ran in a node of its own"
    for history in histories:
        assert sorted(point.step for point in history) == list(range(1, len(history) + 1))
