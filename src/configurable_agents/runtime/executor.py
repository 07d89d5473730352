"""Runs workflows from YAML files, observed from beginning to end.

    result = run_workflow("article.yaml", {"topic": "tides"})
    print(result.state["article"], result.record.bottleneck_info)

Needs the extra `[runner]`; LangGraph, LangChain and pydantic are loaded by the first run.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from configurable_agents.client.home import Home
from configurable_agents.errors import (
    AgentsObsError,
    MissingPackageError,
    NodeFailedError,
    WorkflowFailedError,
)
from configurable_agents.observability.cost_summary import CostSummary
from configurable_agents.observe import Run, observe_run
from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.telemetry import Recorder, Status, Usage, WorkflowRunRecord

if TYPE_CHECKING:
    from configurable_agents.core.checks import Checked
    from configurable_agents.core.models import ChatModels
    from configurable_agents.core.progress import Progress
    from configurable_agents.observability.cost_estimator import CostEstimator

__all__ = [
    "RunOptions",
    "WorkflowExecution",
    "WorkflowResult",
    "load_ready_workflow",
    "load_workflow",
    "run_workflow",
    "run_workflow_async",
    "run_workflow_from_config",
    "run_workflow_from_config_async",
]

INSTALL_RUNNER = "pip install 'agents-obs[runner]'"
VERSION_TAG = "workflow_version"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkflowResult:
    """What a run gave, and what is known of it in this process."""

    state: dict[str, Any]
    """Every field of the state at the end; of a run that failed, as it began."""
    record: WorkflowRunRecord
    profile: ProfileReport
    """Without nodes when profiling was off."""
    costs: CostSummary
    warnings: tuple[str, ...] = ()
    node_times_ms: dict[str, list[float]] = field(default_factory=dict)
    """`_execution_time_ms` of each execution that succeeded, by node, in the order they ended."""

    @property
    def run_id(self) -> str:
        return self.record.run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a workflow is run. What is left out comes from its `config`."""

    experiment: str | None = None
    """Else that of `config.observability.mlflow`, else the workflow's name."""
    profiling: bool | None = None
    """Whether nodes are added up in this process; else as the config says, else yes. All are recorded."""
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    home: Home | str | os.PathLike[str] | None = None
    recorder: Recorder | None = None
    estimator: CostEstimator | None = None
    on_progress: Callable[[Progress], None] | None = None
    on_warning: Callable[[str], None] | None = None


def load_workflow(path: str | os.PathLike[str]) -> Checked:
    """Reads and checks a file without running it.

    Raises `WorkflowInvalidError` with all that must change, `ConfigurationError` when it cannot be read.
    """
    _require("yaml", "pydantic")
    from configurable_agents.core.checks import read_workflow  # noqa: PLC0415 - loads pydantic and YAML

    return read_workflow(Path(path))


def load_ready_workflow(path: str | os.PathLike[str]) -> Checked:
    """Reads and checks a file, with all that `run_workflow` would refuse in it. Imports what it names.

    Raises as `load_workflow` does. Keys and packages are not looked for.
    """
    _require("yaml", "pydantic")
    from configurable_agents.core.readiness import read_ready_workflow  # noqa: PLC0415 - as above

    return read_ready_workflow(Path(path))


def run_workflow(
    path: str | os.PathLike[str], inputs: Mapping[str, Any] | None = None, options: RunOptions | None = None
) -> WorkflowResult:
    """Runs a workflow file to its end, also from a thread whose event loop is running.

    Raises `WorkflowInvalidError`, `WorkflowInputError` or `ConfigurationError` before it begins,
    `WorkflowFailedError` (with the partial result) when it fails, and passes Ctrl-C on once it has stopped.
    """
    return run_to_end(run_workflow_async(path, inputs, options))


async def run_workflow_async(
    path: str | os.PathLike[str], inputs: Mapping[str, Any] | None = None, options: RunOptions | None = None
) -> WorkflowResult:
    """`run_workflow` on the running event loop. Cancel its task to cancel the run."""
    return await WorkflowExecution(load_workflow(path), inputs, options).run()


def run_workflow_from_config(
    config: Mapping[str, Any], inputs: Mapping[str, Any] | None = None, options: RunOptions | None = None
) -> WorkflowResult:
    """`run_workflow` for a workflow given as data."""
    return run_to_end(run_workflow_from_config_async(config, inputs, options))


async def run_workflow_from_config_async(
    config: Mapping[str, Any], inputs: Mapping[str, Any] | None = None, options: RunOptions | None = None
) -> WorkflowResult:
    """`run_workflow_async` for a workflow given as data."""
    _require("yaml", "pydantic")
    from configurable_agents.core.checks import workflow_of  # noqa: PLC0415 - loads pydantic and YAML

    return await WorkflowExecution(workflow_of(dict(config)), inputs, options).run()


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, whether or not an event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - rarely needed

    async def awaited() -> T:
        return await work

    with start_blocking_portal() as portal:
        return portal.call(awaited)


class WorkflowExecution:
    """One run of a workflow. `result` tells what is known of it, also after it failed or was cancelled."""

    def __init__(
        self, checked: Checked, inputs: Mapping[str, Any] | None = None, options: RunOptions | None = None
    ) -> None:
        """Raises `WorkflowInputError` for unfitting inputs, `ConfigurationError` for what is missing."""
        _require("langgraph", "langchain")
        from configurable_agents.core.readiness import check_ready  # noqa: PLC0415 - LangChain takes long
        from configurable_agents.core.state import initial_state  # noqa: PLC0415

        self._checked = checked
        self._options = options or RunOptions()
        self._state = initial_state(checked.plan.workflow, inputs or {})
        self._warnings = list(checked.warnings)
        self._times_ms: dict[str, list[float]] = {}
        self._run: Run | None = None
        check_ready(checked)

    async def run(self) -> WorkflowResult:
        """Runs it. Raises `WorkflowFailedError`; what keeps it from beginning, and a cancellation, pass."""
        try:
            await self._observed()
        except AgentsObsError as error:
            if not self.has_begun:
                raise
            node_id = error.node_id if isinstance(error, NodeFailedError) else ""
            name = self._checked.plan.workflow.flow.name
            raise WorkflowFailedError(
                f"workflow {name} failed: {error}", node_id=node_id, result=self.result
            ) from error
        return self.result

    @property
    def result(self) -> WorkflowResult:
        """So far. Raises `RuntimeError` before the run began."""
        run = self._run
        if run is None:
            raise RuntimeError("the run has not begun; await run() first")
        profile, costs = run.profile(), run.cost_summary()
        record = _record(run, profile, costs, self._tags())
        return WorkflowResult(self._state, record, profile, costs, tuple(self._warnings), {**self._times_ms})

    @property
    def has_begun(self) -> bool:
        return self._run is not None

    async def _observed(self) -> None:
        from configurable_agents.core.models import ChatModels  # noqa: PLC0415 - LangChain takes long

        workflow = self._checked.plan.workflow
        options = self._options
        context = observe_run(
            experiment=self._experiment(),
            workflow=workflow.flow.name,
            tags=self._tags(),
            run_id=options.run_id,
            graph=self._checked.plan.declared_graph,
            home=options.home,
            recorder=options.recorder,
            estimator=options.estimator,
        )
        async with ChatModels() as models:
            _load_all()
            models.prepare(workflow)
            async with context as run:
                self._run = run
                run.analyzer.enabled = self.profiles
                await self._walk(run, models)

    async def _walk(self, run: Run, models: ChatModels) -> None:
        from configurable_agents.core.gates import GateKeeper  # noqa: PLC0415
        from configurable_agents.core.graph import run_graph  # noqa: PLC0415
        from configurable_agents.core.node_executor import (  # noqa: PLC0415
            EXECUTION_TIME,
            NodeServices,
            execute_node,
        )
        from configurable_agents.core.progress import say_nothing  # noqa: PLC0415

        workflow = self._checked.plan.workflow
        gates = GateKeeper(workflow.config.gates, run, self._warn) if workflow.config.gates.gates else None
        notify = self._options.on_progress or say_nothing
        services = NodeServices(workflow, models, run, gates, self._checked.folder, notify)

        async def run_node(node: Any, state: Mapping[str, Any]) -> dict[str, Any]:
            outputs = await execute_node(node, state, services)
            self._times_ms.setdefault(node.id, []).append(outputs.pop(EXECUTION_TIME))
            return outputs

        self._state = await run_graph(self._checked.plan, self._state, run_node)
        if gates is not None:
            gates.check_at_end(run.scope.unix_ns() - run.started_unix_ns)

    def _experiment(self) -> str:
        workflow = self._checked.plan.workflow
        mlflow = workflow.config.observability.mlflow
        return self._options.experiment or (mlflow and mlflow.experiment_name) or workflow.flow.name

    @property
    def profiles(self) -> bool:
        """Whether nodes are added up in this process, as `RunOptions.profiling` says."""
        configured = self._checked.plan.workflow.config.observability.profiling
        if self._options.profiling is not None:
            return self._options.profiling
        return configured is None or configured.enabled

    def _tags(self) -> dict[str, str]:
        version = self._checked.plan.workflow.flow.version
        return {**({VERSION_TAG: version} if version else {}), **self._options.tags}

    def _warn(self, sentence: str) -> None:
        self._warnings.append(sentence)
        if self._options.on_warning is not None:
            self._options.on_warning(sentence)


def _record(run: Run, profile: ProfileReport, costs: CostSummary, tags: dict[str, str]) -> WorkflowRunRecord:
    totals = costs.totals
    running = profile.status is Status.RUNNING
    return WorkflowRunRecord(
        run_id=run.run_id,
        experiment=profile.experiment,
        workflow=profile.workflow,
        status=profile.status,
        started_unix_ns=run.started_unix_ns,
        finished_unix_ns=None if running else run.started_unix_ns + profile.wall_ns,
        tags=tags,
        total_cost_nanos=totals.cost_nanos,
        total_tokens=totals.usage.total_tokens,
        llm_calls=totals.calls,
        unpriced_calls=totals.calls - totals.covered_calls,
        node_executions=sum(node.calls for node in profile.nodes),
        bottleneck_info=json.dumps(profile.bottleneck_info()) if profile.nodes else "",
        no_usage_calls=totals.no_usage_calls,
    )


def _load_all() -> None:
    """What nodes would else load while their time is measured: LangGraph, and the prices of models."""
    from configurable_agents.core import graph, node_executor  # noqa: F401, PLC0415
    from configurable_agents.observability.cost_estimator import CostEstimator  # noqa: PLC0415

    CostEstimator().price(provider="openai", model="gpt-4o", usage=Usage(1), at_unix_ns=time.time_ns())


def _require(*modules: str) -> None:
    """Raises `MissingPackageError` for the first package that is not there."""
    from importlib.util import find_spec  # noqa: PLC0415 - only when a workflow is used

    for module in modules:
        if find_spec(module) is None:
            raise MissingPackageError(f"workflows need the package {module}: {INSTALL_RUNNER}")
