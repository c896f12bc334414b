"""Reads records out of chunk files, in blocks.

A block is large enough that a backlog is not read item by item, and small enough
that a get does not load the rest of a chunk, however large its items are.
"""

from __future__ import annotations

import io
import sys
from typing import IO, TYPE_CHECKING, Any

from .._core.block import Block, Damaged, Short, too_long
from .._core.disk import Disk, File, Window

if TYPE_CHECKING:
    from .._core.framing import Framing
    from .directory import ChunkDirectory

_BLOCK = 64 * 1024  # bytes read at a time
_FRAME = 64  # bytes that any framing adds to an item, at the most


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
        self._size = 0
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
        """Return the offset behind the record at ``offset``, running no code of it."""
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
        if chunk != self._chunk or self.file is None or self.file.closed:
            file = self._chunks.open(chunk)
            self.close()
            self.file, self._chunk = file, chunk
            self._size = self._disk.size(file)
        return self.file

    def forget(self) -> None:
        """Forget the block: it may hold what a failed transaction wrote."""
        self._block, self._size = None, 0

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
        need = min(need, bound)
        return self._fetch(block.chunk, offset, limit, max(need, _BLOCK))

    def _fetch(self, chunk: int, offset: int, limit: int | None, size: int) -> Block:
        file = self.load(chunk)
        if limit is None or limit > self._size:
            self._size = self._disk.size(file)
        end = self._size if limit is None else min(limit, self._size)
        if offset >= end and self._framing.native:
            raise Damaged("the file ends here")
        size = min(size, end - offset) if self._framing.native else 0
        data = self._disk.read(file, size, offset) if size else b""

        def stream(start: int, most: int | None) -> IO[bytes]:
            stop = end if most is None else min(end, start + most)
            return io.BufferedReader(Window(self._disk, file, start, stop))

        self._block = Block(chunk, offset, data, end, self._longest, stream)
        return self._block
