"""``DictMapping``: what makes a ``PDict`` a dict, and its names that persist-queue inherits."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from ..._core.hooks import Lazy
from ..._core.queue import Opened
from ...serializers import pickle
from ..names import HOOKS, PutEvent, cursor, new_lock
from .database import MEMORY
from .names import new_connection, new_spare, second_connection

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Iterator

    from typing_extensions import Self

    from .connection import SqliteConnection
    from .database import Database
    from .dicts import DictStore

    _Mapping = MutableMapping[Any, Any]
else:

    class _Mapping(MutableMapping, dict):  # type checkers take a dict for a MutableMapping already
        """A mapping that is a ``dict``, as persist-queue's is one."""


_SET = "Override __setitem__, update and setdefault."
_READ = "Override __getitem__, __contains__, keys, values and items."


class DictMapping(Opened, _Mapping):
    """Views, comparisons and names of a dict that are read in one go, not key by key."""

    _HOOKS: ClassVar = {
        **{name: advice for name, advice in HOOKS.items() if "ack" not in name},
        "_select": _READ,
        "_insert_into": _SET,
        "_update": _SET,
        "_delete": "Override __delitem__, pop, popitem and clear.",
        "_count": "Override __len__.",
    }
    _connection: SqliteConnection
    _store: DictStore
    _place: Database
    path: str
    multithreading: bool
    timeout: float

    if TYPE_CHECKING:

        @property
        def _set_up(self) -> Any: ...  # PDict's constructor
        def _keys(self) -> list[Any]: ...
        def _pairs(self) -> list[tuple[Any, Any]]: ...
        def copy(self) -> dict[Any, Any]: ...

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        multithreading: bool = False,
        timeout: float = 10.0,
        auto_commit: bool = True,  # noqa: ARG002 - always true
        serializer: Any = pickle,
        db_file_name: str | None = None,
    ) -> None:
        """Open a dict with the arguments of a queue, as subclasses for persist-queue do."""
        self._set_up(path, name, multithreading, timeout, serializer, db_file_name)

    # -- a dict's methods -----------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        """Return the keys as they are now; keys that are set meanwhile are not among them."""
        return iter(self._keys())

    def __reversed__(self) -> Iterator[Any]:
        return iter(self._keys()[::-1])

    def keys(self) -> KeysView[Any]:
        """Return a view of the keys."""
        return KeysView(self)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values, read in one go when it is looped over."""
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of keys and values, read in one go when it is looped over."""
        return _Items(self)

    def __eq__(self, other: object) -> bool:
        return self.copy() == dict(other.items()) if isinstance(other, Mapping) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> dict[Any, Any]:
        return self.copy() | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return dict(other) | self.copy() if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    # -- names of persist-queue's dict ----------------------------------------------

    def iterkeys(self) -> Iterator[Any]:
        """Return ``iter(keys())``; persist-queue has the name."""
        return iter(self.keys())

    def itervalues(self) -> Iterator[Any]:
        """Return ``iter(values())``; persist-queue has the name."""
        return iter(self.values())

    def iteritems(self) -> Iterator[tuple[Any, Any]]:
        """Return ``iter(items())``; persist-queue has the name."""
        return iter(self.items())

    # -- names of its queues that it inherits; there is no order to take from --------

    _MEMORY = MEMORY
    _KEY_COLUMN = _key_column = "key"
    auto_commit = True
    cursor = cursor
    tran_lock = Lazy(new_lock)
    action_lock = Lazy(new_lock)
    put_event = Lazy(PutEvent)
    _spare = Lazy(new_spare)
    _new_db_connection = new_connection
    _getter = second_connection
    _putter = second_connection

    def _init(self) -> None:
        """Called at the end of ``__init__``, for subclasses."""

    @property
    def _conn(self) -> sqlite3.Connection | None:
        return self._connection.driver

    def qsize(self) -> int:
        """Alias of ``len``."""
        return len(self)

    _count = qsize

    @property
    def size(self) -> int:
        """Alias of ``len``."""
        return len(self)

    @property
    def total(self) -> int:
        """Alias of ``len``; a value that a program sets is ignored."""
        return len(self)

    @total.setter
    def total(self, value: int) -> None:
        """Ignore it: the rows are counted."""

    def empty(self) -> bool:
        """Return whether there is no key."""
        return len(self) == 0

    def full(self) -> bool:
        """Return False: a dict has no bound."""
        return False

    def task_done(self) -> None:
        """Do nothing: each call is committed when it returns."""

    def get_nowait(self, id: object = None, raw: bool = False) -> NoReturn:  # noqa: A002
        """Raise TypeError: nothing can be taken without its key."""
        del id, raw
        raise TypeError("a dict has no next item; use get(key), pop(key) or popitem()")

    def queue(self) -> list[dict[str, Any]]:
        """Return everything that is stored, as dicts of ``id`` (the key) and ``data``."""
        return [{"id": key, "data": value} for key, value in self._pairs()]


class _Items(ItemsView[Any, Any]):
    """Reads pairs in one go, not key by key."""

    _mapping: DictMapping

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter(self._mapping._pairs())  # noqa: SLF001 - its own view


class _Values(ValuesView[Any]):
    """Reads values in one go, not key by key."""

    _mapping: DictMapping

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._pairs())  # noqa: SLF001 - its own view
