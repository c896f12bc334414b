"""The tree is the architecture: which folder imports which, and that nothing goes in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from interpreter import run

import persistqueue

ROOT = Path(persistqueue.__file__).parent
GROUND = {"_core", "exceptions", "serializers", "brokerconfig", "jobs"}  # these import no backend
RESTS_ON = {  # each folder, and what it may import beside the ground and itself
    "_core": set(),
    "serializers": set(),
    "_files": set(),
    "_sql": set(),
    "_redis": set(),
    "_broker": {"_sql"},  # a broker's queues are tables
    "engines": {"_sql"},  # an engine keeps its records in SQLite
}
LAZY = ROOT / "engines" / "__init__.py"  # gives names of ``compat``, too, when they are asked for


def imports(path: Path, *, at_once: bool = False) -> set[str]:
    """Return the package's modules that one imports, with their dotted names below the package.

    Args:
        at_once: only what runs when the module is imported.
    """
    package = list(path.relative_to(ROOT).parent.parts)
    found = set()
    tree = ast.parse(path.read_text("utf-8"))
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) + 1 - node.level]
            base = [*above, *(node.module.split(".") if node.module else ())]
            for alias in node.names:
                name = [*base, alias.name]
                found.add(".".join(name if name_of(name) else base))
    return found - {""}


def name_of(parts: list[str]) -> bool:
    """Return whether these parts name a module."""
    place = ROOT.joinpath(*parts)
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def modules() -> dict[str, Path]:
    """Return all modules by their dotted names below the package."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@pytest.mark.parametrize("folder", RESTS_ON)
def test_a_folder_imports_the_ground_and_itself(folder: str) -> None:
    """``_core`` knows no backend, and no backend another one; what is kept in SQLite rests on it."""
    allowed = GROUND | RESTS_ON[folder] | {folder}
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in {*(ROOT / folder).rglob("*.py")} - {LAZY}
        for name in imports(path)
        if name.split(".")[0] not in allowed
    }
    assert set() == wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Each module can be imported first: its imports lead down to the ground."""
    below = {name: imports(path, at_once=True) for name, path in modules().items()}
    while leaves := [name for name, others in below.items() if not others & below.keys()]:
        for name in leaves:
            del below[name]
    assert {} == below


@pytest.mark.parametrize("name", ["RedisQueue", "AsyncRedisQueue", "RedisPool"])
def test_a_queue_on_a_server_loads_no_other_backend(name: str) -> None:
    """No chunk files, no SQLite and no engines are loaded for a queue that has none of them."""
    code = f"""
import sys
from persistqueue import {name}
print([module for module in sys.modules if module.startswith("persistqueue.")])
"""
    others = {"_files", "_sql", "_broker", "engines", "_cli", "compat"}
    assert [] == [module for module in run(code) if module.split(".")[1] in others]


def test_test_modules_do_not_import_each_other() -> None:
    """What several of them need is in ``tests/support``, once."""
    wrong = [
        (path.name, node.module)
        for path in Path(__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("test_")
    ]
    assert [] == wrong
