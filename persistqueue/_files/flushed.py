"""Which parts of a file queue are on stable storage, and how the rest gets there.

Names need a flush as well as bytes, whichever object made them: an object of durability "process"
may have made the directory, or the chunk that one of durability "power" goes on in.

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

if TYPE_CHECKING:
    from .._core.disk import Disk, File
    from .directory import ChunkDirectory
    from .info import InfoFile

_PIECE = 1 << 20  # bytes that are written again at a time


class Flushed:
    """Knows what is safe against loss of power; the caller holds the directory's lock.

    Args:
        power: whether commits are made safe.
    """

    def __init__(self, disk: Disk, chunks: ChunkDirectory, info: InfoFile, power: bool) -> None:
        self._disk = disk
        self._power = power
        self._chunks = chunks
        self._info = info
        self._above: list[str] = []  # directories that hold new names
        self._names: object = None  # the chunk, and the info, whose names are safe
        self._chunk = 0  # the lowest chunk that may not be safe
        self._head = START  # in its chunk, what stands before it is safe
        self._doubtful: int | None = None  # the lowest chunk that a failed flush was about

    def opened(self, state: State) -> None:
        """Begin with nothing known to be safe."""
        self._chunk, self._head = state.tail.chunk, Position(state.head.chunk, 0, 0)
        self._names = None

    def doubt(self, chunk: int) -> None:
        """A flush failed that was about ``chunk`` and those behind it."""
        self._doubtful = chunk if self._doubtful is None else min(chunk, self._doubtful)

    def made(self, above: list[str]) -> None:
        """Directories were made: ``above`` hold their names."""
        self._above += above

    def sync_above(self) -> None:
        """Make the names of directories safe that were made."""
        while self._above:
            self._sync_directory(self._above[-1])
            self._above.pop()

    def sync_itself(self) -> None:
        """Make the directory's own name safe, once in a queue's life, whichever object made it."""
        self._sync_directory(os.path.dirname(self._chunks.path))

    def _sync_directory(self, path: str) -> None:
        # At either durability: an object of "power" may come later.  It can be impossible.
        with contextlib.suppress(PermissionError if self._power else OSError):
            self._disk.sync_directory(path)

    def sync_names(self, chunk: int) -> None:
        """Make the names of a chunk, of those in front of it, and of ``info`` safe."""
        names = chunk, self._info.name
        if names != self._names:
            self._chunks.sync_names()
            self._names = names

    def landed(self, head: Position) -> None:
        """The head's chunk is safe up to the head."""
        self._head = head

    def undone(self) -> None:
        """Chunks were removed: their names, when they come again, are new."""
        self._names = None

    def sync(self, state: State) -> None:
        """Make everything that is stored safe."""
        first = max(self._chunk, state.tail.chunk)
        try:
            self._chunks.sync(first, state.head.chunk + 1)
            self._info.sync()
        except SyncError:
            self.doubt(first)
            raise
        self._chunk, self._head = state.head.chunk, state.head

    def mend(self, raw: bytes | None, state: State) -> None:
        """Write again what a failed flush may have lost, cut what is behind the head, flush.

        Args:
            raw: what ``info`` holds; None: there is none.
        """
        if self._doubtful is None:
            return
        self.write_again(state, flush=True)
        self._chunks.sync_names()
        if raw is not None:
            self._info.write(raw, sync=True)
        self._doubtful = None

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
                self._write_piecewise(
                    file, self._head.offset if chunk == self._head.chunk else 0, end
                )
                if flush:
                    self._disk.truncate(file, end)
                    self._disk.sync(file)

    def _opened(self, chunk: int) -> contextlib.closing[File]:
        return contextlib.closing(self._chunks.open(chunk))

    def _write_piecewise(self, file: File, start: int, end: int) -> None:
        for at in range(start, end, _PIECE):
            self._disk.write(file, self._disk.read(file, min(_PIECE, end - at), at), at)
