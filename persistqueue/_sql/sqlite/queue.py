# Written by tools/unasync.py: change async_queue.py instead.
"""``SQLiteBase``: what every SQLite queue for threads does."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from ..._core import call
from ..._core.arguments import DURABILITIES, MAX_ITEM_BYTES, ON_CORRUPT, T, absolute, one_of, whole
from ..._core.deadline import checked_timeout
from ..._core.hooks import Lazy
from ..._core.inflight import AT_ROW_DONE, AT_TAKE
from ..._core.threads import ThreadSession
from ...serializers import pickle
from ..finishing import DeletingStore, ReservingStore
from ..names import check_hooks
from ..queue import SQLBase
from ..rows import Rows
from ..statements import Table
from .connection import SqliteConnection
from .database import MEMORY, Database
from .errors import SqliteRowCodec
from .names import new_connection, new_spare, place_of, second_connection

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from ..._core.call import R


class SqliteOptions(TypedDict, total=False):
    """Arguments by keyword that all SQLite queues have; see ``SQLiteQueue``."""

    maxsize: int
    durability: str
    on_corrupt: str
    max_item_bytes: int


class SQLiteBase(SQLBase[T]):
    """A queue in a table of an SQLite database; the arguments are ``SQLiteQueue``'s."""

    _MAKES_FILE = False  # of a path that is not there, also for threads
    _place: Database
    _connection: SqliteConnection

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        multithreading: bool = False,
        timeout: float = 10.0,
        auto_commit: bool = True,
        serializer: Any = pickle,
        db_file_name: str | None = None,
        *,
        maxsize: int = 0,
        durability: str = "power",
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        check_hooks(type(self))
        self.multithreading = multithreading
        self.name = name
        self.maxsize = whole("maxsize", maxsize)
        self.timeout = checked_timeout(timeout)
        self.auto_commit = bool(auto_commit)
        self.durability = one_of("durability", durability, DURABILITIES)
        self._skips = one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
        self._serializer = serializer
        longest = whole("max_item_bytes", max_item_bytes, 1)
        codec = SqliteRowCodec(serializer, ordered=self._KIND.unique, longest=longest)
        self._rows = Rows(codec, self._KIND)
        self.memory_sql = os.fspath(path) == MEMORY
        self.path = MEMORY if self.memory_sql else absolute(path)
        self.db_file_name = db_file_name or "data.db"
        makes_directory = not self._MAKES_FILE
        kind = self._KIND._replace(prefix=self._TABLE_NAME)
        table = Table(kind, str(name), adopts=not makes_directory)
        database = Database(
            self.path,
            self.db_file_name,
            makes_directory=makes_directory,
            power=durability == "power",
            patience=self.timeout,
        )
        database = self._place = place_of(self, database)
        self._open(database, table)
        self._init()

    def _open(self, database: Database, table: Table) -> None:
        """Make the store, with the session that fits how items are finished."""
        finish = AT_TAKE if self.auto_commit else AT_ROW_DONE
        way = DeletingStore if self.auto_commit else ReservingStore
        self._connection = SqliteConnection(database, table)
        self._store = way(self._connection, table, self._rows.codec, skip_corrupt=self._skips)
        self._session = ThreadSession(self._store, self.maxsize, finish, self.timeout)

    def _look_at(self, look: Callable[[], R]) -> R:
        if not self.memory_sql:
            return super()._look_at(look)
        return self._session.run(call.look(look))

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
        self._look_at(partial(self._connection.backup, absolute(path)))

    def shrink_disk_usage(self) -> None:
        """Give the space of deleted rows back to the file system; takes a while."""
        self._session.run(call.count())
        self._store.shrink()

    # -- other names of persist-queue -----------------------------------------------

    @property
    def _conn(self) -> sqlite3.Connection | None:
        return self._connection.driver

    _spare = Lazy(new_spare)
    _new_db_connection = new_connection
    _getter = second_connection
    _putter = second_connection
