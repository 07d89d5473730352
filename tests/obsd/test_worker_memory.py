"""The memory of the export worker."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from configurable_agents.obsd import limits
from configurable_agents.obsd.exporters.worker_memory import keep_what_is_loaded, ran_out_of_memory

TAKES_TOO_MUCH = """
import resource
from configurable_agents.obsd import limits
from configurable_agents.obsd.exporters.worker_memory import bound_memory
{before}
bound_memory()
try:
    bytearray({bytes})
except MemoryError:
    print("refused")
else:
    print("taken")
"""


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_is_loaded_is_not_searched_for_garbage_again() -> None:
    loaded = [[] for _ in range(1000)]
    keep_what_is_loaded()
    assert gc.get_freeze_count() > len(loaded)


def allocate(size_bytes: int, before: str = "") -> str:
    """In a process of its own: a bound once set stays."""
    code = TAKES_TOO_MUCH.format(bytes=size_bytes, before=before)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_worker_may_have_so_much_and_no_more() -> None:
    assert allocate(limits.EXPORT_WORKER_BYTES_MAX // 2) == "taken\n"
    assert allocate(limits.EXPORT_WORKER_BYTES_MAX) == "refused\n"


def test_a_lower_bound_of_the_system_stays() -> None:
    lower = "resource.setrlimit(resource.RLIMIT_DATA, (2**28, 2**28))"
    assert allocate(2**28, lower) == "refused\n"


def test_an_allocation_that_failed_is_known_through_what_was_made_of_it() -> None:
    def fails() -> None:
        try:
            try:
                bytearray(sys.maxsize)
            except MemoryError as error:
                raise ValueError("the answer cannot be read") from error
        except ValueError:
            raise RuntimeError("the request failed")  # noqa: B904 - as libraries do

    with pytest.raises(RuntimeError) as raised:
        fails()
    assert ran_out_of_memory(raised.value)
    assert not ran_out_of_memory(RuntimeError("the request failed"))
