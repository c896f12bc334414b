"""Turns of an event loop, and calls that are cancelled in them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ledger import REFUSED, SOON, Expected
from waiting import until

from persistqueue import AsyncQueue
from persistqueue.testing import waiting_calls

#: How many turns of the loop a call gets before it is cancelled: most are in the first few.
TURNS = [0, 1, 1, 2, 2, 3, 4, 5, 7, 10, 20, 50, 200]


async def turns(number: int) -> None:
    """Let the loop make some turns."""
    for _ in range(number):
        await asyncio.sleep(0)


def idle(q: AsyncQueue[Any]) -> bool:
    """Return whether nothing is under way."""
    session = q._session
    return session._commits.flying is None and not session._abandoned and not waiting_calls(q).next


async def outcome_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Wait for a task; return what it raised if the queue may raise that."""
    await asyncio.wait([task])
    if task.cancelled():
        return asyncio.CancelledError()
    error = task.exception()
    # asyncio's TimeoutError is another one before Python 3.11.
    if isinstance(error, (*REFUSED, Expected, asyncio.TimeoutError)):
        return error
    if error is not None:
        raise error
    return None


@contextmanager
def busy_thread(q: AsyncQueue[Any]) -> Iterator[None]:
    """Keep the store's thread from beginning any batch."""
    free = threading.Event()
    q._session._worker.start(free.wait, SOON)
    try:
        yield
    finally:
        free.set()


async def quick_turn(q: AsyncQueue[Any]) -> None:
    """Make one turn of the loop, in which the disk takes no time."""
    session = q._session
    until(lambda: session._commits.flying is None or session._commits.landed is not None)
    await asyncio.sleep(0)
