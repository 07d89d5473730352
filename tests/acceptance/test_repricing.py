"""A price that turns out wrong, put right: in the ledger, in the receipts, in MLflow."""

from __future__ import annotations

import json

import pytest

from configurable_agents import observe_run
from configurable_agents.cli.figures import UNKNOWN
from configurable_agents.client.process import close_process_recorders

pytestmark = pytest.mark.acceptance

RESPONSE = {
    "model": "acme-1",
    "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000},
}
PRICES = '[[price]]\nprovider = "acme"\nmodel = "*"\ninput = 2\noutput = 3\n'


def test_a_missing_price_is_given_later_and_mlflow_is_corrected_with_the_reason(workplace, start):
    start(mlflow=True)
    with observe_run("research", "triage", home=workplace.home, run_id="the-run") as run:
        assert run.track_call("acme", "acme-1", RESPONSE, call_id="call")["price_status"] == "unpriced"
    close_process_recorders()
    workplace.wait_until_settled(runs=1)
    workplace.command("cost-report", "--strict", expect=4)

    (workplace.home.folder / "prices.toml").write_text(PRICES)
    shown = workplace.report("reprice", "--experiment", "research")
    assert (shown["applied"], shown["changed_calls"], shown["difference_nanos"]) == (False, 1, None)
    assert (shown["before"]["total_cost_nanos"], shown["after"]["total_cost_nanos"]) == (None, 2_000_000_000)
    assert workplace.report("cost-report")["total_cost_nanos"] is None, "nothing was changed"

    text = workplace.command("reprice", "--run", "the-run", "--apply", "--reason", "the contract came late")
    assert f"1 call in 1 run: known cost {UNKNOWN} before, $2.00 after" in text
    workplace.command("cost-report", "--strict")
    assert workplace.report("cost-report")["total_cost_nanos"] == 2_000_000_000
    (receipt,) = workplace.report("explain", "call")
    assert [each["replaced_because"] for each in receipt["history"]] == ["the contract came late"]
    again = workplace.report("reprice", "--run", "the-run", "--apply")
    assert (again["changed_calls"], again["changed_runs"]) == (0, 0)

    workplace.wait_until_settled(runs=1)
    check_mlflow(workplace)


def check_mlflow(workplace):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{workplace.home.mlflow_database}")
    experiment = client.get_experiment_by_name("research")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["total_cost_usd"] == 2.0
    assert run.data.metrics["unpriced_calls"] == run.data.metrics["model/acme/acme-1/unpriced_calls"] == 0
    about = json.loads(run.data.tags["agents_obs.repriced"])
    assert (about["reason"], about["cost_nanos_before"], about["cost_nanos_after"]) == (
        "the contract came late",
        None,
        2_000_000_000,
    )
    assert "agents_obs.late_events" not in run.data.tags
    assert json.loads(run.data.tags["agents_obs.coverage"])["calls_covered_percent"] == 100.0


def test_everything_is_repriced_only_when_asked_for_in_words(workplace, start):
    start()
    workplace.command("reprice", "--apply", expect=2)
    workplace.command("reprice", "--run", "nobody", expect=1)
