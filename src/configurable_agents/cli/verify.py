"""`verify`: the ledger against MLflow, event by event."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.escape import one_line, without_password
from configurable_agents.cli.options import (
    ExperimentOption,
    HomeOption,
    JsonOption,
    RunOption,
    SinceOption,
    home_of,
    scope_of,
)
from configurable_agents.client.accounts import AccountsClient
from configurable_agents.client.reports import Scope
from configurable_agents.errors import AccountsDifferError
from configurable_agents.observability.cost_summary import plural
from configurable_agents.wire.report_records import DISABLED

if TYPE_CHECKING:
    from configurable_agents.observability.mlflow_runs import FoundRun, MlflowRuns
    from configurable_agents.observability.verification import ExpectedRun, Finding, Verification

TRIES_MAX = 3
"""A run that is exported while it is compared is compared again."""

PROGRESS_EVERY_S = 2.0


def verify(
    *,
    run: RunOption = None,
    experiment: ExperimentOption = None,
    since: SinceOption = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Whether every event is accounted for, and MLflow holds what the ledger does.

    Counts every row of the ledger, then looks up each exported run in MLflow: there once, with the points,
    totals, params and tags that it should have. Changes nothing. Exit code 7, and a line for each finding
    with what to do, when something is missing, doubled, different or deleted there.
    """
    scope = scope_of(experiment, run, since)
    with sources.daemon(home_of(home)) as client:
        found = Comparison(AccountsClient(client), scope).run()
    if as_json:
        terminal.show_json(found.to_json())
    else:
        terminal.write_out("".join(f"{one_line(line)}\n" for line in lines(found)))
    if found.finding_count:
        raise AccountsDifferError(
            f"{plural(found.finding_count, 'finding')}: the ledger and MLflow do not hold the same"
        )


class Comparison:
    """One run at a time, so that memory holds the points of one."""

    def __init__(self, accounts: AccountsClient, scope: Scope) -> None:
        self._accounts = accounts
        self._scope = scope
        self._progress = Progress()

    def run(self) -> Verification:
        from configurable_agents.observability import verification  # noqa: PLC0415 - only here

        balance = self._accounts.balance(self._scope)
        found = verification.Verification(balance)
        found.note(balance.findings)
        if balance.runs_to_compare:
            from configurable_agents.observability import mlflow_runs  # noqa: PLC0415 - MLflow takes seconds

            self._progress.say("opening MLflow")
            store = mlflow_runs.MlflowRuns(balance.tracking_uri)
            for expected in self._expected_runs():
                found.runs_compared += 1
                found.runs_without_rows += not expected.has_rows
                found.note(self._compare(store, expected, found))
                self._progress.say(f"{found.runs_compared:,} of {balance.runs_to_compare:,} runs")
        self._progress.end()
        return found

    def _expected_runs(self) -> Iterator[ExpectedRun]:
        row = 0
        while (expected := self._accounts.next_expected_run(self._scope, row)) is not None:
            row = expected.row
            if expected.dead_letters < expected.events:  # else MLflow is said to have nothing of it
                yield expected

    def _compare(self, store: MlflowRuns, expected: ExpectedRun, found: Verification) -> list[Finding]:
        """What is found while nothing changes: an export may be at work on the very run."""
        findings: list[Finding] = []
        for _ in range(TRIES_MAX):
            findings, count = self._compare_once(store, expected)
            now = self._accounts.next_expected_run(Scope(), expected.row - 1) if findings else expected
            if now == expected:
                found.points_compared += count
                break
            if now is None or now.row != expected.row:
                return []  # it was purged meanwhile
            expected = now
        return findings

    def _compare_once(self, store: MlflowRuns, expected: ExpectedRun) -> tuple[list[Finding], int]:
        from configurable_agents.observability import verification  # noqa: PLC0415 - only here

        check = verification.PointCheck(expected)
        if expected.has_rows:
            for points in self._accounts.expected_points(expected.row):
                check.add(points)
        runs = runs_of(store, expected)
        findings = verification.compare_run(expected, runs)
        if any(each.mlflow_run_id == expected.mlflow_run_id and each.is_active for each in runs):
            for metric in check.metrics:
                history = store.points(expected.mlflow_run_id, metric)
                findings += check.compare(metric, history)
                self._progress.say(f"{expected.run_id}: {metric}")
        return findings, check.count


def runs_of(store: MlflowRuns, expected: ExpectedRun) -> list[FoundRun]:
    """By its tag, and the one the ledger names wherever it is now."""
    found = store.by_tag(expected.experiment, expected.run_id)
    if all(each.mlflow_run_id != expected.mlflow_run_id for each in found):
        known = store.by_id(expected.mlflow_run_id)
        found += [known] if known is not None else []
    return found


class Progress:
    """Says on stderr how far it is, when it takes long: in one place on a terminal, else in lines."""

    def __init__(self) -> None:
        self._next_at = time.monotonic() + PROGRESS_EVERY_S
        self._said = False

    def say(self, text: str) -> None:
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + PROGRESS_EVERY_S
        self._said = True
        start, end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")
        sys.stderr.write(f"{start}verifying: {one_line(text)}{end}")
        sys.stderr.flush()

    def end(self) -> None:
        if self._said and sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def lines(found: Verification) -> Iterator[str]:
    balance = found.balance
    gone = "".join(
        f", {count:,} {how}"
        for count, how in ((balance.events_removed, "removed"), (balance.events_purged, "purged"))
        if count
    )
    yield (
        f"ledger: {balance.events_committed:,} events committed, {balance.events_kept:,} kept{gone};"
        f" {balance.rows_counted:,} rows counted"
    )
    yield (
        f"{balance.exporter}: {balance.events_exported:,} exported, {balance.events_waiting:,} waiting,"
        f" {balance.events_set_aside:,} set aside, {balance.events_dropped:,} dropped,"
        f" {balance.events_purged:,} purged"
    )
    if balance.state == "stopped":
        yield f"{balance.exporter} is stopped: see agents-obs status"
    if balance.state == DISABLED:
        yield f"{balance.exporter} is disabled by the setting mlflow_enabled: nothing is on its way there"
    where = without_password(balance.tracking_uri)
    counts = f"{plural(found.runs_compared, 'run')} and {plural(found.points_compared, 'point')}"
    yield f"compared {counts} with {where}"
    if found.runs_without_rows:
        yield f"of {plural(found.runs_without_rows, 'run')} only the totals: retention has removed their rows"
    for finding in found.findings:
        yield f"{finding.kind}: {finding.run_id or 'ledger'}: {finding.what}; {finding.to_do}"
    if found.finding_count > len(found.findings):
        yield f"and {found.finding_count - len(found.findings):,} more findings; narrow it down with --run"
    if found.finding_count:
        return
    if found.runs_compared:
        yield "balanced: MLflow holds what the ledger says it does"
    else:
        yield "the ledger adds up; no run of it was exported, so nothing is said about MLflow"
