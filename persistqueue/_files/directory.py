"""The chunk files of one queue, by number: their names, what is there, raw bytes."""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING

from .._core.log import warn
from ..exceptions import QueueFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.disk import Disk, File
    from .._core.folder import Folder

_CHUNK = re.compile(r"q([0-9]{5}|[1-9][0-9]{5,18})")  # what chunk_path returns, no other
_PIECE = 1 << 20  # bytes looked at, at a time
_FEW = 100  # chunks that are tried one by one, without listing the directory


class ChunkDirectory:
    """A queue's directory; nothing here knows what a record is."""

    def __init__(self, disk: Disk, folder: Folder) -> None:
        self.path = folder.path
        self._disk = disk
        self._folder = folder

    def chunk_path(self, chunk: int) -> str:
        """Return the file name of a chunk (format 1)."""
        return os.path.join(self.path, f"q{chunk:05d}")

    def chunks(self) -> list[int]:
        """Return the numbers of the chunks that are there, lowest first."""
        found = map(_CHUNK.fullmatch, self._disk.names(self.path, self._folder))
        return sorted(int(match[1]) for match in found if match)

    def is_there(self, chunk: int) -> bool:
        """Return whether a chunk's file exists, as far as that can be seen."""
        try:
            return self._disk.identity(self.chunk_path(chunk), self._folder) is not None
        except (OSError, QueueFailed):
            return False

    def is_missing(self, chunk: int) -> bool:
        """Return whether a chunk's file is gone, not only out of sight."""
        return self._disk.identity(self.chunk_path(chunk), self._folder) is None

    def between(self, first: int, stop: int) -> Sequence[int]:
        """Return the chunks from ``first`` up to ``stop``; far apart, those that are there."""
        if stop - first <= _FEW:
            return range(first, stop)
        return [chunk for chunk in self.chunks() if first <= chunk < stop]

    def open(self, chunk: int, *, create: bool = False) -> File:
        """Open a chunk's file.

        Raises:
            FileNotFoundError: it is not there and ``create`` is false.
            QueueFailed: the path leads to another directory by now.
        """
        if create:
            self._folder.look()
        return self._disk.open(self.chunk_path(chunk), create=create, folder=self._folder)

    def unlink(self, chunk: int) -> None:
        """Remove a chunk's file, if it is there."""
        self._disk.unlink(self.chunk_path(chunk), self._folder)

    def remove(self, chunk: int) -> None:
        """Remove a chunk that is not needed any more; where that fails, opening tries again."""
        try:
            self.unlink(chunk)
        except (OSError, QueueFailed) as error:  # Windows, while another process has it open
            warn("%s: chunk %d is consumed but stays: %s", self.path, chunk, error)

    def look(self) -> None:
        """Refuse to go on in a directory to which the path does not lead any more."""
        self._folder.look()

    def rename(self, name: str, new: str) -> None:
        """Give one of the queue's files another name."""
        old, target = (os.path.join(self.path, each) for each in (name, new))
        self._disk.replace(old, target, self._folder)

    def sync(self, first: int, stop: int) -> None:
        """Make chunks and their names safe against loss of power."""
        for chunk in self.between(first, stop):
            with contextlib.suppress(FileNotFoundError):
                file = self.open(chunk)
                try:
                    self._disk.sync(file)
                finally:
                    file.close()
        self.sync_names()

    def sync_names(self) -> None:
        """Make the names of all files that are there safe against loss of power."""
        self._disk.sync_directory(self.path, self._folder)

    def set_aside(self, chunk: int, start: int, end: int | None) -> str | None:
        """Copy part of a chunk to a file of its own and return that file's name."""
        data = self.read(chunk, start, end)
        if not data:
            return None
        name = f"{os.path.basename(self.chunk_path(chunk))}.corrupt-{time.time_ns()}"
        path = os.path.join(self.path, name)
        self._folder.look()
        file = self._disk.open(path, create=True, folder=self._folder)
        try:
            self._disk.write(file, data, 0)
            self._disk.sync(file)
        finally:
            file.close()
        self.sync_names()  # what it was copied from may be cut next
        warn(
            "%s: %d bytes from byte %d of chunk %d were kept as %s",
            self.path,
            len(data),
            start,
            chunk,
            name,
        )
        return name

    def _open(self, chunk: int) -> File | None:
        try:
            return self.open(chunk)
        except FileNotFoundError:
            return None

    def length(self, chunk: int) -> int:
        file = self._open(chunk)
        if file is None:
            return 0
        try:
            return self._disk.size(file)
        finally:
            file.close()

    def read(self, chunk: int, start: int, end: int | None) -> bytes:
        file = self._open(chunk)
        if file is None:
            return b""
        try:
            stop = self._disk.size(file) if end is None else end
            return self._disk.read(file, max(stop - start, 0), start)
        finally:
            file.close()

    def solid(self, chunk: int, start: int = 0) -> bool:
        """Return whether anything but zeros stands behind ``start``."""
        length = self.length(chunk)
        pieces = (
            self.read(chunk, at, min(at + _PIECE, length)) for at in range(start, length, _PIECE)
        )
        return any(piece.count(0) != len(piece) for piece in pieces)
