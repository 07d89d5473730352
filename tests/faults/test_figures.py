"""What a soak writes down: the latest row of each item, and nothing else in the document."""

from __future__ import annotations

from pathlib import Path

from harness.figures import BEGIN, END, Figures, table, write_figures
from harness.oracle import Verdict


def test_an_item_takes_the_place_of_its_last_row_and_the_rest_stays(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    for item, looked_at in (("kills", 1_000), ("forks", 20), ("kills", 3_000)):
        figures = Figures(item, "killed", Verdict(looked_at=looked_at), 7, 1.5, "a machine")
        write_figures(figures, document)
    before, rest = document.read_text().split(BEGIN)
    written, after = rest.split(END)
    lines = written.strip().splitlines()
    assert (before, after) == ("before\n", "\nafter\n")
    assert lines[:2] == table([])
    assert [line.split("`")[1] for line in lines[2:]] == ["kills", "forks"]
    assert "| 3,000 | 0 | 0 |" in lines[2]
