"""Tests that are coroutines: each on an event loop of its own, waiting on conditions."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from waiting import PATIENCE

from persistqueue.testing import waiting_calls


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine function as a test, with a bound on its time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 2 * PATIENCE))

    return run


async def eventually(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Return the first true value of ``condition``, or fail after ``PATIENCE``."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come true in {PATIENCE} s"
        await asyncio.sleep(0.001)
    return value


async def parked(queue: Any, number: int) -> None:
    """Wait until ``number`` calls wait inside ``queue``."""
    await eventually(lambda: waiting_calls(queue).parked == number, f"{number} waiting calls")


def store_threads() -> int:
    """Return how many threads work for a queue."""
    return sum(thread.name.startswith("persistqueue-store") for thread in threading.enumerate())
