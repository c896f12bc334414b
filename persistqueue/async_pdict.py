"""``AsyncPDict``: a dict in an SQLite database, for asyncio."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ._core import call
from ._core.arguments import DURABILITIES, MAX_ITEM_BYTES, absolute, one_of, whole
from ._core.async_queue import AsyncOpened
from ._core.deadline import NOW, checked_timeout
from ._core.inflight import AT_TAKE
from ._core.queue_tasks import each
from ._core.tasks import TaskSession
from ._sql.sqlite.connection import SqliteConnection
from ._sql.sqlite.database import MEMORY, Database
from ._sql.sqlite.dicts import MISSING, DictStore, Stored, stored_key
from ._sql.sqlite.errors import SqliteRowCodec

# threads only: from ._sql.names import check_hooks
# threads only: from ._sql.sqlite.mapping import DictMapping
# threads only: from ._sql.sqlite.names import place_of
from ._sql.sqlite.worker import SqliteWorker  # async only
from ._sql.statements import DictTable
from .exceptions import Empty
from .serializers import pickle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import TypeAlias

    import aiosqlite  # async only

    from ._core.call import Call, R
    from ._core.store import Record, Store

    Key: TypeAlias = str | bytes | int | float

__all__ = ["AsyncPDict"]

_NO_DEFAULT: Any = object()


# threads only: class PDict(DictMapping):
class AsyncPDict(AsyncOpened):  # async only
    """A dict that survives a restart, in an SQLite database.

    Keys come in the order in which they were first set.  Any number of tasks may share an
    object, and any number of objects and processes a dict.  Each call is a transaction: when
    it has returned, it survives loss of power (``durability="power"``) or death of the process
    (``"process"``); ``update`` sets all or nothing.

    In asyncio, the methods are coroutines, and what has no method in ``PDict`` has one here
    (``set``, ``delete``, ``contains``, ``size``).  ``await d[key]`` reads a key as
    ``await d.get(key)`` does, and raises ``KeyError`` if it is not there.

    ::

        async with AsyncPDict("settings.db", "main") as d:
            await d.update(colour="blue")
            print(await d["colour"])
            async for key in d:
                print(key)

    ``PDict`` and ``AsyncPDict`` have the same tables.  A ``PDict`` is a ``dict`` for
    ``isinstance``, and behaves as one.  But give ``copy()``, an ordinary dict, to a function
    that reads a dict's memory without asking it: ``json.dumps`` sees nothing in a ``PDict``.

    A key is a str, bytes, an int, a float or a bool.  Keys are stored as text, as
    persist-queue stores them: ``1`` and ``"1"`` are one key.  ``True`` and ``1`` are one key,
    and of a float 15 digits count.  A value that was changed in memory is stored when it is
    set again.

    Args:
        path: the database's file, or a directory, which holds the database ``data.db``.  What
            does not exist becomes a file (of a ``PDict``: a directory).  ``":memory:"``
            for a dict that no other object sees and that ends with the object.
        name: of the dict; any text.
        serializer: a module of ``persistqueue.serializers``, or any object with
            ``dumps(value)`` and ``loads(data)``.
        timeout: seconds to wait for the database's lock.
        db_file_name: the database's name inside the directory, instead of ``data.db``.
        durability: ``"power"`` or ``"process"``: what an acknowledged call survives.
        max_item_bytes: longest encoded value, checked before writing and reading.

    Raises:
        ValueError, TypeError, AttributeError: an argument is wrong.
        FormatError: the file is no database, or holds something else.
        QueueLocked: another process held the lock for ``timeout`` seconds.
        OSError: the database cannot be created, read or written.
    """

    _TABLE_NAME = "dict"  # in front of the dict's name; a subclass may have its own

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        # threads only: multithreading: bool = False,
        # threads only: timeout: float = 10.0,
        serializer: Any = pickle,
        # threads only: db_file_name: str | None = None,
        *,
        timeout: float = 10.0,  # async only
        db_file_name: str | None = None,  # async only
        durability: str = "power",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        # threads only: check_hooks(type(self))
        # threads only: self.multithreading = multithreading
        table = DictTable(str(name), self._TABLE_NAME)
        self.path = MEMORY if os.fspath(path) == MEMORY else absolute(path)
        self.name = name
        self.timeout = checked_timeout(timeout)
        self.db_file_name = db_file_name or "data.db"
        self.memory_sql = self.path == MEMORY
        self._serializer = serializer
        longest = whole("max_item_bytes", max_item_bytes, 1)
        self._codec = SqliteRowCodec(serializer, ordered=False, longest=longest)
        makes_directory = False  # async only
        # threads only: makes_directory = True
        database = Database(
            self.path,
            self.db_file_name,
            makes_directory=makes_directory,
            power=one_of("durability", durability, DURABILITIES) == "power",
            patience=self.timeout,
        )
        # threads only: database = place_of(self, database)
        self._connection = SqliteConnection(database, table)
        self._store = DictStore(self._connection, table, self._codec)
        self._worker = SqliteWorker()  # async only
        # The session of a dict is never asked for a verb of queues.
        store = cast("Store", self._store)
        self._session = TaskSession(store, 0, AT_TAKE, self.timeout, worker=self._worker)
        # threads only: self._init()

    # threads only: _set_up = __init__

    # -- one key --------------------------------------------------------------------

    async def __getitem__(self, key: Key) -> Any:
        found = await self._look(partial(self._store.get, stored_key(key)))
        if found is MISSING:
            raise _missing(key)
        return found

    # threads only: def __setitem__(self, key: Key, value: object) -> None:
    async def set(self, key: Key, value: object) -> None:  # async only
        """Set ``key`` to ``value``."""
        await self._write(partial(self._store.put, [self._encoded((key, value))]))

    # threads only: def __delitem__(self, key: Key) -> None:
    async def delete(self, key: Key) -> None:  # async only
        """Take ``key`` out.

        Raises:
            KeyError: it is not there.
        """
        if not await self._write(partial(self._store.discard, stored_key(key))):
            raise _missing(key)

    # threads only: def __contains__(self, key: object) -> bool:
    async def contains(self, key: Key) -> bool:  # async only
        """Return whether ``key`` is there."""
        return await self._look(partial(self._store.has, stored_key(key)))

    async def get(self, key: Key, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` if it is not there."""
        found = await self._look(partial(self._store.get, stored_key(key)))
        return default if found is MISSING else found

    async def setdefault(self, key: Key, default: Any = None) -> Any:
        """Return the value of ``key``; if it is not there, set it to ``default`` first."""
        stored, data = self._encoded((key, default))
        found = await self._write(partial(self._store.set_default, stored, data))
        return default if found is MISSING else found

    async def pop(self, key: Key, default: Any = _NO_DEFAULT) -> Any:
        """Take ``key`` out and return its value; ``default`` if it is not there.

        In asyncio, a call that is cancelled or destroyed puts the key back, behind the others,
        if it is not set again.

        Raises:
            KeyError: it is not there, and there is no default.
        """
        taking = self._taking(partial(self._store.pop, stored_key(key)))
        try:
            (record,) = await self._session.run(taking)
        except Empty:
            if default is _NO_DEFAULT:
                raise _missing(key) from None
            return default
        return record.item

    # -- many keys ------------------------------------------------------------------

    async def popitem(self) -> tuple[Any, Any]:
        """Take out the key that came last; return it with its value.

        In asyncio, a call that is cancelled or destroyed puts it back, if it is not set again.

        Raises:
            KeyError: the dict is empty.
        """
        try:
            (record,) = await self._session.run(self._taking(self._store.pop_last))
        except Empty:
            raise KeyError("popitem(): the dict is empty") from None
        pair: tuple[Any, Any] = record.item
        return pair

    async def update(self, other: Any = (), /, **values: object) -> None:
        """Set keys in one transaction: all of them or none."""
        pairs = dict(other.items() if isinstance(other, Mapping) else other)
        rows = await each(self._encoded, {**pairs, **values}.items())
        if rows:
            await self._write(partial(self._store.put, rows))

    async def clear(self) -> None:
        """Take everything out."""
        await self._write(self._store.clear)

    # threads only: def __len__(self) -> int:
    async def size(self) -> int:  # async only
        """Return how many keys there are."""
        return await self._look(self._store.size)

    # async only
    async def keys(self) -> list[Any]:
        """Return the keys in the order in which they came."""
        return await self._keys()

    async def values(self) -> list[Any]:
        """Return the values in the order in which the keys came."""
        return [value for _, value in await self._pairs()]

    async def items(self) -> list[tuple[Any, Any]]:
        """Return keys and values in the order in which the keys came."""
        return await self._pairs()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Return the keys as they are now; keys that are set meanwhile are not among them."""
        for key in await self._keys():
            yield key

    # end
    async def copy(self) -> dict[Any, Any]:
        """Return an ordinary dict with the keys and values of now."""
        return dict(await self._pairs())

    # -- the whole ------------------------------------------------------------------

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the whole database, as it is at one moment, to a new file.

        Others go on meanwhile.  Items that are handed out and not finished are redelivered where
        the copy is opened.  Never copy the files of an open database by other means (see "How to
        back up").

        Args:
            path: of the copy; nothing may be there.

        Raises:
            FileExistsError: a file is there.
            OSError: the copy cannot be written; then nothing of it is left.
        """
        backup = partial(self._connection.backup, absolute(path))
        if self.memory_sql:
            await self._look(backup)
            return
        await self._session.run(call.count())  # opens it; raises if it is closed
        await self._worker.run(backup)

    async def shrink_disk_usage(self) -> None:
        """Give the space of deleted rows back to the file system; takes a while."""
        await self._session.run(call.count())  # opens it; raises if it is closed
        await self._worker.run(self._store.shrink)

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"a {name} cannot be copied or pickled; copy() returns an ordinary dict")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} in {self.path!r}>"

    # -- for the methods ------------------------------------------------------------

    # async only
    @property
    def _conn(self) -> aiosqlite.Connection | None:
        return self._worker.connection(self._connection.driver)

    # end
    @property
    def _table_name(self) -> str:
        return self._store.table.quoted

    async def _keys(self) -> list[Any]:
        return await self._look(self._store.keys)

    async def _pairs(self) -> list[tuple[Any, Any]]:
        return await self._look(self._store.items)

    async def _look(self, function: Callable[[], R]) -> R:
        return await self._session.run(call.look(function))

    async def _write(self, function: Callable[[], R]) -> R:
        return await self._session.run(call.write(partial(self._store.guard, function)))

    def _taking(self, function: Callable[[], list[Record]]) -> Call[list[Record]]:
        """Return the call that takes a key out; a key that no caller receives is set again."""
        return call.take(1, NOW, act=partial(self._store.guard, function))

    def _encoded(self, pair: tuple[Any, object]) -> tuple[Stored, Any]:
        return stored_key(pair[0]), self._codec.encode(pair[1])


def _missing(key: object) -> KeyError:
    return KeyError(f"Key: {key} not exists.")  # the words of persist-queue
