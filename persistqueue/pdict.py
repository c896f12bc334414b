# Written by tools/unasync.py: change async_pdict.py instead.
"""``PDict``: a dict in an SQLite database, for threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ._core import call
from ._core.arguments import DURABILITIES, MAX_ITEM_BYTES, absolute, one_of, whole
from ._core.deadline import NOW, checked_timeout
from ._core.inflight import AT_TAKE
from ._core.queue_threads import each
from ._core.threads import ThreadSession
from ._sql.names import check_hooks
from ._sql.sqlite.connection import SqliteConnection
from ._sql.sqlite.database import MEMORY, Database
from ._sql.sqlite.dicts import MISSING, DictStore, Stored, stored_key
from ._sql.sqlite.errors import SqliteRowCodec
from ._sql.sqlite.mapping import DictMapping
from ._sql.sqlite.names import place_of
from ._sql.statements import DictTable
from .exceptions import Empty
from .serializers import pickle

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ._core.call import Call, R
    from ._core.store import Record, Store

    Key: TypeAlias = str | bytes | int | float

__all__ = ["PDict"]

_NO_DEFAULT: Any = object()


class PDict(DictMapping):
    """A dict that survives a restart, in an SQLite database.

    Keys come in the order in which they were first set.  Any number of threads may share an
    object, and any number of objects and processes a dict.  Each call is a transaction: when
    it has returned, it survives loss of power (``durability="power"``) or death of the process
    (``"process"``); ``update`` sets all or nothing.

    ::

        with PDict("settings.db", "main") as d:
            d.update(colour="blue")
            print(d["colour"])
            for key in d:
                print(key)

    ``PDict`` and ``PDict`` have the same tables.  A ``PDict`` is a ``dict`` for
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
        multithreading: bool = False,
        timeout: float = 10.0,
        serializer: Any = pickle,
        db_file_name: str | None = None,
        *,
        durability: str = "power",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        check_hooks(type(self))
        self.multithreading = multithreading
        table = DictTable(str(name), self._TABLE_NAME)
        self.path = MEMORY if os.fspath(path) == MEMORY else absolute(path)
        self.name = name
        self.timeout = checked_timeout(timeout)
        self.db_file_name = db_file_name or "data.db"
        self.memory_sql = self.path == MEMORY
        self._serializer = serializer
        longest = whole("max_item_bytes", max_item_bytes, 1)
        self._codec = SqliteRowCodec(serializer, ordered=False, longest=longest)
        makes_directory = True
        database = Database(
            self.path,
            self.db_file_name,
            makes_directory=makes_directory,
            power=one_of("durability", durability, DURABILITIES) == "power",
            patience=self.timeout,
        )
        database = place_of(self, database)
        self._connection = SqliteConnection(database, table)
        self._store = DictStore(self._connection, table, self._codec)
        # The session of a dict is never asked for a verb of queues.
        store = cast("Store", self._store)
        self._session = ThreadSession(store, 0, AT_TAKE, self.timeout)
        self._init()

    _set_up = __init__

    # -- one key --------------------------------------------------------------------

    def __getitem__(self, key: Key) -> Any:
        found = self._look(partial(self._store.get, stored_key(key)))
        if found is MISSING:
            raise _missing(key)
        return found

    def __setitem__(self, key: Key, value: object) -> None:
        """Set ``key`` to ``value``."""
        self._write(partial(self._store.put, [self._encoded((key, value))]))

    def __delitem__(self, key: Key) -> None:
        """Take ``key`` out.

        Raises:
            KeyError: it is not there.
        """
        if not self._write(partial(self._store.discard, stored_key(key))):
            raise _missing(key)

    def __contains__(self, key: object) -> bool:
        """Return whether ``key`` is there."""
        return self._look(partial(self._store.has, stored_key(key)))

    def get(self, key: Key, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` if it is not there."""
        found = self._look(partial(self._store.get, stored_key(key)))
        return default if found is MISSING else found

    def setdefault(self, key: Key, default: Any = None) -> Any:
        """Return the value of ``key``; if it is not there, set it to ``default`` first."""
        stored, data = self._encoded((key, default))
        found = self._write(partial(self._store.set_default, stored, data))
        return default if found is MISSING else found

    def pop(self, key: Key, default: Any = _NO_DEFAULT) -> Any:
        """Take ``key`` out and return its value; ``default`` if it is not there.

        Raises:
            KeyError: it is not there, and there is no default.
        """
        taking = self._taking(partial(self._store.pop, stored_key(key)))
        try:
            (record,) = self._session.run(taking)
        except Empty:
            if default is _NO_DEFAULT:
                raise _missing(key) from None
            return default
        return record.item

    # -- many keys ------------------------------------------------------------------

    def popitem(self) -> tuple[Any, Any]:
        """Take out the key that came last; return it with its value.

        Raises:
            KeyError: the dict is empty.
        """
        try:
            (record,) = self._session.run(self._taking(self._store.pop_last))
        except Empty:
            raise KeyError("popitem(): the dict is empty") from None
        pair: tuple[Any, Any] = record.item
        return pair

    def update(self, other: Any = (), /, **values: object) -> None:
        """Set keys in one transaction: all of them or none."""
        pairs = dict(other.items() if isinstance(other, Mapping) else other)
        rows = each(self._encoded, {**pairs, **values}.items())
        if rows:
            self._write(partial(self._store.put, rows))

    def clear(self) -> None:
        """Take everything out."""
        self._write(self._store.clear)

    def __len__(self) -> int:
        """Return how many keys there are."""
        return self._look(self._store.size)

    def copy(self) -> dict[Any, Any]:
        """Return an ordinary dict with the keys and values of now."""
        return dict(self._pairs())

    # -- the whole ------------------------------------------------------------------

    def backup(self, path: str | os.PathLike[str]) -> None:
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
            self._look(backup)
            return
        self._session.run(call.count())  # opens it; raises if it is closed
        backup()

    def shrink_disk_usage(self) -> None:
        """Give the space of deleted rows back to the file system; takes a while."""
        self._session.run(call.count())  # opens it; raises if it is closed
        self._store.shrink()

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"a {name} cannot be copied or pickled; copy() returns an ordinary dict")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} in {self.path!r}>"

    # -- for the methods ------------------------------------------------------------

    @property
    def _table_name(self) -> str:
        return self._store.table.quoted

    def _keys(self) -> list[Any]:
        return self._look(self._store.keys)

    def _pairs(self) -> list[tuple[Any, Any]]:
        return self._look(self._store.items)

    def _look(self, function: Callable[[], R]) -> R:
        return self._session.run(call.look(function))

    def _write(self, function: Callable[[], R]) -> R:
        return self._session.run(call.write(partial(self._store.guard, function)))

    def _taking(self, function: Callable[[], list[Record]]) -> Call[list[Record]]:
        """Return the call that takes a key out; a key that no caller receives is set again."""
        return call.take(1, NOW, act=partial(self._store.guard, function))

    def _encoded(self, pair: tuple[Any, object]) -> tuple[Stored, Any]:
        return stored_key(pair[0]), self._codec.encode(pair[1])


def _missing(key: object) -> KeyError:
    return KeyError(f"Key: {key} not exists.")  # the words of persist-queue
