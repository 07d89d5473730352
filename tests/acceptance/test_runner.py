"""The runner end to end: real SDKs, a real daemon, and recordings of real providers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from configurable_agents.errors import WorkflowFailedError
from configurable_agents.runtime.executor import RunOptions, run_workflow_from_config
from configurable_agents.testing import MemoryRecorder

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CASES_PER_KIND_MAX = 8
TOKEN_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")


class Simulator(NamedTuple):
    address: str

    def statements(self) -> dict[str, Any]:
        import urllib.request

        with urllib.request.urlopen(f"{self.address}/statements", timeout=10) as response:
            return json.load(response)["providers"]

    def settings(self) -> dict[str, str]:
        return {
            "OPENAI_BASE_URL": f"{self.address}/v1",
            "ANTHROPIC_BASE_URL": self.address,
            "GOOGLE_GEMINI_BASE_URL": self.address,
            "OLLAMA_HOST": self.address,
            **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), "a key"),
            "NO_PROXY": "127.0.0.1",
        }


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    command = [
        sys.executable,
        EXAMPLES / "provider_simulator.py",
        "--until-stdin-closes",
        "--speed",
        "100000",
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield Simulator(process.stdout.readline().removeprefix("listening on ").strip())
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


FOUR_PROVIDERS = """\
schema_version: "1.0"
flow: {name: four-providers}
state:
  fields:
    topic: {type: str, required: true}
    a: {type: str, default: ""}
    b: {type: str, default: ""}
    c: {type: object, schema: {title: str, tags: "list[str]"}}
    d: {type: str, default: ""}
nodes:
  - {id: openai, prompt: "{topic} in 40 words", outputs: [a], llm: {model: openai/gpt-4o}}
  - {id: anthropic, prompt: "{topic} in 9 words", outputs: [b], llm: {model: claude-sonnet-4-6, stream: true}}
  - id: google
    prompt: "{topic} in 40 words"
    outputs: [c]
    output_schema: {type: object, fields: [{name: c, type: object, schema: {title: str, tags: "list[str]"}}]}
    llm: {provider: google, model: gemini-2.5-flash}
  - {id: ollama, prompt: "{topic} in 40 words", outputs: [d], llm: {model: "ollama:llama3.2"}}
edges:
  - {from: START, to: [openai, anthropic, google, ollama]}
"""


def test_the_ledger_holds_what_the_providers_stated_at_the_price_tables_prices(
    workplace: Any, daemon: Any, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "four.yaml").write_text(FOUR_PROVIDERS, encoding="utf-8")
    ended = subprocess.run(
        [
            *(Path(sys.executable).with_name("configurable-agents"), "run", "four.yaml", "-i", "topic=Tides"),
            *("--profile", "-o", "result.json"),
        ],
        cwd=tmp_path,
        env={**os.environ, **simulator.settings(), "AGENTS_OBS_HOME": str(daemon.home.folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    workplace.wait_until_settled(runs=1, exported=False)

    report = workplace.report("cost-report")
    stated = {
        provider: (sums["calls"], sum(sums[kind] for kind in TOKEN_CLASSES))
        for provider, sums in simulator.statements().items()
    }
    reported = {
        provider: (part["call_count"], part["total_tokens"])
        for provider, part in report["by_provider"].items()
    }
    assert reported == stated
    assert set(stated) == {"openai", "anthropic", "google", "ollama"}

    tokens = simulator.statements()["openai"]
    # gpt-4o: $2.50 and $10.00 for a million tokens
    assert (
        report["by_provider"]["openai"]["total_cost_nanos"]
        == 2_500 * tokens["input"] + 10_000 * tokens["output"]
    )
    ollama = report["by_provider"]["ollama"]
    assert (ollama["total_cost_nanos"], ollama["total_tokens"] > 0) == (0, True)

    result = json.loads((tmp_path / "result.json").read_text())
    (run,) = workplace.report("runs")
    assert run["run_id"] == result["run"]["run_id"]
    assert run["total_cost_nanos"] == result["run"]["total_cost_nanos"] == report["total_cost_nanos"]
    recorded, returned = run["bottleneck_info"], result["run"]["bottleneck_info"]
    assert recorded["slowest_node"]["node_id"] == returned["slowest_node"]["node_id"]
    assert recorded["total_time_ms"] == pytest.approx(returned["total_time_ms"])
    assert {node["node_id"] for node in result["profile"]["nodes"]} == set(stated)


def test_a_run_that_fails_leaves_its_costs_and_its_status_in_the_ledger(
    workplace: Any, daemon: Any, simulator: Simulator, tmp_path: Path
) -> None:
    text = FOUR_PROVIDERS.replace("to: [openai, anthropic, google, ollama]", "to: openai")
    text = text.replace(
        "edges:\n",
        "edges:\n  - {from: openai, to: [anthropic, google, ollama]}\n",
    )
    text = text.replace("claude-sonnet-4-6", "claude-of-tomorrow")
    (tmp_path / "four.yaml").write_text(text, encoding="utf-8")
    ended = subprocess.run(
        [Path(sys.executable).with_name("configurable-agents"), "run", "four.yaml", "-i", "topic=Tides"],
        cwd=tmp_path,
        env={**os.environ, **simulator.settings(), "AGENTS_OBS_HOME": str(daemon.home.folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "node 'anthropic' failed: anthropic has no model 'claude-of-tomorrow' (404)" in ended.stderr
    workplace.wait_until_settled(runs=1, exported=False)
    (run,) = workplace.report("runs")
    assert (run["status"], run["total_cost_nanos"] > 0) == ("error", True)


def asking(llm: dict[str, Any]) -> dict[str, Any]:
    """A workflow with one node that asks one model."""
    return {
        "schema_version": "1.0",
        "flow": {"name": "asking"},
        "state": {"fields": {"text": {"type": "str", "default": ""}}},
        "nodes": [{"id": "ask", "prompt": "Greet in 60 words", "outputs": ["text"], "llm": llm}],
        "edges": [{"from": "START", "to": "ask"}],
        "config": {"execution": {"max_retries": 0}},
    }


@pytest.mark.parametrize(
    "model",
    ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "google/gemini-2.5-flash", "ollama/llama3.2"],
)
def test_a_stream_is_measured_to_its_end_with_the_time_to_its_first_token(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    for name, value in simulator.settings().items():
        monkeypatch.setenv(name, value)
    recorder = MemoryRecorder()
    result = run_workflow_from_config(
        asking({"model": model, "stream": True}), {}, RunOptions(recorder=recorder)
    )
    (call,) = recorder.calls
    assert call.usage is not None
    assert 0 < call.time_to_first_token_ns < call.duration_ns
    (sums,) = simulator.statements().values()
    assert call.usage.total_tokens == sum(sums[kind] for kind in TOKEN_CLASSES)
    assert len(result.state["text"].split()) == call.usage.output_tokens


# --- recordings of real providers ------------------------------------------------------------------


class Recording(NamedTuple):
    flavor: str
    provider: str
    recorded_as: str
    path: str
    """What the provider's SDK expects of a base URL."""
    stream: bool


RECORDINGS = [
    Recording("chat", "openai", "openai", "/v1", stream=False),
    Recording("chat", "openai", "openai", "/v1", stream=True),
    Recording("messages", "anthropic", "anthropic", "", stream=False),
    Recording("messages", "anthropic", "anthropic", "", stream=True),
    Recording("generateContent", "google", "google-gemini", "", stream=False),
    Recording("generateContent-stream", "google", "google-gemini", "", stream=True),
    Recording("ollama-chat", "ollama", "ollama", "", stream=False),
]


@pytest.fixture
def replay_address(shared_data: Path) -> Iterator[str]:
    command = [sys.executable, shared_data / "replay_server.py", "0", shared_data / "replay_bodies.jsonl"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().rsplit(maxsplit=1)[-1]}"
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


def cases(shared_data: Path, recording: Recording) -> list[dict[str, Any]]:
    """Recorded answers of the provider itself, with text and usage."""
    lines = (shared_data / "replay_bodies.jsonl").read_text(encoding="utf-8").splitlines()
    found = [
        body
        for body in map(json.loads, lines)
        if (body["flavor"], body["stream"]) == (recording.flavor, recording.stream)
        if body["status"] == 200 and body["usage"] and body["provider"].startswith(recording.recorded_as)
    ]
    return found[:CASES_PER_KIND_MAX]


def stated_tokens(flavor: str, usage: dict[str, Any]) -> tuple[int, int]:
    """All input and all output, by each provider's own rules."""
    if flavor == "chat":
        return usage["prompt_tokens"], usage["completion_tokens"]
    if flavor == "messages":
        billed = usage.get("iterations") or [usage]
        kinds = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        return (
            sum(part.get(kind) or 0 for part in billed for kind in kinds),
            sum(part["output_tokens"] for part in billed),
        )
    if flavor.startswith("generateContent"):
        prompt = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
        return prompt, usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
    return usage.get("prompt_eval_count") or 0, usage["eval_count"]


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "recording", RECORDINGS, ids=lambda one: f"{one.provider}-{'stream' if one.stream else 'whole'}"
)
def test_a_node_records_the_tokens_that_a_recorded_response_states(
    replay_address: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch, recording: Recording
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "a key")
    found = cases(shared_data, recording)
    assert found
    for case in found:
        recorder = MemoryRecorder()
        llm = {
            "provider": recording.provider,
            "model": case["req_model"] or case["model"],
            "api_base": f"{replay_address}/case/{case['id']}{recording.path}",
            "stream": recording.stream,
        }
        try:
            run_workflow_from_config(asking(llm), {}, RunOptions(recorder=recorder))
        except WorkflowFailedError as error:
            pytest.fail(f"{case['id']}: {error}")
        (call,) = recorder.calls
        assert call.usage is not None, case["id"]
        assert (call.usage.all_input_tokens, call.usage.all_output_tokens) == stated_tokens(
            recording.flavor, case["usage"]
        ), case["id"]
