"""A Redis queue of either family, for blocking calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from families import BlockingAsyncQueue, run

from persistqueue import AsyncRedisQueue, RedisQueue

Open = Callable[..., Any]


def open_async(*args: Any, **kwargs: Any) -> BlockingAsyncQueue:
    """Open an ``AsyncRedisQueue``."""
    return BlockingAsyncQueue(run(AsyncRedisQueue.create(*args, **kwargs)))


@pytest.fixture(params=["async", "sync"], name="open_queue")
def queue_fixture(request: pytest.FixtureRequest) -> Open:
    """Opens a queue of either family: name, where, options."""
    return {"async": open_async, "sync": RedisQueue}[request.param]
