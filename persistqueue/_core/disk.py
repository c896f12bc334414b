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
from typing import TYPE_CHECKING

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from .folder import Folder

BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}


def identity_of(found: os.stat_result) -> tuple[int, int]:
    """Return a file's identity: another file with the same name has another one."""
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
    """Every call that reaches the disk.  Errors are the ``OSError`` they are.

    A path of a file in ``folder`` is looked up from there, wherever the folder's own path
    leads by now.
    """

    _access = os.O_RDWR

    def open(self, path: str, *, create: bool = False, folder: Folder | None = None) -> File:
        """Open a regular file for reading and writing, following no link.

        Raises:
            FileNotFoundError: it is not there and ``create`` is false.
            OSError: it is a link, a directory, a device, a pipe.
        """
        flags = self._access | BINARY | NO_LINK | (os.O_CREAT if create else 0)
        name, dir_fd = _found(path, folder)
        fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return File(path, fd)

    def read(self, file: File, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end."""
        data = read_at(file.fd, size, offset)
        if len(data) < size and data:
            while more := read_at(file.fd, size - len(data), offset + len(data)):
                data += more
        return data

    def write(self, file: File, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        done = write_at(file.fd, data, offset)
        while done < len(data):
            done += write_at(file.fd, data[done:], offset + done)

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

    def sync_directory(self, path: str, folder: Folder | None = None) -> None:
        """Force a directory's entries to stable storage (Windows has no such call).

        Args:
            folder: ``path``, if it is held.

        Raises:
            SyncError: it is not known what is on the disk.
        """
        if sys.platform != "win32":
            held = -1 if folder is None else folder.fd
            fd = held if held >= 0 else os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            except OSError as error:
                raise SyncError(error.errno, error.strerror, path) from error
            finally:
                if fd != held:
                    os.close(fd)

    def truncate(self, file: File, size: int) -> None:
        """Set the file's length."""
        os.ftruncate(file.fd, size)

    def replace(self, source: str, target: str, folder: Folder | None = None) -> None:
        """Rename ``source`` over ``target`` in one step.

        Args:
            folder: where ``target`` is; ``source`` may be somewhere else.
        """
        beside = os.path.dirname(source) == os.path.dirname(target)
        old, old_fd = _found(source, folder if beside else None)
        new, new_fd = _found(target, folder)
        os.replace(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)

    def unlink(self, path: str, folder: Folder | None = None) -> None:
        """Remove a file; one that is gone already is no error."""
        name, dir_fd = _found(path, folder)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=dir_fd)

    def identity(self, path: str, folder: Folder | None = None) -> tuple[int, int] | None:
        """Return the identity of the file with this name, or None."""
        name, dir_fd = _found(path, folder)
        try:
            return identity_of(os.stat(name, dir_fd=dir_fd))
        except FileNotFoundError:
            return None

    def names(self, path: str, folder: Folder | None = None) -> list[str]:
        """Return the names in a directory.

        Args:
            folder: ``path``, if it is held.
        """
        held = -1 if folder is None else folder.fd
        return os.listdir(held if held >= 0 else path)

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


def _found(path: str, folder: Folder | None) -> tuple[str, int | None]:
    return (path, None) if folder is None else folder.at(path)


class ReadOnlyDisk(Disk):
    """Opens files for reading only: the system refuses calls that would change one."""

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


if sys.platform == "win32":  # calls are serialised: no other one moves the file's position

    def read_at(fd: int, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)

    def write_at(fd: int, data: bytes, offset: int) -> int:
        """Write at ``offset``; returns how many bytes were written."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)

    def try_lock(fd: int) -> bool:
        """Lock an open file unless another descriptor holds its lock."""
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def unlock(fd: int) -> None:
        """Give an open file's lock back; harmless when it is not held."""
        os.lseek(fd, 0, os.SEEK_SET)
        with contextlib.suppress(OSError):  # it was not held
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    read_at, write_at = os.pread, os.pwrite
    _LOCK, _FREE = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN

    def try_lock(fd: int) -> bool:
        """Lock an open file unless another descriptor holds its lock."""
        try:
            fcntl.flock(fd, _LOCK)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def unlock(fd: int) -> None:
        """Give an open file's lock back; harmless when it is not held."""
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
