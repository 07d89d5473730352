"""What is said instead of an empty table: what was looked for, and what there is."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.headings import SEPARATOR, scope_details
from configurable_agents.client.reports import Scope
from configurable_agents.telemetry import WorkflowRunRecord


def nothing_found(scope: Scope, newest: WorkflowRunRecord | None) -> Iterator[Text]:
    """`newest` is the latest run of all, `None` when there is none at all."""
    if newest is None:
        yield Text("No runs are recorded yet; a workflow that uses observe_run adds the first.")
        return
    details = scope_details(scope)
    looked_for = SEPARATOR.join(detail for detail in details if detail)
    yield Text(f"No runs found ({looked_for}).", overflow="fold")
    yield Text(
        f"The newest run is {printable(newest.run_id)} of experiment {printable(newest.experiment)},"
        f" started {figures.local_time(newest.started_unix_ns)}.",
        overflow="fold",
    )
