"""What opening a file queue repairs, and what skipping damage sets aside.

Nothing here deletes bytes that may be somebody's item: what has to go is first
written to ``<name>.corrupt-<time in ns>`` beside it.  Whatever is repaired is said
in a WARNING.  The caller holds the directory's lock.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from .._log import warn
from ..exceptions import FormatError, QueueCorrupt
from .chunkstate import Position, State
from .framing import Damaged
from .reader import ChunkReader

if TYPE_CHECKING:
    from .files import Disk, File
    from .framing import Framing

_CHUNK = re.compile(r"q([0-9]{5,})")
_PIECE = 1 << 20  # bytes copied at a time


class Recovery:
    """Scans and mends one directory of chunk files."""

    def __init__(self, disk: Disk, path: str, framing: Framing) -> None:
        self._disk = disk
        self._path = path
        self._framing = framing

    def chunk_path(self, chunk: int) -> str:
        """Return the file name of a chunk (format 1)."""
        return os.path.join(self._path, f"q{chunk:05d}")

    def chunks(self) -> list[int]:
        """Return the numbers of the chunks that are there, lowest first."""
        found = map(_CHUNK.fullmatch, self._disk.names(self._path))
        return sorted(int(match[1]) for match in found if match)

    def is_there(self, chunk: int) -> bool:
        """Return whether a chunk's file exists."""
        return self._disk.identity(self.chunk_path(chunk)) is not None

    # -- info ---------------------------------------------------------------------

    def without_info(self, chunksize: int) -> State:
        """Return the state of a directory in which there is no ``info``."""
        chunks = self.chunks()
        if not any(self._length(chunk) for chunk in chunks):
            return State(chunksize)
        if chunks == [0] and not self.scan(0, 0, 1)[0]:  # a first put that never finished
            self._refuse_other(0)
            return State(chunksize)
        if self._framing.native:
            return self.rebuild(chunksize, "there is no info")
        if chunks == [0]:
            return State(chunksize)
        raise QueueCorrupt(
            self._path, "info", reason="it is missing",
            advice=f"it cannot be rebuilt for the serializer {self._framing.name}",
        )

    def bad_info(self, chunksize: int, reason: str) -> State:
        """Set a damaged ``info`` aside and return the state that the chunks tell."""
        if not self._framing.native:
            raise QueueCorrupt(
                self._path, "info", reason=reason,
                advice=f"it cannot be rebuilt for the serializer {self._framing.name}",
            )
        state = self.rebuild(chunksize, f"info is damaged ({reason})")
        aside = f"info.corrupt-{time.time_ns()}"
        self._disk.replace(os.path.join(self._path, "info"), os.path.join(self._path, aside))
        warn("%s: the damaged info was kept as %s", self._path, aside)
        return state

    def rebuild(self, chunksize: int, why: str) -> State:
        """Work out head, tail and chunk size by scanning the chunks.

        Items of the lowest chunk that were finished already are delivered again.
        """
        chunks = self.chunks()
        if not chunks:
            return State(chunksize)
        scans = {chunk: self.scan(chunk, 0, None) for chunk in chunks}
        self._refuse_unreadable(scans)
        size = self._infer_chunksize(scans) or max(chunksize, *(n + 1 for n, _ in scans.values()))
        count, offset = self.scan(chunks[-1], 0, size)
        head = State(size).after(Position(chunks[-1], 0, 0), offset, count)
        state = State(size, Position(chunks[0], 0, 0), head)
        warn(
            "%s: %s; rebuilt from the chunks: %d items, finished ones may come again",
            self._path, why, state.size,
        )
        return state

    def _infer_chunksize(self, scans: dict[int, tuple[int, int]]) -> int:
        """Return the records of the first whole chunk that is followed by another, or 0."""
        for chunk in list(scans)[:-1]:
            count, end = scans[chunk]
            if count and not self._solid(chunk, end):
                return count
        return 0

    def _refuse_unreadable(self, scans: dict[int, tuple[int, int]]) -> None:
        """Refuse to call everything garbage: that is the wrong serializer's view."""
        if any(count for count, _ in scans.values()):
            return
        with_bytes = [chunk for chunk in scans if self._length(chunk)]
        if with_bytes:
            self._refuse_other(with_bytes[0])
            name = os.path.basename(self.chunk_path(with_bytes[0]))
            if any(self._solid(chunk) for chunk in with_bytes):
                raise QueueCorrupt(
                    self._path, name, 0, 0, "info is unusable and no record can be read",
                    "nothing was touched; is it the right serializer?",
                )

    def _refuse_other(self, chunk: int) -> None:
        """Refuse a chunk that begins with a pickle where this queue writes none."""
        native = self._framing.native and self._framing.name != "pickle"
        if native and self._bytes(chunk, 0, 2) == b"\x80\x04":
            raise FormatError(
                f"{self.chunk_path(chunk)} was written with the pickle serializer, "
                f"this queue was opened with {self._framing.name}; nothing was touched"
            )

    # -- chunks -------------------------------------------------------------------

    def scan(self, chunk: int, offset: int, most: int | None) -> tuple[int, int]:
        """Count whole records from ``offset``, at most ``most``.

        Returns:
            how many, and the offset behind the last of them.
        """
        reader = ChunkReader(self._disk, self.chunk_path, self._framing, None)
        count = 0
        try:
            while count != most:
                offset = reader.boundary(chunk, offset, None)
                count += 1
        except (Damaged, FileNotFoundError):
            pass
        finally:
            reader.close()
        return count, offset

    def missing_front(self, state: State) -> State:
        """Start at the first chunk present when those in front of it are gone."""
        chunks = [chunk for chunk in self.chunks() if chunk >= state.tail.chunk]
        first = min([*chunks, state.head.chunk])
        if first == state.tail.chunk or state.tail == state.head:
            return state
        moved = state._replace(tail=min(Position(first, 0, 0), state.head))
        warn(
            "%s: chunk %d is missing; starting at chunk %d, %d items are gone",
            self._path, state.tail.chunk, first, state.size - moved.size,
        )
        return moved

    def short_head(self, state: State) -> State:
        """Move the head back when its chunk is shorter than ``info`` says."""
        head, length = state.head, self._length(state.head.chunk)
        if length >= head.offset:
            return state
        start = state.tail if state.tail.chunk == head.chunk else Position(head.chunk, 0, 0)
        if length < start.offset:  # even what was consumed is gone: go on in a fresh chunk
            fresh = Position(head.chunk + 1, 0, 0)
            moved = state._replace(tail=fresh, head=fresh)
            gone = state.size
        else:
            count, offset = self.scan(head.chunk, start.offset, head.records - start.records)
            moved = state._replace(head=Position(head.chunk, start.records + count, offset))
            gone = state.size - moved.size
        warn(
            "%s: chunk %d is shorter than info says; %d of its items are gone",
            self._path, head.chunk, gone,
        )
        return moved

    def cut_head(self, head: Position) -> None:
        """Cut what stands behind the head: a put that never finished."""
        length = self._length(head.chunk)
        if length <= head.offset:
            return
        file = self._disk.open(self.chunk_path(head.chunk))
        try:
            if self._solid(head.chunk, head.offset):
                self.set_aside(head.chunk, head.offset, length)
            self._disk.truncate(file, head.offset)
        finally:
            file.close()

    def remove_strays(self, state: State) -> None:
        """Remove the chunks that a crash left behind.

        Those in front of the tail are consumed.  Those behind the head belong to a
        put that never finished; persist-queue would append to them.
        """
        for chunk in self.chunks():
            if chunk > state.head.chunk and self._solid(chunk):
                self.set_aside(chunk, 0, None)
            if not state.tail.chunk <= chunk <= state.head.chunk:
                self._disk.unlink(self.chunk_path(chunk))

    # -- damage in the middle -----------------------------------------------------

    def resume(self, start: Position, head: Position, chunksize: int) -> Position:
        """Return the first place behind a damaged record at which reading can go on.

        Whole records must follow such a place.  When they reach the end of the chunk,
        their number tells how many the damage took; before another damage it is taken
        for one, and the count is put right behind the last damage of the chunk.
        """
        in_head = start.chunk == head.chunk
        total = head.records if in_head else chunksize
        limit = min(head.offset, self._length(start.chunk)) if in_head else None
        data = self._bytes(start.chunk, start.offset, limit)
        most = total - start.records - 1
        at = self._framing.candidate(data, 1) if most else -1
        while at > 0:
            offset = start.offset + at
            left, stop = self.scan(start.chunk, offset, most)
            if left:
                to_the_end = stop >= start.offset + len(data)
                before = total - left if to_the_end else start.records + 1
                return Position(start.chunk, before, offset)
            at = self._framing.candidate(data, at + 1)
        return head if in_head else Position(start.chunk + 1, 0, 0)

    def set_aside(self, chunk: int, start: int, end: int | None) -> str | None:
        """Copy part of a chunk to a file of its own and return that file's name."""
        data = self._bytes(chunk, start, end)
        if not data:
            return None
        name = f"{os.path.basename(self.chunk_path(chunk))}.corrupt-{time.time_ns()}"
        file = self._disk.open(os.path.join(self._path, name), create=True)
        try:
            self._disk.write(file, data, 0)
            self._disk.sync(file)
        finally:
            file.close()
        warn(
            "%s: %d bytes from byte %d of chunk %d were kept as %s",
            self._path, len(data), start, chunk, name,
        )
        return name

    # -- bytes --------------------------------------------------------------------

    def _open(self, chunk: int) -> File | None:
        try:
            return self._disk.open(self.chunk_path(chunk))
        except FileNotFoundError:
            return None

    def _length(self, chunk: int) -> int:
        file = self._open(chunk)
        if file is None:
            return 0
        try:
            return self._disk.size(file)
        finally:
            file.close()

    def _bytes(self, chunk: int, start: int, end: int | None) -> bytes:
        file = self._open(chunk)
        if file is None:
            return b""
        try:
            stop = self._disk.size(file) if end is None else end
            return self._disk.read(file, max(stop - start, 0), start)
        finally:
            file.close()

    def _solid(self, chunk: int, start: int = 0) -> bool:
        """Return whether anything but zeros stands behind ``start``."""
        length = self._length(chunk)
        pieces = (
            self._bytes(chunk, at, min(at + _PIECE, length)) for at in range(start, length, _PIECE)
        )
        return any(piece.count(0) != len(piece) for piece in pieces)
