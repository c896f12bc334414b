"""Fixtures that most tests use."""

from __future__ import annotations

import gc
from collections.abc import Callable
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


@pytest.fixture(params=sorted(FILE_FAMILIES))
def open_queue(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens a file queue of each family."""
    return FILE_FAMILIES[request.param]
