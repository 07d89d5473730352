"""The memory of the export worker: its bound, and what is kept out of the search for garbage."""

from __future__ import annotations

import contextlib
import gc
import resource

from configurable_agents.obsd import limits


def bound_memory() -> None:
    """From now on a further allocation fails, here and in children. A lower bound of the system stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = limits.EXPORT_WORKER_BYTES_MAX
    if hard == resource.RLIM_INFINITY or hard > bound:
        with contextlib.suppress(ValueError, OSError):  # a system without it; the deadlines stay
            resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether it comes from an allocation that failed, whatever MLflow has made of that."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        if isinstance(each, MemoryError):
            return True
        seen.add(id(each))
        each = each.__cause__ or each.__context__
    return False


def keep_what_is_loaded() -> None:
    """What is there stays, and is left out of every later search for garbage.

    MLflow's modules are 300,000 objects. Searched again and again, because every point makes new ones, they
    took a quarter of the worker's time.
    """
    gc.collect()
    gc.freeze()
