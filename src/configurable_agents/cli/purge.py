"""`purge`: removes a run with everything that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.asking import YesOption, confirm
from configurable_agents.cli.escape import printable
from configurable_agents.cli.options import HomeOption, JsonOption, given, home_of
from configurable_agents.client.accounts import AccountsClient
from configurable_agents.observability.cost_summary import plural
from configurable_agents.wire.account_records import PurgeReport

if TYPE_CHECKING:
    from configurable_agents.observability.mlflow_runs import MlflowRuns


def purge(
    *,
    run: Annotated[
        str, typer.Option("--run", "-r", metavar="ID", help="Its id, or a unique beginning of it.")
    ],
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Delete its MLflow run too, unless the workflow made that.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Remove a run for good: its events, totals, tags, and names that nothing else uses.

    Its bytes are overwritten in the ledger's files and its id in the log. Events of it that are sent again
    do not bring it back. It stays in the accounts as a number of events purged. A run in flight is refused.
    """
    wanted = given(run, "--run", "give a run id, or a unique beginning of one")
    place = home_of(home)
    with sources.daemon(place) as client:
        accounts = AccountsClient(client)
        report = accounts.purge(wanted)
        confirm(question(report), is_sure=yes)
        store = mlflow_store(report) if mlflow else None
        deleted = [] if store is None else delete_in_mlflow(store, report)
        done = accounts.purge(report.run_id, apply=True)
        if store is not None:  # an export that was at work may have made it again
            deleted += delete_in_mlflow(store, report)
    if as_json:
        terminal.show_json(purge_json(done, report, deleted))
    else:
        said = lines(done, report, deleted, asked=mlflow, stop=place.command("agents-obsd stop"))
        terminal.write_out("".join(f"{line}\n" for line in said))


def question(report: PurgeReport) -> str:
    return (
        f"Remove run {printable(report.run_id)} of {printable(report.experiment)!r}"
        f" with its {plural(report.events, 'event')} for good?"
    )


def mlflow_store(report: PurgeReport) -> MlflowRuns:
    from configurable_agents.observability import mlflow_runs  # noqa: PLC0415 - MLflow takes seconds

    return mlflow_runs.MlflowRuns(report.tracking_uri)


def delete_in_mlflow(store: MlflowRuns, report: PurgeReport) -> list[str]:
    from configurable_agents.observability import mlflow_runs  # noqa: PLC0415 - the same

    return mlflow_runs.delete_runs(
        store,
        report.run_id,
        experiment=report.experiment,
        mlflow_run_id=report.mlflow_run_id,
        is_attached=report.is_attached,
    )


def purge_json(done: PurgeReport, before: PurgeReport, deleted: list[str]) -> dict[str, Any]:
    remaining = before.mlflow_run_id if before.mlflow_run_id not in deleted else ""
    return {
        "run_id": done.run_id,
        "experiment": done.experiment,
        "events_purged": done.events,
        "bytes_removed": done.bytes_removed,
        "mlflow_runs_deleted": deleted,
        "mlflow_run_id_remaining": remaining or None,
    }


def lines(done: PurgeReport, before: PurgeReport, deleted: list[str], *, asked: bool, stop: str) -> list[str]:
    said = [f"purged run {printable(done.run_id)}: {plural(done.events, 'event')}"]
    if not done.bytes_removed:
        said.append(
            "somebody is reading the ledger, so its bytes are still in the write-ahead log; they go when"
            f" that is done, or with: {stop}"
        )
    said += [f"deleted MLflow run {each}; `mlflow gc` erases it there for good" for each in deleted]
    if before.mlflow_run_id and before.mlflow_run_id not in deleted:
        said.append(what_mlflow_has(before, asked=asked))
    return said


def what_mlflow_has(before: PurgeReport, *, asked: bool) -> str:
    mlflow_run_id = printable(before.mlflow_run_id)
    delete = f"mlflow runs delete --run-id {mlflow_run_id}"
    if before.is_attached:
        return f"MLflow still has run {mlflow_run_id}, made by the workflow itself; delete it with: {delete}"
    if asked:
        return f"MLflow run {mlflow_run_id} was deleted before; `mlflow gc` erases it there for good"
    return f"MLflow still has run {mlflow_run_id}; delete it with: {delete}"
