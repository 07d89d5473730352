"""Says what went wrong in a node in a way that a person can act on."""

from __future__ import annotations

from configurable_agents.core.models import PROVIDERS, ModelName, model_name
from configurable_agents.core.retries import is_retryable, status_code
from configurable_agents.core.schema import Node, Workflow
from configurable_agents.errors import AgentsObsError, OutputMismatchError

DETAIL_LENGTH_MAX = 300


def explained(error: BaseException, node: Node, workflow: Workflow) -> str:
    """One line: what happened, to what, what to do."""
    if isinstance(error, AgentsObsError):
        return str(error)
    if node.prompt is None:
        return f"{node.python} raised {_named(error)}"
    try:
        name = model_name(workflow.llm_of(node), node_id=node.id)
    except AgentsObsError:
        return _named(error)
    return _refused(error, name)


def _refused(error: BaseException, name: ModelName) -> str:  # noqa: PLR0911 - one line for each case
    status = status_code(error)
    detail = _detail(error)
    if status in (401, 403) or "API key not valid" in detail:
        return f"{name.provider} refused the key ({status}); check {_key_variable(name.provider)}: {detail}"
    if status == 404:
        return f"{name.provider} has no model {name.model!r} (404); check llm.model: {detail}"
    if status == 429:
        return (
            f"{name.provider} limits the rate (429); raise config.execution.max_retries or ask less: {detail}"
        )
    if status is not None and status >= 500:
        return f"{name.provider} failed ({status}); try again later: {detail}"
    if status is not None:
        return f"{name.provider} refused the request ({status}): {detail}"
    if is_retryable(error) and not isinstance(error, OutputMismatchError):
        return f"{name.provider} cannot be reached; check the network and the base URL: {_named(error)}"
    return _named(error)


def _key_variable(provider: str) -> str:
    package = PROVIDERS.get(provider)
    return package.key_variables[0] if package and package.key_variables else "its key"


def _named(error: BaseException) -> str:
    detail = _detail(error)
    return f"{type(error).__name__}: {detail}" if detail else type(error).__name__


def _detail(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= DETAIL_LENGTH_MAX else f"{text[:DETAIL_LENGTH_MAX]}…"
