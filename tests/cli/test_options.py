import contextlib
import datetime as dt
import time

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.cli.options import SECONDS_PER_UNIT, parse_since, scope_of
from configurable_agents.client.reports import Scope

NOW = 1_795_336_467_000_000_000
NS = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds_ago"),
    [
        ("0s", 0),
        ("90s", 90),
        ("15m", 900),
        ("24h", 86_400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        (" 5 M ", 300),
        ("7d ago", 604_800),
        ("15 m  AGO", 900),
    ],
)
def test_a_number_and_a_unit_count_back_from_now(text, seconds_ago):
    assert parse_since(text, NOW) == NOW - seconds_ago * NS


def test_a_time_with_a_zone_is_that_moment():
    assert parse_since("2026-11-22T08:00Z", NOW) == 1_795_334_400 * NS
    assert parse_since("2026-11-22T10:00:00.000001+02:00", NOW) == 1_795_334_400 * NS + 1_000


def test_a_time_without_a_zone_is_local(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert parse_since("2026-11-22", NOW) == 1_795_323_600 * NS
        assert parse_since("2026-07-01T00:00", NOW) == 1_782_878_400 * NS
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.integers(1, (2**63 - 1) // 1_000))
def test_any_iso_time_is_exact_to_the_microsecond(microseconds):
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds)
    assert parse_since(moment.isoformat(), NOW) == microseconds * 1_000


@given(st.text())
def test_any_other_text_is_a_usage_error_and_nothing_else(text):
    with contextlib.suppress(typer.BadParameter):
        assert 0 < parse_since(text, NOW) < 2**63


@given(st.integers(0, 10**30), st.sampled_from(sorted(SECONDS_PER_UNIT)))
def test_more_time_than_has_passed_since_1970_is_a_usage_error(amount, unit):
    if amount * SECONDS_PER_UNIT[unit] < NOW // NS:
        assert 0 < parse_since(f"{amount}{unit}", NOW) <= NOW
    else:
        with pytest.raises(typer.BadParameter):
            parse_since(f"{amount}{unit}", NOW)


def test_options_that_are_not_used_do_not_narrow_anything_down():
    assert scope_of(None) == Scope()
    assert scope_of("support-bot", "latest") == Scope(experiment="support-bot", run_id="latest")
