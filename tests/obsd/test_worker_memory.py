"""The memory of the export worker."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from configurable_agents.obsd.exporters.worker_memory import keep_what_is_loaded


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_is_loaded_is_not_searched_for_garbage_again() -> None:
    loaded = [[] for _ in range(1000)]
    keep_what_is_loaded()
    assert gc.get_freeze_count() > len(loaded)
