"""pickle with coroutine functions, kept for code that passes it by name.

``serializers.pickle`` stores the same bytes and is the faster choice: the async
queues encode in memory anyway.
"""

from __future__ import annotations

import pickle
from typing import Any, Protocol

from ._shared import by_key
from .pickle import loads, protocol

__all__ = ["dump", "dumps", "load", "loads", "protocol"]


class AsyncFile(Protocol):
    """The two methods of an asynchronous binary file that are used here."""

    async def read(self) -> bytes:
        """Return everything up to the end."""

    async def write(self, data: bytes, /) -> Any:
        """Write all of ``data``."""


async def dump(value: Any, fp: AsyncFile, sort_keys: bool = False) -> None:
    """Write ``value`` to ``fp``."""
    await fp.write(await dumps(value, sort_keys))


async def dumps(value: Any, sort_keys: bool = False) -> bytes:
    """Return ``value`` as bytes."""
    return pickle.dumps(by_key(value, sort_keys), protocol=protocol)


async def load(fp: AsyncFile) -> Any:
    """Read ``fp`` to its end and return the first value in it."""
    return pickle.loads(await fp.read())
