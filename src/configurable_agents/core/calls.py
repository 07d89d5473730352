"""Has every model call recorded: those that answer, those that fail, and those that are cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from configurable_agents.core.models import STATED_USAGE, ModelName
from configurable_agents.observe import Run
from configurable_agents.runtime.names import error_type_of
from configurable_agents.telemetry import Status


@dataclass(slots=True)
class _OpenCall:
    started_ns: int
    started_unix_ns: int
    first_token_ns: int = 0


class CallTracker(AsyncCallbackHandler):
    """LangChain tells it what happens to the calls of one attempt. `close` ends what is left open."""

    raise_error = True
    run_inline = True

    def __init__(self, run: Run | None, name: ModelName, *, attempt: int) -> None:
        self._run = run
        self._name = name
        self._attempt = attempt
        self._open: dict[UUID, _OpenCall] = {}

    async def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - the names are LangChain's
        messages: list[list[BaseMessage]],  # noqa: ARG002
        *,
        run_id: UUID,
        **_: Any,
    ) -> None:
        unix_ns = self._run.scope.unix_ns() if self._run else 0
        self._open[run_id] = _OpenCall(perf_counter_ns(), unix_ns)

    async def on_llm_new_token(self, token: Any, *, run_id: UUID, **_: Any) -> None:  # noqa: ARG002
        call = self._open.get(run_id)
        if call and not call.first_token_ns:
            call.first_token_ns = perf_counter_ns() - call.started_ns

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        message = message_of(response)
        self._record(run_id, None if message is None else response_of(message), Status.OK, "")

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A completion that was cut short has its usage in the error."""
        self._record(run_id, getattr(error, "completion", None), Status.ERROR, error_type_of(error))

    def close(self, error: BaseException | None) -> None:
        """LangChain does not say so when a call is cancelled or times out."""
        for run_id in list(self._open):
            self._record(run_id, None, Status.CANCELLED, error_type_of(error) if error else "")

    def _record(self, run_id: UUID, response: Any, status: Status, error_type: str) -> None:
        call = self._open.pop(run_id, None)
        if call is None or self._run is None:
            return
        self._run.track_call(
            self._name.provider,
            self._name.model,
            response,
            started_unix_ns=call.started_unix_ns,
            duration_ns=perf_counter_ns() - call.started_ns,
            time_to_first_token_ns=call.first_token_ns,
            status=status,
            error_type=error_type,
            attempt=self._attempt,
        )


def message_of(result: LLMResult) -> AIMessage | None:
    for generations in result.generations:
        for generation in generations:
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                return generation.message
    return None


def response_of(message: AIMessage) -> dict[str, Any]:
    """What the provider stated, in its own form where LangChain kept it, else in LangChain's.

    LangChain keeps OpenAI's as `token_usage`, Anthropic's as `usage` and Ollama's counts side by side; of
    streams, and of Google, it keeps `usage_metadata` only, whose input includes what was cached.
    """
    stated = message.response_metadata
    heading = {
        "id": stated.get("id") or _provider_id(message),
        "model": stated.get("model_name") or stated.get("model") or "",
        "service_tier": stated.get("service_tier"),
    }
    if "eval_count" in stated:
        return {
            **heading,
            "prompt_eval_count": stated.get("prompt_eval_count"),
            "eval_count": stated["eval_count"],
        }
    usage = stated.get("token_usage") or stated.get("usage") or _of_stream(stated)
    if isinstance(usage, Mapping):
        return {**heading, "usage": dict(usage)}
    if message.usage_metadata is None:
        return heading
    details: dict[str, Any] = {"input_token_details": {}, "output_token_details": {}}
    return {**heading, "usage": {**details, **message.usage_metadata}}


def _of_stream(stated: Mapping[str, Any]) -> dict[str, Any] | None:
    """Anthropic's last event supersedes its first, in what it names."""
    began, ended = (stated.get(f"{STATED_USAGE}_{kind}") for kind in ("message_start", "message_delta"))
    return None if began is None or ended is None else {**began, **ended}


def _provider_id(message: AIMessage) -> str:
    """LangChain makes up an id where the provider gave none, or where it did not keep it."""
    made_up = message.id is None or message.id.startswith(("lc_", "run-"))
    return "" if made_up else str(message.id)
