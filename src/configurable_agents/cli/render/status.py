"""The state of the daemon: one line per fact, and a few per exporter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import printable, without_password
from configurable_agents.cli.render.headings import heading
from configurable_agents.cli.render.tables import ALARMING_STYLE, HEADING_STYLE, NOTABLE_STYLE, QUIET_STYLE
from configurable_agents.client.reports import DaemonStatus, ExporterStatus
from configurable_agents.observability.cost_summary import plural
from configurable_agents.telemetry import OTHER_NAME
from configurable_agents.wire.report_records import StorageStatus

EXPORTER_STYLES = {"retrying": NOTABLE_STYLE, "stopped": ALARMING_STYLE}

ALSO_ACKNOWLEDGED = "with what is not kept: nodes announced, repeats and refused ones"
"""A node that runs for long is announced, so that it can be shown; only its end is committed."""


class Fact(NamedTuple):
    name: str
    value: str
    style: str = ""


def daemon_status(status: DaemonStatus) -> Iterator[RenderableType]:
    yield from heading("Daemon", f"agents-obsd {printable(status.version)}", f"pid {status.pid}")
    yield facts(daemon_facts(status))
    for exporter in status.exporters:
        yield Text()
        yield Text(f"Exporter {printable(exporter.name)}", style=HEADING_STYLE)
        yield facts(exporter_facts(exporter))


def daemon_facts(status: DaemonStatus) -> Iterator[Fact]:
    refused = sum(status.events_refused.values())
    yield from health_facts(status)
    yield Fact("since", figures.local_time(status.started_unix_ns))
    yield Fact("home", printable(status.home))
    yield Fact("address", printable(status.address))
    yield Fact("runs", f"{status.runs_live:,} live, {status.runs_total:,} in all")
    yield Fact("producers", f"{status.producers_connected:,} connected")
    yield Fact("events", f"{status.events_committed:,} committed, {pending(status)}")
    yield balance(status)
    yield Fact("acknowledged", f"{status.events_acknowledged:,} since the start, {ALSO_ACKNOWLEDGED}")
    if status.commit_p50_ns is not None and status.commit_p99_ns is not None:
        p50, p99 = figures.duration(status.commit_p50_ns), figures.duration(status.commit_p99_ns)
        yield Fact("commits", f"p50 {p50}, p99 {p99}")
    yield Fact("sent again", f"{plural(status.events_duplicate, 'event')} recognised as known, kept once")
    yield Fact("refused", refusals(status.events_refused), ALARMING_STYLE if refused else "")
    if status.names_folded:
        yield Fact(
            "folded", f"{status.names_folded:,} names beyond the limits went to {OTHER_NAME}", NOTABLE_STYLE
        )
    if status.prices_problem:
        text = f"stay as they were: {printable(status.prices_problem)}"
        yield Fact("prices", text, ALARMING_STYLE)
    yield Fact("ledger", figures.size(status.ledger_bytes))
    yield Fact("spool", figures.size(status.spool_bytes))
    yield from storage_facts(status.storage)


def storage_facts(storage: StorageStatus) -> Iterator[Fact]:
    disk = f"{figures.size(storage.free_bytes)} free, {figures.size(storage.reserve_bytes)} in reserve"
    allowance = f" of {figures.size(storage.allowance_bytes)}" if storage.allowance_bytes else ""
    yield Fact("disk", f"{disk}; {figures.size(storage.waiting_bytes)}{allowance} waits for MLflow")
    if storage.refuses_because:
        yield Fact("refusing", printable(storage.refuses_because), ALARMING_STYLE)
    yield Fact("kept", kept(storage))
    if storage.runs_retired:
        yield Fact("removed", removed(storage), NOTABLE_STYLE if storage.runs_retired_for_size else "")
    if storage.note:
        yield Fact("too large", printable(storage.note), NOTABLE_STYLE)
    if storage.checked:
        yield Fact("checked", printable(storage.checked))
    if storage.spools_damaged:
        damaged = f"{plural(storage.spools_damaged, 'file')} in the spool folder end in .damaged"
        yield Fact("damaged", f"{damaged}: a part of them cannot be read", ALARMING_STYLE)
    if storage.repaired:
        yield Fact("repaired", printable(storage.repaired), ALARMING_STYLE)


def kept(storage: StorageStatus) -> str:
    ages = (
        f"{what} {figures.age(age_s) if age_s else 'for ever'}"
        for what, age_s in (("calls and executions", storage.raw_kept_s), ("totals", storage.totals_kept_s))
    )
    size = f", at most {figures.size(storage.ledger_bytes_max)}" if storage.ledger_bytes_max else ""
    return f"{', '.join(ages)}{size}"


def removed(storage: StorageStatus) -> str:
    early = (
        f", {storage.runs_retired_for_size:,} of them early because the ledger was too large"
        if storage.runs_retired_for_size
        else ""
    )
    whole = f"; {plural(storage.runs_removed, 'run')} altogether" if storage.runs_removed else ""
    return f"{plural(storage.events_retired, 'row')} of {plural(storage.runs_retired, 'run')}{early}{whole}"


def balance(status: DaemonStatus) -> Fact:
    """Whether every committed event is accounted for."""
    if status.is_balanced:
        gone = ((status.events_removed, "removed"), (status.events_purged, "purged"))
        parts = [f"{status.events_kept:,} kept", *(f"{count:,} {how}" for count, how in gone if count)]
        return Fact("accounts", f"balanced: {', '.join(parts)}")
    parts = [
        f"{status.events_kept:,} kept + {status.events_removed:,} removed + {status.events_purged:,} purged"
    ]
    parts += [f"{printable(each.name)} accounts for {each.events_accounted:,}" for each in status.exporters]
    text = f"{status.events_committed:,} committed, but {'; '.join(parts)}; see: agents-obs verify"
    return Fact("accounts", text, ALARMING_STYLE)


def health_facts(status: DaemonStatus) -> Iterator[Fact]:
    """What is stuck, and what complains although it is not stuck yet."""
    yield Fact("health", "serving") if status.is_serving else Fact("health", "not serving", ALARMING_STYLE)
    for part in status.parts:
        problem = f": {printable(without_password(part.problem))}" if part.problem else ""
        if part.state == "stuck":
            since = figures.local_time(part.stuck_since_unix_ns)
            yield Fact("stuck", f"{printable(part.name)} since {since}{problem}", ALARMING_STYLE)
        elif problem and part.is_vital:
            yield Fact("problem", f"{printable(part.name)}{problem}", NOTABLE_STYLE)


def pending(status: DaemonStatus) -> str:
    if not status.events_pending:
        return "0 pending"
    age = figures.duration(status.oldest_pending_ns)
    return f"{status.events_pending:,} pending ({figures.size(status.bytes_pending)}, the oldest for {age})"


def refusals(events_refused: dict[str, int]) -> str:
    if not any(events_refused.values()):
        return "0"
    by_reason = sorted(events_refused.items(), key=lambda item: (-item[1], item[0]))
    parts = ", ".join(f"{printable(reason)} {number:,}" for reason, number in by_reason if number)
    return f"{sum(events_refused.values()):,} ({parts})"


def exporter_facts(exporter: ExporterStatus) -> Iterator[Fact]:
    yield Fact("state", printable(exporter.state), EXPORTER_STYLES.get(exporter.state, ""))
    yield Fact("target", printable(without_password(exporter.target)))
    yield Fact("lag", lag(exporter))
    yield Fact("exported", figures.count(exporter.events_exported))
    aside = exporter.events_set_aside
    shown = f"{aside:,} (see: agents-obs dead-letters)" if aside else "0"
    yield Fact("set aside", shown, ALARMING_STYLE if aside else "")
    if exporter.events_dropped:
        yield Fact("dropped", figures.count(exporter.events_dropped))
    if exporter.events_purged:
        yield Fact("purged", figures.count(exporter.events_purged))
    last = exporter.last_success_unix_ns
    yield Fact("last success", figures.local_time(last) if last else "never")
    if exporter.last_error:
        yield Fact("last error", printable(without_password(exporter.last_error)), ALARMING_STYLE)


def lag(exporter: ExporterStatus) -> str:
    if exporter.is_disabled:
        return "disabled, nothing is on its way there"
    runs = f", {plural(exporter.runs_waiting, 'run')} not final there" if exporter.runs_waiting else ""
    return f"{plural(exporter.events_waiting, 'event')} waiting{runs}"


def facts(found: Iterator[Fact]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, width=12)
    grid.add_column(overflow="fold")
    for fact in found:
        grid.add_row(Text(fact.name, style=QUIET_STYLE), Text(fact.value, style=fact.style, overflow="fold"))
    return grid
