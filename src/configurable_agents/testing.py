"""For the tests of workflows: a recorder that keeps what was recorded.

recorder = MemoryRecorder()
with observe_run(recorder=recorder) as run:
    my_workflow()
assert [node.node_id for node in recorder.nodes] == ["fetch", "draft"]
"""

from __future__ import annotations

from typing import TypeVar

from configurable_agents.telemetry import (
    Event,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
)

EventKind = TypeVar("EventKind", RunStarted, NodeStarted, NodeFinished, LlmCall, RunFinished)


class MemoryRecorder:
    """Keeps every event in memory, in the order recorded. Touches no disk and no network. Thread-safe."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)

    @property
    def runs_started(self) -> list[RunStarted]:
        return self.of(RunStarted)

    @property
    def nodes(self) -> list[NodeFinished]:
        """Finished executions, in the order they ended."""
        return self.of(NodeFinished)

    @property
    def calls(self) -> list[LlmCall]:
        return self.of(LlmCall)

    @property
    def runs_finished(self) -> list[RunFinished]:
        return self.of(RunFinished)

    def of(self, kind: type[EventKind]) -> list[EventKind]:
        """Events of one kind, in the order recorded."""
        return [event for event in list(self.events) if isinstance(event, kind)]

    def clear(self) -> None:
        self.events.clear()
