"""`config.gates`: what a run may cost and take, checked before each model call and at the end."""

from __future__ import annotations

from collections.abc import Callable

from configurable_agents.core.schema import Gate, Gates
from configurable_agents.errors import GateFailedError
from configurable_agents.observability.cost_summary import CostSummary, plural, rounded_usd
from configurable_agents.observe import Run
from configurable_agents.telemetry import NANOS_PER_USD

NS_PER_MS = 1_000_000
MODELS_NAMED_MAX = 3
"""Models without a price that a sentence names."""


class GateKeeper:
    """Raises `GateFailedError` or warns, as the workflow says. Each gate warns once of the same thing.

    What is not known is not nothing: a gate that calls of unknown cost or size could decide fails, too.
    Calls that failed without usage are left out of that, else each refusal by a provider would end a run.
    """

    def __init__(self, gates: Gates, run: Run | None, warn: Callable[[str], None]) -> None:
        self._gates = gates
        self._run = run
        self._warn = warn
        self._warned: set[tuple[str, str]] = set()

    def check_before_call(self) -> None:
        """Only what money is left: a call that is not made costs nothing."""
        if self._run is None:
            return
        for gate in self._gates.gates:
            if gate.metric == "cost_usd" and gate.max is not None:
                summary = self._run.cost_summary()
                spent = summary.totals.cost_nanos / NANOS_PER_USD
                if spent >= gate.max:
                    self._cross(
                        gate,
                        f"{rounded_usd(summary.totals.cost_nanos, 6)} of cost_usd is spent"
                        f" and the gate is at {gate.max:g}",
                    )
                elif self._gates.on_fail == "fail" and _unknown_calls(gate, summary):
                    self._tell_unknown(gate, summary)

    def check_at_end(self, duration_ns: int) -> None:
        if self._run is None or not self._gates.gates:
            return
        summary = self._run.cost_summary()
        values = {
            "cost_usd": summary.totals.cost_nanos / NANOS_PER_USD,
            "total_tokens": float(summary.totals.usage.total_tokens),
            "duration_ms": duration_ns / NS_PER_MS,
        }
        for gate in self._gates.gates:
            self._judge(gate, values[gate.metric], summary)

    def _judge(self, gate: Gate, value: float, summary: CostSummary) -> None:
        """`value` is a lower bound where calls are not known."""
        too_little = gate.min is not None and value < gate.min
        if gate.max is not None and value > gate.max:
            self._cross(gate, f"{gate.metric} is {value:,.6g}, more than the gate's {gate.max:g}")
        elif _not_in_sum(gate, summary):
            if gate.max is not None or too_little:
                self._tell_unknown(gate, summary)
        elif too_little:
            self._cross(gate, f"{gate.metric} is {value:,.6g}, less than the gate's {gate.min:g}")

    def _cross(self, gate: Gate, sentence: str) -> None:
        if self._gates.on_fail == "fail":
            raise GateFailedError(f"{sentence}; raise it in config.gates, or set on_fail: warn")
        self._warn_once(gate, "crossed", f"gate {gate.metric}: {sentence}")

    def _tell_unknown(self, gate: Gate, summary: CostSummary) -> None:
        if self._gates.on_fail == "fail" and _unknown_calls(gate, summary):
            raise GateFailedError(_not_judged(gate, summary))
        lack = "a known price" if gate.metric == "cost_usd" else "usage"
        calls = plural(_not_in_sum(gate, summary), "call")
        self._warn_once(gate, "unknown", f"the gate on {gate.metric} knows nothing of {calls} without {lack}")

    def _warn_once(self, gate: Gate, what: str, sentence: str) -> None:
        if (gate.metric, what) not in self._warned:
            self._warned.add((gate.metric, what))
            self._warn(sentence)


def _not_in_sum(gate: Gate, summary: CostSummary) -> int:
    """Calls that the value of the gate leaves out."""
    totals = summary.totals
    if gate.metric == "cost_usd":
        return totals.calls - totals.covered_calls
    return totals.no_usage_calls if gate.metric == "total_tokens" else 0


def _unknown_calls(gate: Gate, summary: CostSummary) -> int:
    """Those of them that were answered, and so cost something: at least so many."""
    totals = summary.totals
    answered = max(0, totals.no_usage_calls - totals.failed_calls)
    if gate.metric == "cost_usd":
        return totals.unpriced_calls + answered
    return answered if gate.metric == "total_tokens" else 0


def _not_judged(gate: Gate, summary: CostSummary) -> str:
    names = [f"{entry.provider}/{entry.model}" for entry in summary.models if entry.totals.unpriced_calls]
    if gate.metric == "cost_usd" and names:
        more = ", …" if len(names) > MODELS_NAMED_MAX else ""
        calls = plural(summary.totals.unpriced_calls, "call")
        lack = f"{calls} without a known price ({', '.join(names[:MODELS_NAMED_MAX])}{more})"
        remedy = "give the model one in prices.toml"
    else:
        lack = f"{plural(_unknown_calls(gate, summary), 'call')} without usage"
        remedy = "have the provider state it"
    return f"the gate on {gate.metric} cannot judge {lack}; {remedy}, or set on_fail: warn"
