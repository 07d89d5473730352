"""Serves `AccountsService`: dead letters, and runs that somebody wants gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import grpc.aio

from configurable_agents.errors import AgentsObsError
from configurable_agents.obsd.dead_letters import DeadLetterOffice
from configurable_agents.obsd.exporters import expectations
from configurable_agents.obsd.purging import Purger
from configurable_agents.obsd.reports import Context, Readers, scope_of, status_code
from configurable_agents.wire import account_messages
from configurable_agents.wire.report_records import ExporterStatus
from configurable_agents.wire.v1 import accounts_pb2 as pb
from configurable_agents.wire.v1 import accounts_pb2_grpc, reports_pb2

T = TypeVar("T")


class AccountsServicer(accounts_pb2_grpc.AccountsServiceServicer):
    """The names of its methods are the protocol's."""

    def __init__(
        self,
        dead_letters: DeadLetterOffice,
        purger: Purger,
        readers: Readers,
        exporter: Callable[[], ExporterStatus],
    ) -> None:
        self._dead_letters = dead_letters
        self._purger = purger
        self._readers = readers
        self._exporter = exporter

    async def ListDeadLetters(self, request: pb.DeadLetterFilter, context: Context) -> Any:
        wanted = account_messages.filter_from_message(request)
        found = await _answer(context, self._dead_letters.listed(wanted))
        return account_messages.dead_letters_to_message(found)

    async def RetryDeadLetters(self, request: pb.RetryRequest, context: Context) -> Any:
        wanted = account_messages.filter_from_message(request.filter)
        retry = self._dead_letters.retry_whole_run if request.whole_run else self._dead_letters.retry
        return pb.DeadLetterCount(events=await _answer(context, retry(wanted)))

    async def DropDeadLetters(self, request: pb.DeadLetterFilter, context: Context) -> Any:
        wanted = account_messages.filter_from_message(request)
        return pb.DeadLetterCount(events=await _answer(context, self._dead_letters.drop(wanted)))

    async def PurgeRun(self, request: pb.PurgeRequest, context: Context) -> Any:
        report = await _answer(context, self._purger.purge(request.run_id, apply=request.apply))
        return account_messages.purge_report_to_message(replace(report, tracking_uri=self._exporter().target))

    async def GetBalance(self, request: reports_pb2.Scope, context: Context) -> Any:
        question = partial(expectations.balance, scope=scope_of(request), exporter=self._exporter())
        return account_messages.balance_to_message(await _answer(context, self._readers.ask(question)))

    async def GetNextExpectedRun(self, request: pb.ExpectedRunRequest, context: Context) -> Any:
        question = partial(
            expectations.next_run,
            scope=scope_of(request.scope),
            exporter=self._exporter().name,
            after_row=request.after_row,
        )
        return account_messages.expected_run_to_message(await _answer(context, self._readers.ask(question)))

    async def ListExpectedPoints(self, request: pb.ExpectedPointsRequest, context: Context) -> Any:
        question = partial(
            expectations.points_after,
            exporter=self._exporter().name,
            run=request.row,
            after_seq=request.after_seq,
        )
        found = await _answer(context, self._readers.ask(question))
        return account_messages.expected_points_to_message(*found)


async def _answer(context: Context, answer: Awaitable[T]) -> T:
    try:
        return await answer
    except AgentsObsError as error:
        await context.abort(status_code(error), str(error))
        raise


def add_accounts(servicer: AccountsServicer, server: grpc.aio.Server) -> None:
    accounts_pb2_grpc.add_AccountsServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
