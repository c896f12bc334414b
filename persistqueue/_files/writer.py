"""Writes records behind the head, into chunk files.

What a transaction wrote is known here until the next one begins, so that it can be
synced before it is committed, or cut off again when it is not.  However many chunks that
are, two are open: the first, which is cut, and the last, which is written to.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..exceptions import QueueCorrupt, QueueFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.cursor import Position, State
    from .._core.disk import Disk, File
    from .directory import ChunkDirectory

_AHEAD = 16 * 1024  # bytes reserved in the head's chunk at a time


class ChunkWriter:
    """The chunk at the head.

    Args:
        ahead: reserve zeros behind the head, which makes a sync cheaper (measured:
            a fifth of a power-safe put); not for files that a foreign ``load`` reads.
        durable: a chunk that is left is synced; ``sync`` does it for the others.

    Attributes:
        chunk: the number of the chunk that is open.
    """

    def __init__(self, disk: Disk, chunks: ChunkDirectory, *, ahead: bool, durable: bool) -> None:
        self.file: File | None = None
        self.chunk = -1
        self._disk = disk
        self._chunks = chunks
        self._ahead = ahead
        self._durable = durable
        self._allocated = 0  # bytes of the chunk that are reserved
        # This transaction: the first chunk that was written to, and those behind it.
        self.first: File | None = None
        self._behind: list[int] = []

    def begin(self) -> None:
        """Forget the last transaction."""
        self.first, self._behind = None, []

    def open(self, head: Position) -> None:
        """Open the head's chunk; like persist-queue, create it if it has no record yet."""
        self.file = self._chunks.open(head.chunk, create=head.records == 0)
        self.chunk, self._allocated = head.chunk, 0

    def append(self, records: Sequence[bytes], state: State, head: Position) -> Position:
        """Write records from ``head`` on, and return the place behind them."""
        done = 0
        while done < len(records):
            part = records[done : done + state.chunksize - head.records]
            data = part[0] if len(part) == 1 else b"".join(part)
            file, end = self._open_for(head), head.offset + len(data)
            if end > self._allocated and self._ahead:
                self._allocate(file, end)
            self._disk.write(file, data, head.offset)
            head = state.after(head, end, len(part))
            if not head.records and self._disk.size(file) > end:
                # A full chunk keeps no zeros, and nothing of a process that died in a put:
                # a foreign ``load`` may read to the end of the file.
                self._disk.truncate(file, end)
            done += len(part)
        return head

    def _open_for(self, head: Position) -> File:
        """Return the chunk at ``head``, created when its first record is about to come."""
        if self.file is None or self.file.fd < 0 or self.chunk != head.chunk:
            self._next(head)
        assert self.file is not None
        if self.first is None:
            self.first = self.file
        return self.file

    def _next(self, head: Position) -> None:
        before = self.file
        if self.first is not None:
            self._behind.append(head.chunk)
        try:
            self.open(head)
        except FileNotFoundError as error:
            self._chunks.look()
            raise QueueCorrupt(
                self._chunks.path, f"q{head.chunk:05d}", reason="the head's chunk is missing"
            ) from error
        if before is not None and before is not self.first:
            with contextlib.closing(before):
                if self._durable and self.first is not None:
                    self._disk.sync(before)

    def _allocate(self, file: File, end: int) -> None:
        size = -(-end // _AHEAD) * _AHEAD
        self._ahead = self._disk.allocate(file, size)
        self._allocated = size if self._ahead else 0

    def sync(self) -> None:
        """Make what this transaction wrote safe against loss of power, but for names."""
        if self.first is not None and self.file is not None:
            self._disk.sync(self.first)
            if self.file is not self.first:
                self._disk.sync(self.file)

    def landed(self) -> None:
        """The transaction is stored: a full chunk need not stay open."""
        if self.first is not None and self.first is not self.file:
            self.first.close()

    def undo(self, head: Position) -> None:
        """Cut off what a failed transaction wrote, so that there is room for the next one.

        Only chunks behind the head's are removed: another object may have that one open.
        """
        with contextlib.suppress(OSError):
            if self.first is not None:
                self._disk.truncate(self.first, head.offset)
        for chunk in self._behind:
            with contextlib.suppress(OSError, QueueFailed):
                self._chunks.unlink(chunk)
        self.close()

    def cut(self, head: Position) -> None:
        """Give reserved zeros back; the caller holds the lock and knows the head."""
        if self._allocated and self.chunk == head.chunk and self.file is not None:
            self._disk.truncate(self.file, head.offset)
            self._allocated = 0

    def close(self) -> None:
        """Close what is open."""
        for file in (self.first, self.file):
            if file is not None:
                file.close()
        self.begin()
