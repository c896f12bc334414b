"""A copy of a database as it is at one moment, made through SQLite while others use it.

The copy is one file.  Rows that living objects hold have no owner there, so they are redelivered
when the copy is opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
from typing import TYPE_CHECKING

from ..._core.deadline import monotonic
from ..._core.disk import Disk
from ..schema import columns, objects
from ..statements import identifier
from .errors import SQLITE_ERRORS, TRANSLATED, SQLiteLocked, is_read_only, translate

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCKED = (5, 6)  # SQLite's status of a backup that waits for a lock
_HOLDING = {"_id", "data", "timestamp", "owner"}  # columns of a table whose rows are held


def write_copy(source: sqlite3.Connection, path: str, patience: float) -> None:
    """Write a copy to a new file, which is there as a whole or not at all, also after a crash.

    Args:
        patience: seconds to wait for a lock.

    Raises:
        OSError: the file is there already, or cannot be written.
        SQLiteLocked: another process held the lock.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    directory, name = os.path.split(path)
    fd, part = tempfile.mkstemp(prefix=f"{name}.", suffix=".part", dir=directory)  # 0600
    os.close(fd)
    try:
        with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as copy:
            source.backup(copy, progress=_patient(patience))
            copy.execute("PRAGMA trusted_schema=OFF")
            copy.execute("PRAGMA journal_mode=DELETE")  # nothing is beside it
            _disown(copy)
        os.rename(part, path)
        Disk().sync_directory(directory)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        if isinstance(error, TRANSLATED) or not isinstance(error, SQLITE_ERRORS):
            raise
        if not is_read_only(error):  # SQLite says it of the copy, and means the original's header
            raise translate(error, path, "") from error
        raise


def _patient(patience: float) -> Callable[[int, int, int], None]:
    """Return a function that ends the waiting for a lock: Python would wait for ever."""
    until = monotonic() + patience

    def check(status: int, _left: int, _all: int) -> None:
        if status in _LOCKED and monotonic() >= until:
            raise SQLiteLocked("another process held the lock; the backup was not made")

    return check


def _disown(copy: sqlite3.Connection) -> None:
    """Take the owners from all rows that are handed out."""
    for name, kind in objects(copy).items():
        if kind == "table" and {*columns(copy, name)} >= _HOLDING:
            copy.execute(f"UPDATE {identifier(name)} SET owner = NULL WHERE owner IS NOT NULL")  # noqa: S608
