"""Arguments and encoding that ``PDict`` and ``AsyncPDict`` share."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from ..._core import call
from ..._core.arguments import DURABILITIES, absolute, one_of, whole
from ..._core.deadline import NOW, checked_timeout
from ..._core.hooks import Hooked
from ..statements import DictTable
from .database import MEMORY, Database
from .dicts import DictStore, Stored, stored_key
from .errors import SqliteRowCodec

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._core.call import Call
    from ..._core.store import Record

NO_DEFAULT: Any = object()


class DictFace(Hooked):
    """One object on a dict's table."""

    _TABLE_NAME = "dict"  # in front of the dict's name
    _store: DictStore

    def _set_up(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        timeout: float,
        serializer: Any,
        db_file_name: str | None,
        durability: str,
        max_item_bytes: int,
        makes_directory: bool,
    ) -> None:
        """Check the arguments and make the store; nothing is opened."""
        table = DictTable(str(name), self._TABLE_NAME)
        self.path = MEMORY if os.fspath(path) == MEMORY else absolute(path)
        self.name = name
        self.timeout = checked_timeout(timeout)
        self._serializer = serializer
        longest = whole("max_item_bytes", max_item_bytes, 1)
        self._codec = SqliteRowCodec(serializer, ordered=False, longest=longest)
        power = one_of("durability", durability, DURABILITIES) == "power"
        database = Database(
            self.path,
            db_file_name or "data.db",
            makes_directory=makes_directory,
            power=power,
            patience=self.timeout,
        )
        self._store = DictStore(self._at_its_place(database), table, self._codec)

    def _at_its_place(self, database: Database) -> Database:
        """Return where the database is, if the class says so."""
        return database

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"a {name} cannot be copied or pickled; copy() returns an ordinary dict")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} in {self.path!r}>"

    @property
    def _table_name(self) -> str:
        return self._store.table.quoted

    def _taking(self, function: Callable[[], list[Record]]) -> Call[list[Record]]:
        """A call that takes a key out: what nobody receives is set again."""
        return call.take(1, NOW, act=partial(self._store.guard, function))

    def _encoded(self, pair: tuple[Any, Any]) -> tuple[Stored, Any]:
        return stored_key(pair[0]), self._codec.encode(pair[1])


def missing(key: Any) -> KeyError:
    """Return the error for a key that is not there."""
    return KeyError(f"Key: {key} not exists.")
