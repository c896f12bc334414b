"""Repairs a file queue when it is opened, and sets damaged records aside.

No bytes that may be an item are deleted: bytes that have to go are first written to
``<name>.corrupt-<time in ns>`` beside it.  Each repair is said in a WARNING.  The caller
holds the directory's lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .._core.block import Damaged
from .._core.cursor import Position, State
from .._core.deadline import monotonic
from .._core.finished import Finished
from .._core.log import warn
from ..exceptions import FormatError, ItemTooLarge, QueueCorrupt
from .chunks import ChunkReader, chunk_name
from .info import BadInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core.disk import Disk
    from .._core.framing import Framing
    from .chunks import ChunkDirectory
    from .info import InfoFile

_PIECE = 1 << 20  # bytes that are searched at a time
_OVERLAP = 16  # bytes; the mark of a record's beginning is shorter


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
            the bytes of ``info``, None if there is none; and the state that it holds.
        """
        raw, stored = info.read(monotonic()), None
        flushed, finished = False, Finished()
        if raw is None:
            state = self._without_info(chunksize)
        else:
            try:
                state = stored = info.decode(raw)
            except BadInfo as bad:
                info.close()  # it is put aside, and another one takes its name
                raw, state = None, self._bad_info(chunksize, str(bad))
            else:
                flushed, ranges = info.supplement(raw, state)
                for first, end in ranges:
                    finished.add(first, end)
        state = self._missing_front(state)
        finished.clip(state.ordinal(state.tail), state.ordinal(state.head))
        if self._drop_doubtful(finished, state):
            state = state.mend()  # other objects know these ranges, too
        short = self._short_head(state)
        if short is not state:
            lost = state.size - finished.total
            # The ordinals behind the head will be those of new items, which are not finished.
            finished.clip(short.ordinal(short.tail), short.ordinal(short.head))
            lost -= short.size - finished.total
            text = "%s: chunk %d is shorter than info says; %d of its items are gone"
            warn(text, self._path, state.head.chunk, lost)
            state = short.mend()
            if flushed and lost:
                state = state.miss(lost)
        self._cut_head(state.head)
        self._remove_strays(state)
        if state != stored and (state.size or stored is not None):
            raw = info.encode(state, finished, flushed=flushed)
            info.write(raw, sync=sync)
        return raw, state

    # -- info ---------------------------------------------------------------------

    def _without_info(self, chunksize: int) -> State:
        """Return the state of a directory in which there is no ``info``."""
        chunks = self._chunks.chunks()
        if not any(map(self._chunks.length, chunks)):
            return State(chunksize)
        if chunks == [0] and not self.scan(0, 0, 1)[0]:  # a first put that never finished
            self._refuse_other(0)
            return State(chunksize)
        if chunks == [0] and not self._framing.native:
            return State(chunksize)
        return self._rebuild(chunksize, "it is missing")

    def _bad_info(self, chunksize: int, reason: str) -> State:
        """Set a damaged ``info`` aside and return the state that the chunks tell."""
        state = self._rebuild(chunksize, reason)
        aside = f"info.corrupt-{time.time_ns()}"
        self._chunks.rename("info", aside)
        warn("%s: the damaged info was kept as %s", self._path, aside)
        return state

    def _rebuild(self, chunksize: int, why: str) -> State:
        """Work out head, tail and chunk size by scanning the chunks.

        Items of the lowest chunk that were finished already are delivered again.
        """
        if not self._framing.native:
            advice = f"it cannot be rebuilt for the serializer {self._framing.name}"
            raise QueueCorrupt(self._path, "info", reason=why, advice=advice)
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
        rebuilt = "%s: info: %s; rebuilt from %d items in the chunks, finished ones among them"
        warn(rebuilt, self._path, why, state.size)
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
        filled = [chunk for chunk in scans if self._chunks.length(chunk)]
        if filled:
            self._refuse_other(filled[0])
        if any(map(self._chunks.solid, filled)):
            reason = "info is unusable and no record can be read"
            advice = "nothing was touched; is it the right serializer?"
            raise QueueCorrupt(self._path, chunk_name(filled[0]), 0, 0, reason, advice)

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

    def _drop_doubtful(self, finished: Finished, state: State) -> bool:
        """Forget what is finished in chunks of which it is not certain which records these are.

        Returns:
            whether there was such a chunk.
        """
        size, dropped = state.chunksize, False
        if not self._framing.lines:
            return False
        ends = {
            ordinal // size for first, end, *_ in finished.ranges for ordinal in (first, end - 1)
        }
        for chunk in sorted(ends):
            start, after = max(state.tail, Position(chunk, 0, 0)), (chunk + 1) * size
            if finished.end_of(state.ordinal(start)) < after and not self._adds_up(start, state):
                text = "%s: chunk %d has not as many records as it should: finished ones come again"
                warn(text, self._path, chunk)
                finished.cut(chunk * size, after)
                dropped = True
        return dropped

    def _adds_up(self, start: Position, state: State) -> bool:
        """Return whether as many lines stand behind a place, in its chunk, as ``info`` says.

        A changed byte may have made one of two, or two of one.  Then no ordinal behind it is
        certain.
        """
        chunk, records, offset = start
        in_head = chunk == state.head.chunk
        limit = state.head.offset if in_head else self._chunks.length(chunk)
        lines, last = (state.head.records if in_head else state.chunksize) - records, b"\n"
        for at in range(offset, limit, _PIECE):
            last = self._chunks.read(chunk, at, min(at + _PIECE, limit))
            lines -= last.count(b"\n")
        return not lines and last.endswith(b"\n")

    def _missing_front(self, state: State) -> State:
        """Start at the first chunk present when those in front of it are gone."""
        tail, head = state.tail, state.head
        there = (chunk for chunk in self._chunks.chunks() if tail.chunk <= chunk)
        first = min(there, default=head.chunk)
        if first == tail.chunk or tail == head:
            return state
        moved = state._replace(tail=min(Position(first, 0, 0), head))
        text = "%s: chunk %d is missing; starting at chunk %d, %d items are gone"
        warn(text, self._path, tail.chunk, first, state.size - moved.size)
        return moved

    def _short_head(self, state: State) -> State:
        """Move the head back when its chunk is shorter than ``info`` says."""
        head, length = state.head, self._chunks.length(state.head.chunk)
        if length >= head.offset:
            return state
        start = state.tail if state.tail.chunk == head.chunk else Position(head.chunk, 0, 0)
        if length < start.offset:  # even consumed bytes are gone: go on in a fresh chunk
            fresh = Position(head.chunk + 1, 0, 0)
            return state._replace(tail=fresh, head=fresh)
        count, offset = self.scan(head.chunk, start.offset, head.records - start.records)
        there, end = (
            Position(head.chunk, start.records + count, offset),
            head._replace(offset=length),
        )
        while there.offset < length:  # bytes may be missing in the middle
            behind, _ = self.resume(there, end, state.chunksize)
            if behind == end:
                break
            count, offset = self.scan(head.chunk, behind.offset, head.records - behind.records)
            there = Position(head.chunk, behind.records + count, offset)
        return state._replace(head=there)

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
        advice = 'open it with on_corrupt="skip" to set the record aside and go on'
        name, offset, index = chunk_name(start.chunk), start.offset, start.records
        return QueueCorrupt(self._path, name, offset, index, reason, advice)

    def missing(self, count: int, place: Position) -> QueueCorrupt:
        """Return the error that says how many items are missing in front of a place."""
        items = "1 item is" if count == 1 else f"{count} items are"
        reason = f"the chunk is shorter than info says: {items} missing, which had been flushed"
        advice = "it is said once, and the queue goes on without them"
        name = chunk_name(place.chunk)
        return QueueCorrupt(self._path, name, place.offset, place.records, reason, advice)

    def place(self, start: Position) -> str:
        """Return where a record is, in words."""
        chunk, records, offset = start
        return f"{self._path}: {chunk_name(chunk)}, byte {offset}, record {records}"

    def set_aside(self, start: Position, end: Position, reason: str) -> None:
        """Copy the bytes between two places, in one chunk, to a file of their own."""
        stop = end.offset if end.chunk == start.chunk else None
        self._chunks.set_aside(start.chunk, start.offset, stop)
        name = chunk_name(start.chunk)
        warn("%s: %s, record %d: %s; skipped", self._path, name, start.records, reason)

    def end_of(self, start: Position, state: State) -> Position | None:
        """Return the place behind a whole record; None where only its ``load`` can tell it."""
        if not self._framing.native:
            return None
        count, offset = self.scan(start.chunk, start.offset, 1)
        return state.after(start, offset) if count else None

    def resume(self, start: Position, head: Position, chunksize: int) -> tuple[Position, bool]:
        """Return the first place behind a damaged record at which reading can go on.

        Whole records must follow such a place.  When they reach the end of the chunk,
        their number tells how many the damage took; before another damage it is taken
        for one, and the count is put right behind the last damage of the chunk.

        Returns:
            the place; and whether it is certain which records stand behind it, in its chunk: all
            that should, each with a checksum.
        """
        # Missing, not one that cannot be looked at just now.
        if start.chunk != head.chunk and self._chunks.is_missing(start.chunk):
            there = (chunk for chunk in self._chunks.chunks() if start.chunk < chunk < head.chunk)
            return Position(min(there, default=head.chunk), 0, 0), True
        in_head = start.chunk == head.chunk
        total = head.records if in_head else chunksize
        length = self._chunks.length(start.chunk)
        limit = min(head.offset, length) if in_head else length
        most = total - start.records - 1
        for offset in self._candidates(start, limit) if most else ():
            left, stop = self.scan(start.chunk, offset, most)
            if left:
                before = total - left if stop >= limit else start.records + 1
                certain = self._framing.checked and left == most and stop >= limit
                return Position(start.chunk, before, offset), certain
        return head if in_head else Position(start.chunk + 1, 0, 0), True

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
