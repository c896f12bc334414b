"""Reads beside the writer: a few connections that any thread may borrow.

What may take long (a page of items, all queues, a dump) does not hold up a commit.  A
database in memory has one connection only; there the same functions run on that one.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from .._core.forks import follow
from .._core.store import Stale
from .._sql.sqlite.database import Database
from .._sql.sqlite.errors import TRANSLATED, SQLiteClosed, SQLiteFailed
from .._sql.sqlite.forks import gate
from . import statements as sql
from .statements import BrokerTable, page_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._sql.sqlite.openfiles import OpenFiles
    from .queues import BrokerQueues

R = TypeVar("R")
_NAP = 0.001  # s between two looks for a connection that is free
Rows = list[tuple[Any, ...]]


class BrokerDatabase(Database):
    """A database as a broker opens it.

    Args:
        cache: MB that a connection may keep in memory.
    """

    def __init__(self, path: str, *, power: bool, patience: float, cache: int) -> None:
        super().__init__(path, power=power, patience=patience)
        self._cache = cache

    def _adjust(self, connection: sqlite3.Connection) -> None:
        super()._adjust(connection)
        connection.execute(f"PRAGMA cache_size={-1024 * self._cache}")

    def _choose_journal(self, connection: sqlite3.Connection) -> None:
        if not connection.execute("PRAGMA page_count").fetchone()[0]:
            # Of a new database only: unused space can be given back without a VACUUM.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        super()._choose_journal(connection)

    def reader(self) -> sqlite3.Connection:
        """Open a connection that only reads."""
        connection = self._connect(self.patience)
        connection.execute("PRAGMA query_only=1")
        return connection


class Reader(NamedTuple):
    """A connection, and which files it has opened."""

    connection: sqlite3.Connection
    files: OpenFiles | None


class QueueRow(NamedTuple):
    """One queue, as its row says."""

    name: str
    waiting: int
    held: int
    oldest: float | None


class Source(Protocol):
    """The source that a reading function reads from."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """Return every row of a statement."""


class Readers:
    """Connections for reading; each is used by one thread at a time.

    Args:
        store: the writer, which makes queues known.
        most: connections at the most.
    """

    def __init__(self, database: BrokerDatabase, store: BrokerQueues, most: int) -> None:
        self._database = database
        self._store = store
        self._most = most
        self._begin()
        gate.add(self)
        follow(self)

    def _begin(self) -> None:
        self._mutex = threading.Lock()  # protects the three below
        self._reading: set[object] = set()  # who has one of them; no semaphore: see ``Gate``
        self._idle: list[Reader] = []
        self._closed = False

    @property
    def database(self) -> BrokerDatabase:
        """The database that they are open on."""
        return self._database

    def read(self, function: Callable[[Source], R]) -> R:
        """Call ``function`` with a connection, in one snapshot.

        Raises:
            Stale: there are tables that the writer must look at first.
        """
        self._check_open()
        me = object()
        try:
            while not self._admit(me):
                time.sleep(_NAP)
            return self._snapshot(function, self._borrowed, self._give_back)
        finally:
            self._reading.discard(me)

    def _admit(self, reader: object) -> bool:
        with self._mutex:
            if free := len(self._reading) < self._most:
                self._reading.add(reader)
        return free

    def apart(self, function: Callable[[Source], R]) -> R:
        """Do what ``read`` does, with a connection of its own, so that no other read waits.

        When the broker is closed meanwhile, ``function`` is told so at its next look.
        """
        self._check_open()
        return self._snapshot(function, self._connected, self._close)

    def _check_open(self) -> None:
        if self._closed:
            raise SQLiteClosed(
                "the broker is closed; what is stored is there when it is opened again"
            )

    def _snapshot(
        self,
        function: Callable[[Source], R],
        borrow: Callable[[], Reader],
        give_back: Callable[[Reader], None],
    ) -> R:
        database = self._database
        if self._store.adopted < 0 or self._store.failed:  # not opened yet, or to be opened anew
            raise Stale
        with gate.inside(database):
            try:
                database.check()
            except SQLiteFailed as error:
                self._store.failed = str(error)
                raise
            reader = borrow()
            try:
                reader.connection.execute("BEGIN")
                source = _Connected(reader.connection, self._check_open)
                if source.rows("PRAGMA schema_version")[0][0] != self._store.adopted:
                    raise Stale
                return function(source)
            except TRANSLATED:
                raise
            except sqlite3.Error as error:
                raise database.translate(error, sql.QUEUES) from error
            finally:
                give_back(reader)

    def _borrowed(self) -> Reader:
        with self._mutex:
            if self._idle:
                return self._idle.pop()
        return self._connected()

    def _connected(self) -> Reader:
        try:
            return Reader(self._database.reader(), self._database.files)
        except sqlite3.Error as error:
            raise self._database.translate(error, sql.QUEUES) from error

    def _give_back(self, reader: Reader) -> None:
        try:
            reader.connection.rollback()
        except sqlite3.Error:
            self._close(reader)
            return
        with self._mutex:
            if not self._closed:
                self._idle.append(reader)
                return
        self._close(reader)

    def _close(self, reader: Reader) -> None:
        self._database.close(*reader)

    def suspend(self) -> None:
        """Close the connections that are not in use: before a fork."""
        with self._mutex:
            idle, self._idle = self._idle, []
        for reader in idle:
            self._close(reader)

    def close(self) -> None:
        """Close everything; what is in use, when it is given back."""
        with self._mutex:
            self._closed = True
        self.suspend()

    def after_fork(self) -> None:
        """Begin anew in the child of a fork: what was in use is the parent's."""
        closed = self._closed
        self._begin()
        self._closed = closed


class _Connected:
    """A connection as a source."""

    def __init__(self, connection: sqlite3.Connection, check: Callable[[], None]) -> None:
        self._connection = connection
        self._check = check  # raises when the broker was closed

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        self._check()
        return self._connection.execute(statement, values).fetchall()


# -- what is read ---------------------------------------------------------------------


def queues(source: Source) -> list[QueueRow]:
    """Return all queues in order of their names."""
    held: dict[str, int] = dict(source.rows(sql.HELD_COUNTS))
    return [
        QueueRow(name, waiting, held.get(name, 0), oldest)
        for name, waiting, oldest in source.rows(sql.LIST)
    ]


def size(source: Source, name: str) -> int:
    """Return how many items wait in a queue."""
    rows = source.rows(sql.WAITING, (name,))
    return int(rows[0][0]) if rows else 0


def page(
    source: Source,
    name: str,
    most: int,
    *,
    after: int | None = None,
    before: int | None = None,
    since: float | None = None,
    until: float | None = None,
) -> Rows:
    """Return rows of a queue in order of id: found by key, however far behind they are."""
    table = table_of(source, name)
    if table is None:
        return []
    bounds, values = page_bounds(after, before, since, until)
    return source.rows(table.page(bounds), (*values, most))


def table_of(source: Source, name: str) -> BrokerTable | None:
    """Return a queue's table, if it is there."""
    rows = source.rows(sql.FIND, (name,))
    return BrokerTable(rows[0][1], rows[0][0]) if rows else None
