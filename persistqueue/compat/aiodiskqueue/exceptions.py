"""Errors of aiodiskqueue's ``Queue``; each is an error of this package and of asyncio too."""

from __future__ import annotations

from ..._core.async_errors import AsyncEmpty, AsyncFull
from ...exceptions import PersistQueueError


class QueueException(PersistQueueError):  # aiodiskqueue's name
    """Base of the two below."""


class QueueEmpty(QueueException, AsyncEmpty):
    """``get_nowait`` found no item."""


class QueueFull(QueueException, AsyncFull):
    """``put_nowait`` found no room."""
