"""The native receiver: batches over gRPC. A handler only unwraps, hands in, and answers."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import anyio.abc
import grpc
import grpc.aio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from configurable_agents.errors import AgentsObsError, LedgerNotNowError, WireFormatError
from configurable_agents.obsd import limits
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.producers import Producers
from configurable_agents.obsd.receivers.inlet import hand_in
from configurable_agents.obsd.records import Acknowledgement
from configurable_agents.wire.v1 import telemetry_pb2 as pb

SERVICE = "configurable_agents.wire.v1.TelemetryService"

Outcome = asyncio.Future[Acknowledgement]


class TelemetryReceiver:
    """Serves `TelemetryService`. `stop_reading` ends all streams once what they brought is answered."""

    def __init__(self, intake: Intake, producers: Producers) -> None:
        self._intake = intake
        self._producers = producers
        self._reading: set[anyio.CancelScope] = set()
        self._stopped = False

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """For `Server.add_generic_rpc_handlers`. Requests stay bytes, so that we decide how to read them."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Report": grpc.stream_stream_rpc_method_handler(
                    self.report, response_serializer=pb.Ack.SerializeToString
                ),
                "ReportBatch": grpc.unary_unary_rpc_method_handler(
                    self.report_batch, response_serializer=pb.Ack.SerializeToString
                ),
            },
        )

    def stop_reading(self) -> None:
        self._stopped = True
        for scope in self._reading:
            scope.cancel()

    async def report_batch(self, data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> pb.Ack:
        try:
            outcome = await hand_in(self._intake, data, heard=self._producers.heard_unary)
            return _ack(await outcome)
        except AgentsObsError as error:
            await context.abort(*_status(error))

    async def report(self, _requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        stream = _Stream(self._intake, self._producers, context)
        send, receive = anyio.create_memory_object_stream[Outcome](limits.BATCHES_IN_FLIGHT_MAX)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stream.answer, receive, tasks.cancel_scope)
                await self._read(stream, send)
        finally:
            stream.end()
        if stream.error is not None:
            await context.abort(*_status(stream.error))

    async def _read(self, stream: _Stream, send: MemoryObjectSendStream[Outcome]) -> None:
        with anyio.CancelScope() as scope:
            self._reading.add(scope)
            if self._stopped:
                scope.cancel()
            try:
                async with send:
                    await stream.read(send)
            finally:
                self._reading.discard(scope)


class _Stream:
    """One `Report` stream: one task reads it, another answers in the same order."""

    def __init__(
        self, intake: Intake, producers: Producers, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        self._intake = intake
        self._producers = producers
        self._context = context
        self._producer_ids: set[bytes] = set()
        self.error: AgentsObsError | None = None

    async def read(self, send: MemoryObjectSendStream[Outcome]) -> None:
        while True:
            data = await self._context.read()
            if data is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            try:
                outcome = await hand_in(self._intake, data, heard=self._note_producer)
            except AgentsObsError as error:
                self.error = error
                return
            await send.send(outcome)

    async def answer(self, receive: MemoryObjectReceiveStream[Outcome], whole: anyio.CancelScope) -> None:
        async with receive:
            async for outcome in receive:
                try:
                    acknowledgement = await outcome
                except AgentsObsError as error:
                    self.error = error
                    whole.cancel()
                    return
                await self._context.write(_ack(acknowledgement))

    def _note_producer(self, producer_id: bytes) -> None:
        if producer_id not in self._producer_ids:
            if len(self._producer_ids) >= limits.STREAM_PRODUCERS_MAX:
                raise WireFormatError(f"a stream speaks for at most {limits.STREAM_PRODUCERS_MAX} producers")
            self._producer_ids.add(producer_id)
            self._producers.connected(producer_id)

    def end(self) -> None:
        for producer_id in self._producer_ids:
            self._producers.disconnected(producer_id)
        self._producer_ids.clear()


def _ack(acknowledgement: Acknowledgement) -> pb.Ack:
    return pb.Ack(
        next_sequence=acknowledgement.next_sequence,
        refusals=[
            pb.Refusal(sequence=refusal.sequence, reason=refusal.reason)
            for refusal in acknowledgement.refusals
        ],
    )


def _status(error: AgentsObsError) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, WireFormatError):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    if isinstance(error, LedgerNotNowError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
    return grpc.StatusCode.UNAVAILABLE, str(error)
