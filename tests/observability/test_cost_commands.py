"""The commands about costs as a user types them, asked of a real daemon."""

import csv
import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from configurable_agents import observe_run
from configurable_agents.client.process import close_process_recorders
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.telemetry import Status

SETTINGS = ("AGENTS_OBS_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "MLFLOW_")


def run(
    *arguments: str, home, expect: int = 0, program: str = "agents-obs"
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments],
        env={**environment, "AGENTS_OBS_HOME": str(home.folder), "COLUMNS": "150"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == expect, done.stderr
    return done


def asked(*arguments: str, home):
    return json.loads(run(*arguments, "--json", home=home).stdout)


def response(tokens_in: int, tokens_out: int, **more):
    usage = {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }
    return {"model": "gpt-4o", "usage": usage, **more}


@pytest.fixture
def home(daemon):
    """Of a daemon that knows one run: a failed attempt, its retry, a repeated report, =formula names."""
    with observe_run(
        "support", "triage", home=daemon.home, tags={"team": "=care"}, run_id="the-run"
    ) as observed:

        @profile_node("=draft")
        def draft(attempt):
            observed.track_call("openai", "openai/gpt-4o", response(1_000, 100), attempt=attempt)
            if attempt == 1:
                raise TimeoutError

        with pytest.raises(TimeoutError):
            draft(1)
        draft(2)
        observed.track_call("openai", None, response(2_000, 0, id="resp-1"), call_id="one")
        observed.track_call("openai", None, response(2_000, 0, id="resp-1"), call_id="two")
        observed.track_call("openai", None, {"model": "gpt-4o"}, status=Status.ERROR, error_type="Timeout")
    close_process_recorders()
    return daemon.home


class TestCostReport:
    def test_groups_by_any_combination(self, home):
        found = asked("cost-report", "--by", "node,attempt,tag:team", home=home)
        assert found["by"] == ["node", "attempt", "tag:team"]
        costs = {tuple(group["values"].values()): group["total_cost_nanos"] for group in found["groups"]}
        assert costs == {
            ("", "1", "=care"): 5_000_000,
            ("=draft", "1", "=care"): 3_500_000,
            ("=draft", "2", "=care"): 3_500_000,
        }
        assert found["total"]["total_cost_nanos"] == sum(costs.values())

    def test_says_what_was_wasted_and_merged(self, home):
        found = asked("cost-report", home=home)
        assert (found["wasted"]["call_count"], found["wasted"]["total_cost_nanos"]) == (2, 3_500_000)
        assert (found["call_count"], found["merged_calls"]) == (4, 1)
        text = run("cost-report", home=home).stdout
        assert "Wasted: $0.0035 + in 2 calls of attempts that were thrown away" in text
        assert "1 further report of calls that were reported already: not counted again." in text

    def test_strict_fails_with_exit_code_4_while_a_cost_is_not_known(self, home):
        done = run("cost-report", "--strict", home=home, expect=4)
        assert "Total" in done.stdout
        assert done.stderr.startswith("error: not every call has a known cost")
        run("cost-report", "--by", "node", "--strict", "--format", "csv", home=home, expect=4)

    def test_csv_holds_no_formula(self, home):
        text = run("cost-report", "--by", "node,tag:team", "--format", "csv", home=home).stdout
        found = list(csv.DictReader(io.StringIO(text)))
        assert {line["node"] for line in found} == {"", "'=draft"}
        assert {line["tag:team"] for line in found} == {"'=care"}
        assert sum(Decimal(line["cost_usd"]) for line in found) == Decimal("0.012")

    def test_shows_the_first_lines_and_adds_up_the_others(self, home):
        text = run("cost-report", "--by", "node", "--top", "1", home=home).stdout
        assert "(others)" in text
        assert "1 more in (others)." in text
        markdown = run(
            "cost-report", "--by", "node", "--sort", "name", "--format", "markdown", home=home
        ).stdout
        assert markdown.startswith("| node | calls | tokens | cost |")

    def test_a_slip_is_answered_with_a_hint(self, home):
        done = run("cost-report", "--by", "nod", home=home, expect=2)
        assert "did you mean node?" in done.stderr
        run("cost-report", "--format", "csv", "--json", home=home, expect=2)
        run("cost-report", "--sort", "colour", home=home, expect=2)


class TestExplain:
    def test_a_call_is_taken_apart_to_the_last_digit(self, home):
        (found,) = asked("explain", "--run", "the-run", "--top", "1", home=home)
        assert found["call_id"] in ("one", "two")
        amounts = [Decimal(line["amount_usd"]) for line in found["lines"]]
        assert sum(amounts) + Decimal(found["rounding_usd"]) == Decimal(found["cost_nanos"]) / 10**9
        assert (found["provider_known_by"], found["model_known_by"]) == ("caller", "response")

    def test_it_is_found_by_its_id_or_its_responses_id(self, home):
        assert [each["call_id"] for each in asked("explain", "one", home=home)] == ["one"]
        both = asked("explain", "resp-1", home=home)
        assert [each["call_id"] for each in both] == ["one", "two"]
        assert sorted(each["counted"] for each in both) == [False, True]
        done = run("explain", "three", home=home, expect=1)
        assert "no call is called 'three'" in done.stderr

    def test_the_page_says_how_provider_and_model_were_decided(self, home):
        text = run("explain", "--run", "latest", "--top", "3", home=home).stdout
        assert "Provider: openai (the caller said so)" in text
        assert "Model: gpt-4o (the caller said so), given as openai/gpt-4o" in text
        assert "$2.5   per million" in text.replace("$2.5  per million", "$2.5   per million")
        assert "genai-prices" in text


class TestCacheReport:
    def test_adds_up_what_caches_saved(self, home):
        found = asked("caches", home=home)
        assert (found["total"]["call_count"], found["total"]["saved_nanos"]) == (3, 0)
        assert "Prompt caches" in run("caches", home=home).stdout


class TestPrices:
    def test_a_price_saved_while_the_daemon_runs_counts_from_the_next_call_on(self, home, eventually):
        text = '[[price]]\nprovider = "openai"\nmodel = "gpt-4o"\ninput = 1000\n'
        (home.folder / "prices.toml").write_text(text)
        with observe_run("support", home=home, run_id="later") as observed:
            told = observed.track_call("openai", "gpt-4o", response(1_000, 0))
        close_process_recorders()
        assert told["cost_nanos"] == 1_000_000_000
        assert asked("cost-report", "--run", "later", home=home)["total_cost_nanos"] == 1_000_000_000
        assert asked("cost-report", "--run", "the-run", home=home)["total_cost_nanos"] == 12_000_000
        (receipt,) = asked("explain", "--run", "later", home=home)
        assert receipt["rate_card"]["overridden"] == ["input"]

    def test_show_needs_no_daemon_and_knows_dates_and_tiers(self, tmp_path):
        from configurable_agents.client.home import Home

        place = Home.from_environment(tmp_path)
        before = json.loads(run("prices", "show", "o3", "--as-of", "2025-06-01", "--json", home=place).stdout)
        after = json.loads(run("prices", "show", "o3", "--as-of", "2025-06-11", "--json", home=place).stdout)
        assert (before["usd_per_million"]["input"], after["usd_per_million"]["input"]) == (
            "10",
            "2",
        )
        assert "batch tier" in run("prices", "show", "openai/gpt-4o", "--batch", home=place).stdout
        assert "free" in run("prices", "show", "llama3:8b", home=place).stdout
        done = run("prices", "show", "openai/nobody-knows", home=place, expect=1)
        assert "no price is known for openai/nobody-knows" in done.stderr
        done = run("prices", "show", "gpt-40", home=place, expect=1)
        assert "did you mean gpt-4 or gpt-4o or " in done.stderr
        listed = run("prices", "list", "--provider", "openai", home=place).stdout
        assert "openai\tgpt-4o\t" in listed
        for name in ("xai", "grok"):  # the table's own name for it is another
            assert run("prices", "list", "--provider", name, home=place).stdout.startswith("xai\tgrok-")
        done = run("prices", "show", "grok-44", "--provider", "xai", home=place, expect=1)
        assert "did you mean grok-4" in done.stderr

    def test_show_knows_who_is_named_in_the_users_file_only(self, tmp_path):
        from configurable_agents.client.home import Home

        place = Home.from_environment(tmp_path)
        entry = '[[price]]\nprovider = "acme"\nmodel = "acme-*"\ninput = 1\n'
        (tmp_path / "prices.toml").write_text(entry)
        assert "$1 per million" in run("prices", "show", "acme/acme-1", home=place).stdout
        assert "give --provider acme" in run("prices", "show", "acme-1", home=place, expect=1).stderr
        assert "nothing tells who" in run("prices", "show", "nobody/acme-1", home=place, expect=1).stderr

    def test_the_fee_for_a_call_and_an_alias_have_the_names_of_the_file(self, tmp_path):
        from configurable_agents.client.home import Home

        place = Home.from_environment(tmp_path)
        (tmp_path / "prices.toml").write_text(
            '[[price]]\nprovider = "openai"\nmodel = "gpt-4o"\ncall = 0.01\n'
            '[[alias]]\nprovider = "azure"\nmodel = "prod"\nis = "openai/gpt-4o"\n'
            '[[alias]]\nprovider = "azure"\nmodel = "lost"\nis = "nothing-known"\n'
        )
        shown = run("prices", "show", "gpt-4o", home=place)
        assert "  call           $0.01 per call  (prices.toml)\n" in shown.stdout
        assert shown.stderr == (
            "note: prices.toml: the alias azure/lost is azure/nothing-known, of which no price is known\n"
        )
        card = json.loads(run("prices", "show", "gpt-4o", "--json", home=place).stdout)
        assert (card["usd_per_call"], card["overridden"], card["alias"]) == ("0.01", ["call"], None)
        aliased = run("prices", "show", "azure/prod", "--provider", "azure", home=place).stdout
        assert "  by the alias azure/prod of prices.toml\n" in aliased
        listed = run("prices", "list", "--provider", "azure", home=place).stdout
        assert listed.startswith("azure\tprod\talias of openai/gpt-4o\n")

    def test_a_tier_that_nobody_has_is_answered_with_those_there_are(self, tmp_path):
        from configurable_agents.client.home import Home

        place = Home.from_environment(tmp_path)
        done = run("prices", "show", "gpt-4o", "--tier", "nope", home=place, expect=2)
        assert "no model has a price at the tier 'nope'; there are: batch" in done.stderr
        done = run("prices", "show", "gpt-4o", "--tier", "standrd", home=place, expect=2)
        assert "did you mean standard?" in done.stderr

    def test_show_never_takes_the_standard_price_for_another_tier_in_silence(self, tmp_path):
        from configurable_agents.client.home import Home

        place = Home.from_environment(tmp_path)
        shown = run("prices", "show", "gpt-4o", "--tier", "flex", home=place).stdout
        assert "no flex rate for this model; the standard rate applies" in shown
        found = json.loads(run("prices", "show", "gpt-5", "--tier", "flex", "--json", home=place).stdout)
        assert (found["tier"], found["remark"]) == ("flex", None)
        done = run("prices", "show", "gpt-5", "--tier", "flexx", home=place, expect=2)
        assert done.stderr == "error: no model has a price at the tier 'flexx'; did you mean flex?\n"

    @pytest.mark.parametrize("program", ["agents-obs", "agents-obsd"])
    def test_the_status_says_that_the_users_prices_are_not_used(self, home, program):
        assert asked("status", home=home)["prices_problem"] is None
        (home.folder / "prices.toml").write_text("[[price]]\nprovider = 1\n")
        assert "price 1 needs provider" in asked("status", home=home)["prices_problem"]
        shown = " ".join(run("status", home=home, program=program).stdout.split())
        assert "prices stay as they were: " in shown
        (home.folder / "prices.toml").unlink()
        assert asked("status", home=home)["prices_problem"] is None

    def test_a_slip_in_the_file_is_one_line(self, tmp_path):
        from configurable_agents.client.home import Home

        (tmp_path / "prices.toml").write_text("[[price]]\nprovider = 1\n")
        done = run("prices", "show", "gpt-4o", home=Home.from_environment(tmp_path), expect=2)
        assert done.stderr.count("\n") == 1
        assert "price 1 needs provider" in done.stderr
