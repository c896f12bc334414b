"""Errors of the SQLite classes: the package's own, which are ``sqlite3``'s or a serializer's, too.

persist-queue lets the errors of ``sqlite3`` and of the serializer through, and programs catch
them.  So each error here has two bases: ours, which says what to do, and the one that
persist-queue's users know.

A damaged *row* is never a ``sqlite3.DatabaseError``: programs answer that one by throwing the
whole database away.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from pickle import PicklingError, UnpicklingError
from typing import TYPE_CHECKING

from ..._core.codec import RowCodec
from ..._core.store import Errors
from ...exceptions import (
    FormatError,
    ItemTooLarge,
    PersistQueueError,
    QueueClosed,
    QueueCorrupt,
    QueueFailed,
    QueueLocked,
    SerializationError,
)

if TYPE_CHECKING:
    from typing import TypeAlias

#: Errors of a call of SQLite; the latter where a damaged name in its message is no text.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
SqliteError: TypeAlias = "sqlite3.Error | UnicodeDecodeError"
#: Errors that are translated already, although they may be errors of ``sqlite3``.
TRANSLATED = (PersistQueueError, OSError)


# -- errors of the database ------------------------------------------------------------


class SQLiteLocked(QueueLocked, sqlite3.OperationalError):
    """Another process held the database's lock for too long."""

    def __str__(self) -> str:
        return f"{super().__str__()} (SQLite: database is locked)"  # what programs look for


class SQLiteFailed(QueueFailed, sqlite3.OperationalError):
    """A commit failed, or the files were removed or replaced."""


class SQLiteClosed(QueueClosed, sqlite3.ProgrammingError):
    """This object was closed."""


class SQLiteDamaged(QueueCorrupt, sqlite3.DatabaseError):
    """SQLite says that the database is damaged."""


class SQLiteTableGone(QueueCorrupt, sqlite3.OperationalError):
    """The table was dropped or altered while it was in use."""


class NoSQLiteDatabase(FormatError, sqlite3.DatabaseError):
    """The file is no database."""


class SQLiteSays(PersistQueueError, sqlite3.OperationalError):
    """An error of SQLite that has no class of its own here."""


class SQLiteOSError(OSError, sqlite3.OperationalError):
    """The system refused something to SQLite: the disk is full, or fails."""


class SQLitePermissionError(PermissionError, sqlite3.OperationalError):
    """The files may not be opened or written to."""


class SQLiteFileNotFoundError(FileNotFoundError, sqlite3.OperationalError):
    """There is no such file."""


class SQLiteIsADirectoryError(IsADirectoryError, sqlite3.OperationalError):
    """A directory is in the place of the database."""


class SQLiteNotADirectoryError(NotADirectoryError, sqlite3.OperationalError):
    """Something else is in the place of a directory."""


#: Errors of a session whose store is on SQLite.
ERRORS = Errors(locked=SQLiteLocked, failed=SQLiteFailed, closed=SQLiteClosed)

# OSError itself makes a subclass of an error's number, but no subclass of it does.
_OS_ERRORS: dict[type[OSError], type[OSError]] = {
    OSError: SQLiteOSError,
    PermissionError: SQLitePermissionError,
    FileNotFoundError: SQLiteFileNotFoundError,
    IsADirectoryError: SQLiteIsADirectoryError,
    NotADirectoryError: SQLiteNotADirectoryError,
}


def os_error(number: int, says: str, path: str) -> OSError:
    """Return an error of the system, as SQLite came upon it."""
    kind = _OS_ERRORS.get(type(OSError(number, "")), SQLiteOSError)
    return kind(number, f"{os.strerror(number)}{says}", path)


# -- errors of a serializer ------------------------------------------------------------


class ItemPicklingError(SerializationError, PicklingError):
    """The serializer raised a ``PicklingError``."""


class ItemTypeError(SerializationError, TypeError):
    """The serializer raised a ``TypeError``."""


class ItemAttributeError(SerializationError, AttributeError):
    """The serializer raised an ``AttributeError``."""


class ItemValueError(SerializationError, ValueError):
    """The serializer raised a ``ValueError``."""


class RowUnpicklingError(QueueCorrupt, UnpicklingError):
    """The serializer raised an ``UnpicklingError``."""


class RowEOFError(QueueCorrupt, EOFError):
    """The serializer raised an ``EOFError``."""


class RowTypeError(QueueCorrupt, TypeError):
    """The serializer raised a ``TypeError``."""


class RowAttributeError(QueueCorrupt, AttributeError):
    """The serializer raised an ``AttributeError``."""


class RowValueError(QueueCorrupt, ValueError):
    """The serializer raised a ``ValueError``."""


_OF_ITEMS: tuple[type[SerializationError], ...] = (
    ItemPicklingError, ItemTypeError, ItemAttributeError, ItemValueError,
)  # fmt: skip
_OF_ROWS: tuple[type[QueueCorrupt], ...] = (
    RowUnpicklingError, RowEOFError, RowTypeError, RowAttributeError, RowValueError,
)  # fmt: skip


class SqliteRowCodec(RowCodec):
    """Encodes and decodes rows; its errors are of the serializer's kind, too."""

    def _refused(self, error: SerializationError, cause: Exception) -> SerializationError:
        return next((kind(*error.args) for kind in _OF_ITEMS if _fits(kind, cause)), error)

    def bad_row(self, error: QueueCorrupt, cause: BaseException | None) -> QueueCorrupt:
        return next((kind(*error.args) for kind in _OF_ROWS if _fits(kind, cause)), error)


def _fits(kind: type[Exception], cause: BaseException | None) -> bool:
    return isinstance(cause, kind.__bases__[1])


# -- SQLite's messages -----------------------------------------------------------------

# By the beginning of its message (codes come with Python 3.11 only).
_BUSY = ("database is locked", "database table is locked", "database schema is locked")
_NO_DATABASE = ("file is not a database", "file is encrypted or is not a database")
_MALFORMED = ("database disk image is malformed", "malformed database schema", "'utf-8' codec")
_GONE = ("no such table", "no such column", "table ")
_CANNOT_OPEN = ("unable to open database file",)
_READ_ONLY = ("attempt to write a readonly database",)
_SYSTEM = {"database or disk is full": errno.ENOSPC, "disk I/O error": errno.EIO}
_NEWEST = 2  # version of SQLite's format that it writes
_DESCRIPTORS = 4  # that SQLite needs at once: the database, its log and index, the directory


def is_busy(error: SqliteError) -> bool:
    """Return whether another connection held a lock."""
    return str(error).startswith(_BUSY)


def is_io_error(error: SqliteError) -> bool:
    """Return whether the disk failed: SQLite does not say in the middle of what."""
    return str(error).startswith("disk I/O error")


def is_no_database(error: SqliteError) -> bool:
    """Return whether the file is none of SQLite's."""
    return str(error).startswith(_NO_DATABASE)


def cannot_open(error: SqliteError) -> bool:
    """Return whether a file could not be opened."""
    return str(error).startswith(_CANNOT_OPEN)


def is_read_only(error: SqliteError) -> bool:
    """Return whether a database could not be written to."""
    return str(error).startswith(_READ_ONLY)


def translate(
    error: SqliteError, path: str, table: str, write_version: int | None = None
) -> Exception:
    """Return the error of this package for one of SQLite.

    Args:
        write_version: the version in the database's header, where it is known.
    """
    ours = _translated(error, path, table, write_version)
    for name in ("sqlite_errorcode", "sqlite_errorname"):  # from Python 3.11 on
        if isinstance(ours, sqlite3.Error) and hasattr(error, name):
            setattr(ours, name, getattr(error, name))
    return ours


def _translated(error: SqliteError, path: str, table: str, write_version: int | None) -> Exception:
    says = str(error)
    for begins, number in _SYSTEM.items():
        if says.startswith(begins):
            why = errno.EROFS if _is_read_only(path) else number
            return os_error(why, f" (SQLite: {says})", path)
    if is_read_only(error):
        return _why_read_only(path, table, says, write_version)
    if is_busy(error):
        return SQLiteLocked(f"{path}: another process holds the lock; nothing was done")
    if is_no_database(error):
        return NoSQLiteDatabase(
            f"{path} is not an SQLite database; nothing was changed (SQLite: {says})"
        )
    if says.startswith(_MALFORMED):
        return SQLiteDamaged(path, table, reason=f"the database is damaged: {says}")
    if says.startswith(_GONE):
        return SQLiteTableGone(
            path, table, reason=f"the table was dropped or altered while in use: {says}"
        )
    if cannot_open(error):
        return why_not_opened(path)
    if "too big" in says:
        return ItemTooLarge(f"SQLite cannot store an item of this size: {says}")
    kind = SQLiteSays if isinstance(error, sqlite3.OperationalError) else PersistQueueError
    return kind(f"{path}: SQLite says: {says}")


def why_not_opened(path: str) -> OSError:
    """Return the error behind SQLite's "unable to open"."""
    try:
        os.stat(path)
    except OSError as error:
        if os.path.islink(path) and error.errno == errno.ENOENT:
            return OSError(errno.ENOENT, "the symbolic link leads to nothing", path)
        return os_error(error.errno or errno.EACCES, "", path)
    if not os.path.isdir(path) and not os.path.isfile(path):
        return OSError(errno.EINVAL, "neither a directory nor a regular file", path)
    if os.path.isdir(path):
        return os_error(errno.EISDIR, "", path)
    number = _refusal(path)
    return os_error(number or errno.EIO, "" if number else " (SQLite cannot open it)", path)


def _why_read_only(path: str, table: str, says: str, version: int | None) -> Exception:
    """Return the error behind SQLite's "readonly"."""
    if number := _refusal(path):
        return os_error(number, f" (SQLite: {says})", path)
    if version is None or version <= _NEWEST:  # there was no descriptor left, for a moment
        return os_error(errno.EMFILE, " (SQLite could open a file for reading only)", path)
    return SQLiteDamaged(
        path,
        table,
        reason="the header of the database says that this SQLite must not write to it: the header "
        f"is damaged, or a newer SQLite wrote it (SQLite: {says})",
        advice="the items can be read: `python -m persistqueue copy` takes it elsewhere",
    )


def _refusal(path: str) -> int:
    """Return the number of what keeps a database from being opened or written to; 0: not seen."""
    found: list[int] = []
    try:
        while len(found) < _DESCRIPTORS:
            found.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno or 0
    finally:
        for fd in found:
            os.close(fd)
    if _is_read_only(path):
        return errno.EROFS
    directory = os.path.dirname(path) or os.curdir
    allowed = os.access(path, os.R_OK | os.W_OK) and os.access(directory, os.W_OK | os.X_OK)
    return 0 if allowed else errno.EACCES


if sys.platform == "win32":

    def _is_read_only(path: str) -> bool:  # noqa: ARG001
        return False  # it cannot be asked

else:

    def _is_read_only(path: str) -> bool:
        """Return whether a file system may only be read."""
        try:
            return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
        except OSError:
            return False
