"""Where the answers come from: the daemon, or an MLflow store when one is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from configurable_agents.cli import terminal
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.observability.cost_summary import plural
from configurable_agents.runtime.profile_report import NS_PER_MS, NodeProfile, ProfileReport, sorted_profiles
from configurable_agents.telemetry import WorkflowRunRecord

if TYPE_CHECKING:
    from configurable_agents.observability.mlflow_tracker import ExperimentCosts


def daemon(home: Home) -> ReportClient:
    """Each question to it raises `DaemonUnavailableError` when no daemon answers."""
    return NotingClient(home)


class NotingClient(ReportClient):
    """Says on standard error, at the end, what the daemon wants known of its answers."""

    def close(self) -> None:
        super().close()
        for note in self.notes:
            terminal.write_note(note)
        self.notes.clear()


def newest_run(client: ReportClient) -> WorkflowRunRecord | None:
    runs, _ = client.runs(Scope(), limit=1)
    return runs[0] if runs else None


def experiment_in_mlflow(scope: Scope) -> str:
    """The experiment; MLflow is asked for nothing less and nothing more. Raises `typer.BadParameter`."""
    if not scope.experiment:
        raise typer.BadParameter("name the experiment with --experiment", param_hint="'--mlflow-uri'")
    if scope.run_id or scope.since_unix_ns:
        raise typer.BadParameter(
            "--run and --since are for the daemon; leave them out, or leave out --mlflow-uri",
            param_hint="'--mlflow-uri'",
        )
    return scope.experiment


def mlflow_costs(mlflow_uri: str, experiment: str) -> ExperimentCosts:
    from configurable_agents.observability import mlflow_tracker  # noqa: PLC0415 - MLflow takes seconds

    return mlflow_tracker.read_experiment_costs(experiment, mlflow_uri)


def costs_json(found: ExperimentCosts) -> dict[str, Any]:
    from configurable_agents.observability import multi_provider_tracker  # noqa: PLC0415 - the same

    return multi_provider_tracker.report_json(found)


def mlflow_profile(mlflow_uri: str, experiment: str) -> ProfileReport:
    """MLflow keeps one point per execution but no nesting, so that self time is taken to be all of it."""
    from configurable_agents.observability import mlflow_tracker  # noqa: PLC0415 - the same

    found = mlflow_tracker.read_experiment_durations(experiment, mlflow_uri)
    if found.partial_runs:
        terminal.write_note(
            f"MLflow holds only some of the executions of {plural(found.partial_runs, 'run')}: times and"
            " calls are of those; without --mlflow-uri the daemon knows them all"
        )
    if found.nodeless_runs and found.run_count:
        terminal.write_note(
            f"MLflow holds no node of {plural(found.nodeless_runs, 'further run')}, not counted here;"
            " without --mlflow-uri the daemon counts them all"
        )
    nodes = [node_profile(node_id, durations) for node_id, durations in found.durations_ms.items()]
    return ProfileReport(nodes=sorted_profiles(nodes), experiment=experiment, run_count=found.run_count)


def node_profile(node_id: str, durations_ms: list[float]) -> NodeProfile:
    """Exact percentile: the smallest duration that at least 95 % of the executions do not exceed."""
    durations_ns = sorted(round(duration * NS_PER_MS) for duration in durations_ms)
    total_ns = sum(durations_ns)
    p95_ns = durations_ns[-(-len(durations_ns) * 95 // 100) - 1]
    return NodeProfile(node_id, len(durations_ns), total_ns, total_ns, durations_ns[-1], p95_ns=p95_ns)


def show_nothing(scope: Scope, newest: WorkflowRunRecord | None) -> None:
    from configurable_agents.cli.render import nothing  # noqa: PLC0415 - Rich is loaded for tables only

    terminal.show(lambda _: nothing.nothing_found(scope, newest))
