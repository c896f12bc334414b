"""``AsyncPDict``: a dict in an SQLite database, for asyncio."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ._core import call
from ._core.arguments import MAX_ITEM_BYTES, absolute
from ._core.inflight import AT_TAKE
from ._core.tasks import TaskSession
from ._core.turns import each
from ._sql.sqlite.dictoptions import NO_DEFAULT, DictFace, missing
from ._sql.sqlite.dicts import MISSING, stored_key
from ._sql.sqlite.worker import SqliteWorker
from .exceptions import Empty
from .serializers import pickle

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Generator
    from types import TracebackType

    import aiosqlite
    from typing_extensions import Self

    from ._core.call import R
    from ._core.store import Store

__all__ = ["AsyncPDict"]


class AsyncPDict(DictFace):
    """A dict that survives a restart, in an SQLite database.

    The asyncio twin of ``PDict``, on the same tables: its methods are coroutines, and what
    has no method there has one here (``set``, ``delete``, ``contains``, ``size``).  ``await
    d[key]`` reads a key as ``await d.get(key)`` does, and raises ``KeyError`` if it is not there.

    ::

        async with AsyncPDict("settings.db", "main") as d:
            await d.set("colour", "blue")
            print(await d["colour"])
            async for key in d:
                print(key)

    Args:
        path: the database's file, which is created if it is missing (its directory is
            not); or a directory that is there, which holds ``data.db``.  ``":memory:"``
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

    Opening raises:
        FormatError: the file is no database, or holds something else.
        QueueLocked: another process held the lock for ``timeout`` seconds.
        OSError: the database cannot be created, read or written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        serializer: Any = pickle,
        *,
        timeout: float = 10.0,
        db_file_name: str | None = None,
        durability: str = "power",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        self._set_up(
            path,
            name,
            timeout=timeout,
            serializer=serializer,
            db_file_name=db_file_name,
            durability=durability,
            max_item_bytes=max_item_bytes,
            makes_directory=False,
        )
        self._worker = SqliteWorker()
        # The session of a dict is never asked for a verb of queues.
        store = cast("Store", self._store)
        self._session = TaskSession(store, 0, AT_TAKE, self.timeout, worker=self._worker)

    @classmethod
    async def create(cls, *args: Any, **kwargs: Any) -> Self:
        """Return an open dict; arguments and errors are the constructor's."""
        return await cls(*args, **kwargs)

    def __await__(self) -> Generator[Any, None, Self]:
        return self._opened().__await__()

    async def _opened(self) -> Self:
        await self._session.open()
        return self

    # -- one key --------------------------------------------------------------------

    async def __getitem__(self, key: Any) -> Any:
        found = await self._look(partial(self._store.get, stored_key(key)))
        if found is MISSING:
            raise missing(key)
        return found

    async def set(self, key: Any, value: Any) -> None:
        """Set ``key`` to ``value``."""
        await self._write(partial(self._store.put, [(stored_key(key), self._codec.encode(value))]))

    async def delete(self, key: Any) -> None:
        """Take ``key`` out.

        Raises:
            KeyError: it is not there.
        """
        if not await self._write(partial(self._store.discard, stored_key(key))):
            raise missing(key)

    async def contains(self, key: Any) -> bool:
        """Return whether ``key`` is there."""
        found: bool = await self._look(partial(self._store.has, stored_key(key)))
        return found

    async def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` if it is not there."""
        found = await self._look(partial(self._store.get, stored_key(key)))
        return default if found is MISSING else found

    async def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``; if it is not there, set it to ``default`` first."""
        data = self._codec.encode(default)
        found = await self._write(partial(self._store.set_default, stored_key(key), data))
        return default if found is MISSING else found

    async def pop(self, key: Any, default: Any = NO_DEFAULT) -> Any:
        """Take ``key`` out and return its value; ``default`` if it is not there.

        A call that is cancelled or destroyed puts the key back, behind the others, if it is not
        set again.

        Raises:
            KeyError: it is not there, and there is no default.
        """
        taking = self._taking(partial(self._store.pop, stored_key(key)))
        try:
            (record,) = await self._session.run(taking)
        except Empty:
            if default is NO_DEFAULT:
                raise missing(key) from None
            return default
        return record.item

    # -- many keys ------------------------------------------------------------------

    async def popitem(self) -> tuple[Any, Any]:
        """Take out the key that came last; return it with its value.

        A call that is cancelled or destroyed puts it back, if it is not set again.

        Raises:
            KeyError: the dict is empty.
        """
        try:
            (record,) = await self._session.run(self._taking(self._store.pop_last))
        except Empty:
            raise KeyError("popitem(): the dict is empty") from None
        pair: tuple[Any, Any] = record.item
        return pair

    async def update(self, other: Any = (), /, **values: Any) -> None:
        """Set keys in one transaction: all of them or none."""
        rows = await each(self._encoded, {**dict(other), **values}.items())
        if rows:
            await self._write(partial(self._store.put, rows))

    async def clear(self) -> None:
        """Take everything out."""
        await self._write(self._store.clear)

    async def size(self) -> int:
        """Return how many keys there are."""
        size: int = await self._look(self._store.size)
        return size

    async def keys(self) -> list[Any]:
        """Return the keys in the order in which they came."""
        keys: list[Any] = await self._look(self._store.keys)
        return keys

    async def values(self) -> list[Any]:
        """Return the values in the order in which the keys came."""
        return [value for _, value in await self.items()]

    async def items(self) -> list[tuple[Any, Any]]:
        """Return keys and values in the order in which the keys came."""
        pairs: list[tuple[Any, Any]] = await self._look(self._store.items)
        return pairs

    async def copy(self) -> dict[Any, Any]:
        """Return an ordinary dict with what is here now."""
        return dict(await self.items())

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Return the keys as they are now; what is set meanwhile is not among them."""
        for key in await self.keys():
            yield key

    # -- the whole ------------------------------------------------------------------

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the whole database, as it is at one moment, to a new file.

        Others go on meanwhile.  What is handed out and not finished comes again where the copy is
        opened.  Never copy the files of an open database by other means (see "How to back up").

        Args:
            path: of the copy; nothing may be there.

        Raises:
            FileExistsError: something is.
            OSError: the copy cannot be written; then nothing of it is left.
        """
        backup = partial(self._store.backup, absolute(path))
        if self._store.database.memory:
            await self._session.run(call.look(backup))
            return
        await self.size()  # opens it; raises if it is closed
        await self._worker.run(backup)

    async def shrink_disk_usage(self) -> None:
        """Give the space of what was deleted back to the file system; takes a while."""
        await self.size()  # opens it; raises if it is closed
        await self._worker.run(self._store.shrink)

    async def sync(self) -> None:
        """Make everything so far safe against loss of power, at either durability."""
        await self._session.run(call.sync())

    async def close(self) -> None:
        """Let go of the database; a second call does nothing, others raise ``QueueClosed``."""
        await self._session.close()

    async def aclose(self) -> None:
        """Do what ``close`` does, for ``contextlib.aclosing``."""
        await self.close()

    async def __aenter__(self) -> Self:
        return await self._opened()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        session = getattr(self, "_session", None)  # None: the constructor raised
        if session is not None:
            with suppress(Exception):  # a destructor has no caller to tell
                session.abandon()

    @property
    def _conn(self) -> aiosqlite.Connection | None:
        return self._worker.connection(self._store.connection)

    async def _look(self, function: Callable[[], R]) -> R:
        return await self._session.run(call.look(function))

    async def _write(self, function: Callable[[], R]) -> R:
        return await self._session.run(call.write(partial(self._store.guard, function)))
