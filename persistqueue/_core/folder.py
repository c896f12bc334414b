"""A directory that is held open, and the lock of the objects that use it.

What a path leads to may be exchanged under a queue: a ``current`` link is flipped, the
directory is moved away and another one takes its name.  So its files are found from the
directory that was opened, not by their paths; and before anything is created, or a flushed
put is acknowledged, the path is looked up: it must lead there still.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from ..exceptions import QueueFailed
from .disk import BINARY, NO_LINK, identity_of, try_lock, unlock

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
#: Whether the system finds files from an open directory; Windows finds them by path only.
RELATIVE = {os.open, os.stat, os.unlink, os.rename} <= os.supports_dir_fd


class Folder:
    """A directory, and the lock file in it, which tells it from any other.

    Args:
        path: the directory.
        witness: the name of the lock file.
        refuse: raises that the path leads elsewhere by now; None: ``QueueFailed``.
    """

    def __init__(
        self, path: str, witness: str = ".lock", refuse: Callable[[], NoReturn] | None = None
    ) -> None:
        self.path = path
        self._refuse = refuse or self._exchanged
        self._witness = os.path.join(path, witness)
        self._held: tuple[int, int] | None = None  # what tells the lock file from others
        self.fd = -1  # of the directory; -1 on Windows
        self.lock_fd = -1

    @property
    def is_held(self) -> bool:
        """Whether it is open."""
        return self._held is not None

    def hold(self) -> None:
        """Open it, and its lock file, which is created when it is missing."""
        if sys.platform != "win32":
            self.fd = os.open(self.path, os.O_RDONLY | _DIRECTORY | BINARY)
        try:
            name, dir_fd = self.at(self._witness)
            flags = os.O_RDWR | os.O_CREAT | BINARY | NO_LINK
            self.lock_fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
            self._held = identity_of(os.fstat(self.lock_fd))
        except BaseException:
            self.close()
            raise

    def at(self, path: str) -> tuple[str, int | None]:
        """Return how to ask the system for a file of the directory: a name, and ``dir_fd``.

        Where files are found by path only, this is a look at the path, too.

        Raises:
            QueueFailed: the path leads elsewhere by now.
        """
        if RELATIVE and self.fd >= 0:
            return os.path.basename(path), self.fd
        self.check()
        return path, None

    def is_current(self) -> bool:
        """Return whether the path leads to this lock file."""
        try:
            return identity_of(os.stat(self._witness)) == self._held
        except OSError:
            return False

    def is_same(self) -> bool:
        """Return whether the path leads to this directory, with this lock file or another."""
        if self.fd < 0:
            return self.is_current()
        try:
            return identity_of(os.stat(self.path)) == identity_of(os.fstat(self.fd))
        except OSError:
            return False

    def check(self) -> None:
        """Refuse to go on in a directory to which the path does not lead any more.

        Raises:
            QueueFailed: it does not; says so.
        """
        if self._held is not None and not self.is_current():
            self._refuse()

    def _exchanged(self) -> NoReturn:
        raise QueueFailed(f"{self.path}: {EXCHANGED}; open the queue again")

    def close(self) -> None:
        """Close both."""
        for fd in (self.lock_fd, self.fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.lock_fd = -1
        self._held = None


EXCHANGED = "its directory was removed or replaced while it was open"


class DirectoryLock:
    """The lock that makes one transaction at a time of a directory's users.

    ``try_acquire`` never waits.  Between processes that retry, the quickest one would win
    every time: a process that puts in a tight loop leaves the lock free for a few
    microseconds only.  So there is a second lock (of the directory itself), which a loser
    keeps until it wins: it is *next*.  A busy owner tries it once a millisecond, and stands
    back while another process is next.

    Args:
        folder: held from now on, until ``close``; the lock file stays, empty, beside the data.
    """

    POLITE = 0.001  # s between two tries of the second lock
    PATIENT = 0.1  # s after which a process that is next for ever is passed by

    def __init__(self, folder: Folder) -> None:
        folder.hold()
        self._folder = folder
        self._fd, self._next = folder.lock_fd, folder.fd  # less than 0: no second lock
        self.is_next = False
        self._looked = 0.0
        self._barred = 0.0  # since when another process has been next
        self.supported = True

    def try_acquire(self, now: float) -> bool:
        """Take the lock if it is free.

        Args:
            now: the monotonic clock, in seconds.
        """
        if now - self._looked >= self.POLITE and not self._be_next():
            self._barred = self._barred or now
            if now - self._barred < self.PATIENT:
                return False
        self._barred = 0.0
        try:
            taken = try_lock(self._fd)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self.supported, taken = False, True
        if not taken:
            self._looked = 0.0  # next time, queue up
            return False
        if self.is_next:
            self._looked = now
            self.stand_back()
        return True

    def _be_next(self) -> bool:
        """Be next, unless another process is."""
        if not self.is_next and self._next >= 0 and self.supported:
            try:
                self.is_next = try_lock(self._next)
            except OSError:  # no locks on directories here: go without manners
                self._next = -1
        return self.is_next or self._next < 0

    def stand_back(self) -> None:
        """Be next no more: the lock was taken, or the caller gave up."""
        if self.is_next:
            self.is_next = False
            unlock(self._next)

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self.supported:
            unlock(self._fd)

    def drop(self) -> None:
        """Give both locks back, held or not: an interrupt may hide which of them are."""
        self.release()
        self.is_next = self._next >= 0
        self.stand_back()

    def close(self) -> None:
        """Close the descriptors, which frees both locks."""
        self._folder.close()
        self._fd = self._next = -1
