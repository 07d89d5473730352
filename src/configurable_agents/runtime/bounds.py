"""What the figures of a record may be. The daemon's door refuses what lies beyond; recorders keep to it."""

from __future__ import annotations

from typing import TypeVar

INT64_MAX = 2**63 - 1
UINT64_MAX = 2**64 - 1

Figure = TypeVar("Figure", int, "int | None")


def in_int64(figure: Figure) -> Figure:
    """A sum as far as a ledger can hold it: figures that are allowed one by one may add up to more."""
    return figure if figure is None or figure <= INT64_MAX else INT64_MAX


TIME_NS_MAX = INT64_MAX
"""The year 2262."""

DURATION_NS_MAX = 10**16
"""About 116 days: sums over as many executions as anyone has stay within 64 bits."""

SPAN_ID_MAX = UINT64_MAX
ATTEMPT_MAX = 2**32 - 1

TAGS_MAX = 32
ANOMALIES_MAX = 16
"""Codes of one call. The first ones are kept."""

GRAPH_NODES_MAX = 10_000
GRAPH_EDGES_MAX = 50_000
"""A run that declares a larger graph is refused its RunStarted."""

TOKENS_MAX = 10**15
"""Per class and call."""

COST_NANOS_MAX = 10**15
"""A million dollars for one call."""

RUN_NODES_MAX = GRAPH_NODES_MAX
"""Distinct nodes of one run. Further ones are added up under `telemetry.OTHER_NAME`."""
