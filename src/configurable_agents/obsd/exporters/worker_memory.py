"""The memory of the export worker."""

from __future__ import annotations

import gc


def keep_what_is_loaded() -> None:
    """What is there stays, and is left out of every later search for garbage.

    MLflow's modules are 300,000 objects. Searched again and again, because every point makes new ones, they
    took a quarter of the worker's time.
    """
    gc.collect()
    gc.freeze()
