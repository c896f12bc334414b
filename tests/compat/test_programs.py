"""Programs that use persist-queue 1.1.0 go on with this package: see ``programs.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from upstream import Upstream, upstream_fixture  # noqa: F401

import persistqueue

PROGRAMS = Path(__file__).with_name("programs.py")
OURS = Path(persistqueue.__file__).parents[1]


def failures(site: Path, folder: Path, *options: str) -> str:
    """Run the patterns with the package that is in ``site``; returns what failed, by program."""
    done = subprocess.run(
        [sys.executable, *options, str(PROGRAMS), str(folder)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(site)}, text=True, capture_output=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout)
    return "\n".join(f"{name}: {error}" for name, error in told.items())


def test_with_this_package(tmp_path: Path) -> None:
    """Each pattern comes to what is expected, without a warning."""
    assert failures(OURS, tmp_path, "-W", "error") == ""


def test_with_the_real_package(upstream: Upstream, tmp_path: Path) -> None:
    """The same expectations hold for 1.1.0."""
    assert failures(upstream.site, tmp_path) == ""
