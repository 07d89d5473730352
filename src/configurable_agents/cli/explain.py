"""`explain`: how the cost of a call came about."""

from __future__ import annotations

from typing import Annotated

import typer

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.options import JsonOption, given
from configurable_agents.cli.scoped import scoped
from configurable_agents.client.home import Home
from configurable_agents.client.reports import Scope
from configurable_agents.observability.receipts import Receipt

TOP_DEFAULT = 5
TOP_MAX = 100


@scoped
def explain(
    call_id: Annotated[
        str | None,
        typer.Argument(metavar="[CALL_ID]", help="A call id, a beginning of one, or a response id."),
    ] = None,
    *,
    scope: Scope,
    home: Home,
    top: Annotated[
        int,
        typer.Option(
            "--top", min=1, max=TOP_MAX, metavar="N", help="The N costliest calls, without CALL_ID."
        ),
    ] = TOP_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Receipts: each class of tokens times its rate, and how provider and model were decided.

    They are made from what was stored when the call was priced, and sum to its cost exactly.
    """
    wanted = given(call_id, "CALL_ID", "give a call id, or leave it out for the costliest calls")
    with sources.daemon(home) as client:
        receipts = client.receipts(scope, call_id=wanted, limit=top)
    if as_json:
        terminal.show_json([receipt.to_json() for receipt in receipts])
    else:
        show(receipts)


def show(receipts: list[Receipt]) -> None:
    from configurable_agents.cli.render import receipts as rendering  # noqa: PLC0415 - Rich for tables only

    terminal.show(lambda width: rendering.receipt_pages(receipts, width=width))
