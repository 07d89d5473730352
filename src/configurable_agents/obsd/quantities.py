"""Times and sizes as people write them into a settings file."""

from __future__ import annotations

import re

from configurable_agents.errors import InvalidValueError

OFF = "off"

SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
BYTES_PER_UNIT = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip

SECONDS_MAX = 36_500 * SECONDS_PER_UNIT["d"]
BYTES_MAX = 2**60
"""A hundred years, and a million TiB: in nanoseconds and in bytes they stay well within 64 bits."""

_QUANTITY = re.compile(r"(\d{1,9})\s*([a-zA-Z]+)")


def seconds_of(text: str) -> int | None:
    """`14d` in seconds; `None` for `off`. Raises `InvalidValueError`."""
    found = _quantity(text, SECONDS_PER_UNIT, example="14d")
    if found is not None and found > SECONDS_MAX:
        raise InvalidValueError(f'must be at most "36500d", a hundred years, or "{OFF}", not {text!r}')
    return found


def bytes_of(text: str) -> int | None:
    """`2GiB` in bytes; `None` for `off`. Raises `InvalidValueError`."""
    found = _quantity(text, BYTES_PER_UNIT, example="2GiB")
    if found is not None and found > BYTES_MAX:
        raise InvalidValueError(f'must be at most "1048576TiB", or "{OFF}", not {text!r}')
    return found


def size_text(number_bytes: int) -> str:
    """For messages: in binary units with one decimal, as settings are mostly written."""
    value = float(number_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _quantity(text: str, units: dict[str, int], *, example: str) -> int | None:
    if text == OFF:
        return None
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in units or int(match[1]) == 0:
        raise InvalidValueError(
            f'must be a whole number above 0 with a unit ({", ".join(units)}), as in "{example}",'
            f' or "{OFF}", not {text!r}'
        )
    return int(match[1]) * units[match[2]]
