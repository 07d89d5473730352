"""The deliberate mutants of `make mutants` keep fitting the source, so that none is passed by unnoticed."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MUTANTS = load()


@pytest.mark.parametrize("mutant", MUTANTS.MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_still_applies_is_still_python_and_names_tests_that_are_there(mutant: object) -> None:
    source = ROOT / MUTANTS.PACKAGE / mutant.path  # type: ignore[attr-defined]
    changed = MUTANTS.patched(mutant, source.read_text(encoding="utf-8"))
    ast.parse(changed)
    path, *expression = mutant.arguments  # type: ignore[attr-defined]
    tests = (ROOT / path).read_text(encoding="utf-8")
    assert not expression or expression[1] in tests


def test_a_mutant_whose_place_is_gone_or_ambiguous_is_an_error() -> None:
    mutant = MUTANTS.Mutant("name", "path", "search", "replace", "tests")
    for text in ("", "search search"):
        with pytest.raises(ValueError, match="not once"):
            MUTANTS.patched(mutant, text)


def test_the_documentation_lists_every_mutant() -> None:
    listed = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    rows = [f"| {mutant.name} | `{mutant.path}` |" for mutant in MUTANTS.MUTANTS]
    assert [line for line in listed.splitlines() if line.startswith("| ") and "`" in line] == rows
