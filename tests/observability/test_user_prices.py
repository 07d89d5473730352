"""prices.toml: what the user sets over the price table, and what is answered to a slip in it."""

import json
from datetime import UTC, datetime

import pytest

from configurable_agents.errors import ConfigurationError
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.observability.installed_table import TableAge, age_of, install_table
from configurable_agents.observability.price_table import GenaiPriceTable, RateCard
from configurable_agents.observability.user_prices import read_user_prices
from configurable_agents.telemetry import PriceStatus, Usage

MILLION = 1_000_000
AT = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 10**9


def write(folder, text: str) -> None:
    """As an editor does: a new file in place of the old."""
    (folder / "new").write_text(text)
    (folder / "new").replace(folder / "prices.toml")


def cost(folder, model: str, usage: Usage, *, provider: str = "openai", at: int = AT, **more) -> int | None:
    price = CostEstimator.of_folder(folder).price(
        provider=provider, model=model, usage=usage, at_unix_ns=at, **more
    )
    return price.cost_nanos if price.is_known else None


def dollars(amount: float) -> int:
    return round(amount * 10**9)


class TestWhatAnEntrySets:
    def test_the_classes_it_names_and_no_others(self, tmp_path):
        write(tmp_path, '[[price]]\nprovider = "openai"\nmodel = "gpt-4o"\noutput = 12.5\n')
        assert cost(tmp_path, "gpt-4o", Usage(output_tokens=MILLION)) == dollars(12.5)
        assert cost(tmp_path, "gpt-4o", Usage(MILLION)) == dollars(2.5)
        assert cost(tmp_path, "gpt-4o", Usage(cache_read_tokens=MILLION)) == dollars(1.25)

    def test_parts_that_cost_what_their_whole_costs_follow_it(self, tmp_path):
        write(tmp_path, '[[price]]\nprovider = "openai"\nmodel = "gpt-5"\noutput = 20\n')
        assert cost(tmp_path, "gpt-5", Usage(reasoning_tokens=MILLION)) == dollars(20)

    def test_a_model_the_table_does_not_know(self, tmp_path):
        write(tmp_path, '[[price]]\nprovider = "acme"\nmodel = "acme-*"\ninput = 1\noutput = 2\n')
        assert cost(tmp_path, "acme-1", Usage(MILLION, MILLION), provider="acme") == dollars(2)
        assert cost(tmp_path, "other", Usage(MILLION), provider="acme") is None
        assert cost(tmp_path, "acme-1", Usage(1, audio_input_tokens=1), provider="acme") is None

    @pytest.mark.parametrize("pattern", ["house-1[1m]", "house-?[1M]", "*[1m]"])
    def test_a_name_with_brackets_is_taken_as_it_stands(self, tmp_path, pattern):
        write(tmp_path, f'[[price]]\nprovider="openai"\nmodel="{pattern}"\ninput=2\n')
        assert cost(tmp_path, "house-1[1m]", Usage(MILLION)) == dollars(2)
        assert cost(tmp_path, "house-11", Usage(MILLION)) is None

    def test_a_fee_per_call_and_searches_per_thousand(self, tmp_path):
        write(tmp_path, '[[price]]\nprovider="acme"\nmodel="a"\ninput=0\nweb_searches=5\ncall=0.01\n')
        assert cost(tmp_path, "a", Usage(3, web_searches=2), provider="acme") == dollars(0.02)

    def test_the_later_of_two_entries_wins_class_by_class(self, tmp_path):
        write(
            tmp_path,
            '[[price]]\nprovider="openai"\nmodel="*"\ninput=1\noutput=1\n'
            '[[price]]\nprovider="openai"\nmodel="gpt-4o"\ninput=3\n',
        )
        assert cost(tmp_path, "gpt-4o", Usage(MILLION, output_tokens=MILLION)) == dollars(4)

    def test_only_from_its_first_day_up_to_its_last(self, tmp_path):
        write(
            tmp_path,
            '[[price]]\nprovider="openai"\nmodel="gpt-4o"\nfrom=2026-03-01\nuntil=2026-03-02\ninput=9\n',
        )
        estimator = CostEstimator.of_folder(tmp_path)
        day_ns = 86_400 * 10**9
        found = [
            estimator.price(provider="openai", model="gpt-4o", usage=Usage(MILLION), at_unix_ns=at).cost_nanos
            for at in (AT - 1, AT, AT + day_ns - 1, AT + day_ns, AT, AT - 1)
        ]
        assert found == [dollars(each) for each in (2.5, 9, 9, 2.5, 9, 2.5)]

    def test_a_model_only_the_user_knows_is_known_from_its_first_day_up_to_its_last(self, tmp_path):
        write(
            tmp_path,
            '[[price]]\nprovider="openai"\nmodel="house-1"\nfrom=2026-03-01\nuntil=2026-03-02\ninput=9\n',
        )
        estimator = CostEstimator.of_folder(tmp_path)
        day_ns = 86_400 * 10**9
        found = [
            estimator.price(provider="openai", model="house-1", usage=Usage(MILLION), at_unix_ns=at)
            for at in (AT - 1, AT, AT + day_ns - 1, AT + day_ns, AT, AT - 1)
        ]
        assert [price.cost_nanos if price.is_known else None for price in found] == [
            *(None, dollars(9), dollars(9)),
            *(None, dollars(9), None),
        ]

    def test_a_tier_has_its_own_price_and_the_standard_price_does_not_touch_it(self, tmp_path):
        write(
            tmp_path,
            '[[price]]\nprovider="openai"\nmodel="o3"\ninput=9\n'
            '[[price]]\nprovider="openai"\nmodel="gpt-5"\ntier="batch"\ninput=0.5\n',
        )
        late = {"at": AT + 250 * 86_400 * 10**9}
        assert cost(tmp_path, "o3", Usage(MILLION), **late) == dollars(9)
        assert cost(tmp_path, "o3", Usage(MILLION), batch=True, **late) == dollars(1)
        assert cost(tmp_path, "gpt-5", Usage(MILLION), batch=True, **late) == dollars(0.5)
        assert cost(tmp_path, "gpt-5", Usage(MILLION), **late) == dollars(1.25)

    def test_an_alias_names_the_model_behind_a_deployment(self, tmp_path):
        write(
            tmp_path,
            '[[alias]]\nprovider="azure"\nmodel="prod-*"\nis="gpt-4o"\n'
            '[[alias]]\nprovider="mygateway"\nmodel="big"\nis="openai/gpt-4o"\n',
        )
        assert cost(tmp_path, "prod-chat", Usage(MILLION), provider="azure") == dollars(2.5)
        assert cost(tmp_path, "big", Usage(MILLION), provider="mygateway") == dollars(2.5)

    def test_the_receipt_says_which_rates_are_the_users(self, tmp_path):
        write(tmp_path, '[[price]]\nprovider="openai"\nmodel="gpt-4o"\noutput=12.5\n')
        card = CostEstimator.of_folder(tmp_path).rate_card("openai", "gpt-4o", at_unix_ns=AT)
        assert card.overridden == ("output",)
        assert "prices.toml" in card.table_version

    def test_the_receipt_names_the_alias_that_led_to_its_price(self, tmp_path):
        write(
            tmp_path,
            '[[alias]]\nprovider="azure"\nmodel="prod-*"\nis="openai/gpt-4o"\n'
            '[[alias]]\nprovider="azure"\nmodel="mine"\nis="acme/acme-1"\n'
            '[[price]]\nprovider="acme"\nmodel="acme-1"\ninput=1\n',
        )
        estimator = CostEstimator.of_folder(tmp_path)
        card = estimator.rate_card("azure", "prod-chat", at_unix_ns=AT)
        assert (card.provider, card.model, card.alias) == ("openai", "gpt-4o", "azure/prod-*")
        assert "prices.toml" in card.table_version
        assert estimator.rate_card("azure", "mine", at_unix_ns=AT).alias == "azure/mine"
        assert estimator.rate_card("openai", "gpt-4o", at_unix_ns=AT).alias == ""

    def test_cards_are_read_as_they_were_written_by_this_and_by_earlier_releases(self, tmp_path):
        write(
            tmp_path,
            '[[price]]\nprovider="openai"\nmodel="gpt-4o"\ncall=0.01\n'
            '[[alias]]\nprovider="azure"\nmodel="a"\nis="gpt-4o"\n',
        )
        estimator = CostEstimator.of_folder(tmp_path)
        plain, aliased = (
            estimator.rate_card(*name, at_unix_ns=AT) for name in (("openai", "gpt-4o"), ("azure", "a"))
        )
        assert RateCard.from_json(aliased.to_json()) == aliased
        assert "alias" not in json.loads(plain.to_json())
        assert RateCard.from_json(plain.to_json().replace('["call"]', '["per_call"]')) == plain


class TestSlips:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[[price]\n", "is not TOML"),
            ("[price]\nprovider='x'\n", r"write \[\[price\]\]"),
            ("[[prices]]\n", "did you mean 'price'"),
            ("[[price]]\nmodel='a'\ninput=1\n", 'price 1 needs provider = "…"'),
            ("[[price]]\nprovider='x'\nmodel='a'\n", "price 1 sets no rate"),
            ("[[price]]\nprovider='x'\nmodel='a'\ninptu=1\n", "did you mean 'input'"),
            ("[[price]]\nprovider='x'\nmodel='a'\ninput='1'\n", "must be a number of dollars"),
            ("[[price]]\nprovider='x'\nmodel='a'\ninput=-1\n", "must lie between 0"),
            ("[[price]]\nprovider='x'\nmodel='a'\ninput=nan\n", "must lie between 0|number of dollars"),
            ("[[price]]\nprovider='x'\nmodel='a'\ninput=1e-30\n", "more decimals"),
            ("[[price]]\nprovider='x'\nmodel='a'\ninput=1\nfrom='2026-01-01'\n", "without quotes"),
            ("[[price]]\nprovider='x'\nmodel='a'\ninput=1\nfrom=2026-02-01\nuntil=2026-01-01\n", "before it"),
            ("[[price]]\nprovider='ollama'\nmodel='a'\ninput=1\n", "own machine"),
            ("[[price]]\nprovider='litellm'\nmodel='a'\ninput=1\n", "name the provider"),
            ("[[alias]]\nprovider='x'\nmodel='a'\n", 'alias 1 needs is = "…"'),
            ("[[price]]\nprovider='x'\nmodel='a'\ninput=1\ntier='prority'\n", "did you mean 'priority'"),
        ],
    )
    def test_a_slip_is_named_with_its_entry_and_the_remedy(self, tmp_path, text, words):
        write(tmp_path, text)
        with pytest.raises(ConfigurationError, match=words):
            read_user_prices(tmp_path / "prices.toml")

    def test_a_file_too_large_is_refused(self, tmp_path):
        write(tmp_path, "#" * (1024 * 1024 + 1))
        with pytest.raises(ConfigurationError, match="bytes"):
            read_user_prices(tmp_path / "prices.toml")


class TestChanges:
    def test_are_taken_up_and_forgotten_again_without_a_restart(self, tmp_path):
        estimator = CostEstimator.of_folder(tmp_path)

        def now() -> int:
            estimator.refresh()
            usage = Usage(MILLION)
            return estimator.price(provider="openai", model="gpt-4o", usage=usage, at_unix_ns=AT).cost_nanos

        assert now() == dollars(2.5)
        write(tmp_path, '[[price]]\nprovider="openai"\nmodel="gpt-4o"\ninput=7\n')
        assert now() == dollars(7)
        (tmp_path / "prices.toml").unlink()
        assert now() == dollars(2.5)

    def test_that_cannot_be_used_leave_the_prices_as_they_were_and_say_so(self, tmp_path):
        write(tmp_path, '[[price]]\nprovider="openai"\nmodel="gpt-4o"\ninput=7\n')
        estimator = CostEstimator.of_folder(tmp_path)
        write(tmp_path, "oops")
        assert not estimator.refresh()
        assert "is not TOML" in estimator.table.problem
        price = estimator.price(provider="openai", model="gpt-4o", usage=Usage(MILLION), at_unix_ns=AT)
        assert price.cost_nanos == dollars(7)


def raw_table(price: float, *, since: str = "2099-01-01") -> list:
    prices = [{"prices": {"input_mtok": price, "output_mtok": 1}}]
    prices.append(
        {
            "constraint": {"type": "start_date", "start_date": since},
            "prices": {"input_mtok": price, "output_mtok": 1},
        }
    )
    model = {"id": "gpt-4o", "match": {"equals": "gpt-4o"}, "prices": prices}
    return [{"id": "openai", "name": "OpenAI", "api_pattern": "https://api", "models": [model]}]


class TestAnInstalledTable:
    @pytest.fixture
    def source(self, tmp_path):
        path = tmp_path / "new.json"
        path.write_text(json.dumps(raw_table(42)))
        return path

    def test_replaces_the_bundled_one_without_a_restart(self, tmp_path, source):
        estimator = CostEstimator.of_folder(tmp_path)
        usage = Usage(MILLION)
        before = estimator.price(provider="openai", model="gpt-4o", usage=usage, at_unix_ns=AT)
        install_table(
            source, tmp_path / "price-table.json", bundled=age_of(GenaiPriceTable().providers), force=False
        )
        assert estimator.refresh()
        after = estimator.price(provider="openai", model="gpt-4o", usage=usage, at_unix_ns=AT)
        assert (before.cost_nanos, after.cost_nanos) == (dollars(2.5), dollars(42))
        assert "price-table.json 2099-01-01" in after.card.table_version

    def test_an_older_one_is_refused_unless_forced(self, tmp_path, source):
        target = tmp_path / "price-table.json"
        newest = TableAge("2100-01-01", 5)
        with pytest.raises(ConfigurationError, match=r"older .* --force"):
            install_table(source, target, bundled=newest, force=False)
        assert not target.exists()
        install_table(source, target, bundled=newest, force=True)
        assert cost(tmp_path, "gpt-4o", Usage(MILLION)) == dollars(42)

    def test_one_that_a_newer_release_has_overtaken_is_not_used(self, tmp_path):
        old = {"forced": False, "providers": raw_table(42, since="2001-01-01")}
        (tmp_path / "price-table.json").write_text(json.dumps(old))
        assert cost(tmp_path, "gpt-4o", Usage(MILLION)) == dollars(2.5)

    @pytest.mark.parametrize("text", ["{", "{}", "[]", '[{"id": 1}]', "[1]"])
    def test_a_file_that_is_no_table_is_refused(self, tmp_path, text):
        path = tmp_path / "new.json"
        path.write_text(text)
        with pytest.raises(ConfigurationError):
            install_table(path, tmp_path / "price-table.json", bundled=TableAge("", 0), force=True)

    def test_a_damaged_one_leaves_the_bundled_prices_in_force(self, tmp_path):
        (tmp_path / "price-table.json").write_text("{")
        table = GenaiPriceTable(tmp_path / "price-table.json")
        assert table.version.startswith("genai-prices")
        assert "is not JSON" in table.problem
        price = CostEstimator.of_folder(tmp_path).price(
            provider="openai", model="gpt-4o", usage=Usage(MILLION), at_unix_ns=AT
        )
        assert price.status is PriceStatus.PRICED
