"""Threads on which an async broker reads, beside the one that writes."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")


class ReadHops:
    """A pool of threads, started when they are needed.

    A pool of its own: the loop's may be busy with something else.

    Args:
        most: threads at the most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0  # whose threads they are: a fork has none

    async def run(self, function: Callable[[], R]) -> R:
        """Have ``function`` called on a thread, and return what it returns."""
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(self._most, "persistqueue-read")
            self._process = os.getpid()
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def stop(self) -> None:
        """Let the threads end when they are through."""
        pool, self._pool = self._pool, None
        if pool is not None and self._process == os.getpid():
            pool.shutdown(wait=False)
