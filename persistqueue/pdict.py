"""``PDict``: a dict in an SQLite database, for threads."""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ._core import call
from ._core.arguments import MAX_ITEM_BYTES, absolute
from ._sql.sqlite.dictnames import DictNames
from ._sql.sqlite.dictoptions import NO_DEFAULT, DictFace, missing
from ._sql.sqlite.dicts import MISSING, stored_key
from .exceptions import Empty
from .serializers import pickle

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from ._core.call import R
    from ._sql.sqlite.dicts import DictStore


__all__ = ["PDict"]


if TYPE_CHECKING:
    _Mapping = MutableMapping[Any, Any]
else:

    class _Mapping(MutableMapping, dict):  # type checkers take a dict for a MutableMapping already
        """A mapping that is a ``dict``, as persist-queue's is one."""


class PDict(DictNames, DictFace, _Mapping):
    """A dict that survives a restart, in an SQLite database.

    It is a ``dict`` for ``isinstance``, and behaves as one; keys come in the order in which
    they were first set.  Any number of threads may share an object, and any number of
    objects and processes a dict.  Each call is a transaction: when it has returned, it
    survives loss of power (``durability="power"``) or death of the process
    (``"process"``); ``update`` sets all or nothing.

    Keys are stored as text, as persist-queue stores them: ``1`` and ``"1"`` are one key.
    ``True`` and ``1`` are one key, and of a float 15 digits count.
    A key is a str, bytes, an int, a float or a bool.  A value that was changed in memory
    is stored when it is set again.  Give ``copy()``, an ordinary dict, to what reads a
    dict's memory without asking it: ``json.dumps`` sees nothing in a ``PDict``.

    Args:
        path: a directory, which holds the database ``data.db``, or the database's file.
            What does not exist becomes a directory.  ``":memory:"`` for a dict that
            no other object sees and that ends with the object.
        name: of the dict; any text.
        multithreading: accepted for persist-queue's sake: any thread may use any object.
        timeout: seconds to wait for the database's lock.
        serializer: a module of ``persistqueue.serializers``, or any object with
            ``dumps(value)`` and ``loads(data)``.
        db_file_name: the database's name inside the directory, instead of ``data.db``.
        durability: ``"power"`` or ``"process"``: what an acknowledged call survives.
        max_item_bytes: longest encoded value, checked before writing and reading.

    Raises:
        FormatError: the file is no database, or holds something else.
        QueueLocked: another process held the lock for ``timeout`` seconds.
        OSError: the database cannot be created, read or written.
        ValueError, TypeError, AttributeError: an argument is wrong.
    """

    _store: DictStore

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
        super().__init__(
            path,
            name,
            multithreading,
            timeout,
            True,
            serializer,
            db_file_name,
            durability=durability,
            max_item_bytes=max_item_bytes,
        )

    # -- one key --------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        found = self._look(partial(self._store.get, stored_key(key)))
        if found is MISSING:
            raise missing(key)
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        self._write(partial(self._store.put, [(stored_key(key), self._codec.encode(value))]))

    def __delitem__(self, key: Any) -> None:
        if not self._write(partial(self._store.discard, stored_key(key))):
            raise missing(key)

    def __contains__(self, key: object) -> bool:
        found: bool = self._look(partial(self._store.has, stored_key(key)))
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` if it is not there."""
        found = self._look(partial(self._store.get, stored_key(key)))
        return default if found is MISSING else found

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``; if it is not there, set it to ``default`` first."""
        data = self._codec.encode(default)
        found = self._write(partial(self._store.set_default, stored_key(key), data))
        return default if found is MISSING else found

    def pop(self, key: Any, default: Any = NO_DEFAULT) -> Any:
        """Take ``key`` out and return its value; ``default`` if it is not there.

        Raises:
            KeyError: it is not there, and there is no default.
        """
        try:
            (record,) = self._session.run(self._taking(partial(self._store.pop, stored_key(key))))
        except Empty:
            if default is NO_DEFAULT:
                raise missing(key) from None
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

    def update(self, other: Any = (), /, **values: Any) -> None:
        """Set keys in one transaction: all of them or none."""
        pairs = dict(other) if not isinstance(other, PDict) else other.copy()
        pairs.update(values)
        rows = list(map(self._encoded, pairs.items()))
        if rows:
            self._write(partial(self._store.put, rows))

    def clear(self) -> None:
        """Take everything out."""
        self._write(self._store.clear)

    def __len__(self) -> int:
        size: int = self._look(self._store.size)
        return size

    def __iter__(self) -> Iterator[Any]:
        """Return the keys as they are now; what is set meanwhile is not among them."""
        return iter(self._known_keys())

    def __reversed__(self) -> Iterator[Any]:
        keys = self._known_keys()
        return iter(keys[::-1])

    def keys(self) -> KeysView[Any]:
        """Return a view of the keys."""
        return KeysView(self)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values, read in one go when it is looped over."""
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of keys and values, read in one go when it is looped over."""
        return _Items(self)

    def iterkeys(self) -> Iterator[Any]:
        """Return ``iter(keys())``; persist-queue has the name."""
        return iter(self.keys())

    def itervalues(self) -> Iterator[Any]:
        """Return ``iter(values())``; persist-queue has the name."""
        return iter(self.values())

    def iteritems(self) -> Iterator[tuple[Any, Any]]:
        """Return ``iter(items())``; persist-queue has the name."""
        return iter(self.items())

    def copy(self) -> dict[Any, Any]:
        """Return an ordinary dict with what is here now."""
        return dict(self._pairs())

    def __eq__(self, other: object) -> bool:
        return self.copy() == dict(other.items()) if isinstance(other, Mapping) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> Any:
        return self.copy() | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return dict(other) | self.copy() if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    # -- the whole ------------------------------------------------------------------

    def backup(self, path: str | os.PathLike[str]) -> None:
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
            self._session.run(call.look(backup))
            return
        len(self)  # raises if it is closed
        backup()

    def shrink_disk_usage(self) -> None:
        """Give the space of what was deleted back to the file system; takes a while."""
        len(self)  # raises if it is closed
        self._store.shrink()

    def sync(self) -> None:
        """Make everything so far safe against loss of power, at either durability."""
        self._session.run(call.sync())

    def close(self) -> None:
        """Let go of the database; a second call does nothing, others raise ``QueueClosed``."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        session = getattr(self, "_session", None)  # None: the constructor raised
        if session is not None:
            with suppress(Exception):  # a destructor has no caller to tell
                session.close()

    @property
    def _conn(self) -> sqlite3.Connection | None:
        connection: sqlite3.Connection | None = self._store.connection
        return connection

    def _known_keys(self) -> list[Any]:
        keys: list[Any] = self._look(self._store.keys)
        return keys

    def _pairs(self) -> Iterable[tuple[Any, Any]]:
        pairs: list[tuple[Any, Any]] = self._look(self._store.items)
        return pairs

    def _look(self, function: Callable[[], R]) -> R:
        return self._session.run(call.look(function))

    def _write(self, function: Callable[[], R]) -> R:
        return self._session.run(call.write(partial(self._store.guard, function)))


class _Items(ItemsView[Any, Any]):
    """Reads pairs in one go, not key by key."""

    _mapping: PDict

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter(self._mapping._pairs())  # noqa: SLF001 - its own view


class _Values(ValuesView[Any]):
    """Reads values in one go, not key by key."""

    _mapping: PDict

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._pairs())  # noqa: SLF001 - its own view
