"""The smallest example, without what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_without_a_key_it_says_so_in_one_line(examples: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    done = subprocess.run(
        [sys.executable, examples / "minimal.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: OPENAI_API_KEY is not set; ")
