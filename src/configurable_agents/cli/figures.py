"""Figures as people read them. Pure functions; an unknown figure is a dash, never a zero."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from configurable_agents.cli.escape import printable
from configurable_agents.observability import known_cost
from configurable_agents.observability.cost_summary import rounded_usd
from configurable_agents.observability.known_cost import LOWER_BOUND_SIGN, KnownCost, KnownTokens

UNKNOWN = known_cost.UNKNOWN
"""Of any figure, as of a cost."""

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_SECOND = 1_000_000_000
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3_600
SECONDS_PER_DAY = 86_400

BAR_CELLS = 10
EIGHTHS = " ▏▎▍▌▋▊▉█"

SPARKS = "▁▂▃▄▅▆▇█"

DECIMALS_MAX = 6
"""Smaller amounts than a millionth of a dollar show as `<$0.000001`."""


def duration(duration_ns: float) -> str:
    """`320 ns`, `12 µs`, `850 ms`, `3.2 s`, `2 min 05 s`, `1 h 04 min`, `3 d 07 h`."""
    if duration_ns < NS_PER_US and round(duration_ns) < NS_PER_US:
        return f"{duration_ns:.0f} ns"
    for unit_ns, unit in ((NS_PER_US, "µs"), (NS_PER_MS, "ms")):
        value = rounded(duration_ns / unit_ns, whole_from=10)
        if float(value) < 1000:
            return f"{value} {unit}"
    seconds = rounded(duration_ns / NS_PER_SECOND, whole_from=SECONDS_PER_MINUTE)
    if float(seconds) < SECONDS_PER_MINUTE:
        return f"{seconds} s"
    return long_duration(round(duration_ns / NS_PER_SECOND))


def duration_if_known(duration_ns: float | None) -> str:
    return UNKNOWN if duration_ns is None else duration(duration_ns)


def rounded(value: float, *, whole_from: int) -> str:
    """One decimal below `whole_from`, none at or above."""
    one_decimal = f"{value:.1f}"
    return one_decimal if float(one_decimal) < whole_from else f"{value:.0f}"


def long_duration(seconds: int) -> str:
    if seconds < SECONDS_PER_HOUR:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < SECONDS_PER_DAY:
        return f"{seconds // SECONDS_PER_HOUR} h {seconds % SECONDS_PER_HOUR // 60:02} min"
    return f"{seconds // SECONDS_PER_DAY:,} d {seconds % SECONDS_PER_DAY // SECONDS_PER_HOUR:02} h"


def age(seconds: int) -> str:
    """`14 d`, and `36 h` where the largest unit would not be whole."""
    for unit, length_s in (("d", SECONDS_PER_DAY), ("h", SECONDS_PER_HOUR), ("min", 60)):
        if seconds % length_s == 0:
            return f"{seconds // length_s:,} {unit}"
    return f"{seconds:,} s"


def count(number: int) -> str:
    return f"{number:,}"


def name(text: str) -> str:
    """As it may be printed; a dash for what has none, such as a call whose model is not known."""
    return printable(text) or UNKNOWN


def size(number_bytes: int) -> str:
    """`812 B`, `4.1 kB`, `1.2 GB`: decimal units, as file managers and disk vendors count."""
    if number_bytes < 1000:
        return f"{number_bytes} B"
    value = float(number_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if float(f"{value:.1f}") < 1000:
            return f"{value:,.1f} {unit}"
    return f"{value / 1000:,.1f} TB"


def local_time(unix_ns: int) -> str:
    """`2026-11-22 08:21:07` in the time zone of whoever reads it; a dash for 0."""
    if not unix_ns:
        return UNKNOWN
    try:
        moment = datetime.fromtimestamp(unix_ns // NS_PER_SECOND).astimezone()
    except (OverflowError, OSError, ValueError):
        return f"{unix_ns // NS_PER_SECOND} s after 1970"
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def share_bar(percent: float, cells: int = BAR_CELLS) -> str:
    """A bar of up to `cells` cells; anything above zero shows at least a sliver."""
    eighths = min(round(percent / 100 * cells * 8), cells * 8)
    if percent > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[float]) -> str:
    """One sign per value, from the lowest to the highest of them; level when all are the same."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if high == low:
        return SPARKS[len(SPARKS) // 2] * len(values)
    return "".join(SPARKS[round((value - low) / (high - low) * (len(SPARKS) - 1))] for value in values)


def dollar_decimals(amounts_nanos: Iterable[int]) -> int:
    """How many decimals a column of amounts needs, so that the smallest one can be read."""
    smallest = min((abs(amount) for amount in amounts_nanos if amount), default=NS_PER_SECOND)
    if smallest >= NS_PER_SECOND:
        return 2
    return 4 if smallest >= 100_000 else DECIMALS_MAX


def dollars(nanos: int, decimals: int) -> str:
    """`$1,204.10`; an amount too small for the decimals shows as smaller than the least of them."""
    if nanos < 0:
        return f"-{dollars(-nanos, decimals)}"
    text = rounded_usd(nanos, decimals)
    if nanos and not any(digit in text for digit in "123456789"):
        return f"<${10**-decimals:.{decimals}f}"
    return text


def cost(known: KnownCost, decimals: int | None = None) -> str:
    """The known cost, then a `+` when some of the calls are not in it; a dash when none is.

    Without `decimals` as many as the amount needs.
    """
    nanos = known.known_nanos
    if nanos is None:
        return UNKNOWN
    text = dollars(nanos, dollar_decimals([nanos]) if decimals is None else decimals)
    return text if known.is_complete else f"{text} {LOWER_BOUND_SIGN}"


def tokens(found: KnownTokens) -> str:
    """As a cost: the known tokens, a `+` when some calls are not in them, a dash when none is."""
    if found.known is None:
        return UNKNOWN
    return count(found.known) if found.is_complete else f"{found.known:,} {LOWER_BOUND_SIGN}"


def legend(costs: Iterable[KnownCost], of_tokens: Iterable[KnownTokens] = ()) -> str:
    """What the signs in these costs and tokens mean; empty when they are all known."""
    known = [each for each in costs if not each.is_complete]
    notes = []
    if any(each.known_nanos is not None for each in known):
        notes.append(f"{LOWER_BOUND_SIGN} marks costs that leave out calls without a known price.")
    if any(each.known_nanos is None for each in known):
        notes.append(f"{UNKNOWN} stands for a cost of which nothing is known.")
    if not all(each.is_complete for each in of_tokens):
        notes.append("Tokens are those of calls with usage.")
    return " ".join(notes)


def share(part: KnownCost, whole: KnownCost) -> float | None:
    """Percent of the known cost; `None` where nothing is known of the part, or of the whole."""
    if part.known_nanos is None or not whole.known_nanos:
        return None
    return 100 * part.known_nanos / whole.known_nanos


def aligned(cost_text: str) -> str:
    """Keeps the digits of a column in line when some of its amounts end with a `+`."""
    return cost_text if cost_text.endswith(LOWER_BOUND_SIGN) else f"{cost_text}  "
