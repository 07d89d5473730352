"""What is remembered of producers that are not connected."""

from __future__ import annotations

import pytest

from configurable_agents.obsd import limits
from configurable_agents.obsd.producers import Producers


def test_of_producers_without_end_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PRODUCERS_REMEMBERED_MAX", 2)
    producers = Producers()
    producers.began -= 1000
    for producer_id in (b"1", b"2", b"3"):
        producers.heard_unary(producer_id)
        producers.connected(producer_id)
        producers.disconnected(producer_id)
    assert [producers.is_unary(each) for each in (b"1", b"2", b"3")] == [False, True, True]
    assert [producers.silent_for_s(each) > 999 for each in (b"1", b"2", b"3")] == [True, False, False]


def test_who_is_heard_of_again_is_among_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PRODUCERS_REMEMBERED_MAX", 2)
    producers = Producers()
    for producer_id in (b"1", b"2", b"1", b"3"):
        producers.heard_unary(producer_id)
    assert [producers.is_unary(each) for each in (b"1", b"2", b"3")] == [True, False, True]
