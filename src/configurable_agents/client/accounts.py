"""Asks the daemon about dead letters, and has it remove runs."""

from __future__ import annotations

from typing import Any

from configurable_agents.client.reports import ReportClient
from configurable_agents.wire.account_records import DeadLetterFilter, DeadLetters, PurgeReport

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
