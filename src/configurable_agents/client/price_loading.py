"""Loads the price table beside a run that has begun, so that its first model call does not wait for it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable

LOOKS_EVERY_S = 0.05
LOOKS_RARER = 1.1
"""Half a second is looked through every `LOOKS_EVERY_S`; later each look comes at so many times the age of
the one before. Whatever wakes a thread takes the interpreter from nodes that compute."""

LOOKS_S_MAX = 60.0
"""A process that has loaded nothing to call a model with by then loads no prices ahead."""

CALLERS_OF_MODELS = frozenset(
    {
        "aiohttp",
        "anthropic",
        "botocore",
        "cerebras",
        "cohere",
        "google.genai",
        "google.generativeai",
        "groq",
        "http.client",
        "httpx",
        "langchain_core",
        "litellm",
        "mistralai",
        "ollama",
        "openai",
        "requests",
        "together",
        "urllib3",
        "vertexai",
    }
)
"""Loading takes the interpreter 0.2 s, in which nodes that compute wait up to tens of milliseconds for their
turn. A process that could not call a model anyway is spared that."""

WAIT_S_MAX = 5.0
"""A fork, or the end of the process, waits for a load under way, and no longer than this."""


class PriceLoading:
    """One load, in a thread of its own.

    While a module is imported its lock is held by the thread that imports it. A child forked meanwhile would
    wait for that thread for ever, and an interpreter that ends meanwhile may be aborted by the extension
    modules that are imported: both have to `end` it first.
    """

    def __init__(self, load: Callable[[], object]) -> None:
        self._load = load
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agents-obs-prices", daemon=True)
        self.has_begun = False
        self._thread.start()

    def end(self) -> None:
        """Never begins, or is over."""
        self._stop.set()
        self._thread.join(WAIT_S_MAX)

    def _run(self) -> None:
        if not self._wait_for_caller():
            return
        self.has_begun = True
        try:
            self._load()
        except Exception as failure:  # noqa: BLE001  the first call meets it again, and says what it costs
            logging.getLogger(__name__).debug("the price table could not be loaded ahead: %s", failure)

    def _wait_for_caller(self) -> bool:
        """False when there is to be no load."""
        waited_s = 0.0
        while waited_s < LOOKS_S_MAX:
            pause_s = max(LOOKS_EVERY_S, (LOOKS_RARER - 1) * waited_s)
            if self._stop.wait(pause_s):
                return False
            if any(name in sys.modules for name in CALLERS_OF_MODELS):  # there are a thousand modules
                return True
            waited_s += pause_s
        return False
