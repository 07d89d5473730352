"""Tables that fit: long names fold, and at small widths the least important columns go first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rich.box import Box
from rich.cells import cell_len
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

GAP_CELLS = 2
"""Blank cells between two columns."""

FOLDING_WIDTH_PART = 0.3
FOLDING_CELLS_MIN = 12
FOLDING_CELLS_ENOUGH = 24
FOLDED_CELLS_MIN = 4
"""Columns are dropped before a folding one has less than this part of the width, within these bounds. Where
none can be dropped it gets as little as the last of them."""

HEADING_STYLE = "bold"
QUIET_STYLE = "dim"
NOTABLE_STYLE = "bold yellow"
ALARMING_STYLE = "bold red"
BAR_STYLE = "cyan"

RULES_ONLY = Box("    \n    \n ── \n    \n    \n ── \n    \n    \n")
"""A line under the header and one above the total; no frame, no vertical lines."""


class Column(NamedTuple):
    title: str
    rank: int
    """0 is never dropped; of the others the highest go first, columns of one rank together."""
    folds: bool = False
    """Long entries continue on the next line. Other columns are as wide as their widest entry."""
    justify: Literal["left", "right"] = "right"


class Cell(NamedTuple):
    text: str
    style: str = ""
    indent: int = 0

    @property
    def width(self) -> int:
        return cell_len(self.text) + self.indent


@dataclass(frozen=True, slots=True)
class Row:
    cells: Sequence[Cell]
    style: str = ""
    total: bool = False
    """The last line, under a rule."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns are shown, by index, and how wide each is."""

    columns: tuple[int, ...]
    widths: dict[int, int] = field(default_factory=dict)


def table(columns: Sequence[Column], rows: Sequence[Row], *, width: int) -> Table:
    """A table of at most `width` cells."""
    layout = fitted(columns, rows, width)
    made = Table(
        box=RULES_ONLY,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP_CELLS - 1, 0, 0),  # the box adds the other blank
        show_footer=any(row.total for row in rows),
        header_style=QUIET_STYLE,
        border_style=QUIET_STYLE,
    )
    total = next((row for row in rows if row.total), None)
    for index in layout.columns:
        column = columns[index]
        made.add_column(
            Text(column.title, overflow="fold"),
            Text(total.cells[index].text, style=total.style) if total else "",
            width=layout.widths[index],
            justify=column.justify,
            overflow="fold",
        )
    for row in rows:
        if not row.total:
            made.add_row(*(renderable(row.cells[index]) for index in layout.columns), style=row.style)
    return made


def renderable(cell: Cell) -> Text | Padding:
    text = Text(cell.text, style=cell.style, overflow="fold")
    return Padding(text, (0, 0, 0, cell.indent)) if cell.indent else text


def fitted(columns: Sequence[Column], rows: Sequence[Row], width: int) -> Layout:
    """Drops columns until the rest fits, then shares what is left among those that fold."""
    wanted = {index: wanted_cells(columns, rows, index) for index in range(len(columns))}
    kept = [index for index in wanted if wanted[index]]
    while True:
        least = {index: least_cells(columns[index], wanted[index], width) for index in kept}
        spare = width - sum(least.values()) - GAP_CELLS * (len(kept) - 1)
        droppable = [index for index in kept if columns[index].rank]
        if spare >= 0 or not droppable:
            return Layout(tuple(kept), shared(narrowed(columns, least, spare), wanted, spare))
        last = max(columns[index].rank for index in droppable)
        kept = [index for index in kept if columns[index].rank != last]


def narrowed(columns: Sequence[Column], least: dict[int, int], spare: int) -> dict[int, int]:
    """What is missing, if anything, is taken from the widest columns that fold, so that no figure breaks."""
    widths = dict(least)
    for _ in range(-spare):
        folding = [index for index in widths if columns[index].folds and widths[index] > FOLDED_CELLS_MIN]
        if not folding:
            break
        widths[max(folding, key=widths.__getitem__)] -= 1
    return widths


def wanted_cells(columns: Sequence[Column], rows: Sequence[Row], index: int) -> int:
    """The widest entry or the title; 0 for a column of signs that has none."""
    return max((cell_len(columns[index].title), *(row.cells[index].width for row in rows)))


def least_cells(column: Column, wanted: int, width: int) -> int:
    if not column.folds:
        return wanted
    fair = max(FOLDING_CELLS_MIN, min(FOLDING_CELLS_ENOUGH, int(width * FOLDING_WIDTH_PART)))
    return min(wanted, fair)


def shared(least: dict[int, int], wanted: dict[int, int], spare: int) -> dict[int, int]:
    """Gives spare cells one by one to the column that is furthest from what it wants."""
    widths = dict(least)
    for _ in range(spare):
        index = max(widths, key=lambda index: wanted[index] - widths[index])
        if widths[index] >= wanted[index]:
            break
        widths[index] += 1
    return widths
