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

from ..._core.codec import as_text
from ..._core.deadline import monotonic
from ..._core.disk import Disk
from ..._core.log import warn
from ..._core.store import Stale
from .errors import (
    SQLITE_ERRORS,
    TRANSLATED,
    SQLiteDamaged,
    SQLiteFailed,
    cannot_open,
    is_no_database,
    is_read_only,
    os_error,
    translate,
    why_not_opened,
)
from .forks import gate
from .openfiles import OpenFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from .errors import SqliteError

R = TypeVar("R")
MEMORY = ":memory:"
_LONGEST_PATIENCE = 2_000_000.0  # s; SQLite counts milliseconds in an int
_NAP = 0.01  # s between two tries to give space back
_RECENT = 0.01  # s


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
        self.path = self._given = self._found = path
        self._file_name = file_name
        self._makes_directory = makes_directory
        self.patience = min(patience, _LONGEST_PATIENCE)
        self.power = power
        self.memory = path == MEMORY
        self._logs = True  # where it does not, a commit waits for those who are reading
        # Of the connection that writes: as it is, and as it was when it was last open.
        self.files: OpenFiles | None = None
        self.known: OpenFiles | None = None
        self._verified = float("-inf")  # when a commit was
        self._doubtful = False  # a flush of the log failed: see ``settle``

    def locate(self) -> None:
        """Find the file by the path rule; the first time, its directory is made if need be.

        A database that was there and is gone is not made anew: it may come back, and would hide
        the items that are put meanwhile.

        Raises:
            OSError: the path can be neither a directory nor a database.
            SQLiteFailed: it is gone.
        """
        if self.memory:
            return
        again = self.known is not None
        makes = self._makes_directory and not again
        found = _file_of(self._given, self._file_name, makes_directory=makes)
        if again and not os.path.isfile(found):
            raise self.removed(self._found)
        self._found, self.path = found, os.path.realpath(found)

    def connect(self) -> sqlite3.Connection:
        """Open the connection that writes, behind ``locate``.  It never waits for a lock.

        Raises:
            SQLITE_ERRORS: as they are; ``translate`` says what it means.
            SQLiteFailed: this process still uses files of it that are gone.
            SQLiteDamaged: the file was cut short.
        """
        if not self.memory and self.known is None:
            _create_private(self.path)
        connection = self._connect()
        try:
            if not self.memory:
                self._check_length(connection)
                self._choose_journal(connection)
                self._note_files(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _note_files(self, connection: sqlite3.Connection) -> None:
        """Remember which files are open, now that SQLite has opened them all."""
        connection.execute("PRAGMA data_version").fetchone()
        files = OpenFiles(self._found, self.path, logs=self._logs)
        if not files.were_opened():
            raise SQLiteFailed(
                f"{self.path}: another connection of this process uses files of it that were "
                "removed or replaced: close that one, or start the process anew"
            )
        self.files = self.known = files

    def astray(self) -> str:
        """Return a name that leads to another file than the open one; empty if none does."""
        return "" if self.files is None else self.files.astray()

    def check(self) -> None:
        """Raise unless the open database is the one that others use."""
        if self.files is not None and (name := self.files.lost()):
            raise self.removed(name)

    def check_idle(self) -> None:
        """Raise if others use another log, where that was not seen just now.

        ``verify`` sees it at each commit; a commit to a log that is gone does no harm, unless
        SQLite copies it into the database, which it does at every thousandth page or so.
        """
        if self.files is None or monotonic() - self._verified <= _RECENT:
            return
        if name := self.files.overtaken():
            raise self.removed(name)

    def removed(self, name: str) -> SQLiteFailed:
        """Return the error for a file that is not there any more."""
        why = (
            ""
            if name == self._found
            else (
                "; a log goes when another process closes the database while this one has lost its "
                "locks: copying a file of the database in the process that uses it does that"
            )
        )
        return SQLiteFailed(
            f"{name} was removed or replaced while it was in use: what this call was to store is "
            f"in a file that no other process reads, or nowhere{why}"
        )

    def beside(self, function: Callable[[sqlite3.Connection], R], table: str) -> R:
        """Call ``function`` with a connection of its own, for what may take long."""
        self.check()
        try:
            with contextlib.closing(self._connect(self.patience)) as connection:
                connection.execute("PRAGMA wal_autocheckpoint=0")
                return function(connection)
        except TRANSLATED:
            raise
        except SQLITE_ERRORS as error:
            raise self.translate(error, table) from error

    def spare(self, timeout: float, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
        """Open a connection for a program, as Python opens one: changes wait for its commit."""
        if self.files is None and not self.memory:
            self.locate()
            _create_private(self.path)
        else:
            self.check()
        connection = self._connect(
            min(timeout, _LONGEST_PATIENCE), isolation_level="", factory=factory
        )
        connection.text_factory = str
        return connection

    def moved(self, path: str) -> Database:
        """Return the same for another file."""
        moved = copy.copy(self)
        moved.path = moved._given = moved._found = path  # noqa: SLF001 - its own
        moved._makes_directory = False  # noqa: SLF001
        return moved

    def shrink(self, connection: sqlite3.Connection) -> None:
        """Rebuild the database without what was deleted, and give the space back."""
        connection.execute("VACUUM")
        # SQLite would wait for readers with the write lock in its hand.
        connection.execute("PRAGMA busy_timeout=0")
        until = monotonic() + self.patience
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if monotonic() >= until:
                warn(
                    "%s: shrunk, but another connection still reads the old content: the space "
                    "is free when that has ended and the database is written or shrunk again",
                    self.path,
                )
                break
            time.sleep(_NAP)

    def erase(self, connection: sqlite3.Connection) -> None:
        """Overwrite the remains of a commit that failed, with a commit that changes nothing.

        All of it may be in the log, and only its flush have failed: who reads the log from its
        beginning, after this process, would find it committed.

        Raises:
            SQLITE_ERRORS: it may still be there.
        """
        self._doubtful = True
        connection.rollback()
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute(f"PRAGMA user_version={version}")

    def settle(self, connection: sqlite3.Connection) -> None:
        """Begin the log anew after a failed flush.

        Pages that were not flushed look as if they were, and no later flush writes them.  So the
        log is copied into the database first.

        Raises:
            SQLITE_ERRORS: that failed, too.
            Stale: others are reading or writing.
        """
        if self._doubtful:
            if connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]:
                raise Stale
            self._doubtful = False

    def commit(self, connection: sqlite3.Connection) -> None:
        """Commit; where readers are in the way, wait for them: no other place can.

        Raises:
            SQLITE_ERRORS: the transaction is still there, or was undone.
            SQLiteFailed: it is over, and not stored.
        """
        if self._logs:
            connection.execute("COMMIT")
        else:
            connection.execute(f"PRAGMA busy_timeout={int(self.patience * 1000)}")
            try:
                connection.execute("COMMIT")
            finally:
                connection.execute("PRAGMA busy_timeout=0")
        self.verify()

    def verify(self) -> None:
        """Raise unless the last commit is in the files that others use."""
        if self.files is not None:
            if name := self.files.unsafe():
                raise self.removed(name)
            self._verified = monotonic()

    def close(self, connection: Any, files: OpenFiles | None) -> None:
        """Close a connection, and leave files alone that are not those which it opened.

        Args:
            files: which were the database's when it was opened.
        """
        if files is None or (files is self.files and not files.astray()):
            close_quietly(connection)
            return
        try:
            connection.rollback()
            if files.only_log_is_gone():
                _save_log(connection, self.path)
        except SQLITE_ERRORS as error:
            warn("%s: what was in the log that is gone cannot be saved: %s", self.path, error)
        with files.left_alone(connection):
            close_quietly(connection)

    def _connect(self, timeout: float = 0.0, **options: Any) -> sqlite3.Connection:
        path = self.path
        if not self.memory:
            refuse_no_file(path)
        if uri := not (self.memory or os.name == "nt"):  # it is there: never create it anew
            path = uri_of(path, "mode=rw")
        options = {"isolation_level": None, "check_same_thread": False, "uri": uri, **options}
        connection: sqlite3.Connection = sqlite3.connect(path, timeout=timeout, **options)
        try:
            self._adjust(connection)
        except BaseException:  # it is no database, say
            connection.close()
            raise
        return connection

    def _adjust(self, connection: sqlite3.Connection) -> None:
        """Set what every connection needs."""
        # A stranger's schema calls no function that could do harm.
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.text_factory = as_text  # text that is not UTF-8 is damage of one row

    def _check_length(self, connection: sqlite3.Connection) -> None:
        """See that the last page is whole: SQLite would read the missing part as zeros.

        A page that another process is just writing may look like that, but only once.

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
        if mode != "wal" and self._logs:  # a file system without shared memory
            warn("%s: no write-ahead log here (%s): slower, and readers block", self.path, mode)
            self._logs = False
        connection.execute(f"PRAGMA synchronous={2 if self.power else 1}")

    def sync(self) -> None:
        """Force all commits to stable storage.

        Raises:
            OSError: that failed.
        """
        if self.power or self.files is None:
            return
        try:
            self.files.sync_log()
            Disk().sync_directory(os.path.dirname(self.path))
        except FileNotFoundError:
            return  # no log: everything is in the database, synced by the checkpoint
        except OSError as error:
            self._doubtful = True
            raise os_error(error.errno or errno.EIO, " (a sync failed)", self.path) from error

    def translate(self, error: SqliteError, table: str) -> Exception:
        """Return what an error of SQLite is called here."""
        version = None
        if self.files is not None and is_read_only(error):
            version = self.files.write_version()
        return translate(error, self.path, table, version)


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
    if os.path.lexists(path):
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    with gate.creating, contextlib.suppress(FileExistsError):
        os.close(os.open(path, flags, 0o600))


def refuse_no_file(path: str) -> None:
    """Refuse anything but regular files in the places of the database's files.

    SQLite would wait for ever for another process to open the other end of a pipe, and follow a
    link to another file.

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


def _save_log(connection: sqlite3.Connection, path: str) -> None:
    """Copy the content of a log whose name is gone into the database.

    Only where all processes that have the database open use this log: then no other one has
    written.
    """
    connection.execute("PRAGMA busy_timeout=1000")
    if connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0]:
        warn("%s: another connection is reading: the content of the removed log stays there", path)
        return
    with contextlib.suppress(OSError):  # of that log; those who have it open notice
        os.unlink(f"{path}-shm")


def journal_of(path: str) -> str:
    """Return how a database is written, "wal" or "delete"; empty if the file is none.

    SQLite is asked, without any lock: to read the header would cost this process all its locks
    on a database that it has open.

    Raises:
        OSError: the file cannot be opened.
    """
    refuse_no_file(path)
    try:
        connection = sqlite3.connect(uri_of(path, "mode=ro&nolock=1"), uri=True)
    except sqlite3.Error as error:
        raise translate(error, path, "") from error
    with contextlib.closing(connection):
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.Error as error:  # without locks there is no log, so it cannot be opened
            if is_no_database(error):
                return ""
            return "wal" if cannot_open(error) else "delete"
    return "delete"


def uri_of(path: str, how: str) -> str:
    """Return a path as SQLite takes it with options."""
    return f"file:{'//' if os.path.isabs(path) else ''}{quote(os.fsencode(path))}?{how}"


def close_quietly(connection: Any) -> None:
    """Close a connection, and ignore the errors of closing."""
    try:
        connection.close()
    except SQLITE_ERRORS as error:
        warn("closing a database: %s", error)
