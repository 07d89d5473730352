"""What the demo does before it starts anything. The whole of it runs in tests/acceptance/test_demo.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run_demo(examples: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, examples / "demo.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_folder_that_no_demo_made_is_left_alone(examples: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    refused = run_demo(examples, "--home", str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"demo: {tmp_path} was not made by a demo, so it is left alone; choose another with --home"
    ]
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_link_to_a_folder_is_not_followed(examples: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    refused = run_demo(examples, "--home", str(tmp_path / "link"))
    assert refused.returncode == 1
    assert "is not a folder" in refused.stderr
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("speed", ["0", "-2", "nan", "quick"])
def test_a_speed_that_is_none_is_refused_before_anything_starts(
    examples: Path, tmp_path: Path, speed: str
) -> None:
    refused = run_demo(examples, "--home", str(tmp_path / "home"), f"--speed={speed}")
    assert refused.returncode == 2
    assert "--speed" in refused.stderr
    assert not (tmp_path / "home").exists()
