"""Asks the daemon to make prices anew."""

from __future__ import annotations

from configurable_agents.client.reports import ReportClient, scope_message
from configurable_agents.observability.repricing import RepricingReport
from configurable_agents.wire.report_records import Scope

REPRICING_TIMEOUT_S = 600.0


def reprice(
    reports: ReportClient, scope: Scope, *, as_of_unix_ns: int = 0, apply: bool = False, reason: str = ""
) -> RepricingReport:
    """What the calls of a scope cost by the prices of now; with `apply` they cost that from now on.

    Asks through the connection of `reports`, with the same errors.
    """
    if not reports.home.may_be_served:
        raise reports.unavailable()
    import grpc  # noqa: PLC0415

    from configurable_agents.wire import cost_messages  # noqa: PLC0415
    from configurable_agents.wire.v1 import repricing_pb2, repricing_pb2_grpc  # noqa: PLC0415

    request = repricing_pb2.RepriceRequest(
        scope=scope_message(scope), as_of_unix_ns=as_of_unix_ns, apply=apply, reason=reason
    )
    try:
        stub = repricing_pb2_grpc.RepricingServiceStub(reports.open_channel())  # type: ignore[no-untyped-call]
        return cost_messages.repricing_from_message(stub.Reprice(request, timeout=REPRICING_TIMEOUT_S))
    except grpc.RpcError as error:
        raise reports.translated(error) from error
