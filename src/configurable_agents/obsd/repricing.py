"""Makes prices anew when asked to. History changes only here, and only with `apply`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import anyio
import grpc.aio

from configurable_agents.errors import AgentsObsError
from configurable_agents.obsd.completion import to_its_end
from configurable_agents.obsd.ledger import repricing as prices
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.lifecycle import Write
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.obsd.reports import Context, Readers, scope_of, status_code
from configurable_agents.observability.cost_summary import sum_totals
from configurable_agents.observability.repricing import ModelRepricing, RepricingReport, added_up
from configurable_agents.wire import cost_messages
from configurable_agents.wire.report_records import Scope
from configurable_agents.wire.v1 import repricing_pb2 as pb
from configurable_agents.wire.v1 import repricing_pb2_grpc

REASON_CHARS_MAX = 200


class _Order(NamedTuple):
    at_unix_ns: int | None
    apply: bool
    reason: str


class Repricer:
    """For the daemon's event loop only. One repricing at a time."""

    def __init__(
        self,
        ledger: SqliteLedger,
        write: Write,
        readers: Readers,
        pricer: CallPricer,
        *,
        changed: Callable[[str], None],
        turn: anyio.Lock,
    ) -> None:
        """`changed` is told of each run whose prices have changed. It works when it has the `turn`."""
        self._ledger = ledger
        self._write = write
        self._readers = readers
        self._pricer = pricer
        self._changed = changed
        self._turn = turn

    async def reprice(
        self, scope: Scope, *, at_unix_ns: int | None, apply: bool, reason: str
    ) -> RepricingReport:
        """Compares, and with `apply` replaces, the prices of all calls of a scope.

        What was cut short can be repeated: calls that have their new price already do not change again.
        """
        async with self._turn:
            self._pricer.refresh()
            version = self._pricer.table_version
            runs = await self._readers.ask(partial(prices.runs_in, scope=scope))
            order = _Order(at_unix_ns, apply, (reason or f"repriced by {version}")[:REASON_CHARS_MAX])
            models: tuple[ModelRepricing, ...] = ()
            changed_runs = 0
            for run, run_id in runs:
                work = self._reprice_run(run, run_id, order)
                mine = await (to_its_end(work) if apply else work)
                changed_runs += any(entry.changed_calls for entry in mine)
                models = added_up((*models, *mine))
        return RepricingReport(models, len(runs), changed_runs, apply, version)

    async def _reprice_run(self, run: int, run_id: str, order: _Order) -> tuple[ModelRepricing, ...]:
        models: tuple[ModelRepricing, ...] = ()
        after_seq, has_changes = 0, False
        while True:
            repriced = await self._slice(run, after_seq, order)
            if not repriced:
                break
            has_changes = has_changes or any(each.is_changed for each in repriced)
            models = added_up((*models, *prices.by_model(repriced)))
            after_seq = repriced[-1].stored.seq
        if order.apply and has_changes:
            await self._write(self._ledger.note_repricing, run, _about(models, order.reason))
            self._changed(run_id)
        return models

    async def _slice(self, run: int, after_seq: int, order: _Order) -> list[prices.Repriced]:
        if order.apply:
            return await self._write(self._ledger.reprice, run, after_seq, order.at_unix_ns, order.reason)
        return await self._readers.ask(
            partial(
                prices.repriced_slice,
                pricer=self._pricer,
                run=run,
                after_seq=after_seq,
                at_unix_ns=order.at_unix_ns,
            )
        )


def _about(models: tuple[ModelRepricing, ...], reason: str) -> dict[str, object]:
    return {
        "reason": reason,
        "at_unix_ns": time.time_ns(),
        "changed_calls": sum(entry.changed_calls for entry in models),
        "cost_nanos_before": sum_totals(entry.before for entry in models).cost.known_nanos,
        "cost_nanos_after": sum_totals(entry.after for entry in models).cost.known_nanos,
    }


class RepricingServicer(repricing_pb2_grpc.RepricingServiceServicer):
    """Serves `RepricingService`. The names of its methods are the protocol's."""

    def __init__(self, repricer: Repricer) -> None:
        self._repricer = repricer

    async def Reprice(self, request: pb.RepriceRequest, context: Context) -> Any:  # noqa: N802
        try:
            report = await self._repricer.reprice(
                scope_of(request.scope),
                at_unix_ns=request.as_of_unix_ns or None,
                apply=request.apply,
                reason=request.reason,
            )
        except AgentsObsError as error:
            await context.abort(status_code(error), str(error))
            raise
        return cost_messages.repricing_to_message(report)


def add_repricing(servicer: RepricingServicer, server: grpc.aio.Server) -> None:
    repricing_pb2_grpc.add_RepricingServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
