"""Asks the daemon about dead letters, and has it remove runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from configurable_agents.client.reports import ReportClient, scope_message
from configurable_agents.wire.account_records import DeadLetterFilter, DeadLetters, PurgeReport
from configurable_agents.wire.report_records import Scope

if TYPE_CHECKING:
    from configurable_agents.observability.verification import Balance, ExpectedPoint, ExpectedRun

CHANGE_TIMEOUT_S = 600.0
"""For what may change very many rows, or has to wait until MLflow answers the export at hand."""


class AccountsClient:
    """Asks through the connection of `reports`, with the same errors. Thread-safe."""

    def __init__(self, reports: ReportClient) -> None:
        self._reports = reports

    def dead_letters(self, wanted: DeadLetterFilter) -> DeadLetters:
        from configurable_agents.wire import account_messages  # noqa: PLC0415

        message = self.ask("ListDeadLetters", account_messages.filter_to_message(wanted))
        return account_messages.dead_letters_from_message(message)

    def retry_dead_letters(self, wanted: DeadLetterFilter, *, whole_run: bool = False) -> int:
        """Has what is set aside exported again. Returns how many events."""
        from configurable_agents.wire import account_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import accounts_pb2  # noqa: PLC0415

        message = account_messages.filter_to_message(wanted)
        request = accounts_pb2.RetryRequest(filter=message, whole_run=whole_run)
        return int(self.ask("RetryDeadLetters", request).events)

    def drop_dead_letters(self, wanted: DeadLetterFilter) -> int:
        """Gives up what is set aside. Returns how many events."""
        from configurable_agents.wire import account_messages  # noqa: PLC0415

        return int(self.ask("DropDeadLetters", account_messages.filter_to_message(wanted)).events)

    def purge(self, run_id: str, *, apply: bool = False) -> PurgeReport:
        """What would be removed; with `apply` it is."""
        from configurable_agents.wire import account_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import accounts_pb2  # noqa: PLC0415

        request = accounts_pb2.PurgeRequest(run_id=run_id, apply=apply)
        return account_messages.purge_report_from_message(self.ask("PurgeRun", request))

    def balance(self, scope: Scope) -> Balance:
        """Where every committed event is, counted; and how many runs of the scope are in MLflow."""
        from configurable_agents.wire import account_messages  # noqa: PLC0415

        return account_messages.balance_from_message(self.ask("GetBalance", scope_message(scope)))

    def next_expected_run(self, scope: Scope, after_row: int) -> ExpectedRun | None:
        """The exported run of a scope that follows a row; `None` after the last."""
        from configurable_agents.wire import account_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import accounts_pb2  # noqa: PLC0415

        request = accounts_pb2.ExpectedRunRequest(scope=scope_message(scope), after_row=after_row)
        return account_messages.expected_run_from_message(self.ask("GetNextExpectedRun", request))

    def expected_points(self, row: int) -> Iterator[list[ExpectedPoint]]:
        """The points that MLflow should have of a run, in portions."""
        from configurable_agents.wire import account_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import accounts_pb2  # noqa: PLC0415

        after_seq = -1
        while after_seq:
            request = accounts_pb2.ExpectedPointsRequest(row=row, after_seq=max(0, after_seq))
            answer = self.ask("ListExpectedPoints", request)
            yield account_messages.expected_points_from_message(answer)
            after_seq = answer.next_seq

    def ask(self, method: str, request: Any) -> Any:
        if not self._reports.home.may_be_served:
            raise self._reports.unavailable()
        import grpc  # noqa: PLC0415

        from configurable_agents.wire.v1 import accounts_pb2_grpc  # noqa: PLC0415

        try:
            channel = self._reports.open_channel()
            stub = accounts_pb2_grpc.AccountsServiceStub(channel)  # type: ignore[no-untyped-call]
            return getattr(stub, method)(request, timeout=CHANGE_TIMEOUT_S)
        except grpc.RpcError as error:
            raise self._reports.translated(error) from error
