"""Questions to the daemon. Loads gRPC only when the first question is asked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from configurable_agents.client.home import Home
from configurable_agents.errors import (
    AgentsObsError,
    DaemonUnavailableError,
    InvalidValueError,
    NotFoundError,
)
from configurable_agents.observability.cache_economics import CacheReport
from configurable_agents.observability.cost_groups import GroupedCosts
from configurable_agents.observability.cost_summary import CostSummary
from configurable_agents.observability.receipts import Receipt
from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.telemetry import WorkflowRunRecord
from configurable_agents.wire.report_records import NOTE_KEY, DaemonStatus, ExporterStatus, PartStatus, Scope

if TYPE_CHECKING:
    import grpc

__all__ = ["DaemonStatus", "ExporterStatus", "PartStatus", "ReportClient", "Scope"]

T = TypeVar("T")

ANSWER_TIMEOUT_S = 30.0
"""A report over very many runs takes its time; a daemon that hangs must not hold a person for ever."""


class ReportClient:
    """Asks the daemon of `home`. Use it in a `with`, or `close` it. Thread-safe.

    Every question raises `DaemonUnavailableError` when no daemon answers, `NotFoundError` when it does
    not have what was asked for, `InvalidValueError` when the question cannot be answered as asked.
    """

    def __init__(self, home: Home, *, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.home = home
        self._timeout_s = timeout_s
        self._channel: grpc.Channel | None = None
        self._opening = threading.Lock()
        self.notes: dict[str, None] = {}
        """What the daemon wants known of where its answers come from, each once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._opening:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def cost_report(self, scope: Scope) -> CostSummary:
        from configurable_agents.wire import cost_messages  # noqa: PLC0415

        return cost_messages.cost_summary_from_message(self._ask("GetCostReport", scope_message(scope)))

    def profile_report(self, scope: Scope) -> ProfileReport:
        from configurable_agents.wire import report_messages  # noqa: PLC0415

        return report_messages.profile_report_from_message(
            self._ask("GetProfileReport", scope_message(scope))
        )

    def runs(self, scope: Scope, *, limit: int = 0) -> tuple[list[WorkflowRunRecord], int]:
        """The newest runs, at most `limit` (0: the daemon's choice), and how many there are in all."""
        from configurable_agents.wire import report_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import reports_pb2  # noqa: PLC0415

        answer = self._ask("ListRuns", reports_pb2.ListRunsRequest(scope=scope_message(scope), limit=limit))
        return [report_messages.run_from_message(run) for run in answer.runs], answer.matching

    def grouped_costs(
        self, scope: Scope, by: Sequence[str], *, sort: str = "cost", top: int = 0
    ) -> GroupedCosts:
        """Costs by dimensions (see `cost_groups.DIMENSIONS`); `top` 0: as many groups as there are."""
        from configurable_agents.wire import cost_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import reports_pb2  # noqa: PLC0415

        request = reports_pb2.GroupRequest(scope=scope_message(scope), by=by, sort=sort, top=top)
        return cost_messages.grouped_costs_from_message(self._ask("GetGroupedCosts", request))

    def cache_report(self, scope: Scope) -> CacheReport:
        """What prompt caches saved, and what was spent on them in vain, per node and model."""
        from configurable_agents.wire import cost_messages  # noqa: PLC0415

        return cost_messages.cache_report_from_message(self._ask("GetCacheReport", scope_message(scope)))

    def receipts(self, scope: Scope, *, call_id: str = "", limit: int = 0) -> list[Receipt]:
        """How the cost of a call came about; without `call_id` of the costliest calls, at most `limit`."""
        from configurable_agents.wire import cost_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import reports_pb2  # noqa: PLC0415

        request = reports_pb2.ExplainRequest(scope=scope_message(scope), call_id=call_id, limit=limit)
        answer = self._ask("ExplainCalls", request)
        return [cost_messages.receipt_from_message(each) for each in answer.receipts]

    def status(self) -> DaemonStatus:
        from configurable_agents.wire import report_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import reports_pb2  # noqa: PLC0415

        return report_messages.status_from_message(self._ask("GetStatus", reports_pb2.StatusRequest()))

    def _ask(self, method: str, request: Any) -> Any:
        if not self.home.may_be_served:
            raise self.unavailable()
        import grpc  # noqa: PLC0415

        from configurable_agents.wire.v1 import reports_pb2_grpc  # noqa: PLC0415

        try:
            stub = reports_pb2_grpc.ReportServiceStub(self.open_channel())  # type: ignore[no-untyped-call]
            answer, call = getattr(stub, method).with_call(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise self.translated(error) from error
        self._take_notes(call.trailing_metadata())
        return answer

    def _take_notes(self, metadata: Sequence[tuple[str, str | bytes]] | None) -> None:
        for key, value in metadata or ():
            if key == NOTE_KEY:
                self.notes[str(value)] = None

    def open_channel(self) -> grpc.Channel:
        from configurable_agents.client.channel import open_channel  # noqa: PLC0415

        with self._opening:
            if self._channel is None:
                self._channel = open_channel(self.home)
            return self._channel

    def translated(self, error: Any) -> AgentsObsError:
        import grpc  # noqa: PLC0415

        code, details = error.code(), error.details()
        if code is grpc.StatusCode.NOT_FOUND:
            return NotFoundError(details)
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidValueError(details)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DaemonUnavailableError(
                f"the daemon in {self.home.folder} did not answer within {self._timeout_s:g} s;"
                f" see: {self.home.command('agents-obsd status')}"
            )
        if code is grpc.StatusCode.UNAVAILABLE:
            return self.unavailable()
        return AgentsObsError(f"the daemon could not answer: {details} ({code.name}); see {self.home.log}")

    def unavailable(self) -> DaemonUnavailableError:
        return DaemonUnavailableError(
            f"no daemon is running in {self.home.folder}; start one with:"
            f" {self.home.command('agents-obsd start')}"
        )


def scope_message(scope: Scope) -> Any:
    from configurable_agents.wire.v1 import reports_pb2  # noqa: PLC0415

    return reports_pb2.Scope(
        experiment=scope.experiment, run_id=scope.run_id, since_unix_ns=scope.since_unix_ns
    )
