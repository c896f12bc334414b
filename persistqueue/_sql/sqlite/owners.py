"""Who is alive: an object that holds rows holds a lock on a file beside the database.

The lock goes when its process does, however that ends, so a file that can be locked is a
dead owner's.  A file that is not there says nothing: no crash removes it, but a program that
tidies up may.  So the file stays as long as a row carries its owner's name, and the owner
makes it anew when it is gone.  Where the file system has no locks, rows have no owner.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import uuid
import zlib
from typing import TYPE_CHECKING

from ..._core.disk import try_lock
from ..._core.log import warn
from ..schema import folded
from .openfiles import identity, identity_of

if TYPE_CHECKING:
    from collections.abc import Container

    from .database import Database


_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NAME = re.compile("[0-9a-f]{32}")


class FileOwner:
    """An owner that holds a lock on a file beside the database.

    Args:
        database: where it is, once it is opened; in memory no other object can see it.
        table: where the rows are.  The first digits of a name are made of it: the file of an
            owner with rows in another table stays.
        advice: how to take from an owner without a file the rows that it holds.
    """

    leaves_files = True

    def __init__(self, database: Database, table: str, advice: str) -> None:
        self._database = database
        self._prefix = f"{zlib.crc32(folded(table).encode()):08x}"
        self._advice = advice
        self._silent: set[str] = set()  # owners without a file of which a warning was given
        self._name: str | None = None
        self._fd = -1
        self._supported = not database.memory

    @property
    def name(self) -> str | None:
        """The name in rows that this object holds; None where there are no locks."""
        return self._name

    def appear(self) -> str | None:
        """Take a name, and hold its lock from now on.

        Only under the database's lock: no other object sweeps meanwhile.
        """
        if self._name is None:
            if self._supported:
                self._stand(self._prefix + uuid.uuid4().hex[len(self._prefix) :])
        elif identity(self._file(self._name)) != identity_of(self._fd):  # it was removed
            with contextlib.suppress(OSError):
                self._stand(self._name)
        return self._name

    def _stand(self, name: str) -> None:
        """Make the file of a name, and lock it."""
        fd = os.open(self._file(name), _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            locked = try_lock(fd)
        except OSError:
            locked = self._supported = False
        if not locked:
            os.close(fd)
            self._remove(name)
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._name, self._fd = name, fd

    def is_dead(self, name: str) -> bool:
        """Return whether the owner of that name is gone.

        A value that is no name has no owner, and leads to no file: it may be a path.
        """
        if name == self._name:
            return False
        if not isinstance(name, str) or not _NAME.fullmatch(name) or self._is_no_file(name):
            return True
        try:
            fd = os.open(self._file(name), _FLAGS)
        except FileNotFoundError:
            self._say_silent(name)
            return False
        except PermissionError:  # another user's: it cannot be seen
            return False
        try:
            return try_lock(fd)
        finally:
            os.close(fd)

    def _say_silent(self, name: str) -> None:
        if name not in self._silent:
            self._silent.add(name)
            warn(
                "%s is gone: its owner keeps the rows that it holds, since it may be alive; "
                "if it has ended, %s gives them back",
                self._file(name), self._advice,
            )  # fmt: skip

    def sweep(self, holders: Container[str | None]) -> None:
        """Remove what dead owners left that are not among the holders of rows.

        Only under the database's lock, so that no owner appears meanwhile; and where no row was
        taken from an owner by a transaction that may be undone.
        """
        if self._database.memory:
            return
        directory, file = os.path.split(self._database.path)
        owners = re.compile(f"{re.escape(file)}-owner-({self._prefix}[0-9a-f]{{24}})")
        with contextlib.suppress(OSError):  # a directory that may not be read; no locks
            for entry in os.listdir(directory):
                found = owners.fullmatch(entry)
                if found and found[1] not in holders and self.is_dead(found[1]):
                    self._remove(found[1])

    def disappear(self, *, holds: bool) -> None:
        """Release the lock and the name; the file stays if rows may still carry the name."""
        if holds and self._name is not None:
            self.appear()
        name, fd, self._name, self._fd = self._name, self._fd, None, -1
        if fd >= 0 and name is not None:
            if not holds:
                self._remove(name)  # before the lock is free, so that no process finds the file
            os.close(fd)

    def forget(self) -> None:
        """Forget the name after a fork: it is the parent's, whose lock this leaves alone."""
        fd, self._name, self._fd = self._fd, None, -1
        if fd >= 0:
            os.close(fd)

    def _is_no_file(self, name: str) -> bool:
        try:
            return not stat.S_ISREG(os.lstat(self._file(name)).st_mode)
        except OSError:  # opening it says what it is
            return False

    def _file(self, name: str) -> str:
        return f"{self._database.path}-owner-{name}"

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):  # Windows keeps a file that is open; or it is gone
            os.unlink(self._file(name))
