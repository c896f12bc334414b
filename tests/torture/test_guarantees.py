"""Every guarantee of docs/delivery.rst names tests that prove it, and those exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "delivery.rst"
LETTERS = "EFSAJDBMRGC"  # of the sections
TEXTS = re.split(
    rf"^\*\*(?=[{LETTERS}]\d+\.)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE
)[1:]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.partition(".")[0])
def test_a_guarantee_names_its_proof(text: str) -> None:
    """The tests behind "Proof" are there."""
    text = re.split(r"^[^\n]+\n-{4,}$", text, maxsplit=1, flags=re.MULTILINE)[0]
    assert "Proof: " in text
    named = re.findall(r"``((?:\w+/)?test_\w+\.py)::(test_\w+)``", text)
    assert len(named) == text.count("::"), "a name of another form"
    for file, test in named:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        functions = {node.name for node in tree.body if isinstance(node, kinds)}
        assert test in functions, f"{file} has no {test}"


def test_guarantees_are_numbered() -> None:
    """Each letter counts from 1."""
    numbers = [text.partition(".")[0] for text in TEXTS]
    for letter in LETTERS:
        own = [number for number in numbers if number[0] == letter]
        assert [f"{letter}{n}" for n in range(1, len(own) + 1)] == own != []


def test_every_file_of_the_suite_proves_something() -> None:
    """No torture is for nothing."""
    page = PAGE.read_text(encoding="utf-8")
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert set() == {name for name in files if name not in page} - {Path(__file__).name}
