"""The figures of a soak, in docs/reliability.md between two markers: one row for each item, the latest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.oracle import Verdict

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "reliability.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
HEAD = (
    "| item | what was done | events judged | lost | duplicated | reordered | invented | altered"
    " | out of balance | took | seed | when (UTC) | machine |"
)
COUNTED = ("lost", "duplicated", "reordered", "invented", "altered", "unbalanced")


@dataclass(frozen=True)
class Figures:
    item: str
    did: str
    verdict: Verdict
    seed: int
    took_s: float
    machine: str

    def row(self) -> str:
        counts = [str(self.verdict.count(what)) for what in COUNTED]
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
        cells = [f"`{self.item}`", self.did, f"{self.verdict.looked_at:,}", *counts]
        return f"| {' | '.join([*cells, f'{self.took_s:,.0f} s', str(self.seed), when, self.machine])} |"


def write_figures(figures: Figures, document: Path = DOCUMENT) -> None:
    """Puts the row of an item in the place of its last one."""
    before, rest = document.read_text(encoding="utf-8").split(BEGIN)
    written, after = rest.split(END)
    rows = {line.split("`")[1]: line for line in written.splitlines() if line.startswith("| `")}
    rows[figures.item] = figures.row()
    lines = "\n".join(table(rows.values()))
    document.write_text(f"{before}{BEGIN}\n{lines}\n{END}{after}", encoding="utf-8")


def table(rows: Iterable[str]) -> list[str]:
    """The lines of a table with these rows."""
    return [HEAD, f"|{'---|' * (HEAD.count('|') - 1)}", *rows]
