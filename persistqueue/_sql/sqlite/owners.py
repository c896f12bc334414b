"""Who is alive: an object that holds rows holds a lock on a file beside the database.

The lock goes when its process does, however that ends, so a file that can be locked is a dead
owner's.  Where the file system has no locks, rows have no owner.

A process that is stopped keeps its locks.  So an owner counts in its file as well, from a thread
of its own and only while it holds rows, and writes beside that how long others shall wait for the
next number: its lease.  ``others`` knows how it is read.

A file that is not there says nothing: no crash removes it, but a program that tidies up may.  Its
owner makes it anew with the next sign of life.  The last release of this package counts nothing:
its files are empty.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
import sys
import threading
import uuid
import zlib
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from ..._core.deadline import monotonic
from ..._core.disk import read_at, try_lock, write_at
from ..._core.leases import NO_LINE, SHARE, NoLine, beat
from ..._core.log import warn
from ..schema import folded
from .forks import gate
from .openfiles import identity, identity_of
from .others import Others

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence, Sized

    from .database import Database


_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NAME = re.compile("[0-9a-f]{32}")
_BEAT = struct.Struct("<Qd")  # how often a sign of life was given; the lease in s, 0 for none
_PLACE = 8  # of that in the file: Windows lets no other process read the byte that is locked
_UNWATCHED = 10.0  # s between two looks whether the file is there, without a lease
_ASIDE = "" if sys.platform == "win32" else "-new"  # Windows renames no file that is open


class Sign(NamedTuple):
    """What the file of an owner says.

    Attributes:
        dead: its lock is free, or no owner can have that name.
        beat: the last sign of life; None if there is none: no file, or one of the last release.
        lease: seconds to wait for the next one; None for ever; 0 if that is not known.
    """

    dead: bool
    beat: int | None = None
    lease: float | None = None


_DEAD, _ALIVE, _SILENT = Sign(True), Sign(False), Sign(False, None, 0)


class FileOwner:
    """An owner that holds a lock on a file beside the database.

    Args:
        database: where it is, once it is opened; in memory no other object can see it.
        table: where the rows are.  The first digits of a name are made of it: the file of an
            owner with rows in another table stays.
        advice: how to take from an owner without a file the rows that it holds.
        held: what this object holds; while it is empty, no sign of life is given.
        lease: seconds without a sign of life after which others take the rows; None for never.

    Attributes:
        kept: signs of life are given.
    """

    leaves_files = True
    kept = False

    def __init__(
        self, database: Database, table: str, advice: str, held: Sized, lease: float | None
    ) -> None:
        self._database = database
        self._prefix = f"{zlib.crc32(folded(table).encode()):08x}"
        self._advice = advice
        self._held = held
        self.lease = lease
        self._supported = not database.memory
        self.forget()

    def forget(self) -> None:
        """Forget the name after a fork: it is the parent's, whose lock this leaves alone."""
        fd = getattr(self, "_fd", -1)
        # Protects the four below it; a thread of this process gives the signs of life.
        self._mutex = threading.Lock()
        self._name: str | None = None
        self._fd = -1
        self._beats = 0
        self._written = 0.0  # when the last sign of life was given; on the monotonic clock
        self._given_up = False  # a warning has been given
        self.kept = False
        self._silent: set[str] = set()  # owners without a file of which a warning was given
        self._others = Others()
        if fd >= 0:
            os.close(fd)

    @property
    def name(self) -> str | None:
        """The name in rows that this object holds; None where there are no locks."""
        return self._name

    # -- its own life ---------------------------------------------------------------

    def appear(self) -> str | None:
        """Take a name, hold its lock and give signs of life from now on.

        Only under the database's lock: no other object sweeps meanwhile.
        """
        if self.kept or not self._supported:
            return self._name
        with self._mutex:
            if self._name is None:
                self._stand(self._prefix + uuid.uuid4().hex[len(self._prefix) :])
            elif self._is_removed():
                with contextlib.suppress(OSError):
                    self._stand(self._name)
            if self._name is not None:
                with contextlib.suppress(OSError):
                    self._beat()
        if self._name is not None:
            beat(self)
        return self._name

    def stay(self) -> None:
        """Go on with signs of life, as this object holds something: called behind ``appear``."""
        if not self.kept:
            self.appear()

    def _stand(self, name: str) -> None:
        """Make the file of a name, and lock it before others see it."""
        path = self._file(name)
        fd = os.open(path + _ASIDE, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            locked = try_lock(fd)
            if locked and _ASIDE:
                os.rename(path + _ASIDE, path)
        except OSError:
            os.close(fd)
            self._remove(name + _ASIDE)
            if self._name is not None:
                raise
            self._supported = False
            return
        if not locked:  # by a process that sweeps
            os.close(fd)
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._name, self._fd = name, fd

    def _is_removed(self) -> bool:
        return self._name is not None and identity(self._file(self._name)) != identity_of(self._fd)

    def _beat(self) -> None:
        """Give a sign of life."""
        self._beats += 1
        write_at(self._fd, _BEAT.pack(self._beats, self.lease or 0), _PLACE)
        self._written, self._given_up = monotonic(), False

    def disappear(self, *, holds: bool) -> None:
        """Release the lock and the name; the file stays if rows may still carry the name."""
        with self._mutex:
            if holds and self._is_removed():
                with contextlib.suppress(OSError):
                    self._stand(self._name or "")
            name, fd, self._name, self._fd = self._name, self._fd, None, -1
            self.kept = False
            if fd >= 0 and name is not None:
                if not holds:
                    self._remove(name)  # before the lock is free, so that no process finds the file
                os.close(fd)

    # -- signs of life: see ``leases`` ------------------------------------------------

    @property
    def interval(self) -> float:
        """Seconds between two of them."""
        return _UNWATCHED if self.lease is None else self.lease / SHARE

    @property
    def place(self) -> str:
        """The file: no owner waits for another one's."""
        return self._file(self._name or "")

    def line(self) -> NoLine:
        """Return what stands for a connection."""
        return NO_LINE

    def prolong(self, line: NoLine) -> bool:  # noqa: ARG002 - a file is written
        """Give a sign of life; returns whether this object holds anything."""
        if not self._held:
            return False
        with gate.inside(self._database):  # a child shall not inherit a lock
            with self._mutex:
                if self._name is None:
                    return False
                try:
                    if self._is_removed():
                        self._stand(self._name)
                    if self.lease is not None:
                        self._beat()
                except OSError:
                    self._give_up()
                    raise
            self._others.time(self)
        return True

    def _give_up(self) -> None:
        """Say that others may have taken what this object holds."""
        late = monotonic() - self._written
        if self.lease is not None and late >= self.lease and not self._given_up:
            self._given_up = True
            warn(
                "%s: no sign of life could be written for %.3g s, and the lease is %.3g s: what "
                "this object holds counts as lost, and others work on it",
                self.place, late, self.lease,
            )  # fmt: skip

    # -- the others -----------------------------------------------------------------

    def is_dead(self, name: str) -> bool:
        """Return whether the owner of that name is gone."""
        return name != self._name and self.ask(name).dead

    def overtaken(self) -> None:
        """Note that others have committed: they may hold more, or less."""
        self._others.overtaken()

    def due(self) -> float:
        """Return when to look next at the others that hold rows."""
        return self._others.due() if self._supported else inf

    def gone(self, read: Callable[[], Sequence[str] | None]) -> dict[str, bool]:
        """Return which of the others are gone, and of each whether it is dead."""
        with gate.inside(self._database):
            return self._others.gone(self, read)

    def took_from(self, name: str) -> None:
        """Note that the rows of an owner that is gone were given back."""
        self._others.took_from(name)

    def ask(self, name: str) -> Sign:
        """Return what the file of another owner says.

        A value that is no name has no owner, and leads to no file: it may be a path.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name) or self._is_no_file(name):
            return _DEAD
        return self._sign_of(name, lock=True)

    def last_beat(self, name: str) -> Sign:
        """Return what the file of another owner says, and do not try its lock."""
        return self._sign_of(name, lock=False)

    def _sign_of(self, name: str, *, lock: bool) -> Sign:
        try:
            fd = os.open(self._file(name), _FLAGS)
        except FileNotFoundError:
            if lock:
                self._say_silent(name)
            return _SILENT
        except PermissionError:  # another user's: it cannot be seen
            return _ALIVE
        try:
            if lock and try_lock(fd):
                return _DEAD
            found = read_at(fd, _BEAT.size, _PLACE)
        finally:
            os.close(fd)
        if len(found) < _BEAT.size:
            return _ALIVE
        count, lease = _BEAT.unpack(found)
        return Sign(False, count, lease if lease > 0 else None)

    def _say_silent(self, name: str) -> None:
        if name not in self._silent:
            self._silent.add(name)
            warn(
                "%s is gone: its owner may be alive, and keeps the rows that it holds for the time "
                "of a lease%s; if it has ended, %s gives them back at once",
                self._file(name), "" if self.lease else " (there is none: for ever)", self._advice,
            )  # fmt: skip

    def sweep(self, holders: Container[str | None]) -> None:
        """Remove what dead owners left that are not among the holders of rows.

        Only under the database's lock, so that no owner appears meanwhile; and where no row was
        taken from an owner by a transaction that may be undone.
        """
        if self._database.memory:
            return
        directory, file = os.path.split(self._database.path)
        owners = re.compile(f"{re.escape(file)}-owner-({self._prefix}[0-9a-f]{{24}})({_ASIDE})?")
        with contextlib.suppress(OSError):  # a directory that may not be read; no locks
            for entry in os.listdir(directory):
                found = owners.fullmatch(entry)
                if found is None or found[1] == self._name:
                    continue
                name = found[1] + (found[2] or "")
                if name not in holders and (
                    self._is_no_file(name) or self._sign_of(name, lock=True).dead
                ):
                    self._remove(name)

    def remove(self, names: list[str]) -> None:
        """Remove the files of dead owners whose rows were given back, and that is stored."""
        for name in names:
            if isinstance(name, str) and _NAME.fullmatch(name):
                self._remove(name)

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
