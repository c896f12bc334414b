"""Every error that this package raises on purpose.

::

    PersistQueueError
    ├── Empty (queue.Empty)          nothing there in time
    │   └── AsyncEmpty               (asyncio.QueueEmpty) what the async classes raise
    ├── Full (queue.Full)            no room in time
    │   └── AsyncFull                (asyncio.QueueFull)
    ├── QueueShutDown                (queue.ShutDown on Python 3.13+)
    │   └── AsyncQueueShutDown       (asyncio.QueueShutDown on Python 3.13+)
    ├── QueueClosed                  the object was closed
    ├── QueueLocked                  another process held the lock for too long
    ├── QueueFailed                  a sync failed, or the files were exchanged
    ├── QueueUnreachable             (ConnectionError) the server cannot be reached
    ├── ServerRefused                the server answered with an error
    │   └── ServerOutOfMemory        it has no memory left for what was to be stored
    ├── NotEnoughReplicas            stored, but too few replicas have said so in time
    ├── QueueCorrupt                 stored bytes are damaged; nothing was deleted
    ├── JobLost                      a job is not this consumer's any more
    ├── NoSuchQueue (LookupError)    a broker has no queue of that name
    ├── FormatError                  another serializer's or a newer version's files
    ├── EngineError                  a storage engine broke its contract or failed
    ├── SerializationError           an item cannot be encoded or decoded
    └── ItemTooLarge                 longer than max_item_bytes

``queue.Empty`` and ``queue.Full`` are bases so that code written for the
standard library's queues keeps working.  The asyncio flavours are looked up when
they are first asked for: importing asyncio costs about 30 ms, which the sync half
must not pay.

Every message may be shown to a user as it is.  Errors from the operating
system (a full disk, a missing permission) are the ``OSError`` they are.

The SQLite classes raise subclasses that are errors of ``sqlite3``, or of a serializer,
too (``_sql/sqlite/errors.py``).
"""

from __future__ import annotations

import queue as _queue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._core.queue_tasks import AsyncEmpty, AsyncFull, AsyncQueueShutDown

__all__ = [
    "AsyncEmpty",
    "AsyncFull",
    "AsyncQueueShutDown",
    "Empty",
    "EngineError",
    "FormatError",
    "Full",
    "ItemTooLarge",
    "JobLost",
    "NoSuchQueue",
    "NotEnoughReplicas",
    "PersistQueueError",
    "QueueClosed",
    "QueueCorrupt",
    "QueueFailed",
    "QueueLocked",
    "QueueShutDown",
    "QueueUnreachable",
    "SerializationError",
    "ServerOutOfMemory",
    "ServerRefused",
]


class PersistQueueError(Exception):
    """Base of every error of this package."""


class Empty(PersistQueueError, _queue.Empty):
    """No item was there, or none came within the timeout."""


class Full(PersistQueueError, _queue.Full):
    """There was no room, or none was made within the timeout."""


# queue.ShutDown exists from Python 3.13 on.
_ShutDown: type[Exception] = getattr(_queue, "ShutDown", Exception)
_shut_down_bases: tuple[type[Exception], ...] = (
    (PersistQueueError,) if _ShutDown is Exception else (PersistQueueError, _ShutDown)
)


class QueueShutDown(*_shut_down_bases):  # type: ignore[misc]
    """``shutdown()`` was called on this object; stored items stay stored."""


class QueueClosed(PersistQueueError):
    """This object was closed; stored items stay stored."""


class QueueLocked(PersistQueueError):
    """Another process or object held the queue's lock for too long."""


class QueueFailed(PersistQueueError):
    """This object cannot vouch for what it has written: nothing of the call is acknowledged.

    A sync to disk failed, or the files were removed or exchanged.  The next call opens the
    queue anew from its files; while that fails, every call raises this, and one a
    second tries again.
    """


class QueueUnreachable(PersistQueueError, ConnectionError):
    """The server cannot be reached, or was lost in the middle of a call.

    Attributes:
        stored: whether the items of the call are stored; None: that cannot be known before
            the server can be reached again.
    """

    def __init__(self, message: str, stored: bool | None = False) -> None:
        super().__init__(message)
        self.stored = stored


class ServerRefused(PersistQueueError):
    """The server answered with an error; nothing of the call was stored."""


class ServerOutOfMemory(ServerRefused):
    """The server has no memory left; nothing of the call was stored."""


class NotEnoughReplicas(PersistQueueError):
    """The call is done and stored, but too few replicas have confirmed it in time.

    To repeat the call would store it twice.

    Attributes:
        confirmed: how many replicas have.
        wanted: how many should have.
    """

    def __init__(self, confirmed: int, wanted: int) -> None:
        super().__init__(confirmed, wanted)
        self.confirmed, self.wanted = confirmed, wanted

    def __str__(self) -> str:
        return (
            f"stored, but only {self.confirmed} of {self.wanted} replicas have confirmed it in "
            "time; do not repeat the call"
        )


class QueueCorrupt(PersistQueueError):
    """Stored bytes are damaged.  Nothing was deleted.

    Attributes:
        path: the queue's directory (or database).
        chunk: name of the damaged file inside it (or the table).
        offset: where in that file the damage begins, in bytes.
        index: how many records of that file come before it (or the row id).
        reason: the damage, in words.
    """

    def __init__(
        self,
        path: str,
        chunk: str,
        offset: int | None = None,
        index: int | None = None,
        reason: str = "damaged",
        advice: str = "",
    ) -> None:
        super().__init__(path, chunk, offset, index, reason, advice)
        self.path = path
        self.chunk = chunk
        self.offset = offset
        self.index = index
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        where = f"{self.path}: {self.chunk}"
        if self.offset is not None:
            where += f", byte {self.offset}"
        if self.index is not None:
            where += f", record {self.index}"
        return f"{where}: {self.reason}" + (f"; {self.advice}" if self.advice else "")


class JobLost(PersistQueueError):
    """A job is not this consumer's any more: it was taken over, or has ended; nothing changed."""


class NoSuchQueue(PersistQueueError, LookupError):
    """A broker's database has no queue of that name; writing to one creates it."""


class FormatError(PersistQueueError):
    """The files were written by another serializer or by a newer version."""


class EngineError(PersistQueueError):
    """A storage engine (``engine=``) raised an error of its own, or broke its contract."""


class SerializationError(PersistQueueError):
    """An item cannot be encoded, or a stored one cannot be decoded here.

    A stored item that cannot be decoded stays stored.
    """


class ItemTooLarge(PersistQueueError):
    """An item is longer than ``max_item_bytes`` once encoded."""


def __getattr__(name: str) -> Any:
    if name not in ("AsyncEmpty", "AsyncFull", "AsyncQueueShutDown"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._core import queue_tasks  # which imports asyncio

    return getattr(queue_tasks, name)
