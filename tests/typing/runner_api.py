"""What mypy must make of the runner's public API. Checked, never run."""

from typing import Any, assert_type

from configurable_agents.runtime.executor import (
    RunOptions,
    WorkflowResult,
    run_workflow,
    run_workflow_async,
    run_workflow_from_config,
    run_workflow_from_config_async,
)
from configurable_agents.telemetry import WorkflowRunRecord

assert_type(run_workflow("w.yaml"), WorkflowResult)
assert_type(
    run_workflow("w.yaml", {"topic": "x"}, RunOptions(experiment="e", profiling=True)), WorkflowResult
)
assert_type(run_workflow_from_config({"schema_version": "1.0"}).record, WorkflowRunRecord)


async def awaited() -> None:
    assert_type(await run_workflow_async("w.yaml"), WorkflowResult)
    result = await run_workflow_from_config_async({}, {"topic": "x"})
    assert_type(result.state, dict[str, Any])
    assert_type(result.record.bottleneck_info, str)
    assert_type(result.node_times_ms, dict[str, list[float]])
