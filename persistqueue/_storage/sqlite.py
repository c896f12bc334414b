"""Opens SQLite databases, and turns SQLite's errors into ours: nowhere else.

The path rule, one for both families: an existing directory holds ``data.db``, an existing
regular file *is* the database.  What does not exist becomes a directory for a sync class
and a file for an async class, as each one's documentation promises.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import sqlite3
import stat
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from .._clock import monotonic
from .._log import warn
from ..exceptions import PersistQueueError, QueueFailed
from .files import Disk
from .rowcodec import as_text
from .sqliteerrors import SQLITE_ERRORS, SQLiteDamaged, SQLiteFailed, translate, why_not_opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sqliteerrors import SqliteError

R = TypeVar("R")
MEMORY = ":memory:"
_LONGEST_PATIENCE = 2_000_000.0  # s; SQLite counts milliseconds in an int
_NAP = 0.01  # s between two tries to give space back
_TICK = 20_000_000  # ns; more than the granularity of any file system's times
_STAMPS_LIE = os.name == "nt"  # Windows writes a file's time when it is closed


class Database:
    """Where a database is, and how it is opened.

    Args:
        path: as the user gave it, absolute; or ``":memory:"``.
        file_name: of the database, where the path is a directory.
        makes_directory: what does not exist becomes a directory, not a file.
        power: whether a commit survives loss of power.
        patience: seconds to wait for locks where SQLite itself waits.

    Attributes:
        path: the database's file, once ``locate`` was called.
    """

    def __init__(
        self,
        path: str,
        file_name: str = "data.db",
        *,
        makes_directory: bool = False,
        power: bool,
        patience: float,
    ) -> None:
        self.path = self._given = path
        self._file_name = file_name
        self._makes_directory = makes_directory
        self.patience = min(patience, _LONGEST_PATIENCE)
        self.power = power
        self.memory = path == MEMORY
        self._watched = ""
        self._readers_block = False  # a commit waits for those who are reading
        self._identity: tuple[int, int] | None = None

    def locate(self) -> None:
        """Find the file by the path rule, until it was opened; makes the directory if need be.

        Raises:
            OSError: the path can be neither a directory nor a database.
        """
        if self._identity is None and not self.memory:
            found = _file_of(self._given, self._file_name, makes_directory=self._makes_directory)
            self.path = os.path.realpath(found)
            self._watched = f"{self.path}-wal"

    def connect(self) -> sqlite3.Connection:
        """Open a connection that writes, behind ``locate``.  It never waits for a lock.

        Raises:
            SQLITE_ERRORS: as they are; ``translate`` says what it means.
            QueueCorrupt: the file was cut short.
        """
        if self._identity is None:
            if not self.memory:
                _create_private(self.path)
        elif not self.still_there():
            raise self.removed()
        connection = self._connect()
        try:
            if not self.memory:
                if self._identity is None:
                    self._check_length(connection)
                self._choose_journal(connection)
                found = os.stat(self.path)
                self._identity = found.st_dev, found.st_ino
        except BaseException:
            connection.close()
            raise
        return connection

    def beside(self, function: Callable[[sqlite3.Connection], R], table: str) -> R:
        """Call ``function`` with a connection of its own, for what may take long."""
        if not self.still_there():
            raise self.removed()
        try:
            with contextlib.closing(self._connect(self.patience)) as connection:
                connection.execute("PRAGMA wal_autocheckpoint=0")
                return function(connection)
        except SQLITE_ERRORS as error:
            raise self.translate(error, table) from error

    def spare(self, timeout: float, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
        """Open a connection for a program, as Python opens one: changes wait for its commit."""
        if self._identity is None and not self.memory:
            self.locate()
            _create_private(self.path)
        elif not self.still_there():
            raise self.removed()
        connection = self._connect(
            min(timeout, _LONGEST_PATIENCE), isolation_level="", factory=factory
        )
        connection.text_factory = str
        return connection

    def moved(self, path: str) -> Database:
        """Return the same for another file."""
        moved = copy.copy(self)
        moved.path = moved._given = path  # noqa: SLF001 - its own
        moved._makes_directory = False  # noqa: SLF001
        return moved

    def shrink(self, table: str) -> None:
        """Rebuild the database without what was deleted, and give the space back."""
        if not self.memory:
            self.beside(self._vacuum, table)

    def _vacuum(self, connection: sqlite3.Connection) -> None:
        connection.execute("VACUUM")
        # SQLite would wait for readers with the write lock in its hand.
        connection.execute("PRAGMA busy_timeout=0")
        until = monotonic() + self.patience
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if monotonic() >= until:
                warn(
                    "%s: shrunk, but somebody is still reading what was there before: the space "
                    "is free when he is done and somebody writes, or shrinks it again",
                    self.path,
                )
                break
            time.sleep(_NAP)

    def commit(self, connection: sqlite3.Connection) -> None:
        """Commit; where readers are in the way, wait for them, as nobody else can.

        The transaction is still there if that takes too long.
        """
        if not self._readers_block:
            connection.execute("COMMIT")
            return
        connection.execute(f"PRAGMA busy_timeout={int(self.patience * 1000)}")
        try:
            connection.execute("COMMIT")
        finally:
            connection.execute("PRAGMA busy_timeout=0")

    def _connect(self, timeout: float = 0.0, **options: Any) -> sqlite3.Connection:
        path = self.path
        if not self.memory:
            refuse_no_file(path)
        if uri := not (self.memory or os.name == "nt"):  # it is there: never create it anew
            path = f"file:{'//' if os.path.isabs(path) else ''}{quote(os.fsencode(path))}?mode=rw"
        options = {"isolation_level": None, "check_same_thread": False, "uri": uri, **options}
        connection: sqlite3.Connection = sqlite3.connect(path, timeout=timeout, **options)
        try:
            self._adjust(connection)
        except BaseException:  # it is no database, say
            connection.close()
            raise
        return connection

    def _adjust(self, connection: sqlite3.Connection) -> None:
        """Set what holds for every connection."""
        # What a stranger wrote into the schema calls no function that could do harm.
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.text_factory = as_text  # what is no UTF-8 is damage of one row

    def _check_length(self, connection: sqlite3.Connection) -> None:
        """See that the last page is whole: SQLite would read what is missing as zeros.

        What somebody else is just writing may look like that, but once.

        Raises:
            QueueCorrupt: it is not.
        """
        if self._cut_short(connection) and self._cut_short(connection):
            name, reason = os.path.basename(self.path), "the file was cut short"
            raise SQLiteDamaged(os.path.dirname(self.path), name, reason=reason)

    def _cut_short(self, connection: sqlite3.Connection) -> bool:
        pages, size = (
            connection.execute(f"PRAGMA page_{what}").fetchone()[0] for what in ("count", "size")
        )
        if os.stat(self.path).st_size >= pages * size:
            return False
        try:
            return os.stat(f"{self.path}-wal").st_size == 0  # else the rest is there
        except FileNotFoundError:
            return True

    def _choose_journal(self, connection: sqlite3.Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal" and not self._readers_block:  # a file system without shared memory
            warn("%s: no write-ahead log here (%s): slower, and readers block", self.path, mode)
            self._watched, self._readers_block = self.path, True
        wanted = 2 if self.power else 1
        connection.execute(f"PRAGMA synchronous={wanted}")
        if connection.execute("PRAGMA synchronous").fetchone()[0] != wanted:
            raise PersistQueueError(
                f"{self.path}: this SQLite does not take the setting of durability="
                + ("'power'" if self.power else "'process'")
            )

    def still_there(self) -> bool:
        """Return whether the path leads to the file that was opened."""
        if self._identity is None:
            return True
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def removed(self) -> QueueFailed:
        """Return the error for a database that is not there any more."""
        return SQLiteFailed(
            f"{self.path} was removed or replaced while it was in use: what is put "
            "would be lost; open the queue again"
        )

    def sync(self) -> None:
        """Force what is committed to stable storage.

        The log alone is opened for it: SQLite loses its locks on the other files when
        anybody in this process closes one of them.
        """
        if self.power or self.memory:
            return
        try:
            _sync(self._watched)
            Disk().sync_directory(os.path.dirname(self.path))
        except FileNotFoundError:
            return  # no log: everything is in the database, synced by the checkpoint
        except OSError as error:
            raise SQLiteFailed(f"{self.path}: a sync failed ({error}); reopen the queue") from error

    def translate(self, error: SqliteError, table: str) -> Exception:
        """Return what an error of SQLite is called here."""
        return translate(error, self.path, table)


class Watch:
    """Tells, for a ``stat``, whether a database may have been written to.

    A commit changes the log's length or its time.  Two commits within one tick of the
    file system's clock may leave both as they were; so what was noted within a tick of
    the last change counts as changed when the tick is over.
    """

    def __init__(self, database: Database) -> None:
        self._path = database._watched  # noqa: SLF001 - one thing in two halves
        self._memory = database.memory
        self._noted: tuple[int, ...] | None = None
        self._unsure_since = 0  # ns; 0 when sure

    def note(self) -> None:
        """Remember how things are; to be called before they are read."""
        if self._memory:
            return
        self._noted = self._stamp()
        now = time.time_ns()
        unsure = self._noted is not None and abs(now - self._noted[-1]) < _TICK
        self._unsure_since = now if unsure else 0

    def changed(self) -> bool:
        """Return whether anybody may have committed since."""
        if self._memory:
            return False
        if _STAMPS_LIE or self._stamp() != self._noted:
            return True
        return bool(self._unsure_since) and time.time_ns() - self._unsure_since > _TICK

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def _file_of(path: str, file_name: str, *, makes_directory: bool) -> str:
    """Return the database's file by the path rule; creates the directory if it is missing.

    A directory that is created is there after a loss of power, too.
    """
    if not os.path.isdir(path):
        if os.path.isfile(path) or not makes_directory:
            return path
        if os.path.lexists(path):
            raise why_not_opened(path)
        disk = Disk()
        for changed in disk.make_directory(path):
            disk.sync_directory(changed)
    return os.path.join(path, file_name)


def _create_private(path: str) -> None:
    """Create the file for its owner alone; SQLite gives its other files the same mode."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        return


def refuse_no_file(path: str) -> None:
    """Refuse what is no regular file in the place of one of the database's files.

    SQLite would wait for ever for somebody to open the other end of a pipe, and follow a
    link to somebody's file.

    Raises:
        OSError: that.
    """
    for name in (path, f"{path}-journal", f"{path}-wal", f"{path}-shm"):
        try:
            mode = os.lstat(name).st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", name)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def close_quietly(connection: Any) -> None:
    """Close a connection; what SQLite still has to say interests nobody."""
    try:
        connection.close()
    except SQLITE_ERRORS as error:
        warn("closing a database: %s", error)
