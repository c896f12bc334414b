"""The half of every SQLite store that knows nothing of queues: transactions.

A batch that writes is one ``BEGIN IMMEDIATE`` transaction, so that nobody else writes
between what it reads and what it writes.  A batch that only looks needs none.

Forks
    SQLite keeps its locks in the process's memory, where a child would take them for its
    own.  So no file of a database may be open in a fork: ``_Gate`` holds the fork up until
    nothing is under way, closes every connection, and lets nobody begin before it is over.
    Both sides open again at their next call.  What was in the middle of a call all the same
    (the thread that forks, or one that takes too long) is refused to the child for good.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from .._log import warn
from ..exceptions import QueueFailed
from .base import Stale, Undone
from .layouts import prepare
from .sqlite import Watch, close_quietly, is_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .sqlite import Database
    from .table import Layout

R = TypeVar("R")
_FORK_PATIENCE = 3.0  # s that a fork waits for calls of other threads
_inherited: list[Any] = []  # connections of a parent process: never to be closed here


class _Gate:
    """Where stores and forks meet: a fork begins when no store is at work."""

    def __init__(self) -> None:
        # An RLock inside: finalisers come in the middle of anything.
        self._changed = threading.Condition()
        self._stores: weakref.WeakSet[Transactions] = weakref.WeakSet()
        self._at_work: dict[object, tuple[int, Database]] = {}  # by whom: thread, and on what
        self._forking: set[int] = set()  # threads
        self._refused: set[tuple[int, int]] = set()  # files that this process must not open

    def add(self, store: Transactions) -> None:
        """Close this store's connection before a fork."""
        with self._changed:
            self._stores.add(store)

    def enter(self, who: object, database: Database) -> None:
        """Hold forks up from now on; wait while one is under way."""
        me = threading.get_ident()
        with self._changed:
            if self._forking and me not in self._forking:
                while self._forking and all(me != at for at, _ in self._at_work.values()):
                    self._changed.wait()
            self._at_work[who] = me, database

    def leave(self, who: object) -> None:
        """Hold forks up no more; to do it twice is harmless."""
        with self._changed:
            self._at_work.pop(who, None)
            if self._forking:
                self._changed.notify_all()

    @contextmanager
    def inside(self, database: Database) -> Iterator[None]:
        """Hold forks up meanwhile."""
        who = object()
        self.enter(who, database)
        try:
            self.refuse(database)
            yield
        finally:
            self.leave(who)

    def refuse(self, database: Database) -> None:
        """Raise if this process must not open a database."""
        if self._refused and _identity(database) in self._refused:
            raise QueueFailed(
                f"{database.path}: this process was forked in the middle of a call, and must not "
                "use the database: fork when no call is under way, or start it by itself"
            )

    def before_fork(self) -> None:
        """Wait until nobody is at work, and close what is open."""
        me, end = threading.get_ident(), time.monotonic() + _FORK_PATIENCE
        with self._changed:
            self._forking.add(me)
            while any(at != me and at not in self._forking for at, _ in self._at_work.values()):
                left = end - time.monotonic()
                if left <= 0:
                    warn("a fork in the middle of a call: the child cannot use its database")
                    break
                self._changed.wait(left)
            for store in list(self._stores):
                if store not in self._at_work:
                    store.suspend()

    def after_fork_in_parent(self) -> None:
        """Let everybody go on."""
        with self._changed:
            self._forking.discard(threading.get_ident())
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Refuse what was not closed; be as new."""
        self._changed = threading.Condition()
        for _, database in self._at_work.values():
            self.forbid(database)
        self._at_work.clear()
        self._forking.clear()

    def forbid(self, database: Database) -> None:
        """Refuse a database from now on: its file is the parent's as well."""
        identity = None if database.memory else _identity(database)
        if identity is not None:
            self._refused.add(identity)


def _identity(database: Database) -> tuple[int, int] | None:
    try:
        found = os.stat(database.path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


gate = _Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=gate.before_fork,
        after_in_parent=gate.after_fork_in_parent,
        after_in_child=gate.after_fork_in_child,
    )


class Transactions:
    """A connection to one table, opened by the first transaction.

    Args:
        database: where it is.
        table: what is used of it; created when it is missing.
    """

    def __init__(self, database: Database, table: Layout) -> None:
        self._database = database
        self._table = table
        self._watch = Watch(database)
        self._connection: sqlite3.Connection | None = None
        self._exclusive = False
        self._writing = False  # between the BEGIN of a batch and its end
        self._committing = False
        self._suspended = False  # closed by a fork: to go on where it was
        self._writes = 0  # rows written by this connection when the transaction began
        self._version = 0  # SQLite's count of what other connections committed
        self._failed = ""  # why nothing can be vouched for until this is opened again
        gate.add(self)

    @property
    def database(self) -> Database:
        """Where it is."""
        return self._database

    @property
    def connection(self) -> sqlite3.Connection | None:
        """The connection, for those who know what they do; None when it is closed."""
        return self._connection

    # -- what a subclass adds -------------------------------------------------------

    def _opened(self) -> None:
        """See what is there; in a transaction of its own."""

    def _begun(self) -> None:
        """A transaction that writes has begun."""

    def _overtaken(self) -> None:
        """Others have committed: nothing in memory can be trusted."""

    def _ending(self) -> None:
        """The transaction is about to be committed."""

    def _undone(self) -> None:
        """The transaction came to nothing."""

    def _forgotten(self) -> None:
        """This is the child of a fork: what was handed out is the parent's."""

    # -- opening and closing --------------------------------------------------------

    def open(self) -> bool:
        gate.enter(self, self._database)
        try:
            return self._open()
        finally:
            gate.leave(self)

    def _open(self) -> bool:
        connection = None
        try:
            gate.refuse(self._database)
            connection = self._database.connect()
            prepare(connection, self._table, self._database.path)
            self._connection, self._failed = connection, ""
            self._version = self._read_version()
            self._watch = Watch(self._database)
            self._opened()
            self._suspended = False
        except BaseException as error:
            self._connection = None
            if connection is not None:
                close_quietly(connection)
            if not isinstance(error, sqlite3.Error):
                raise
            if is_busy(error):
                return False
            raise self._database.translate(error, self._table.name) from error
        return True

    def close(self) -> None:
        gate.enter(self, self._database)
        try:
            self._suspended, self._failed = False, ""
            self._close()
        finally:
            gate.leave(self)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            close_quietly(connection)

    def suspend(self) -> None:
        """Close the connection before a fork; the next transaction goes on where this was."""
        if self._connection is not None and not self._database.memory:
            self._suspended = True
            self._close()

    def forget(self) -> None:
        if not self._database.memory:
            connection, self._connection = self._connection, None
            if connection is not None:  # it was in use
                _inherited.append(connection)  # closing it might take the parent's locks away
                gate.forbid(self._database)
        self._suspended, self._failed = False, ""
        self._forgotten()

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        gate.enter(self, self._database)  # left at the end of the transaction
        begun = False
        try:
            begun = self._begin(exclusive)
        finally:
            if not begun:
                gate.leave(self)
        return begun

    def _begin(self, exclusive: bool) -> bool:
        self._writing = False
        if self._failed:
            raise QueueFailed(self._failed)
        if self._connection is None and not self._open():
            return False
        assert self._connection is not None
        if self._connection.in_transaction:  # Ctrl-C came just behind a BEGIN
            self._connection.rollback()
        self._exclusive, self._committing = exclusive, False
        if not exclusive:
            self._refuse_if_removed()
            self._watch.note()
            return True
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            version = self._read_version()
        except sqlite3.Error as error:
            if is_busy(error):
                return False
            raise self._database.translate(error, self._table.name) from error
        self._writes = self._connection.total_changes
        self._refuse_if_removed()
        self._writing = True
        if version != self._version:
            self._version = version
            self._overtaken()
        self._begun()
        return True

    def _refuse_if_removed(self) -> None:
        if not self._database.still_there():
            error = self._database.removed()
            self._failed = str(error)
            assert self._connection is not None
            self._connection.rollback()
            raise error

    def commit(self) -> None:
        self._commit()
        self._writing = False
        gate.leave(self)

    def _commit(self) -> None:
        connection = self._connection
        assert connection is not None
        self._ending()
        if not self._exclusive:
            return
        if connection.total_changes == self._writes:
            self._watch.note()  # nobody else can commit now, and this stores nothing
        self._committing = True
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._committing = False
            raise self._commit_failed(error) from error

    def _commit_failed(self, error: sqlite3.Error) -> Exception:
        ours = self._database.translate(error, self._table.name)
        if not str(error).startswith("disk I/O error"):
            return ours
        self._failed = (
            f"{self._database.path}: a commit failed ({ours}): whether it is stored cannot be "
            "known; open the queue again to see what is there"
        )
        return QueueFailed(self._failed)

    def rollback(self) -> bool:
        try:
            return self._roll_back()
        finally:
            self._writing = False
            gate.leave(self)

    def _roll_back(self) -> bool:
        connection = self._connection
        if connection is None or not self._exclusive:
            self._undone()
            return False
        if self._committing and not connection.in_transaction:
            return True
        try:
            connection.rollback()
        finally:
            self._undone()
        return False

    def abandon(self) -> None:
        """Nobody queues for SQLite's lock."""

    def guard(self, function: Callable[[], R]) -> R:
        """Call ``function``; if it raises, what it wrote in this transaction is undone."""
        if not self._exclusive:
            return function()
        self._execute("SAVEPOINT one_call")
        try:
            result = function()
        except Undone:
            raise
        except Exception as error:
            self._take_back(error)
            raise
        self._execute("RELEASE one_call")
        return result

    def _take_back(self, error: Exception) -> None:
        """Undo what was written since the savepoint; if that is impossible, nothing stays."""
        try:
            self._execute("ROLLBACK TO one_call")
            self._execute("RELEASE one_call")
        except Exception as second:
            raise Undone(error) from second
        self._overtaken()

    # -- the rest of a store --------------------------------------------------------

    def flush(self) -> None:
        """Nothing is in memory only."""

    def unsaved(self) -> bool:
        return False

    def probe(self) -> tuple[int, bytes] | None:
        return None  # a look costs one stat of the log

    def changed(self) -> bool:
        return self._watch.changed()

    def sync(self) -> None:
        self._database.sync()

    # -- statements -----------------------------------------------------------------

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; every one of a store's goes through here or ``_many``."""
        try:
            return self._usable().execute(statement, values)
        except (sqlite3.Error, MemoryError) as error:
            raise self._meaning(error) from error

    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        try:
            return self._usable().executemany(statement, rows)
        except (sqlite3.Error, MemoryError) as error:
            raise self._meaning(error) from error

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return every row at once: a half-read statement would hold on to a snapshot."""
        try:
            return self._usable().execute(statement, values).fetchall()
        except (sqlite3.Error, MemoryError) as error:
            raise self._meaning(error) from error

    def _usable(self) -> sqlite3.Connection:
        """Return the connection; raises where a batch would go on without its transaction."""
        connection = self._connection
        assert connection is not None
        if self._writing and not connection.in_transaction:
            raise Undone(QueueFailed(f"{self._database.path}: SQLite undid the transaction"))
        return connection

    def _one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of the only row."""
        return self._rows(statement, values)[0][0]

    def _meaning(self, error: sqlite3.Error | MemoryError) -> Exception:
        ours: Exception = MemoryError("SQLite had no memory")
        if isinstance(error, sqlite3.Error):
            if not self._exclusive and is_busy(error):
                return Stale()
            ours = self._database.translate(error, self._table.name)
        # A full disk, a failing one, no memory: SQLite has undone everything by itself.
        if self._writing and self._connection is not None and not self._connection.in_transaction:
            ours.__cause__ = error
            return Undone(ours)
        return ours

    def _refresh(self) -> None:
        """Outside a transaction: see whether others have committed."""
        if not self._exclusive:
            try:
                version = self._read_version()
            except sqlite3.Error as error:
                raise self._meaning(error) from error
            if version != self._version:
                self._version = version
                self._overtaken()

    def _read_version(self) -> int:
        assert self._connection is not None
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def beside(self, function: Callable[[Any], Any]) -> Any:
        """Call ``function`` with a connection of its own; callable on any thread."""
        with gate.inside(self._database):
            return self._database.beside(function, self._table.name)

    def shrink(self) -> None:
        """Rebuild the database without what was deleted, and give the space back."""
        with gate.inside(self._database):
            self._database.shrink(self._table.name)
