"""Questions to the daemon whose answers are streams, or runs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from configurable_agents.client.reports import ReportClient, scope_message
from configurable_agents.runtime.past_runs import PastRun
from configurable_agents.runtime.timeline import Timeline
from configurable_agents.wire.report_records import LiveView, Scope

TIMELINE_TIMEOUT_S = 60.0
"""For all parts of one timeline."""


class TimelineClient:
    """Asks through the connection of a `ReportClient`, with the same errors. Thread-safe."""

    def __init__(self, reports: ReportClient) -> None:
        self._reports = reports

    def timeline(self, scope: Scope) -> Timeline:
        """The one run of the scope."""
        from configurable_agents.wire import timeline_messages  # noqa: PLC0415

        parts = self._stream("GetTimeline", scope_message(scope), timeout_s=TIMELINE_TIMEOUT_S)
        return timeline_messages.timeline_from_parts(parts)

    def watch(self, *, every_ms: int = 0) -> Iterator[LiveView]:
        """What is in flight, again and again, until the caller has had enough or the daemon ends."""
        from configurable_agents.wire import timeline_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import timeline_pb2  # noqa: PLC0415

        for update in self._stream("Watch", timeline_pb2.WatchRequest(every_ms=every_ms), timeout_s=None):
            yield timeline_messages.live_view_from_message(update)

    def past_runs(self, scope: Scope, *, limit: int = 0, before_unix_ns: int = 0) -> list[PastRun]:
        """The newest runs of the scope that are over, newest first."""
        from configurable_agents.wire import timeline_messages  # noqa: PLC0415
        from configurable_agents.wire.v1 import timeline_pb2  # noqa: PLC0415

        request = timeline_pb2.HistoryRequest(
            scope=scope_message(scope), limit=limit, before_unix_ns=before_unix_ns
        )
        answers = self._stream("GetHistory", request, timeout_s=TIMELINE_TIMEOUT_S)
        return [timeline_messages.past_run_from_message(run) for answer in answers for run in answer.runs]

    def _stream(self, method: str, request: Any, *, timeout_s: float | None) -> Iterator[Any]:
        """The messages of a stream, or the one message of an answer."""
        if not self._reports.home.may_be_served:
            raise self._reports.unavailable()
        import grpc  # noqa: PLC0415

        from configurable_agents.wire.v1 import timeline_pb2_grpc  # noqa: PLC0415

        try:
            channel = self._reports.open_channel()
            stub = timeline_pb2_grpc.TimelineServiceStub(channel)  # type: ignore[no-untyped-call]
            answer = getattr(stub, method)(request, timeout=timeout_s)
            if method == "GetHistory":
                yield answer
            else:
                yield from answer
        except grpc.RpcError as error:
            raise self._reports.translated(error) from error
