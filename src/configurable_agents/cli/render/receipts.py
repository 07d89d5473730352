"""Receipts of calls: the sum, line by line, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.headings import SEPARATOR, heading
from configurable_agents.cli.render.tables import QUIET_STYLE, Cell, Column, Row, table
from configurable_agents.observability.price_table import YOCTOS_PER_NANO
from configurable_agents.observability.receipts import PriceEntry, Receipt, ReceiptLine, plain_usd
from configurable_agents.telemetry import PriceStatus

COLUMNS = (
    Column("Class", 0, folds=True, justify="left"),
    Column("Count", 0),
    Column("Rate", 0),
    Column("", 0, folds=True, justify="left"),
    Column("Amount", 0),
)
UNITS = {1: "per call", 1_000: "per thousand", 1_000_000: "per million"}
KNOWN_BY = {
    "caller": "the caller said so",
    "model_prefix": "by the prefix of the model's name",
    "response_shape": "by the shape of the response",
    "model_name": "by the model's name",
    "response": "the response said so",
    "unknown": "nothing tells",
}


def receipt_pages(receipts: Sequence[Receipt], *, width: int) -> Iterator[RenderableType]:
    if not receipts:
        yield Text("No LLM call was recorded.")
    for number, receipt in enumerate(receipts):
        if number:
            yield Text()
        yield from receipt_page(receipt, width=width)


def receipt_page(receipt: Receipt, *, width: int) -> Iterator[RenderableType]:
    call = receipt.call
    yield from heading(
        f"Call {printable(call.call_id)}",
        f"run {printable(call.run_id)}",
        f"node {printable(call.node_id)}" if call.node_id else "",
        figures.local_time(call.started_unix_ns),
        "" if call.status.label == "ok" else call.status.label,
        f"attempt {call.attempt}" if call.attempt > 1 else "",
    )
    yield table(COLUMNS, list(rows(receipt)), width=width)
    yield Text()
    for line in notes(receipt):
        yield Text(line, style=QUIET_STYLE, overflow="fold")


def rows(receipt: Receipt) -> Iterator[Row]:
    for line in receipt.lines():
        yield Row(line_cells(line))
    rounding = receipt.rounding_yoctos()
    if rounding:
        yield Row((Cell("rounding"), Cell(""), Cell(""), Cell(""), Cell(amount(rounding))))
    price = receipt.price
    yield Row(
        (Cell(price.status.value), Cell(""), Cell(""), Cell(""), Cell(cost(price))), style="bold", total=True
    )


def line_cells(line: ReceiptLine) -> tuple[Cell, ...]:
    rate = line.rate_yoctos
    return (
        Cell(line.token_class.replace("_", " ")),
        Cell(figures.count(line.units)),
        Cell(figures.UNKNOWN if rate is None else amount(rate * line.units_priced_together)),
        Cell("" if rate is None else UNITS[line.units_priced_together]),
        Cell(figures.UNKNOWN if rate is None else amount(line.amount_yoctos)),
    )


def amount(yoctos: int) -> str:
    sign = "-" if yoctos < 0 else ""
    return f"{sign}${plain_usd(abs(yoctos))}"


def cost(price: PriceEntry) -> str:
    return amount(price.cost_nanos * YOCTOS_PER_NANO) if price.is_known else figures.UNKNOWN


def notes(receipt: Receipt) -> Iterator[str]:
    call, price = receipt.call, receipt.price
    if price.reason:
        yield f"Because: {price.reason}"
    if price.status is PriceStatus.STATED and price.table_cost_nanos is not None:
        yield f"By the table it would be {amount(price.table_cost_nanos * YOCTOS_PER_NANO)}, as above."
    yield f"Provider: {printable(call.provider)}{known_by(call.provider_known_by)}"
    given = f", given as {printable(call.model_as_given)}" if call.model_as_given else ""
    yield f"Model: {printable(call.model) or figures.UNKNOWN}{known_by(call.model_known_by)}{given}"
    yield from card_notes(receipt)
    if call.response_id:
        yield f"Response: {printable(call.response_id)}"
    if call.anomalies:
        yield f"Odd about it: {', '.join(map(printable, call.anomalies))}"
    if not receipt.counted:
        yield "Not in the totals: another report of the same response is."
    for entry in receipt.history:
        at = figures.local_time(entry.replaced_at_unix_ns)
        yield f"Until {at}: {entry.status.value} {cost(entry)}; replaced: {printable(entry.replaced_because)}"


def known_by(how: str) -> str:
    return f" ({KNOWN_BY.get(how, printable(how))})" if how else ""


def card_notes(receipt: Receipt) -> Iterator[str]:
    card = receipt.price.card
    if card is None:
        return
    threshold = receipt.threshold()
    yield "Rates: " + SEPARATOR.join(
        part
        for part in (
            f"{printable(card.provider)}/{printable(card.model)}",
            printable(card.table_version),
            f"{card.tier or 'standard'} tier",
            f"since {card.price_date}" if card.price_date else "",
            f"above {threshold:,} input tokens" if threshold is not None else "",
            f"set by you: {', '.join(card.overridden)}" if card.overridden else "",
            f"by the alias {printable(card.alias)} of prices.toml" if card.alias else "",
        )
        if part
    )
