"""How long what is kept, and how much of the disk it may take: the settings, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configurable_agents.client.home import Home
from configurable_agents.errors import ConfigurationError, InvalidValueError, LedgerFullError
from configurable_agents.obsd.config import Settings
from configurable_agents.obsd.disk import DiskGuard, free_bytes_for
from configurable_agents.obsd.ledger.retention import Backlog
from configurable_agents.obsd.quantities import bytes_of, seconds_of, size_text
from configurable_agents.obsd.storage_policy import StoragePolicy, storage_policy

POLICY = StoragePolicy(None, None, None, reserve_bytes=1000, allowance_bytes=100)


@pytest.mark.parametrize(
    ("text", "seconds"), [("14d", 14 * 86_400), ("90 s", 90), ("2h", 7200), ("5m", 300), ("off", None)]
)
def test_times_are_a_number_and_a_unit(text: str, seconds: int | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2**31), ("500 MB", 500 * 10**6), ("1B", 1), ("off", None)]
)
def test_sizes_are_a_number_and_a_unit(text: str, size: int | None) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "14", "d", "0d", "-1d", "1.5d", "14 days", "1w", "9999999999d", "OFF"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidValueError, match=r'as in "14d", or "off", not '):
        seconds_of(text)


def test_the_longest_time_and_the_largest_size_are_named() -> None:
    assert (seconds_of("36500d"), bytes_of("1048576TiB")) == (36_500 * 86_400, 2**60)
    with pytest.raises(InvalidValueError, match=r'must be at most "36500d", a hundred years, or "off", not '):
        seconds_of("36501d")
    with pytest.raises(InvalidValueError, match=r'must be at most "1048576TiB", or "off", not '):
        bytes_of("1048577TiB")


def test_sizes_in_messages_are_short() -> None:
    sizes = [0, 1023, 1024, 300 * 2**20, 2**31, 3 * 2**40]
    assert [size_text(size) for size in sizes] == [
        "0 B", "1023 B", "1.0 KiB", "300.0 MiB", "2.0 GiB", "3.0 TiB",
    ]  # fmt: skip


def test_the_defaults_are_what_the_documentation_says() -> None:
    assert storage_policy(Settings()) == StoragePolicy(
        14 * 86_400, 400 * 86_400, 20 * 2**30, 256 * 2**20, 2 * 2**30
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(retention_raw="two weeks"), "agents-obsd.toml: [retention] raw must be a whole number"),
        (Settings(retention_totals="999999d"), "agents-obsd.toml: [retention] totals must be at most"),
        (Settings(disk_reserve="1"), "agents-obsd.toml: [disk] reserve must be"),
        (
            Settings(retention_raw="500d"),
            "agents-obsd.toml: [retention] raw (500d) is longer than [retention] totals (400d)",
        ),
        (
            Settings(retention_raw="off"),
            "agents-obsd.toml: [retention] raw (off) is longer than [retention] totals (400d)",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: Settings, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        storage_policy(settings)


# -- room for more ----------------------------------------------------------------------------------------


def guard(home: Home, free_bytes: int) -> DiskGuard:
    home.ledger.write_bytes(bytes(1000))
    return DiskGuard(home, POLICY, free_bytes=lambda _: free_bytes)


def test_events_are_refused_below_the_reserve_with_a_hint(home: Home) -> None:
    with pytest.raises(LedgerFullError, match=r"has 999 B left, less than the reserve of 1000 B; make room"):
        guard(home, 999).require_room(Backlog())
    guard(home, 1000).require_room(Backlog())


def test_events_are_refused_beyond_the_allowance_with_a_hint(home: Home) -> None:
    enough = guard(home, 10**6)
    enough.require_room(Backlog(events_waiting=10, events_held=100))
    with pytest.raises(
        LedgerFullError, match=r"11 events \(110 B\) wait for MLflow, more than the allowance"
    ):
        enough.require_room(Backlog(events_waiting=11, events_held=100))


def test_the_reading_of_the_real_disk_is_plausible(tmp_path: Path) -> None:
    assert 0 < free_bytes_for(tmp_path / "ledger.db") < 2**60
