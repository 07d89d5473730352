"""Runs the fast tests on every other supported Python that this machine has, each in a venv of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.11", "3.12", "3.13")


def main() -> int:
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in SUPPORTED:
        if version == mine:
            continue
        python = find(version)
        if python is None:
            print(f"Python {version}: not on this machine, so not tested")
            continue
        print(f"Python {version}: the fast tests", flush=True)
        if run_tests(version, python) != 0:
            return 1
    return 0


def find(version: str) -> str | None:
    """On the path, or where pyenv keeps it."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        shutil.which(f"python{version}"),
        *(str(each) for each in sorted(versions.glob(f"{version}.*/bin/python"))),
    ]
    return next((each for each in candidates if each and answers(each, version)), None)


def answers(python: str, version: str) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        found = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return found.stdout.strip() == version


def run_tests(version: str, python: str) -> int:
    venv = ROOT / f".venv-{version}"
    stamp = venv / ".installed"
    newest = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "constraints.txt"))
    if not stamp.exists() or stamp.stat().st_mtime < newest:
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "-qq", "-c", "constraints.txt"]
        subprocess.run([*pip, "--upgrade", "pip"], cwd=ROOT, check=True)
        subprocess.run([*pip, "-e", ".[dev]"], cwd=ROOT, check=True)
        stamp.touch()
    tests = ["-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
    tests += ["-m", "not acceptance", "--ignore", "tests/benchmarks", "--ignore", "tests/examples"]
    return subprocess.run([str(venv / "bin/python"), *tests], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
