"""The lint rules of pyproject.toml hold, and the types are complete and what callers expect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def check(*command: str) -> None:
    """Run a tool as a module; it must find nothing."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


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
def test_mypy_finds_nothing(platform: str, tmp_path: Path) -> None:
    """The package is typed strictly, on each platform, and typing_api.py uses it well."""
    pytest.importorskip("mypy")
    paths = ("persistqueue", "tests/typing_api.py")
    check("mypy", "--strict", "--platform", platform, "--cache-dir", str(tmp_path), *paths)
