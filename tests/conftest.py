"""Fixtures that most tests use."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from families import FILE_FAMILIES

WORKERS_EACH = 3  # processes of tests for each processor
MEMORY = "/dev/shm"  # where directories are in memory, on Linux


def _share_bytecode() -> None:
    """Have the many child processes compile a module once, although Python writes no bytecode."""
    if sys.dont_write_bytecode:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


def _test_in_memory() -> None:
    """Have temporary files in memory: what a flush does is seen by tests that simulate the disk.

    ``PYTEST_DEBUG_TEMPROOT=/tmp`` and the like have it on a disk, as ``tox -e torture`` does.
    """
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 << 30:
        root = os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)
        os.environ.setdefault("TMPDIR", root)  # of servers, and of children
        tempfile.tempdir = None  # it is found out once


_share_bytecode()
_test_in_memory()
pytest.register_assert_rewrite("failures", "powercuts")  # checks that several test files share


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Have several processes for each processor: tests wait for most of their time."""
    processors = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return WORKERS_EACH * len(processors(0))


@pytest.fixture(autouse=True, scope="module")
def _little_garbage() -> Iterator[None]:
    """Let ``gc.collect`` look at what a test makes, not at the thousands of tests themselves.

    What a module has left open is that module's error: it is collected at the module's end.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.collect()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory for a queue, which does not exist yet."""
    return tmp_path / "queue"


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory where that can be had, for what needs no disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as path:
        yield Path(path)


@pytest.fixture(
    params=[pytest.param(3, id="some"), pytest.param(1, id="each", marks=pytest.mark.slow)]
)
def moments(request: pytest.FixtureRequest) -> range:
    """Numbers of the moments at which a call goes wrong: some, or each of them.

    Which ones depends on the test's name, so that each parameter sees others.
    """
    step: int = request.param
    gc.collect()
    gc.freeze()  # each moment is behind a collection, which shall not go through what is there
    return range(1 + crc32(request.node.name.encode()) % step, 10_000, step)


@pytest.fixture(params=sorted(FILE_FAMILIES))
def open_queue(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens a file queue of each family."""
    return FILE_FAMILIES[request.param]
