"""Percentiles against exact ones, also merged, stored and read again."""

from __future__ import annotations

import csv
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.errors import WireFormatError
from configurable_agents.obsd.latency_sketch import (
    EXACT_COUNT_MAX,
    RELATIVE_ERROR,
    LatencySketch,
    merged,
)
from configurable_agents.runtime.self_time import percentile_ns

PERCENTS = (0, 1, 50, 90, 95, 99, 100)


def latencies_ns(trace: Path, count: int) -> list[int]:
    """Latencies made of recorded requests: reading the context, then writing the answer token by token."""
    with trace.open() as file:
        sizes = [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]
    chance = random.Random(20231116)
    return [
        round((40 + 0.12 * context + 24 * generated) * chance.lognormvariate(0, 0.35) * 1e6)
        for context, generated in chance.choices(sizes, k=count)
    ]


def check_within_the_error(sketch: LatencySketch, values: list[int]) -> None:
    exact = np.percentile(values, PERCENTS, method="inverted_cdf")
    for percent, expected in zip(PERCENTS, exact, strict=True):
        assert sketch.percentile_ns(percent) == pytest.approx(expected, rel=RELATIVE_ERROR), percent


@pytest.mark.shared_data
def test_a_million_real_latencies_are_within_one_percent_also_in_a_hundred_parts(shared_data):
    values = latencies_ns(shared_data / "traffic" / "AzureLLMInferenceTrace_code.csv", 1_000_000)
    whole = LatencySketch(values)
    parts = [LatencySketch(values[number::100]) for number in range(100)]
    together = merged(LatencySketch.from_bytes(part.to_bytes()) for part in parts)

    assert whole.count == together.count == len(values)
    check_within_the_error(whole, values)
    check_within_the_error(together, values)


durations = st.lists(st.integers(0, 10**16), max_size=60)


@given(st.lists(durations, max_size=5))
def test_up_to_a_thousand_durations_are_exact_in_parts_too(parts):
    values = [value for part in parts for value in part]
    sketch = merged(LatencySketch.from_bytes(LatencySketch(part).to_bytes()) for part in parts)

    assert sketch.is_exact
    assert sketch.count == len(values)
    for percent in PERCENTS:
        assert sketch.percentile_ns(percent) == (percentile_ns(values, percent) if values else None)


def spread(count: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [round(chance.lognormvariate(17, 2)) * chance.choice([0, 1, 1, 1]) for _ in range(count)]


@pytest.mark.parametrize(
    "sizes", [(EXACT_COUNT_MAX, 1), (10, 5_000), (5_000, 10), (3_000, 4_000), (0, 2_000)]
)
def test_exact_and_sketched_parts_merge_in_any_order(sizes):
    parts = [spread(size, seed) for seed, size in enumerate(sizes)]
    values = [value for part in parts for value in part]

    for order in (parts, parts[::-1]):
        sketch = merged(map(LatencySketch, order))
        assert not sketch.is_exact
        assert sketch.count == len(values)
        exact = np.percentile(values, PERCENTS, method="inverted_cdf")
        found = [sketch.percentile_ns(percent) for percent in PERCENTS]
        assert found == [pytest.approx(value, rel=RELATIVE_ERROR, abs=1) for value in exact]


def test_merging_leaves_the_merged_as_it_was():
    one, other = LatencySketch(spread(2_000, 1)), LatencySketch(spread(2_000, 2))
    before = other.to_bytes()
    one.merge(other)
    one.add_all([1, 2, 3])

    assert other.to_bytes() == before


def test_short_durations_have_a_bucket_of_their_own_each():
    for value in range(256):
        assert LatencySketch([value] * (EXACT_COUNT_MAX + 1)).percentile_ns(50) == value


def test_the_longest_durations_and_their_sketch_fit_into_what_is_kept():
    every_bucket = LatencySketch(round(2 ** (index / 200)) for index in range(200 * 53))
    stored = every_bucket.to_bytes()

    assert len(zlib.decompress(stored[1:])) < 70_000
    assert LatencySketch.from_bytes(stored).percentile_ns(100) == pytest.approx(
        2 ** (53 - 1 / 200), rel=RELATIVE_ERROR
    )


STORED_FORMS = (
    b"",
    b"X",
    b"E123",
    b"D" + zlib.compress(b"\xff\xff"),
    b"E" + zlib.compress(b"123"),
    b"E" + zlib.compress(bytes(10**7)),
    b"B" + zlib.compress(bytes(9)),
    b"B" + zlib.compress(bytes(10)),
    b"B" + zlib.compress(b"\x01" + bytes(7) + b"\xff\xff"),
    LatencySketch([1, 2, 3]).to_bytes()[:-3],
)


@pytest.mark.parametrize("stored", STORED_FORMS)
def test_what_is_no_stored_sketch_is_refused(stored):
    with pytest.raises(WireFormatError, match="a stored sketch"):
        LatencySketch.from_bytes(stored)
