"""Runs one node: its attempts, its model calls, its tools. Everything it does is timed and priced."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any, TypeVar

from anyio import CapacityLimiter

from configurable_agents.core.answers import ask
from configurable_agents.core.checks import output_type
from configurable_agents.core.failures import explained
from configurable_agents.core.functions import THREADS_MAX, call, load_function
from configurable_agents.core.gates import GateKeeper
from configurable_agents.core.models import ChatModels
from configurable_agents.core.progress import Happening, Notify, Progress, say_nothing
from configurable_agents.core.retries import wait_before_retry_s
from configurable_agents.core.schema import Node, Workflow
from configurable_agents.core.state import checked_value
from configurable_agents.core.templates import resolve
from configurable_agents.errors import NodeFailedError, NodeTimeoutError, OutputMismatchError
from configurable_agents.observe import Run
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.runtime.time_classes import WAIT_SUFFIX

EXECUTION_TIME = "_execution_time_ms"
NS_PER_MS = 1_000_000

T = TypeVar("T")


@dataclass
class NodeServices:
    """What the nodes of one run share. Belongs to one event loop."""

    workflow: Workflow
    models: ChatModels
    run: Run | None = None
    gates: GateKeeper | None = None
    folder: Path | None = None
    notify: Notify = say_nothing
    limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS_MAX))
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def function(self, reference: str) -> Callable[..., Any]:
        found = self.functions.get(reference)
        if found is None:
            found = self.functions[reference] = load_function(reference, self.folder)
        return found


async def execute_node(node: Node, state: Mapping[str, Any], services: NodeServices) -> dict[str, Any]:
    """The state fields that the node writes, and `_execution_time_ms` of the attempt that made them.

    Each attempt is an execution of the node of its own; the wait before a retry is one of `{id}/wait`. Raises
    `NodeFailedError` with the last attempt's error as its cause. Cancellation passes through.
    """
    retries = services.workflow.config.execution.max_retries if node.prompt is not None else 0
    attempt = 1
    while True:
        services.notify(Progress(Happening.STARTED, node.id, attempt))
        began_ns = perf_counter_ns()
        try:
            outputs = await _attempt(node, state, services, attempt)
        except Exception as error:
            wait_s = wait_before_retry_s(error, attempt) if attempt <= retries else None
            if wait_s is None:
                raise _given_up(node, error, attempt, perf_counter_ns() - began_ns, services) from error
            detail = explained(error, node, services.workflow)
            services.notify(
                Progress(Happening.RETRYING, node.id, attempt, perf_counter_ns() - began_ns, wait_s, detail)
            )
        except BaseException:
            services.notify(Progress(Happening.CANCELLED, node.id, attempt, perf_counter_ns() - began_ns))
            raise
        else:
            services.notify(Progress(Happening.FINISHED, node.id, attempt, perf_counter_ns() - began_ns))
            return outputs
        attempt += 1
        with profile_node(f"{node.id}{WAIT_SUFFIX}", attempt=attempt):
            await asyncio.sleep(wait_s)


def _given_up(
    node: Node, error: Exception, attempt: int, duration_ns: int, services: NodeServices
) -> NodeFailedError:
    reason = explained(error, node, services.workflow)
    services.notify(Progress(Happening.FAILED, node.id, attempt, duration_ns, detail=reason))
    tried = f" (attempt {attempt})" if attempt > 1 else ""
    return NodeFailedError(node.id, f"{reason}{tried}")


async def _attempt(
    node: Node, state: Mapping[str, Any], services: NodeServices, attempt: int
) -> dict[str, Any]:
    began_ns = perf_counter_ns()
    with profile_node(node.id, attempt=attempt):
        values = {**state, **{name: resolve(template, state) for name, template in node.inputs.items()}}
        work = _run_python(node, values, services) if node.python else ask(node, values, services, attempt)
        outputs = _checked(
            node, await _within(services.workflow.config.execution.timeout, work), services.workflow
        )
    outputs[EXECUTION_TIME] = (perf_counter_ns() - began_ns) / NS_PER_MS
    return outputs


async def _within(timeout_s: float, work: Awaitable[T]) -> T:
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise NodeTimeoutError(
            f"it took longer than {timeout_s:g} s; raise config.execution.timeout if that is too short"
        ) from error


async def _run_python(node: Node, values: dict[str, Any], services: NodeServices) -> dict[str, Any]:
    """What the function returns: a mapping of outputs, or the value of the only one."""
    assert node.python is not None  # noqa: S101 - asked by the caller
    returned = await call(services.function(node.python), values, limiter=services.limiter)
    names = node.output_names
    if isinstance(returned, Mapping) and all(name in returned for name in names):
        return {name: returned[name] for name in names}
    if len(names) == 1:
        return {names[0]: returned}
    if not names:
        return {}
    raise OutputMismatchError(
        f"{node.python} returned {type(returned).__name__}; return a dict with {', '.join(names)}"
    )


def _checked(node: Node, outputs: dict[str, Any], workflow: Workflow) -> dict[str, Any]:
    """Outputs of the types that the node and the state declare."""
    checked = {}
    for name, value in outputs.items():
        kind = output_type(node, name) or workflow.state.fields[name].field_type
        passed = checked_value(kind, value, what=f"the output {name!r}")
        checked[name] = checked_value(
            workflow.state.fields[name].field_type, passed, what=f"the output {name!r}"
        )
    return checked
