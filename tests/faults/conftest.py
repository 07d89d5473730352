"""What tests of faults share: a site to do damage on, and the oracle that says what came of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configurable_agents.client.home import Home

sys.path.insert(0, str(Path(__file__).parent))  # for `harness`, which pytest's import mode does not find

from harness.seeds import Seed
from harness.site import Site


@pytest.fixture
def seed() -> Seed:
    """Where a test takes its chances from; printed when it fails, and set by SEED to repeat it."""
    return Seed.from_environment()


@pytest.fixture
def site(home: Home) -> Iterator[Site]:
    """A state folder, its daemon and its clients. Everything started on it is ended afterwards."""
    with Site(home) as place:
        yield place
