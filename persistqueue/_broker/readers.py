"""Reads beside the writer, over connections that any thread may borrow.

What may take long (a page of items, all queues, a dump) does not hold up a commit.  A
database in memory has one connection only; there the same functions run on that one.
"""

from __future__ import annotations

import fnmatch
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from .._core.forks import follow
from .._core.store import Stale
from .._sql.sqlite.database import Database
from .._sql.sqlite.errors import SQLITE_ERRORS, TRANSLATED, SQLiteClosed, SQLiteFailed
from .._sql.sqlite.forks import gate
from . import statements as sql

if TYPE_CHECKING:
    import sqlite3

    from .._sql.sqlite.openfiles import OpenFiles
    from .queues import BrokerQueues

R = TypeVar("R")
Rows: TypeAlias = list[tuple[Any, ...]]
Ask: TypeAlias = Callable[[str, Sequence[Any]], Rows]  # returns every row of a statement


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


class QueueInfo(NamedTuple):
    """A queue, and its counts.

    Attributes:
        name: of the queue.
        waiting: items that could be taken.
        held: items that streams and ``process`` blocks hold, in any process.
        oldest_age: seconds since the next item was written; None when nothing waits.
    """

    name: str
    waiting: int
    held: int
    oldest_age: float | None


class BrokerStats(NamedTuple):
    """All queues together.

    Attributes:
        queues: how many there are.
        waiting: items that could be taken.
        held: items that streams and ``process`` blocks hold.
        oldest_age: seconds since the oldest of them was written; None when nothing waits.
    """

    queues: int
    waiting: int
    held: int
    oldest_age: float | None


class Readers:
    """Connections for reading; each is used by one thread at a time.

    Args:
        store: the writer, which makes queues known.
        most: connections that stay open between reads.
    """

    def __init__(self, database: BrokerDatabase, store: BrokerQueues, most: int) -> None:
        self.database = database
        self._store = store
        self._most = most
        self._closed = False
        self._begin()
        gate.add(self)
        follow(self)

    def _begin(self) -> None:
        self._mutex = threading.Lock()  # protects these, each with the files that it has opened
        self._idle: list[tuple[Any, OpenFiles | None]] = []

    def read(self, function: Callable[[Ask], R]) -> R:
        """Call ``function`` with what asks a connection, in one snapshot.

        When the broker is closed before the loop ends, the next step raises.

        Raises:
            Stale: there are tables that the writer must look at first.
        """
        self._check_open()
        database = self.database
        if self._store.adopted < 0 or self._store.failed:  # not opened yet, or to be opened anew
            raise Stale
        with gate.inside(database):
            try:
                database.check()
            except SQLiteFailed as error:
                self._store.conn.failed = str(error)
                raise
            connection, files = self._borrowed()

            def ask(statement: str, values: Sequence[Any]) -> Rows:
                self._check_open()
                rows: Rows = connection.execute(statement, values).fetchall()
                return rows

            try:
                connection.execute("BEGIN")
                if ask("PRAGMA schema_version", ())[0][0] != self._store.adopted:
                    raise Stale
                return function(ask)
            except TRANSLATED:
                raise
            except SQLITE_ERRORS as error:
                raise database.translate(error, sql.QUEUES) from error
            finally:
                self._give_back(connection, files)

    def _check_open(self) -> None:
        if self._closed:
            raise SQLiteClosed(
                "the broker is closed; stored items are there when it is opened again"
            )

    def _borrowed(self) -> tuple[Any, OpenFiles | None]:
        with self._mutex:
            if self._idle:
                return self._idle.pop()
        try:
            return self.database.reader(), self.database.files
        except SQLITE_ERRORS as error:
            raise self.database.translate(error, sql.QUEUES) from error

    def _give_back(self, connection: Any, files: OpenFiles | None) -> None:
        with suppress(*SQLITE_ERRORS):
            connection.rollback()
            with self._mutex:
                if not self._closed and len(self._idle) < self._most:
                    self._idle.append((connection, files))
                    return
        self.database.close(connection, files)

    def suspend(self) -> None:
        """Close the connections that are not in use: before a fork."""
        with self._mutex:
            idle, self._idle = self._idle, []
        for connection, files in idle:
            self.database.close(connection, files)

    def close(self) -> None:
        """Close all connections; one that is in use, when it is given back."""
        with self._mutex:
            self._closed = True
        self.suspend()

    def after_fork(self) -> None:
        """Begin anew in the child of a fork: what was in use is the parent's."""
        self._begin()


# -- reading ------------------------------------------------------------------------------


def queues(ask: Ask, pattern: str | None = None) -> list[QueueInfo]:
    """Return all queues whose names fit, in order of their names."""
    held: dict[str, int] = dict(ask(sql.HELD_COUNTS, ()))
    now = time.time()
    return [
        QueueInfo(
            name, waiting, held.get(name, 0), None if oldest is None else max(now - oldest, 0.0)
        )
        for name, waiting, oldest in ask(sql.LIST, ())
        if matches(name, pattern)
    ]


def stats(ask: Ask) -> BrokerStats:
    """Return all queues together."""
    found = queues(ask)
    ages = (one.oldest_age for one in found if one.oldest_age is not None)
    waiting, held = sum(one.waiting for one in found), sum(one.held for one in found)
    return BrokerStats(len(found), waiting, held, max(ages, default=None))


def a_pattern(pattern: Any) -> None:
    """Check a pattern of names of queues.

    Raises:
        TypeError: it is no text.
    """
    if pattern is not None and not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str like 'worker.*', not {type(pattern).__name__}")


def matches(name: str, pattern: str | None) -> bool:
    """Return whether a queue is one of those that a pattern means."""
    return pattern is None or fnmatch.fnmatchcase(name, pattern)


def size(ask: Ask, name: str) -> int:
    """Return how many items wait in a queue."""
    rows = ask(sql.WAITING, (name,))
    return int(rows[0][0]) if rows else 0


def page(
    ask: Ask,
    name: str,
    most: int,
    *,
    after: int | None = None,
    before: int | None = None,
    since: float | None = None,
    until: float | None = None,
) -> Rows:
    """Return rows of a queue in order of id: found by key, however far behind they are."""
    rows = ask(sql.FIND, (name,))
    if not rows:
        return []
    ids = (-inf if after is None else after, inf if before is None else before)
    return ask(sql.page(rows[0][1]), (*ids, since, since, until, until, most))
