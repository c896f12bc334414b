"""The lint rules of pyproject.toml hold, and the types are complete and what callers expect."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CALL = re.compile(r"await self\._\w+\.run\(")
ROOT = Path(__file__).resolve().parent.parent


def check(*command: str) -> None:
    """Run a tool as a module; it must find nothing."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.fixture
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder for what mypy knows of this test: it checks what has changed, by its content."""
    kept: pytest.Cache | None = getattr(request.config, "cache", None)
    return str(kept.mkdir(f"mypy-{request.node.name}") if kept else tmp_path / "cache")


def test_ruff_finds_nothing(tmp_path: Path) -> None:
    """The whole project is clean, tests and scripts too."""
    pytest.importorskip("ruff")
    check("ruff", "check", "--cache-dir", str(tmp_path), ".")


def test_faces_for_threads_are_what_their_twins_say() -> None:
    """Each generated module is, as a whole file, what tools/unasync.py makes of its twin."""
    pytest.importorskip("ruff")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "unasync.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stdout + done.stderr)


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_mypy_finds_nothing(platform: str, cache: str) -> None:
    """The package is typed strictly, on each platform, and typing_api.py uses it well."""
    pytest.importorskip("mypy")
    paths = ("persistqueue", "tests/typing_api.py")
    check("mypy", "--strict", "--platform", platform, "--cache-dir", cache, *paths)


def test_a_forgotten_await_is_an_error(tmp_path: Path, cache: str) -> None:
    """Without the ``await`` of its call to a session, mypy finds an error in each method."""
    pytest.importorskip("mypy")
    package = tmp_path / "persistqueue"
    shutil.copytree(ROOT / "persistqueue", package, ignore=shutil.ignore_patterns("__pycache__"))
    wanted: dict[tuple[str, str], range] = {}  # methods, and their lines
    for face in [*package.rglob("async_*.py"), package / "_core" / "queue_tasks.py"]:
        text = face.read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.AsyncFunctionDef) and CALL.search(ast.unparse(node)):
                name = str(face.relative_to(tmp_path)), node.name
                wanted[name] = range(node.lineno, (node.end_lineno or 0) + 1)
        face.write_text(CALL.sub(lambda call: call[0].removeprefix("await "), text), "utf-8")
    command = ["mypy", "--strict", "--cache-dir", cache, "persistqueue"]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(.*?\.py):(\d+): error", done.stdout, re.MULTILINE)
    errors = {(name, int(number)) for name, number in found}
    assert len(wanted) > 40
    assert [] == [
        (name, method)
        for (name, method), lines in wanted.items()
        if not errors & {(name, number) for number in lines}
    ]
