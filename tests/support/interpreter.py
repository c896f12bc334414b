"""Runs code in a fresh Python, with this checkout's ``persistqueue``."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import persistqueue

_HOME = str(Path(persistqueue.__file__).parents[1])
_BLOCK = "import sys\nfor name in {names!r}:\n    sys.modules[name] = None\n"


def run(code: str, *arguments: object, without: tuple[str, ...] = ()) -> Any:
    """Return the literal that ``code`` prints.

    Args:
        code: finds ``arguments`` in ``sys.argv[1:]``.
        without: packages that cannot be imported there.
    """
    done = start(code, *arguments, without=without)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


def start(
    code: str, *arguments: object, without: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` to its end, whatever that is."""
    command = [sys.executable, "-c", _BLOCK.format(names=without) + code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": _HOME}
    return subprocess.run(
        command, env=environment, timeout=60, text=True, capture_output=True, check=False
    )


def spawn(code: str, *arguments: object) -> Any:
    """Start ``code`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": _HOME}, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
