"""The few calls to the operating system that the file store makes.

Everything a file queue does to the disk goes through one ``Disk``, so that a test
can hand in a disk whose k-th call fails or is the last one.  What differs between
POSIX and Windows, and between Linux and macOS, is decided here and nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


class SyncError(OSError):
    """A sync failed: it must not be tried again (the pages may be gone)."""


class File:
    """An open regular file; ``closed`` and ``close()`` as any file has them."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd

    @property
    def closed(self) -> bool:
        return self.fd < 0

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.fd

    def flush(self) -> None:
        """Do nothing: no byte waits here."""

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Disk:
    """Every call that reaches the disk.  Errors are the ``OSError`` they are."""

    _access = os.O_RDWR

    def open(self, path: str, *, create: bool = False) -> File:
        """Open a regular file for reading and writing, following no link.

        Raises:
            FileNotFoundError: it is not there and ``create`` is false.
            OSError: it is a link, a directory, a device, a pipe.
        """
        flags = self._access | _BINARY | _NO_LINK | (os.O_CREAT if create else 0)
        fd = os.open(path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return File(path, fd)

    if sys.platform != "win32":

        def read(self, file: File, size: int, offset: int) -> bytes:
            """Return up to ``size`` bytes from ``offset``; fewer only at the end."""
            data = os.pread(file.fd, size, offset)
            if len(data) < size and data:
                while more := os.pread(file.fd, size - len(data), offset + len(data)):
                    data += more
            return data

        def write(self, file: File, data: bytes, offset: int) -> None:
            """Write all of ``data`` at ``offset``."""
            done = os.pwrite(file.fd, data, offset)
            while done < len(data):
                done += os.pwrite(file.fd, data[done:], offset + done)

    else:  # Windows; the caller serialises, so the file position is nobody else's

        def read(self, file: File, size: int, offset: int) -> bytes:
            """Return up to ``size`` bytes from ``offset``; fewer only at the end."""
            os.lseek(file.fd, offset, os.SEEK_SET)
            data = os.read(file.fd, size)
            while len(data) < size and (more := os.read(file.fd, size - len(data))):
                data += more
            return data

        def write(self, file: File, data: bytes, offset: int) -> None:
            """Write all of ``data`` at ``offset``."""
            os.lseek(file.fd, offset, os.SEEK_SET)
            done = os.write(file.fd, data)
            while done < len(data):
                done += os.write(file.fd, data[done:])

    def allocate(self, file: File, size: int) -> bool:
        """Reserve zeros up to ``size``: a sync after a write into them is cheaper.

        Returns:
            whether it was done; where it cannot be, nothing is lost but speed.
        """
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # no such call here, or no room
                os.posix_fallocate(file.fd, 0, size)
                return True
        return False

    def size(self, file: File) -> int:
        """Return the file's length in bytes."""
        return os.fstat(file.fd).st_size

    def sync(self, file: File) -> None:
        """Force the file's data, and its length, to stable storage.

        Raises:
            SyncError: it is not known what is on the disk.
        """
        try:
            _sync(file.fd)
        except OSError as error:
            raise SyncError(error.errno, error.strerror, file.path) from error

    def sync_directory(self, path: str) -> None:
        """Force a directory's entries to stable storage (Windows has no such call).

        Raises:
            SyncError: it is not known what is on the disk.
        """
        if sys.platform != "win32":
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            except OSError as error:
                raise SyncError(error.errno, error.strerror, path) from error
            finally:
                os.close(fd)

    def truncate(self, file: File, size: int) -> None:
        """Set the file's length."""
        os.ftruncate(file.fd, size)

    def replace(self, source: str, target: str) -> None:
        """Rename ``source`` over ``target`` in one step."""
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        """Remove a file; one that is gone already is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def identity(self, path: str) -> tuple[int, int] | None:
        """Return what tells one file from another that has the same name, or None."""
        try:
            return _identity(os.stat(path))
        except FileNotFoundError:
            return None

    def names(self, path: str) -> list[str]:
        """Return the names in a directory."""
        return os.listdir(path)

    def make_directory(self, path: str) -> list[str]:
        """Create a directory (0700) and its parents; an existing one is no error.

        Returns:
            the directories that hold new names: to be synced, if that matters.
        """
        changed, above = [], path
        while not os.path.lexists(above):
            above = os.path.dirname(above)
            changed.append(above)
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(
                error.errno, "a queue needs a directory here, and this is none", path
            ) from None
        return changed


class ReadOnlyDisk(Disk):
    """Opens files for reading only: the system refuses whatever would change one."""

    _access = os.O_RDONLY


class Window(io.RawIOBase):
    """Part of a file as a readable stream that ends where the part ends."""

    def __init__(self, disk: Disk, file: File, start: int, end: int) -> None:
        super().__init__()
        self._disk, self._file = disk, file
        self._start, self._at, self._end = start, start, end

    @property
    def closed(self) -> bool:
        return self._file.closed or super().closed

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        want = min(len(buffer), self._end - self._at)
        data = self._disk.read(self._file, want, self._at) if want > 0 else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = max(base + offset, self._start)
        return self._at - self._start

    def tell(self) -> int:
        return self._at - self._start


class DirectoryLock:
    """The lock that makes one transaction at a time of a directory's users.

    ``try_acquire`` never waits.  Between processes that retry, whoever is quickest
    would win every time: a process that puts in a tight loop leaves the lock free
    for a few microseconds only.  So there is a second lock, the turnstile (the
    directory itself), that a loser keeps until it wins; a busy owner looks at it
    once a millisecond and stands back while somebody else is next.

    Args:
        path: the lock file; it stays, empty, beside the data.
    """

    POLITE = 0.001  # s between two looks at the turnstile
    PATIENT = 0.1  # s after which somebody who stands in it for ever is passed by

    def __init__(self, path: str, turnstile: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY | _NO_LINK, 0o600)
        self._held = _identity(os.fstat(self._fd))
        self._next = os.open(turnstile, os.O_RDONLY | _BINARY) if sys.platform != "win32" else -1
        self._in_turnstile = False
        self._looked = 0.0
        self._barred = 0.0  # since when the turnstile has been taken
        self.supported = True

    def try_acquire(self, now: float) -> bool:
        """Take the lock if it is free.

        Args:
            now: the monotonic clock, in seconds.
        """
        if now - self._looked >= self.POLITE and not self._pass_turnstile():
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
        if self._in_turnstile:
            self._looked = now
            self.stand_back()
        return True

    def _pass_turnstile(self) -> bool:
        """Stand in the turnstile, unless somebody else does."""
        if not self._in_turnstile and self._next >= 0 and self.supported:
            try:
                self._in_turnstile = try_lock(self._next)
            except OSError:  # no locks on directories here: go without manners
                os.close(self._next)
                self._next = -1
        return self._in_turnstile or self._next < 0

    def is_current(self) -> bool:
        """Return whether the name still leads to the file that is locked."""
        try:
            return _identity(os.stat(self._path)) == self._held
        except OSError:
            return False

    def stand_back(self) -> None:
        """Leave the turnstile: the lock was taken, or the caller gave up."""
        if self._in_turnstile:
            self._in_turnstile = False
            _unlock(self._next)

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self.supported:
            _unlock(self._fd)

    def drop(self) -> None:
        """Let go of both, whether or not they are held: Ctrl-C may hide which."""
        self.release()
        self._in_turnstile = self._next >= 0
        self.stand_back()

    def close(self) -> None:
        """Close the descriptors, which frees whatever they hold."""
        for fd in (self._fd, self._next):
            if fd >= 0:
                os.close(fd)
        self._fd = self._next = -1


if sys.platform == "win32":

    def try_lock(fd: int) -> bool:
        """Lock an open file unless somebody else holds its lock."""
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        with contextlib.suppress(OSError):  # it was not held
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    _LOCK, _FREE = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN

    def try_lock(fd: int) -> bool:
        """Lock an open file unless somebody else holds its lock."""
        try:
            fcntl.flock(fd, _LOCK)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, _FREE)


if sys.platform == "darwin":

    def _sync(fd: int) -> None:
        try:  # fsync alone stops at the drive's cache
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError as error:  # only where the file system has no such call:
            if error.errno not in {errno.ENOTSUP, errno.EINVAL, errno.ENOTTY}:
                raise  # a sync that failed must not be tried again
            os.fsync(fd)

elif sys.platform == "win32":
    _sync = os.fsync
else:
    _sync = os.fdatasync
