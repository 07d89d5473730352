"""Which points of a node with very many calls MLflow gets. The ledger keeps them all.

The first `POINTS_ALL_UP_TO` calls are written; beyond, each doubling of the number of calls halves
the share, so that every doubling adds half of `POINTS_ALL_UP_TO` points. The choice depends on the
call's index alone, so a repeated export chooses the same.
"""

from __future__ import annotations

POINTS_ALL_UP_TO = 10_000


def stride(call_index: int) -> int:
    """Of the calls around this one every how many-th is written."""
    return 1 << max(0, ((call_index - 1) // POINTS_ALL_UP_TO)).bit_length()


def keeps_point(call_index: int) -> bool:
    return call_index % stride(call_index) == 0


def thinned_tag(call_index_max: int) -> str:
    """What the tag says; empty where nothing is left out."""
    if call_index_max <= POINTS_ALL_UP_TO:
        return ""
    return (
        f"beyond {POINTS_ALL_UP_TO} calls of a node every k-th point is kept, k doubling with the calls"
        f" (now {stride(call_index_max)}); totals are exact"
    )
