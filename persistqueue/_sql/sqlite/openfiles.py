"""Whether the files of a database that is open are still those that their names lead to.

SQLite's locks are the process's: closing *any* descriptor of the database takes them all away.
A backup that copies the file does that, or a look at its header, in the process that uses it.
Another process that then closes the database takes itself for the last one: it copies the log
into the database and removes it, and commits to that log are lost from then on.

So the names are looked up after each commit, before a caller is answered.  That is not all:
a commit while the other process copies the log would be lost, too, and the name is
still there.  But as long as that takes it holds the lock that excludes all others;
where the system can be asked who holds a lock, it is asked, and that closes the gap.

No file of a database is opened here, nor anywhere else beside SQLite, while this process may
use it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import sys
import time
from typing import TYPE_CHECKING

from ..._core.deadline import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator

Identity = tuple[int, int]  # device and inode
_File = tuple[str, "Identity | None"]  # its name, and what that led to

# SQLite's lock: a process that uses a database shares it, the last one has it alone.
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
_DESCRIPTORS = "/dev/fd"  # those of this process, where the system shows them
_HEADER = 48  # bytes, of the index, where a commit counts
_WRITE_VERSION = 18  # where it is in a database
_CAN_SHARE: bool = sys.platform == "linux"
_PATIENCE, _NAP = 1.0, 0.005  # s

if sys.platform == "linux":
    import fcntl

    # Type, whence, start, length, owner.
    _SHARED = struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, _SHARED_FIRST, _SHARED_SIZE, 0)
    _FREE = struct.pack("h", fcntl.F_UNLCK)

    def _is_locked(fd: int) -> bool:
        """Return whether another process has a database for itself."""
        try:
            return fcntl.fcntl(fd, fcntl.F_GETLK, _SHARED)[:2] != _FREE
        except OSError:  # it was another connection's, which is closed
            return False

    def _share(fd: int) -> bool:
        """Share a database by a lock that is the descriptor's, and a stranger's to SQLite."""
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _SHARED)
        except OSError:
            return False
        return True

else:  # it cannot be asked, and there are no such locks

    def _is_locked(fd: int) -> bool:  # noqa: ARG001
        return False

    def _share(fd: int) -> bool:  # noqa: ARG001
        return False


if sys.platform != "win32":

    def _start_of(fd: int) -> bytes:
        return os.pread(fd, _HEADER, 0)

else:

    def _start_of(fd: int) -> bytes:  # noqa: ARG001
        raise OSError("there is no read at an offset")


def identity(name: str) -> Identity | None:
    """Return which file a name leads to; None if that cannot be seen."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class OpenFiles:
    """The files that a connection has opened, and the names that led to them.

    Args:
        database: the name that the user knows the database by.
        path: the same without links: SQLite names the other files by it.
        logs: whether it has a log, and an index of that.
    """

    def __init__(self, database: str, path: str, *, logs: bool) -> None:
        self._database = database, identity(database)
        self._log = self._index = self._database
        if logs:
            self._log, self._index = (
                (name, identity(name)) for name in (f"{path}-wal", f"{path}-shm")
            )
        files = (self._database[1], self._log[1], self._index[1])
        self._descriptors = descriptors({file for file in files if file is not None})
        self._asked = tuple(self._opened(self._database)) if logs else ()

    def _opened(self, file: _File) -> list[int]:
        """Return the descriptors of a file."""
        return [] if file[1] is None else (self._descriptors or {}).get(file[1], [])

    # -- what the names lead to --------------------------------------------------------

    def were_opened(self) -> bool:
        """Return whether the names led to the files that were opened, where the system shows it."""
        files = (self._database, self._log, self._index)
        if self._descriptors is None:
            return all(opened is not None for _, opened in files)
        return all(self._opened(file) for file in files)

    def moved(self) -> str:
        """Return the database's name if it leads elsewhere by now."""
        return self._elsewhere(self._database)

    def astray(self) -> str:
        """Return a name that leads elsewhere by now; empty if none does."""
        return self.lost() or self._elsewhere(self._log)

    def lost(self) -> str:
        """Return the database's or the index's name if it leads elsewhere by now."""
        return self.moved() or self._elsewhere(self._index)

    def overtaken(self) -> str:
        """Return the index's name if it leads elsewhere by now: it goes before the log does."""
        return self._elsewhere(self._index)

    def unsafe(self) -> str:
        """Return a name where the commit that has just ended is missing; empty if it is stored."""
        for fd in self._asked:
            if _is_locked(fd) and identity_of(fd) == self._database[1]:
                return self._log[0]  # it is being removed
        (database, opened), (log, log_opened) = self._database, self._log
        if identity(database) == opened and identity(log) == log_opened:
            return ""
        return self.moved() or log

    def only_log_is_gone(self) -> bool:
        """Return whether all processes that have the database open still write to the same log."""
        return bool(self._elsewhere(self._log)) and not self.lost()

    @staticmethod
    def _elsewhere(file: _File) -> str:
        name, opened = file
        return "" if identity(name) == opened else name

    @contextlib.contextmanager
    def left_alone(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Keep SQLite from tidying up when a connection is closed whose log is gone.

        If no other process had the database open, it would copy that log into it, over what others
        have written meanwhile, and remove the log that the name leads to now: a dead process's,
        say, with all that was committed to it.  (Where the database itself was replaced, SQLite
        sees that.)
        """
        if sys.version_info >= (3, 12):
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        elif _CAN_SHARE and not self.moved():
            # This process's locks are worth nothing any more, so that closing may drop them.
            fd = os.open(self._database[0], os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            try:
                until = monotonic() + _PATIENCE
                while not _share(fd) and monotonic() < until:  # another process tidies up just now
                    time.sleep(_NAP)
                yield
            finally:
                os.close(fd)
            return
        yield

    def glance(self) -> tuple[int, bytes] | None:
        """Return a descriptor, and the bytes at its start, which the next commit changes."""
        fds = self._opened(self._index) if self._index is not self._database else []
        try:
            return (fds[0], _start_of(fds[0])) if fds else None
        except OSError:
            return None

    def write_version(self) -> int | None:
        """Return which version of SQLite's format the header says it is; None if it is not seen."""
        for fd in self._opened(self._database):
            if identity_of(fd) == self._database[1]:
                with contextlib.suppress(OSError, IndexError):
                    return _start_of(fd)[_WRITE_VERSION]
        return None

    # -- the log -------------------------------------------------------------------------

    def sync_log(self) -> None:
        """Flush the log.  Commits that it held before are in the database, and flushed.

        Raises:
            OSError: that failed.
        """
        fds = self._opened(self._log)
        if fds and identity_of(fds[0]) == self._log[1]:
            os.fsync(fds[0])  # SQLite's own
            return
        fd = os.open(self._log[0], os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def identity_of(fd: int) -> Identity | None:
    """Return which file a descriptor is of."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def descriptors(files: set[Identity]) -> dict[Identity, list[int]] | None:
    """Return the descriptors of some files that this process has; None where none are shown."""
    try:
        numbers = [int(name) for name in os.listdir(_DESCRIPTORS)]
    except (OSError, ValueError):
        return None
    found: dict[Identity, list[int]] = {file: [] for file in files}
    for fd in numbers:
        if (file := identity_of(fd)) in found:
            found[file].append(fd)
    return found
