"""Errors of the async classes that are asyncio's, too: only here is asyncio paid for."""

from __future__ import annotations

import asyncio

from ..exceptions import Empty, Full, QueueShutDown

# asyncio.QueueShutDown exists from Python 3.13 on.
_ShutDown: type[Exception] = getattr(asyncio, "QueueShutDown", QueueShutDown)
_shut_down_bases = (QueueShutDown,) if _ShutDown is QueueShutDown else (QueueShutDown, _ShutDown)


class AsyncEmpty(Empty, asyncio.QueueEmpty):
    """No item was there, or none came within the timeout."""


class AsyncFull(Full, asyncio.QueueFull):
    """There was no room, or none was made within the timeout."""


class AsyncQueueShutDown(*_shut_down_bases):  # type: ignore[misc]
    """``shutdown()`` was called on this object; what is stored stays stored."""
