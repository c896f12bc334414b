"""Repairs a file queue when it is opened, and sets damaged records aside.

Nothing here deletes bytes that may be an item: bytes that have to go are first
written to ``<name>.corrupt-<time in ns>`` beside it.  Each repair is said
in a WARNING.  The caller holds the directory's lock.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from .._core.block import Damaged
from .._core.cursor import Position, State
from .._core.deadline import monotonic
from .._core.log import warn
from ..exceptions import FormatError, ItemTooLarge, QueueCorrupt
from .info import BadInfo
from .reader import ChunkReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core.disk import Disk
    from .._core.framing import Framing
    from .directory import ChunkDirectory
    from .info import InfoFile

_PIECE = 1 << 20  # bytes that are searched at a time
_OVERLAP = 16  # bytes; what tells a record's beginning is shorter


class Recovery:
    """Scans and mends one directory of chunk files.

    Args:
        longest: longer records than this are taken for damage; None for no bound.
    """

    def __init__(
        self, disk: Disk, chunks: ChunkDirectory, framing: Framing, longest: int | None = None
    ) -> None:
        self._longest = longest
        self._disk = disk
        self._chunks = chunks
        self._path = chunks.path
        self._framing = framing

    def mend(self, info: InfoFile, chunksize: int, *, sync: bool) -> tuple[bytes | None, State]:
        """Make the directory fit for use, and write ``info`` if anything changed.

        Args:
            chunksize: for a queue that does not say.
            sync: ``info`` shall be safe against power loss.

        Returns:
            the bytes of ``info`` (None: there is none) and the state that it holds.
        """
        raw, stored, bad = info.read(monotonic()), None, None
        if raw is not None:
            try:
                stored = info.decode(raw)
            except BadInfo as error:
                raw, bad = None, str(error)
                info.close()  # it is put aside, and another one takes its name
        state = self._mended(stored, bad, chunksize)
        if state != stored and (state.size or stored is not None):
            raw = info.encode(state)
            info.write(raw, sync=sync)
        return raw, state

    def _mended(self, stored: State | None, bad: str | None, chunksize: int) -> State:
        """Return the state that the directory is in once it is fit for use.

        Args:
            stored: what ``info`` holds, None if there is none or it is ``bad``.
            bad: why ``info`` cannot be used.
        """
        if stored is None:
            stored = (
                self._without_info(chunksize) if bad is None else self._bad_info(chunksize, bad)
            )
        state = self._short_head(self._missing_front(stored))
        self._cut_head(state.head)
        self._remove_strays(state)
        return state

    # -- info ---------------------------------------------------------------------

    def _without_info(self, chunksize: int) -> State:
        """Return the state of a directory in which there is no ``info``."""
        chunks = self._chunks.chunks()
        if not any(self._chunks.length(chunk) for chunk in chunks):
            return State(chunksize)
        if chunks == [0] and not self.scan(0, 0, 1)[0]:  # a first put that never finished
            self._refuse_other(0)
            return State(chunksize)
        if self._framing.native:
            return self._rebuild(chunksize, "there is no info")
        if chunks == [0]:
            return State(chunksize)
        raise QueueCorrupt(
            self._path,
            "info",
            reason="it is missing",
            advice=f"it cannot be rebuilt for the serializer {self._framing.name}",
        )

    def _bad_info(self, chunksize: int, reason: str) -> State:
        """Set a damaged ``info`` aside and return the state that the chunks tell."""
        if not self._framing.native:
            raise QueueCorrupt(
                self._path,
                "info",
                reason=reason,
                advice=f"it cannot be rebuilt for the serializer {self._framing.name}",
            )
        state = self._rebuild(chunksize, f"info is damaged ({reason})")
        aside = f"info.corrupt-{time.time_ns()}"
        self._chunks.rename("info", aside)
        warn("%s: the damaged info was kept as %s", self._path, aside)
        return state

    def _rebuild(self, chunksize: int, why: str) -> State:
        """Work out head, tail and chunk size by scanning the chunks.

        Items of the lowest chunk that were finished already are delivered again.
        """
        chunks = self._chunks.chunks()
        while len(chunks) > 1 and not self._chunks.solid(chunks[-1]):
            chunks.pop()  # created for records that never came
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
            self._path,
            why,
            state.size,
        )
        return state

    def _infer_chunksize(self, scans: dict[int, tuple[int, int]]) -> int:
        """Return how many records most whole chunks hold, the last chunk apart; or 0.

        Not the first one's: it may have been cut short between two records.
        """
        whole = [
            count
            for chunk, (count, end) in list(scans.items())[:-1]
            if count and not self._chunks.solid(chunk, end)
        ]
        return max(whole, key=lambda count: (whole.count(count), count), default=0)

    def _refuse_unreadable(self, scans: dict[int, tuple[int, int]]) -> None:
        """Refuse to call everything garbage: that is the wrong serializer's view."""
        if any(count for count, _ in scans.values()):
            return
        with_bytes = [chunk for chunk in scans if self._chunks.length(chunk)]
        if with_bytes:
            self._refuse_other(with_bytes[0])
            name = os.path.basename(self._chunks.chunk_path(with_bytes[0]))
            if any(self._chunks.solid(chunk) for chunk in with_bytes):
                raise QueueCorrupt(
                    self._path,
                    name,
                    0,
                    0,
                    "info is unusable and no record can be read",
                    "nothing was touched; is it the right serializer?",
                )

    def _refuse_other(self, chunk: int) -> None:
        """Refuse a chunk that begins with a pickle where this queue writes none."""
        native = self._framing.native and self._framing.name != "pickle"
        if native and self._chunks.read(chunk, 0, 2) == b"\x80\x04":
            raise FormatError(
                f"{self._chunks.chunk_path(chunk)} was written with the pickle serializer, "
                f"this queue was opened with {self._framing.name}; nothing was touched"
            )

    # -- chunks -------------------------------------------------------------------

    def scan(self, chunk: int, offset: int, most: int | None) -> tuple[int, int]:
        """Count whole records from ``offset``, at most ``most``.

        Returns:
            how many, and the offset behind the last of them.
        """
        reader = ChunkReader(self._disk, self._chunks, self._framing, self._longest)
        count = 0
        try:
            while count != most:
                offset = reader.boundary(chunk, offset, None)
                count += 1
        except (Damaged, FileNotFoundError, ItemTooLarge):
            pass
        finally:
            reader.close()
        return count, offset

    def _missing_front(self, state: State) -> State:
        """Start at the first chunk present when those in front of it are gone."""
        chunks = [chunk for chunk in self._chunks.chunks() if chunk >= state.tail.chunk]
        first = min([*chunks, state.head.chunk])
        if first == state.tail.chunk or state.tail == state.head:
            return state
        moved = state._replace(tail=min(Position(first, 0, 0), state.head))
        warn(
            "%s: chunk %d is missing; starting at chunk %d, %d items are gone",
            self._path,
            state.tail.chunk,
            first,
            state.size - moved.size,
        )
        return moved

    def _short_head(self, state: State) -> State:
        """Move the head back when its chunk is shorter than ``info`` says."""
        head, length = state.head, self._chunks.length(state.head.chunk)
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
            self._path,
            head.chunk,
            gone,
        )
        return moved

    def _cut_head(self, head: Position) -> None:
        """Cut what stands behind the head: a put that never finished."""
        length = self._chunks.length(head.chunk)
        if length <= head.offset:
            return
        file = self._chunks.open(head.chunk)
        try:
            if self._chunks.solid(head.chunk, head.offset):
                self._chunks.set_aside(head.chunk, head.offset, length)
            self._disk.truncate(file, head.offset)
        finally:
            file.close()

    def _remove_strays(self, state: State) -> None:
        """Remove the chunks that a crash left behind.

        Those in front of the tail are consumed.  Those behind the head belong to a
        put that never finished; persist-queue would append to them.
        """
        for chunk in self._chunks.chunks():
            if chunk > state.head.chunk and self._chunks.solid(chunk):
                self._chunks.set_aside(chunk, 0, None)
            if not state.tail.chunk <= chunk <= state.head.chunk:
                self._chunks.unlink(chunk)

    # -- damage in the middle -----------------------------------------------------

    def damage(self, start: Position, reason: str) -> QueueCorrupt:
        """Return the error that says where a damaged record is."""
        return QueueCorrupt(
            self._path,
            self._name(start),
            start.offset,
            start.records,
            reason,
            'open it with on_corrupt="skip" to set the record aside and go on',
        )

    def place(self, start: Position) -> str:
        """Return where a record is, in words."""
        return f"{self._path}: {self._name(start)}, byte {start.offset}, record {start.records}"

    def end_of(self, start: Position, state: State) -> Position | None:
        """Return the place behind a whole record; None where only its ``load`` can tell it."""
        if not self._framing.native:
            return None
        count, offset = self.scan(start.chunk, start.offset, 1)
        return state.after(start, offset) if count else None

    def skip(
        self,
        start: Position,
        head: Position,
        chunksize: int,
        reason: str,
        end: Position | None = None,
    ) -> Position:
        """Set a record aside, and return the place where reading goes on.

        Args:
            end: where it ends; None: it is damaged, and that has to be found.
        """
        if end is None:
            end = self.resume(start, head, chunksize)
        self._chunks.set_aside(
            start.chunk, start.offset, end.offset if end.chunk == start.chunk else None
        )
        warn("%s: %s, record %d: %s; skipped", self._path, self._name(start), start.records, reason)
        return end

    def _name(self, place: Position) -> str:
        return os.path.basename(self._chunks.chunk_path(place.chunk))

    def resume(self, start: Position, head: Position, chunksize: int) -> Position:
        """Return the first place behind a damaged record at which reading can go on.

        Whole records must follow such a place.  When they reach the end of the chunk,
        their number tells how many the damage took; before another damage it is taken
        for one, and the count is put right behind the last damage of the chunk.
        """
        # Missing, not one that cannot be looked at just now.
        if start.chunk != head.chunk and self._chunks.is_missing(start.chunk):
            there = [chunk for chunk in self._chunks.chunks() if start.chunk < chunk < head.chunk]
            return Position(min([*there, head.chunk]), 0, 0)
        in_head = start.chunk == head.chunk
        total = head.records if in_head else chunksize
        length = self._chunks.length(start.chunk)
        limit = min(head.offset, length) if in_head else length
        most = total - start.records - 1
        for offset in self._candidates(start, limit) if most else ():
            left, stop = self.scan(start.chunk, offset, most)
            if left:
                before = total - left if stop >= limit else start.records + 1
                return Position(start.chunk, before, offset)
        return head if in_head else Position(start.chunk + 1, 0, 0)

    def _candidates(self, start: Position, limit: int) -> Iterator[int]:
        """Yield the offsets behind ``start`` at which a record may begin, piece by piece."""
        behind = start.offset
        for base in range(start.offset, limit, _PIECE):
            data = self._chunks.read(start.chunk, base, min(base + _PIECE + _OVERLAP, limit))
            at = self._framing.candidate(data, 1)
            while at > 0:
                if base + at > behind:
                    behind = base + at
                    yield behind
                at = self._framing.candidate(data, at + 1)
