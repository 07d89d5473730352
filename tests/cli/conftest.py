"""Records as a daemon would send them, one of each kind, with everything a table has to cope with."""

import json
from dataclasses import dataclass

import pytest

from configurable_agents.client.reports import DaemonStatus, ExporterStatus, PartStatus
from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport, sorted_profiles
from configurable_agents.telemetry import Status, Usage, WorkflowRunRecord

NS_PER_MS = 1_000_000
STARTED_UNIX_NS = 1_795_336_467_000_000_000
LONG_MODEL = "acme-experimental-huge-mixture-of-experts-preview-2026-11"


@dataclass(frozen=True)
class Samples:
    cost: CostSummary
    profile: ProfileReport
    runs: tuple[WorkflowRunRecord, ...]
    status: DaemonStatus


@pytest.fixture
def samples() -> Samples:
    profile = sample_profile()
    return Samples(
        sample_cost(), profile, sample_runs(json.dumps(profile.bottleneck_info())), sample_status()
    )


def sample_cost() -> CostSummary:
    entries = [
        ModelCost("openai", "gpt-4o", priced(412, 10_412_300_000, Usage(2_120_004, 640_000, 0, 0, 188_020))),
        ModelCost(
            "openai", "gpt-4o-mini", priced(1_203, 312_000_000, Usage(3_120_004, output_tokens=288_020))
        ),
        ModelCost(
            "anthropic",
            "claude-sonnet-4-5",
            priced(96, 1_680_220_000, Usage(220_004, 1_640_000, 0, 0, 48_020)),
        ),
        ModelCost(
            "acme", LONG_MODEL, CallTotals(3, usage=Usage(18_204), unpriced_calls=3, unpriced_tokens=18_204)
        ),
        ModelCost("ollama", "llama3:8b", CallTotals(64, usage=Usage(120_004), free_calls=64)),
    ]
    return CostSummary.of(entries, run_count=8)


def priced(calls: int, cost_nanos: int, usage: Usage) -> CallTotals:
    return CallTotals(calls, cost_nanos, usage, priced_calls=calls)


def sample_profile() -> ProfileReport:
    nodes = [
        node("draft", calls=12, total_ms=9_744, self_ms=9_744, max_ms=2_210, p95_ms=2_105, errors=1),
        node("classify", calls=36, total_ms=2_110, self_ms=2_110, max_ms=190, p95_ms=140.5),
        node("retrieve", calls=36, total_ms=1_304, self_ms=904, max_ms=77),
        node(
            "a node with a very long name that nobody should have chosen, but somebody did",
            calls=36,
            total_ms=400,
            self_ms=400,
            max_ms=31,
        ),
        node("post", calls=36, total_ms=0.42, self_ms=0.42, max_ms=0.031),
    ]
    return ProfileReport(
        nodes=sorted_profiles(nodes),
        experiment="support-bot",
        workflow="triage",
        run_id="5f2c9a0be1d84c7ea8b0d6f0c11d22aa",
        run_count=1,
        status=Status.OK,
        wall_ns=9_850 * NS_PER_MS,
    )


def node(
    name: str,
    *,
    calls: int,
    total_ms: float,
    self_ms: float,
    max_ms: float,
    p95_ms: float | None = None,
    errors: int = 0,
) -> NodeProfile:
    p95_ns = None if p95_ms is None else round(p95_ms * NS_PER_MS)
    return NodeProfile(
        name,
        calls,
        round(total_ms * NS_PER_MS),
        round(self_ms * NS_PER_MS),
        round(max_ms * NS_PER_MS),
        errors,
        p95_ns,
    )


def sample_runs(bottleneck_info: str) -> tuple[WorkflowRunRecord, ...]:
    statuses = (Status.OK, Status.ERROR, Status.RUNNING, Status.INTERRUPTED, Status.CANCELLED)
    return tuple(
        WorkflowRunRecord(
            run_id=f"{index * 0x9A0BE1D84C7 + 0x1000000000000:013x}8b0d6f0c11d22aa",
            experiment="support-bot",
            workflow="triage",
            status=status,
            started_unix_ns=STARTED_UNIX_NS,
            finished_unix_ns=None if status is Status.RUNNING else STARTED_UNIX_NS + 3_200 * NS_PER_MS,
            total_cost_nanos=index * 12_340_000,
            total_tokens=index * 5_120,
            llm_calls=index * 3,
            unpriced_calls=1 if index == 3 else 0,
            bottleneck_info="" if status is Status.RUNNING else bottleneck_info,
        )
        for index, status in enumerate(statuses)
    )


def sample_status() -> DaemonStatus:
    mlflow = ExporterStatus(
        "mlflow",
        "postgresql://obs:secret@database/mlflow",
        "retrying",
        events_exported=1_104_331,
        events_waiting=100_000,
        runs_waiting=2,
        last_success_unix_ns=STARTED_UNIX_NS,
        last_error="MLflow did not answer within 5 s",
    )
    return DaemonStatus(
        "0.1.0",
        4242,
        STARTED_UNIX_NS,
        "/home/ada/.local/state/agents-obs",
        "unix:/home/ada/.local/state/agents-obs/agents-obsd.sock",
        events_committed=1_204_331,
        events_refused={"bad_name": 3, "negative_duration": 1},
        events_pending=18,
        parts=(
            PartStatus("ledger", "stuck", 1_795_336_467_000_000_000, "another program holds the ledger"),
            PartStatus("spools", "idle"),
        ),
        bytes_pending=1_800,
        oldest_pending_ns=12_000_000_000,
        events_acknowledged=1_000,
        commit_p50_ns=1_200_000,
        commit_p99_ns=9_000_000,
        runs_total=318,
        ledger_bytes=88_120_320,
        exporters=(mlflow,),
    )
