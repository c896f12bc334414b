"""Who is alive: an object that holds rows holds a lock on a file beside the database.

The lock goes when its process does, however that ends, so a file that can be locked is a
dead owner's.  Where the file system has no locks, nobody owns anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import uuid
from typing import TYPE_CHECKING, Protocol

from ..._core.disk import try_lock

if TYPE_CHECKING:
    from .connection import Database


class Owner(Protocol):
    """One object's name among those that hold rows of a database."""

    @property
    def name(self) -> str | None:
        """What rows that this object holds carry; None where nobody can own anything."""

    def appear(self) -> str | None:
        """Take a name, and be alive from now on."""

    def is_dead(self, name: str) -> bool:
        """Return whether the owner of that name is gone."""

    def sweep(self) -> None:
        """Remove what dead owners left, also those that hold nothing."""

    def disappear(self) -> None:
        """Let go of the name."""

    def forget(self) -> None:
        """Be nobody; the name is a parent process's."""


_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NAME = re.compile("[0-9a-f]{32}")


class FileOwner:
    """An owner that holds a lock on a file beside the database.

    Args:
        database: where it is, once it is opened; what is in memory nobody else can see.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._name: str | None = None
        self._fd = -1
        self._supported = not database.memory

    @property
    def name(self) -> str | None:
        """What rows that this object holds carry; None where there are no locks."""
        return self._name

    def appear(self) -> str | None:
        """Take a name, and hold its lock from now on."""
        if self._name is None and self._supported:
            name = uuid.uuid4().hex
            fd = os.open(self._file(name), _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                locked = try_lock(fd)
            except OSError:
                locked = self._supported = False
            if locked:
                self._name, self._fd = name, fd
            else:
                os.close(fd)
                self._remove(name)
        return self._name

    def is_dead(self, name: str) -> bool:
        """Return whether the owner of that name is gone; removes what it left.

        A name that nobody was ever given is nobody's, and leads to no file: it may be a path.
        """
        if name == self._name:
            return False
        if not isinstance(name, str) or not _NAME.fullmatch(name) or self._is_no_file(name):
            return True
        try:
            fd = os.open(self._file(name), _FLAGS)
        except FileNotFoundError:
            return True
        except PermissionError:  # another user's; who knows
            return False
        try:
            dead = try_lock(fd)
        finally:
            os.close(fd)
        if dead:
            self._remove(name)
        return dead

    def sweep(self) -> None:
        """Remove what dead owners left, also those that hold nothing.

        Only where nobody can appear meanwhile: under the database's lock.
        """
        if self._database.memory:
            return
        directory, file = os.path.split(self._database.path)
        owners = re.compile(re.escape(file) + "-owner-([0-9a-f]{32})")
        with contextlib.suppress(OSError):  # a directory that may not be read; no locks
            for entry in os.listdir(directory):
                if found := owners.fullmatch(entry):
                    self.is_dead(found[1])

    def disappear(self) -> None:
        """Let go of the lock and the name."""
        name, fd, self._name, self._fd = self._name, self._fd, None, -1
        if fd >= 0 and name is not None:
            self._remove(name)  # before the lock is free: nobody finds the file then
            os.close(fd)

    def forget(self) -> None:
        """Be nobody; the name is a parent process's, whose lock this leaves alone."""
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
