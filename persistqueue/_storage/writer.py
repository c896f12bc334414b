"""Writes records behind the head, into chunk files.

What a transaction wrote is known here until the next one begins, so that it can be
synced before it is committed, or cut off again when it is not.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..exceptions import QueueCorrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .chunkstate import Position, State
    from .files import Disk, File

_AHEAD = 16 * 1024  # bytes reserved in the head's chunk at a time


class ChunkWriter:
    """The chunk at the head.

    Args:
        path: the queue's directory.
        path_of: returns the file name of a chunk number.
        ahead: reserve zeros behind the head, which makes a sync cheaper (measured:
            a fifth of a power-safe put); not for files that a foreign ``load`` reads.
    """

    def __init__(
        self, disk: Disk, path: str, path_of: Callable[[int], str], *, ahead: bool
    ) -> None:
        self.file: File | None = None
        self._disk = disk
        self._path = path
        self._path_of = path_of
        self._ahead = ahead
        self._chunk = -1
        self._allocated = 0  # bytes of the chunk that are reserved
        self.written: list[File] = []  # by this transaction, oldest first
        self._named = False  # whether a chunk got its first record: its name must be synced

    def begin(self) -> None:
        """Forget the last transaction."""
        self.written, self._named = [], False

    def open(self, head: Position) -> None:
        """Open the head's chunk; like persist-queue, create it if it has no record yet."""
        self.file = self._disk.open(self._path_of(head.chunk), create=head.records == 0)
        self._chunk, self._allocated = head.chunk, 0

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
            if self._allocated > end and not head.records:
                self._disk.truncate(file, end)  # a full chunk keeps no zeros
            done += len(part)
        return head

    def _open_for(self, head: Position) -> File:
        """Return the chunk at ``head``, created when its first record is about to come."""
        if self.file is None or self.file.fd < 0 or self._chunk != head.chunk:
            self._next(head)
        assert self.file is not None
        if head.records == 0:
            self._named = True
        if not self.written or self.written[-1] is not self.file:
            self.written.append(self.file)
        return self.file

    def _next(self, head: Position) -> None:
        before = self.file
        try:
            self.open(head)
        except FileNotFoundError as error:
            raise QueueCorrupt(
                self._path, f"q{head.chunk:05d}", reason="the head's chunk is missing"
            ) from error
        if before is not None and before not in self.written:
            before.close()

    def _allocate(self, file: File, end: int) -> None:
        size = -(-end // _AHEAD) * _AHEAD
        self._ahead = self._disk.allocate(file, size)
        self._allocated = size if self._ahead else 0

    def sync(self) -> None:
        """Make what this transaction wrote safe against loss of power."""
        for file in self.written:
            self._disk.sync(file)
        if self._named:
            self._disk.sync_directory(self._path)

    def landed(self) -> None:
        """The transaction is stored: full chunks need not stay open."""
        if len(self.written) > 1:
            for file in self.written[:-1]:
                file.close()

    def undo(self, head: Position) -> None:
        """Cut off what a failed transaction wrote, so that there is room for the next one.

        Only chunks behind the head's are removed: another object may have that one open.
        """
        for file in self.written:
            with contextlib.suppress(OSError):
                if file is self.written[0]:
                    self._disk.truncate(file, head.offset)
                else:
                    self._disk.unlink(file.path)
            with contextlib.suppress(OSError):
                file.close()
        self.written, self._allocated, self._named = [], 0, False

    def cut(self, head: Position) -> None:
        """Give reserved zeros back; the caller holds the lock and knows the head."""
        if self._allocated and self._chunk == head.chunk and self.file is not None:
            self._disk.truncate(self.file, head.offset)
            self._allocated = 0

    def close(self) -> None:
        """Close the chunk."""
        if self.file is not None:
            self.file.close()
