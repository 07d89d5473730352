"""Functions that a workflow names: `package.module:function`, and how they are called."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_thread

from configurable_agents.errors import ConfigurationError

THREADS_MAX = 64
"""Plain functions of one run that run at the same time; more wait their turn."""


def load_function(reference: str, folder: Path | None) -> Callable[..., Any]:
    """Modules beside the workflow's file are found first. Raises `ConfigurationError`."""
    module_name, _, path = reference.partition(":")
    with _importable(folder):
        try:
            found: Any = importlib.import_module(module_name)
        except Exception as error:
            raise ConfigurationError(
                f"cannot import {module_name!r} for {reference!r}: {error}; it is looked for beside the"
                " workflow's file and on PYTHONPATH"
            ) from error
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise ConfigurationError(f"there is no function {path!r} in {module_name!r}; {reference!r} names it")
    return found  # type: ignore[no-any-return]


async def call(function: Callable[..., Any], *arguments: Any, limiter: CapacityLimiter) -> Any:
    """Awaits a coroutine function; runs a plain one in a thread of its own, in a copy of this context.

    When cancelled, a plain function is left to itself: nothing can stop it.
    """
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return await function(*arguments)
    result = await to_thread.run_sync(lambda: function(*arguments), abandon_on_cancel=True, limiter=limiter)
    return await result if inspect.isawaitable(result) else result


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
