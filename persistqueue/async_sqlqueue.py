"""``AsyncSQLiteQueue`` and its other orders: queues in an SQLite database, for asyncio."""

from __future__ import annotations

from ._core.arguments import T
from ._sql.sqlite.async_queue import AsyncSQLiteBase
from ._sql.statements import FILO, UNIQUE
from .exceptions import Empty, Full

__all__ = [
    "AsyncFIFOSQLiteQueue",
    "AsyncFILOSQLiteQueue",
    "AsyncSQLiteQueue",
    "AsyncUniqueQ",
    "Empty",
    "Full",
]


class AsyncSQLiteQueue(AsyncSQLiteBase[T]):
    """A first-in first-out queue in an SQLite database.

    Any number of tasks may share an object, and any number of objects and processes may
    share a queue: each item goes to one of them.

    In asyncio, the event loop never waits for the disk, and calls that come together share one
    commit.  ``SQLiteQueue`` and ``AsyncSQLiteQueue`` have the same tables.

    In asyncio, ``async with AsyncSQLiteQueue(path) as q`` or
    ``q = await AsyncSQLiteQueue.create(path)`` opens it; without these the first call does, and
    raises what opening raises.  Cancellation loses nothing: a ``get`` that is cancelled gives
    back what it took, in its place.

    What survives what: when ``put`` has returned, the item survives loss of power
    (``durability="power"``) or death of the process (``"process"``).  By default an item
    is gone once ``get`` has returned it: at most once.  With ``auto_commit=False`` it is
    gone when ``task_done`` has returned, and is redelivered if that never happens: at least
    once.  Each of two objects that take then gets EVERY item, and the one that finds out
    logs a WARNING, once: use an ``AsyncSQLiteAckQueue`` for several.

    Args:
        path: the database's file, or a directory, which holds the database ``data.db``.  What
            does not exist becomes a file (of a queue for threads: a directory).
            ``":memory:"`` for a queue that no other object sees and that ends with the object.
        name: of the queue; any text.  Queues of several names share a database.
        auto_commit: finish an item when it is taken.  With False it is finished by
            ``task_done``, and is redelivered after a restart if it was not.
        serializer: a module of ``persistqueue.serializers``, or any object with
            ``dumps(value)`` and ``loads(data)``.
        timeout: seconds to wait for the database's lock.
        db_file_name: the database's name inside the directory, instead of ``data.db``.
        maxsize: items that may wait before ``put`` does; 0 or less for no bound.
        durability: ``"power"`` or ``"process"``: what an acknowledged call survives.
        on_corrupt: ``"raise"`` ``QueueCorrupt`` at a row that cannot be decoded, or
            ``"skip"`` it: set it aside in a table of its own and go on.
        max_item_bytes: longest encoded item, checked before writing and reading.

    Raises:
        ValueError, TypeError, AttributeError: an argument is wrong.
        FormatError: the file is no database, or holds something else.
        QueueLocked: another process held the lock for ``timeout`` seconds.
        OSError: the database cannot be created, read or written.
    """


AsyncFIFOSQLiteQueue = AsyncSQLiteQueue


class AsyncFILOSQLiteQueue(AsyncSQLiteQueue[T]):
    """A last-in first-out queue in an SQLite database.  For the rest see ``AsyncSQLiteQueue``."""

    _KIND = FILO


class AsyncUniqueQ(AsyncSQLiteQueue[T]):
    """A first-in first-out queue that holds no two equal items.

    ``put`` of an item that is there already stores nothing and returns None.  Items are
    equal when they are the same bytes once encoded, with dicts in key order at every depth.
    For the rest see ``AsyncSQLiteQueue``.
    """

    _KIND = UNIQUE
