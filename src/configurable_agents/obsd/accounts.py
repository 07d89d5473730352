"""Serves `AccountsService`: dead letters, and runs that somebody wants gone."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, TypeVar

import grpc.aio

from configurable_agents.errors import AgentsObsError
from configurable_agents.obsd.dead_letters import DeadLetterOffice
from configurable_agents.obsd.purging import Purger
from configurable_agents.obsd.reports import Context, status_code
from configurable_agents.wire import account_messages
from configurable_agents.wire.v1 import accounts_pb2 as pb
from configurable_agents.wire.v1 import accounts_pb2_grpc

T = TypeVar("T")


class AccountsServicer(accounts_pb2_grpc.AccountsServiceServicer):
    """The names of its methods are the protocol's."""

    def __init__(self, dead_letters: DeadLetterOffice, purger: Purger, *, tracking_uri: str) -> None:
        self._dead_letters = dead_letters
        self._purger = purger
        self._tracking_uri = tracking_uri

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
        return account_messages.purge_report_to_message(replace(report, tracking_uri=self._tracking_uri))


async def _answer(context: Context, answer: Awaitable[T]) -> T:
    try:
        return await answer
    except AgentsObsError as error:
        await context.abort(status_code(error), str(error))
        raise


def add_accounts(servicer: AccountsServicer, server: grpc.aio.Server) -> None:
    accounts_pb2_grpc.add_AccountsServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
