"""One physical call that is reported more than once is one call: which of its reports counts.

Two instrumentations of one SDK, or a workflow that tracks what a framework has tracked already, give the
same response id. The choice depends on what the reports say, never on which of them came first, so that
totals are the same in every order of arrival.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from configurable_agents.observability.providers import LOCAL_PROVIDERS, UNKNOWN_PROVIDER
from configurable_agents.observability.usage import STREAM_INCOMPLETE
from configurable_agents.telemetry import LlmCall, Status, Usage

Precedence = tuple[Any, ...]
"""Of two reports of one call, the one with the higher counts."""


def identifies_call(response_id: str, provider: str) -> bool:
    """Local servers number their responses at random, some below a thousand: that identifies nothing."""
    return bool(response_id) and provider not in LOCAL_PROVIDERS


def precedence(
    usage: Usage | None,
    *,
    stated_cost_nanos: int | None,
    anomalies: Collection[str],
    is_failed: bool,
    provider: str,
    model: str,
) -> Precedence:
    """Whoever knows more counts: usage, all of it, a stated cost, more tokens, a good end, who served it."""
    return (
        usage is not None,
        STREAM_INCOMPLETE not in anomalies,
        stated_cost_nanos is not None,
        0 if usage is None else usage.total_tokens,
        not is_failed,
        provider not in ("", UNKNOWN_PROVIDER),
        bool(model),
        *((stated_cost_nanos or 0,) if usage is None else (stated_cost_nanos or 0, *usage)),
    )


def precedence_of(call: LlmCall) -> Precedence:
    """The same for a record, down to the last field, so that no two different ones are equal."""
    known = precedence(
        call.usage,
        stated_cost_nanos=call.stated_cost_nanos,
        anomalies=call.anomalies,
        is_failed=call.status is not Status.OK,
        provider=call.provider,
        model=call.model,
    )
    return (*known, bool(call.node_id), call.span_id != 0, call)
