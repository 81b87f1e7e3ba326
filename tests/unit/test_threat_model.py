"""THREAT_MODEL.md names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MODEL = TESTS.parent / "THREAT_MODEL.md"
NAMED = re.findall(r"`([\w/]+\.py(?:::\w+)+)`", MODEL.read_text())


@cache
def names_in(file: str) -> frozenset[str]:
    """The tests of a file, those of a class behind its name."""
    found = set()
    for node in ast.parse((TESTS / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = (item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}::{method.name}" for method in methods}
    return frozenset(found)


@pytest.mark.parametrize("name", sorted(set(NAMED)))
def test_it_names_tests_that_exist(name: str) -> None:
    file, _, test = name.partition("::")
    assert (TESTS / file).is_file(), name
    assert test in names_in(file), name


def test_each_threat_has_a_defence_and_a_test() -> None:
    sections = MODEL.read_text().split("\n## ")
    threats = [
        line
        for section in sections
        if "| threat | defence | shown by |" in section
        for line in section.splitlines()
        if line.startswith("| ") and not line.startswith("| threat")
    ]
    assert len(threats) > 40
    for threat in threats:
        cells = threat.strip("|").split("|")
        assert len(cells) == 3, threat
        assert "::test_" in cells[2], threat
