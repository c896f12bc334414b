"""What the tests of this folder share: figures, a directory in memory, silence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crashdisk import watchdog

FIGURES = "figures"  # a property of a test's report, which comes from whichever process ran it


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Takes what a test counted: ``figures(rounds=3, lost=0)``; shown when the tests are over."""
    counted: dict[str, Any] = {}
    began = time.monotonic()
    yield counted.update
    if request.node.get_closest_marker("torture"):
        numbers = "  ".join(f"{name.replace('_', ' ')} {n}" for name, n in counted.items())
        name = request.node.nodeid.rpartition("/")[2].replace("test_", "").replace(".py::", ": ")
        line = f"{name}: {numbers}  ({time.monotonic() - began:.0f} s)"
        request.node.user_properties.append((FIGURES, line))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print one line of figures for each test that went the whole length."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    ends = [report for report in reports if getattr(report, "when", "") == "teardown"]
    lines = [line for end in ends for name, line in end.user_properties if name == FIGURES]
    if lines:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(autouse=True)
def bounded(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let nothing hang, and do without ten thousand warnings of what was repaired."""
    caplog.set_level(logging.CRITICAL, "persistqueue")
    with watchdog(1800 if request.node.get_closest_marker("torture") else 60):
        yield
