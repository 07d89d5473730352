"""The one emitter of this process for each state folder.

The module keeps a registry because the identity of a producer is the process itself: it must be
found again by every run of the process, closed when the process ends and renewed when it forks.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from configurable_agents.client.emitter import Emitter
from configurable_agents.client.home import Home
from configurable_agents.client.price_loading import PriceLoading

if TYPE_CHECKING:  # loaded by the first LLM call
    from configurable_agents.observability.cost_estimator import CostEstimator

_emitters: dict[Path, Emitter] = {}
_estimators: dict[Path, CostEstimator] = {}
_loadings: dict[Path, PriceLoading] = {}
_lock = threading.RLock()


def process_recorder(home: Home | None = None) -> Emitter:
    """The emitter of this process for `home` (default: from the environment). Made when first asked for.

    Thread-safe. Raises `ConfigurationError` when the state folder cannot be used.
    """
    found = home or Home.from_environment()
    with _lock:
        emitter = _emitters.get(found.folder)
        if emitter is None:
            emitter = _emitters[found.folder] = Emitter(found)
        return emitter


def process_estimator(home: Home) -> CostEstimator:
    """This process's estimator with the prices of a home, looked at again for changes."""
    with _lock:
        estimator = _estimators.get(home.folder)
        if estimator is None:
            from configurable_agents.observability.cost_estimator import CostEstimator  # noqa: PLC0415

            estimator = _estimators[home.folder] = CostEstimator.of_folder(home.folder)
        estimator.refresh()
    return estimator


def load_prices_soon(home: Home) -> None:
    """Has the price table of a home loaded beside the caller, once in a process."""
    with _lock:
        if home.folder not in _loadings:
            _loadings[home.folder] = PriceLoading(functools.partial(_load_prices, home))


def _load_prices(home: Home) -> None:
    from configurable_agents.observability import multi_provider_tracker  # noqa: F401, PLC0415

    process_estimator(home).load()


def _end_loadings() -> None:
    """Those that have not begun are forgotten: the next run asks again."""
    for folder, loading in list(_loadings.items()):
        loading.end()
        if not loading.has_begun:
            _loadings.pop(folder, None)


def close_process_recorders() -> None:
    """Flushes and closes all emitters of this process. Runs by itself when the process ends."""
    _end_loadings()
    with _lock:
        emitters = list(_emitters.values())
        _emitters.clear()
    for emitter in emitters:
        emitter.close()


def _hold_for_fork() -> None:
    _end_loadings()
    _lock.acquire()
    for emitter in _emitters.values():
        emitter.hold_for_fork()


def _go_on_after_fork() -> None:
    for emitter in _emitters.values():
        emitter.go_on_after_fork()
    _lock.release()


def _begin_anew_in_child() -> None:
    global _lock  # noqa: PLW0603 - the parent's is held for the fork, by a thread of the parent
    _lock = threading.RLock()
    for emitter in _emitters.values():
        emitter.begin_anew_in_child()


atexit.register(close_process_recorders)
os.register_at_fork(
    before=_hold_for_fork, after_in_parent=_go_on_after_fork, after_in_child=_begin_anew_in_child
)
