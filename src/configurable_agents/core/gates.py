"""`config.gates`: what a run may cost and take, checked before each model call and at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from configurable_agents.core.schema import Gate, Gates
from configurable_agents.errors import GateFailedError
from configurable_agents.observability.cost_summary import plural
from configurable_agents.observe import Run
from configurable_agents.telemetry import NANOS_PER_USD

NS_PER_MS = 1_000_000


class GateKeeper:
    """Raises `GateFailedError` or warns, as the workflow says. Each gate warns once."""

    def __init__(self, gates: Gates, run: Run | None, warn: Callable[[str], None]) -> None:
        self._gates = gates
        self._run = run
        self._warn = warn
        self._warned: set[str] = set()

    def check_before_call(self) -> None:
        """Only what money is left: a call that is not made costs nothing."""
        if self._run is None:
            return
        for gate in self._gates.gates:
            if gate.metric == "cost_usd" and gate.max is not None:
                spent = self._run.cost_summary().totals.cost_nanos / NANOS_PER_USD
                if spent >= gate.max:
                    self._close(gate, f"${spent:.6f} of cost_usd is spent and the gate is at {gate.max:g}")

    def check_at_end(self, duration_ns: int) -> None:
        for gate, sentence in self._crossed(duration_ns):
            self._close(gate, sentence)

    def _crossed(self, duration_ns: int) -> Iterator[tuple[Gate, str]]:
        if self._run is None or not self._gates.gates:
            return
        totals = self._run.cost_summary().totals
        values = {
            "cost_usd": totals.cost_nanos / NANOS_PER_USD,
            "total_tokens": float(totals.usage.total_tokens),
            "duration_ms": duration_ns / NS_PER_MS,
        }
        unknown = {
            "cost_usd": (totals.calls - totals.covered_calls, "a known price"),
            "total_tokens": (totals.no_usage_calls, "usage"),
        }
        for gate in self._gates.gates:
            value = values[gate.metric]
            unknown_calls, lack = unknown.get(gate.metric, (0, ""))
            lower_bound = unknown_calls > 0
            if gate.max is not None and value > gate.max:
                yield gate, f"{gate.metric} is {value:,.6g}, more than the gate's {gate.max:g}"
            elif gate.min is not None and value < gate.min and not lower_bound:
                yield gate, f"{gate.metric} is {value:,.6g}, less than the gate's {gate.min:g}"
            elif lower_bound:
                calls = plural(unknown_calls, "call")
                self._warn_once(f"the gate on {gate.metric} knows nothing of {calls} without {lack}")

    def _close(self, gate: Gate, sentence: str) -> None:
        if self._gates.on_fail == "fail":
            raise GateFailedError(f"{sentence}; raise it in config.gates, or set on_fail: warn")
        self._warn_once(f"gate {gate.metric}: {sentence}")

    def _warn_once(self, sentence: str) -> None:
        key = sentence.partition(" ")[0] + sentence.partition(":")[0]
        if key not in self._warned:
            self._warned.add(key)
            self._warn(sentence)
