"""Looks for what no tracked file may hold: paths of a machine, addresses of package indexes, lock files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![A-Za-z0-9_.])/(?:work|root|farm)/"),
    "the address of a package index": re.compile(
        r"(?:files\.pythonhosted|pypi)\.org|registry\.npmjs|deb\.debian"
    ),
}
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json", "yarn.lock"}


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    found = [problem for name in listed.decode().split("\0") if name for problem in problems(name)]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


def problems(name: str) -> list[str]:
    path = ROOT / name
    if path.name in LOCK_FILES:
        return [f"{name}: a lock file; pin versions in constraints.txt"]
    if path == Path(__file__).resolve() or not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    return [
        f"{name}:{number}: {what}"
        for number, line in enumerate(lines, start=1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]


if __name__ == "__main__":
    raise SystemExit(main())
