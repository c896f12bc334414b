"""The real aio-py-rq 4.1.0, to share keys with ours; it runs in this process.

A test module takes part with ``from aiopyrq_peer import aiopyrq_fixture  # noqa: F401`` and
an argument ``aiopyrq``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from upstream import installed

VERSION = "4.1.0"


@pytest.fixture(scope="session", name="aiopyrq")
def aiopyrq_fixture(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModuleType]:
    """aio-py-rq, installed; skips without a package index, fails on CI."""
    wanted = ("--no-deps", f"aio-py-rq=={VERSION}")  # redis is here already
    site = installed(request, tmp_path_factory, f"aio-py-rq-{VERSION}", wanted)
    sys.path.append(str(site))
    yield importlib.import_module("aiopyrq")
    sys.path.remove(str(site))
