"""The chunk files of one queue: found by number, read in blocks.

A block is large enough that a backlog is not read item by item, and small enough that a get
does not load the rest of a chunk, however large its items are.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from typing import IO, TYPE_CHECKING, Any

from .._core.block import Block, Damaged, Short, too_long
from .._core.disk import Disk, File, Window
from .._core.log import warn
from ..exceptions import QueueFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._core.folder import Folder
    from .._core.framing import Framing

_CHUNK = re.compile(r"q([0-9]{5}|[1-9][0-9]{5,18})")  # the names of chunk_name, and no others
_PIECE = 1 << 20  # bytes looked at, at a time
_FEW = 100  # chunks that are tried one by one, without listing the directory
_BLOCK = 64 * 1024  # bytes read at a time
_FRAME = 64  # bytes that any framing adds to an item, at the most


def chunk_name(chunk: int) -> str:
    """Return the file name of a chunk (format 1)."""
    return f"q{chunk:05d}"


class ChunkDirectory:
    """A queue's directory; it does not know records."""

    def __init__(self, disk: Disk, folder: Folder) -> None:
        self.path = folder.path
        self.folder = folder
        self._disk = disk

    def chunk_path(self, chunk: int) -> str:
        """Return the path of a chunk's file."""
        return os.path.join(self.path, chunk_name(chunk))

    def chunks(self) -> list[int]:
        """Return the numbers of the chunks that are there, lowest first."""
        found = map(_CHUNK.fullmatch, self._disk.names(self.path, self.folder))
        return sorted(int(match[1]) for match in found if match)

    def is_missing(self, chunk: int) -> bool:
        """Return whether a chunk's file is gone.

        Raises:
            OSError, QueueFailed: it cannot be seen just now.
        """
        return self._disk.identity(self.chunk_path(chunk), self.folder) is None

    def is_there(self, chunk: int) -> bool:
        """Return whether a chunk's file exists, as far as that can be seen."""
        try:
            return not self.is_missing(chunk)
        except (OSError, QueueFailed):
            return False

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
            self.folder.check()
        return self._disk.open(self.chunk_path(chunk), create=create, folder=self.folder)

    def unlink(self, chunk: int) -> None:
        """Remove a chunk's file, if it is there."""
        self._disk.unlink(self.chunk_path(chunk), self.folder)

    def remove(self, chunk: int) -> None:
        """Remove a consumed chunk; where that fails, opening tries again."""
        try:
            self.unlink(chunk)
        except (OSError, QueueFailed) as error:  # Windows, while another process has it open
            warn("%s: chunk %d is consumed but stays: %s", self.path, chunk, error)

    def rename(self, name: str, new: str) -> None:
        """Give one of the queue's files another name."""
        old, target = (os.path.join(self.path, each) for each in (name, new))
        self._disk.replace(old, target, self.folder)

    def sync_names(self) -> None:
        """Make the names of all files that are there safe against loss of power."""
        self._disk.sync_directory(self.path, self.folder)

    def set_aside(self, chunk: int, start: int, end: int | None) -> None:
        """Copy part of a chunk to a file of its own."""
        data = self.read(chunk, start, end)
        if not data:
            return
        name = f"{chunk_name(chunk)}.corrupt-{time.time_ns()}"
        self.folder.check()
        file = self._disk.open(os.path.join(self.path, name), create=True, folder=self.folder)
        with contextlib.closing(file):
            self._disk.write(file, data, 0)
            self._disk.sync(file)
        self.sync_names()  # the bytes that it was copied from may be cut next
        kept = "%s: %d bytes from byte %d of chunk %d were kept as %s"
        warn(kept, self.path, len(data), start, chunk, name)

    def length(self, chunk: int) -> int:
        """Return how many bytes a chunk has, 0 if it is not there."""
        with self._opened(chunk) as file:
            return 0 if file is None else self._disk.size(file)

    def read(self, chunk: int, start: int, end: int | None) -> bytes:
        """Return the bytes between two offsets, of a chunk that may not be there."""
        with self._opened(chunk) as file:
            if file is None:
                return b""
            stop = self._disk.size(file) if end is None else end
            return self._disk.read(file, max(stop - start, 0), start)

    def solid(self, chunk: int, start: int = 0) -> bool:
        """Return whether there are bytes other than zero behind ``start``."""
        length = self.length(chunk)
        pieces = (
            self.read(chunk, at, min(at + _PIECE, length)) for at in range(start, length, _PIECE)
        )
        return any(piece.count(0) != len(piece) for piece in pieces)

    @contextlib.contextmanager
    def _opened(self, chunk: int) -> Iterator[File | None]:
        try:
            file = self.open(chunk)
        except FileNotFoundError:
            yield None
            return
        with contextlib.closing(file):
            yield file


class ChunkReader:
    """The chunk that is being read, and the block of it that is in memory.

    Args:
        longest: encoded items longer than this are not loaded; None for no bound.
    """

    def __init__(
        self, disk: Disk, chunks: ChunkDirectory, framing: Framing, longest: int | None
    ) -> None:
        self._disk = disk
        self._chunks = chunks
        self._framing = framing
        self._longest = sys.maxsize - _FRAME if longest is None else longest
        self._chunk = -1
        self._block: Block | None = None
        self.file: File | None = None

    def decode(self, chunk: int, offset: int, limit: int | None) -> tuple[Any, int]:
        """Return the item at ``offset`` and the offset behind it.

        Args:
            limit: where readable bytes end; None for the end of the file.

        Raises:
            FileNotFoundError: there is no such chunk.
            Damaged: there is no whole record.
            SerializationError: the record is whole but cannot be decoded.
            ItemTooLarge: it is longer than ``longest``.
        """
        block = self._block
        if block is None or block.chunk != chunk or not block.base <= offset < block.end:
            block = self._fetch(chunk, offset, limit, _BLOCK)
        while True:
            try:
                item, end = self._framing.decode(block, offset - block.base)
            except Short as short:
                block = self._longer(block, offset, limit, short.need)
            else:
                return item, block.base + end

    def boundary(self, chunk: int, offset: int, limit: int | None) -> int:
        """Return the offset behind the record at ``offset``, running no code of it.

        Raises:
            FileNotFoundError, Damaged, ItemTooLarge: as ``decode``.
        """
        block = self._block
        if block is None or block.chunk != chunk or not block.base <= offset < block.end:
            block = self._fetch(chunk, offset, limit, _BLOCK)
        while True:
            try:
                return block.base + self._framing.boundary(block, offset - block.base)
            except Short as short:
                block = self._longer(block, offset, limit, short.need)

    def load(self, chunk: int) -> File:
        """Open a chunk unless it is open already.

        Raises:
            FileNotFoundError: there is no such chunk.
        """
        if chunk != self._chunk or self.file is None or self.file.fd < 0:
            file = self._chunks.open(chunk)
            self.close()
            self.file, self._chunk = file, chunk
        return self.file

    def window(self, chunk: int, end: int | None) -> io.RawIOBase | io.BytesIO:
        """Return a chunk as a stream that ends at an offset, None for the end of the file."""
        try:
            file = self.load(chunk)
        except FileNotFoundError:  # it comes with the next put; or it is lost, as the get will say
            return io.BytesIO()
        return Window(self._disk, file, 0, self._disk.size(file) if end is None else end)

    def forget(self) -> None:
        """Forget the block: it may hold bytes of a failed transaction."""
        self._block = None

    def close(self) -> None:
        """Close the chunk and forget the block."""
        self._block = None
        if self.file is not None:
            self.file.close()

    def _longer(self, block: Block, offset: int, limit: int | None, need: int) -> Block:
        """Return a block that holds ``need`` bytes from ``offset``, if it may be so long."""
        bound = self._longest + _FRAME
        if block.end - offset >= bound:
            raise too_long(self._longest)
        return self._fetch(block.chunk, offset, limit, max(min(need, bound), _BLOCK))

    def _fetch(self, chunk: int, offset: int, limit: int | None, size: int) -> Block:
        file, native = self.load(chunk), self._framing.native
        end = sys.maxsize if limit is None else limit
        if limit is None or not native:
            end = min(end, self._disk.size(file))
        data = b""
        if native:
            size = min(size, end - offset)
            data = self._disk.read(file, size, offset) if size > 0 else b""
            if not data:
                raise Damaged("the file ends here")
            if len(data) < size:
                end = offset + len(data)

        def stream(start: int, most: int | None) -> IO[bytes]:
            stop = end if most is None else min(end, start + most)
            return io.BufferedReader(Window(self._disk, file, start, stop))

        self._block = Block(chunk, offset, data, end, self._longest, stream)
        return self._block
