"""Queues that survive a restart, for programs that are asynchronous and those that are not.

Public names are resolved when they are first asked for, so that importing this
package needs, and costs, the standard library alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import exceptions, serializers
    from .async_queue import AsyncQueue
    from .exceptions import (
        AsyncEmpty,
        AsyncFull,
        AsyncQueueShutDown,
        Empty,
        FormatError,
        Full,
        ItemTooLarge,
        PersistQueueError,
        QueueClosed,
        QueueCorrupt,
        QueueFailed,
        QueueLocked,
        QueueShutDown,
        SerializationError,
    )
    from .queue import Queue

__author__ = "The persistqueue developers"
__license__ = "BSD"
__version__ = "2.0.0.dev0"

__all__ = [
    "AsyncEmpty",
    "AsyncFull",
    "AsyncQueue",
    "AsyncQueueShutDown",
    "Empty",
    "FormatError",
    "Full",
    "ItemTooLarge",
    "PersistQueueError",
    "Queue",
    "QueueClosed",
    "QueueCorrupt",
    "QueueFailed",
    "QueueLocked",
    "QueueShutDown",
    "SerializationError",
    "__author__",
    "__license__",
    "__version__",
    "exceptions",
    "serializers",
]

_MODULES = frozenset({"async_queue", "exceptions", "queue", "serializers"})
# Where a name lives; the others are exceptions.
_HOMES = {"AsyncQueue": "async_queue", "Queue": "queue"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES.get(name, 'exceptions')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
