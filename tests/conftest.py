"""Fixtures that most tests use."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from families import FILE_FAMILIES

pytest.register_assert_rewrite("failures", "powercuts")  # checks that several test files share


def pytest_collection_finish() -> None:
    """Let ``gc.collect`` look at what tests make, not at the thousands of tests themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory for a queue, which does not exist yet."""
    return tmp_path / "queue"


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory where that can be had, for what needs no disk."""
    place = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=place if os.access(place, os.W_OK) else None) as path:
        yield Path(path)


@pytest.fixture(params=sorted(FILE_FAMILIES))
def open_queue(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens a file queue of each family."""
    return FILE_FAMILIES[request.param]
