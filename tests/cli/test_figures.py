import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.cli import figures
from configurable_agents.observability.cost_summary import format_usd
from configurable_agents.observability.known_cost import NO_COST, KnownCost


@pytest.mark.parametrize(
    ("duration_ns", "shown"),
    [
        (0, "0 ns"),
        (320, "320 ns"),
        (999.7, "1.0 µs"),
        (1_200, "1.2 µs"),
        (12_000, "12 µs"),
        (999_600, "1.0 ms"),
        (850_000_000, "850 ms"),
        (999_999_999, "1.0 s"),
        (3_200_000_000, "3.2 s"),
        (59_940_000_000, "59.9 s"),
        (59_970_000_000, "1 min 00 s"),
        (125_000_000_000, "2 min 05 s"),
        (3_599_600_000_000, "1 h 00 min"),
        (3_840_000_000_000, "1 h 04 min"),
        (284_400_000_000_000, "3 d 07 h"),
    ],
)
def test_a_duration_is_shown_in_the_unit_a_person_would_use(duration_ns, shown):
    assert figures.duration(duration_ns) == shown


@given(st.integers(0, 2**62))
def test_a_duration_never_shows_a_thousand_of_a_unit_or_sixty_seconds(duration_ns):
    shown = figures.duration(duration_ns)
    assert re.fullmatch(
        r"\d{1,3} ns|(\d\.\d|\d\d|\d{3}) (µs|ms)|[1-5]?\d\.\d s"
        r"|[1-5]?\d min [0-5]\d s|(1?\d|2[0-3]) h [0-5]\d min|[\d,]+ d [0-2]\d h",
        shown,
    ), shown


@pytest.mark.parametrize(
    ("number_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (4_100, "4.1 kB"),
        (999_960, "1.0 MB"),
        (88_120_320, "88.1 MB"),
        (3 * 10**15, "3,000.0 TB"),
    ],
)
def test_a_size_is_shown_in_decimal_units(number_bytes, shown):
    assert figures.size(number_bytes) == shown


def test_amounts_of_one_column_share_the_decimals_its_smallest_amount_needs():
    assert figures.dollar_decimals([]) == 2
    assert figures.dollar_decimals([0, 12_410_000_000]) == 2
    assert figures.dollar_decimals([3_400_000, 12_410_000_000]) == 4
    assert figures.dollar_decimals([34, 12_410_000_000]) == 6
    assert figures.dollars(1_204_100_000_000, 2) == "$1,204.10"


def test_amounts_are_rounded_half_up_from_the_integer_wherever_they_are_shown():
    """None of these is a float: 0.02175 and 0.15055 are less than they look as one, 0.07735 is more."""
    for nanos, shown in (
        (21_750_000, "$0.0218"),
        (21_650_000, "$0.0217"),
        (150_550_000, "$0.1506"),
        (77_350_000, "$0.0774"),
        (77_349_999, "$0.0773"),
        (77_350_001, "$0.0774"),
        (999_950_000, "$1.0000"),
    ):
        assert figures.dollars(nanos, 4) == format_usd(nanos) == shown
        assert format_usd(-nanos) == f"-{shown}"
    assert figures.dollars(1_005_000_000, 2) == format_usd(1_005_000_000) == "$1.01"
    assert figures.dollars(9_007_199_254_740_993_000, 6) == "$9,007,199,254.740993"
    assert (format_usd(0), format_usd(99_999), format_usd(1)) == ("$0.00", "$0.000099999", "$0.000000001")


def test_an_amount_too_small_to_show_is_not_shown_as_zero():
    assert figures.dollars(34, 6) == "<$0.000001"
    assert figures.dollars(0, 6) == "$0.000000"


def test_an_unknown_cost_is_a_dash_and_a_partly_known_one_says_that_there_is_more():
    assert figures.cost(KnownCost(0, 3, 3)) == figures.UNKNOWN
    assert figures.cost(KnownCost(5 * 10**9, 3, 1)) == "$5.00 +"
    assert figures.cost(KnownCost(0, 3, 1), 4) == "$0.0000 +"
    assert figures.cost(KnownCost(0, 3, 0)) == "$0.00"
    assert figures.cost(NO_COST) == "$0.00"
    assert figures.cost(KnownCost(-(5 * 10**9), 3), 2) == "-$5.00"


def test_a_legend_explains_the_signs_that_are_there_and_no_others():
    whole, part, nothing = KnownCost(1, 1), KnownCost(1, 2, 1), KnownCost(0, 1, 1)
    assert figures.legend([whole, NO_COST]) == ""
    assert figures.legend([whole, part]) == "+ marks costs that leave out calls without a known price."
    assert figures.legend([nothing]) == f"{figures.UNKNOWN} stands for a cost of which nothing is known."
    assert figures.legend([nothing, part]).count(".") == 2


def test_an_unknown_cost_has_no_share():
    whole = KnownCost(200, 4, 1)
    assert figures.share(KnownCost(50, 2, 1), whole) == 25
    assert figures.share(KnownCost(0, 1, 1), whole) is None
    assert figures.share(KnownCost(0, 1), KnownCost(0, 2, 1)) is None


def test_a_bar_is_as_long_as_the_share_and_never_vanishes_for_something():
    assert figures.share_bar(0) == ""
    assert figures.share_bar(0.001) == "▏"
    assert figures.share_bar(50) == "█" * 5
    assert figures.share_bar(100) == "█" * 10
    assert figures.share_bar(250) == "█" * 10


def test_a_time_no_calendar_has_is_still_shown():
    assert "after 1970" in figures.local_time(2**63 - 1 + 10**25)
    assert figures.local_time(0) == figures.UNKNOWN


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(14 * 86_400, "14 d"), (36 * 3_600, "36 h"), (90, "90 s"), (120, "2 min"), (400 * 86_400, "400 d")],
)
def test_an_age_is_in_the_largest_unit_that_is_whole(seconds, text):
    assert figures.age(seconds) == text
