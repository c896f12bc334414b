"""Writes records behind the head, and knows what is on stable storage.

What a transaction wrote is known here until it ends: it is flushed before its commit, or
cut off again when there is none.  However many chunks that are, two are open: the
first, which is cut, and the last, which is written to.

Names need a flush as well as bytes, also those that another object made: an object of durability
"process" may have made the directory, or the chunk in which one of durability "power" goes on.

A flush that failed may have dropped the bytes that it could not write, and a second one
would report success.  So they are written again before that.  Names need no such thing: a
file system that cannot write its journal stops, and does not go on without an entry.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from .._core.cursor import START, Position, State
from .._core.disk import SyncError
from ..exceptions import QueueCorrupt, QueueFailed
from .chunks import chunk_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.disk import Disk, File
    from .chunks import ChunkDirectory
    from .info import InfoFile

_AHEAD = 16 * 1024  # bytes reserved in the head's chunk at a time
_PIECE = 1 << 20  # bytes that are written again at a time


class ChunkWriter:
    """The chunk at the head; the caller holds the directory's lock.

    Args:
        power: commits are made safe against loss of power.
        ahead: reserve zeros behind the head, which makes a flush cheaper (measured:
            a fifth of a power-safe put); not for files that a foreign ``load`` reads.

    Attributes:
        file: the chunk that is open.
        first: the first chunk to which this transaction wrote, if it did.
    """

    def __init__(
        self, disk: Disk, chunks: ChunkDirectory, info: InfoFile, *, power: bool, ahead: bool
    ) -> None:
        self.file: File | None = None
        self.first: File | None = None
        self._disk = disk
        self._chunks = chunks
        self._info = info
        self._power = power
        self._ahead = ahead
        self._chunk = -1  # the number of the one that is open
        self._allocated = 0  # bytes of it that are reserved
        self._behind: list[int] = []  # chunks that this transaction made
        # On stable storage are the names of a chunk and of an info; the chunks in front of one;
        # and in that one, the bytes in front of a place.
        self._safe_names: object = None
        self._safe_until = 0
        self._safe = START
        self._doubtful: int | None = None  # the lowest chunk that a failed flush was about
        self._above: list[str] = []  # directories that hold new names

    # -- opening --------------------------------------------------------------------

    def made(self, above: list[str]) -> None:
        """Note that directories were made: ``above`` hold their names."""
        self._above += above

    def sync_above(self) -> None:
        """Make the names of directories safe that were made."""
        while self._above:
            self._sync_directory(self._above[-1])
            self._above.pop()

    def sync_itself(self) -> None:
        """Make the directory's own name safe, once in a queue's life."""
        self._sync_directory(os.path.dirname(self._chunks.path))

    def _sync_directory(self, path: str) -> None:
        # At either durability: an object of "power" may come later.  It can be impossible.
        with contextlib.suppress(PermissionError if self._power else OSError):
            self._disk.sync_directory(path)

    def open(self, raw: bytes | None, state: State) -> None:
        """Begin at a state's head, with nothing known to be safe.

        Bytes that a failed flush may have lost are written again, and flushed, first.

        Args:
            raw: the bytes of ``info``; None: there is none.
        """
        self.close()
        if self._doubtful is not None:
            self.write_again(state, flush=True)
            self._chunks.sync_names()
            if raw is not None:
                self._info.write(raw, sync=True)
            self._doubtful = None
        self._safe_until, self._safe = state.tail.chunk, Position(state.head.chunk, 0, 0)
        self._safe_names = None
        self._open(state.head)

    def _open(self, head: Position) -> None:
        """Open the head's chunk; like persist-queue, create it if it has no record yet."""
        self.file = self._chunks.open(head.chunk, create=head.records == 0)
        self._chunk, self._allocated = head.chunk, 0

    # -- a transaction: append, then sync and landed, or undo -----------------------

    def append(self, records: Sequence[bytes], state: State, head: Position) -> Position:
        """Write records from ``head`` on, and return the place behind them."""
        done = 0
        while done < len(records):
            part = records[done : done + state.chunksize - head.records]
            data = part[0] if len(part) == 1 else b"".join(part)
            file, end = self.file, head.offset + len(data)
            if file is None or file.fd < 0 or self._chunk != head.chunk:
                file = self._next(head)
            if self.first is None:
                self.first = file
            if end > self._allocated and self._ahead:
                self._allocate(file, end)
            self._disk.write(file, data, head.offset)
            head = state.after(head, end, len(part))
            if not head.records and self._disk.size(file) > end:
                # A full chunk keeps no zeros, and no bytes of a process that died in a put:
                # a foreign ``load`` may read to the end of the file.
                self._disk.truncate(file, end)
            done += len(part)
        return head

    def _next(self, head: Position) -> File:
        """Open the chunk at ``head``, or create it when its first record is about to come."""
        before = self.file
        if self.first is not None:
            self._behind.append(head.chunk)
        try:
            self._open(head)
        except FileNotFoundError as error:
            self._chunks.folder.check()
            reason = "the head's chunk is missing"
            raise QueueCorrupt(self._chunks.path, chunk_name(head.chunk), reason=reason) from error
        if before is not None and before is not self.first:
            with contextlib.closing(before):
                if self._power and self.first is not None:
                    self._disk.sync(before)
        assert self.file is not None
        return self.file

    def _allocate(self, file: File, end: int) -> None:
        size = -(-end // _AHEAD) * _AHEAD
        self._ahead = self._disk.allocate(file, size)
        self._allocated = size if self._ahead else 0

    def sync(self) -> None:
        """Make what this transaction wrote safe, and the names of its files."""
        if self.first is not None and self.file is not None:
            self._disk.sync(self.first)
            if self.file is not self.first:
                self._disk.sync(self.file)
        names = self._chunk, self._info.name
        if names != self._safe_names:
            self._chunks.sync_names()
            self._safe_names = names

    def landed(self, head: Position, *, flushed: bool) -> None:
        """Forget the transaction, which is stored; a full chunk need not stay open."""
        if flushed:
            self._safe = head
        if self.first is not None and self.first is not self.file:
            self.first.close()
        self.first, self._behind = None, []  # a later failure must not undo it

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
        self._safe_names = None  # when the chunks come again, their names are new
        self.close()

    # -- flushes that are not a commit's --------------------------------------------

    def sync_all(self, state: State) -> None:
        """Make everything that is stored safe, ``info`` too."""
        first = max(self._safe_until, state.tail.chunk)
        try:
            for chunk in self._chunks.between(first, state.head.chunk + 1):
                with contextlib.suppress(FileNotFoundError), self._opened(chunk) as file:
                    self._disk.sync(file)
            self._chunks.sync_names()
            self._info.sync()
        except SyncError:
            self.doubt(first)
            raise
        self._safe_until, self._safe = state.head.chunk, state.head

    def doubt(self, chunk: int) -> None:
        """Note that a flush failed: bytes of ``chunk`` and those behind it may be lost."""
        self._doubtful = chunk if self._doubtful is None else min(chunk, self._doubtful)

    def write_again(self, state: State, *, flush: bool) -> None:
        """Write again what a failed flush may have lost.

        Without a flush it is as if no flush had been tried: that of another object then finds
        what it has to write.

        Args:
            flush: cut what is behind the head, too, and flush.
        """
        if self._doubtful is None:
            return
        head = state.head
        for chunk in self._chunks.between(max(self._doubtful, state.tail.chunk), head.chunk + 1):
            with contextlib.suppress(FileNotFoundError), self._opened(chunk) as file:
                end = head.offset if chunk == head.chunk else self._disk.size(file)
                start = self._safe.offset if chunk == self._safe.chunk else 0
                for at in range(start, end, _PIECE):
                    piece = self._disk.read(file, min(_PIECE, end - at), at)
                    self._disk.write(file, piece, at)
                if flush:
                    self._disk.truncate(file, end)
                    self._disk.sync(file)

    def _opened(self, chunk: int) -> contextlib.closing[File]:
        return contextlib.closing(self._chunks.open(chunk))

    # -- closing --------------------------------------------------------------------

    def cut(self, head: Position) -> None:
        """Give reserved zeros back; the caller knows the head."""
        if self._allocated and self._chunk == head.chunk and self.file is not None:
            self._disk.truncate(self.file, head.offset)
            self._allocated = 0

    def close(self) -> None:
        """Close the files that are open."""
        for file in (self.first, self.file):
            if file is not None:
                file.close()
        self.first, self._behind = None, []
