"""The public API of `configurable_agents.observability` as a type checker sees it. Checked, never run."""

from __future__ import annotations

from typing import Any, assert_type

from configurable_agents.observability.cost_estimator import CostEstimator, Price
from configurable_agents.observability.cost_summary import CostSummary
from configurable_agents.observability.mlflow_tracker import MLFlowTracker
from configurable_agents.observability.multi_provider_tracker import (
    AssessedCall,
    MultiProviderCostTracker,
    generate_cost_report,
)
from configurable_agents.observability.price_table import GenaiPriceTable, PriceTable, RateCard
from configurable_agents.observability.providers import DetectedProvider, detect_provider
from configurable_agents.observability.usage import UsageReading, read_usage
from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.telemetry import Usage


def a_workflow_tracks_calls(response: object) -> None:
    tracker = MultiProviderCostTracker()
    assert_type(tracker.track_call("openai", "gpt-4o", response), dict[str, Any])
    assert_type(tracker.track_call(None, None, response), dict[str, Any])
    assessed = tracker.assess("", "", response, at_unix_ns=1, service_tier="flex", batch=True)
    assert_type(assessed, AssessedCall)
    assert_type(tracker.add(assessed, failed=True), dict[str, Any])
    assert_type(tracker.summary(), CostSummary)
    assert_type(tracker.get_cost_summary([tracker.get_cost_summary()]), dict[str, Any])
    assert_type(tracker.generate_report("e"), dict[str, Any])
    assert_type(generate_cost_report("e", mlflow_uri="sqlite:///mlflow.db"), dict[str, Any])


def a_daemon_prices_calls(table: PriceTable, usage: Usage | None) -> None:
    estimator = CostEstimator(table)
    found = estimator.price(provider="openai", model="gpt-4o", usage=usage, at_unix_ns=1, anomalies=("a",))
    assert_type(found, Price)
    assert_type(estimator.rate_card("openai", "gpt-4o", at_unix_ns=1), RateCard | None)
    CostEstimator(GenaiPriceTable())


def responses_are_read(response: object) -> None:
    assert_type(read_usage(response, provider="openai"), UsageReading)
    assert_type(detect_provider("gpt-4o", provider="", shape_provider=""), DetectedProvider)


def a_script_logs_to_mlflow(response: object) -> None:
    tracker = MLFlowTracker("sqlite:///mlflow.db", "e", cost_tracker=MultiProviderCostTracker())
    assert_type(tracker.cost_tracker, MultiProviderCostTracker)
    assert_type(tracker.track_provider_call("openai", "gpt-4o", response, run_id="r"), dict[str, Any])
    assert_type(tracker.get_workflow_cost_summary(), dict[str, Any])
    assert_type(tracker.log_workflow_summary("r", profile=ProfileReport()), dict[str, Any])
    assert_type(tracker.get_bottleneck_report("r"), dict[str, Any])
    MultiProviderCostTracker(tracker, estimator=CostEstimator())
