"""Looks at a file queue without its lock, and rewrites one without its damage.

To look changes nothing, and no writer has to wait.  A writer may be at work meanwhile, so bytes
that look torn are read again before they are damage.  Finished items behind the tail are stepped
over, as a ``get`` does, as long as it is certain which ones they are.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from .._core.block import Damaged
from .._core.cursor import NONE_MISSING, Position, State
from .._core.deadline import monotonic
from .._core.disk import ReadOnlyDisk
from .._core.finished import Finished
from .._core.folder import DirectoryLock, Folder
from .._core.framing import recognise
from ..exceptions import QueueCorrupt, QueueLocked
from ..serializers._signed import MAGIC
from .chunks import ChunkDirectory, ChunkReader
from .info import BadInfo, InfoFile
from .recovery import Recovery
from .writer import ChunkWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._core.disk import Disk
    from .._core.framing import Framing

SET_ASIDE = re.compile(r".*\.corrupt-[0-9]+", re.DOTALL)  # names of files with damage
_PARTS = re.compile(rf"info|q[0-9]{{5,}}|\.lock|{SET_ASIDE.pattern}", re.DOTALL)
_TRIES = 20  # times that bytes are read which look torn
_NAP = 0.005  # s between two of them
_BEGINNING = 4096  # bytes of a file that tell its serializer
_BATCH = 1 << 20  # bytes that are copied at a time
_PATIENCE = 10.0  # s to wait for the queue's lock


class Stretch(NamedTuple):
    """A whole record, or a stretch of damage if there is a reason.

    Attributes:
        items: how many that are not finished stood there: 1 in a whole record.
    """

    start: Position
    end: Position
    reason: str
    items: int


class Place:
    """A queue's directory, and the objects that read it.

    Args:
        longest: longer records than this are not read; an ``ItemTooLarge``.  None for no bound.
    """

    def __init__(self, disk: Disk, path: str, framing: Framing, longest: int | None) -> None:
        self.disk, self.path, self.framing = disk, path, framing
        self.folder = Folder(path)
        self.chunks = ChunkDirectory(disk, self.folder)
        self.info = InfoFile(disk, self.folder, framing, None)
        self.reader = ChunkReader(disk, self.chunks, framing, longest)
        self.recovery = Recovery(disk, self.chunks, framing, longest)
        self._sums: dict[int, bool] = {}  # by chunk, whether its number of records adds up

    def state(self) -> tuple[bytes | None, State]:
        """Return the bytes of ``info`` and their state; no bytes before the first put.

        Raises:
            QueueCorrupt: ``info`` is damaged, or missing though there are items.
        """
        raw, state = self._stored()
        if state is None and any(map(self.chunks.solid, self.chunks.chunks())):
            raw, state = self._stored()  # the first put writes it before any item
            if state is None:
                raise self._bad_info("it is missing")
        return raw, state or State(1)

    def _stored(self) -> tuple[bytes | None, State | None]:
        for attempt in range(1, _TRIES + 1):
            if (raw := self.info.read(monotonic())) is None:
                break
            try:
                return raw, self.info.decode(raw)
            except BadInfo as bad:
                if attempt == _TRIES:
                    raise self._bad_info(str(bad)) from bad
            self.info.close()
            time.sleep(_NAP)
        return None, None

    def _bad_info(self, reason: str) -> QueueCorrupt:
        advice = "opening the queue, or repair, rebuilds it from the chunks"
        return QueueCorrupt(self.path, "info", reason=reason, advice=advice)

    def finished(self, raw: bytes | None, state: State) -> Finished:
        """Return which items behind the tail are finished, as ``info`` says."""
        finished = Finished()
        for first, end in self.info.supplement(raw, state)[1]:
            finished.add(first, end)
        return finished

    def walk(
        self, raw: bytes | None, state: State, start: Position | None = None
    ) -> Iterator[Stretch]:
        """Yield all records that are not finished, and damage, between tail and head, in order.

        Behind damage of several records, in its chunk, other items may have the ordinals of the
        finished ones: there these are yielded, too.

        Args:
            raw: what ``state`` was decoded from.
            start: where to begin, if not at the tail.
        """
        finished, seen = self.finished(raw, state), -1
        place, head = start or state.tail, state.head
        while place < head:
            ordinal, after = state.ordinal(place), (place.chunk + 1) * state.chunksize
            if place.chunk != seen:
                seen, some = place.chunk, finished.behind(ordinal) > finished.behind(after)
                if some and not self._adds_up(place, state):
                    finished.cut(ordinal, after)
            if (until := finished.end_of(ordinal)) >= after:
                place = Position(place.chunk + 1, 0, 0)
                continue
            reason, items = "", 1
            try:
                offset = self.reader.boundary(place.chunk, place.offset, limit_of(place, head))
                end = state.after(place, offset)
            except FileNotFoundError:
                reason = "the chunk is missing"
            except Damaged as damage:
                reason = str(damage)
            if reason:
                end, certain = self.recovery.resume(place, head, state.chunksize)
                behind = state.ordinal(end)
                items = behind - ordinal - finished.behind(ordinal) + finished.behind(behind)
                if not certain:
                    finished.cut(behind, after)
            if reason or not until:
                yield Stretch(place, end, reason, items)
            place = end

    def _adds_up(self, place: Position, state: State) -> bool:
        """Return whether the chunk of a place has as many records as ``info`` says, or damage.

        Without a checksum a changed byte may have made one record of two, or two of one: then no
        ordinal behind it is certain.
        """
        chunk, limit = place.chunk, limit_of(place, state.head)
        if chunk not in self._sums:
            most = (state.chunksize if limit is None else state.head.records) - place.records
            limit = self.chunks.length(chunk) if limit is None else limit
            count, stop = self.recovery.scan(chunk, place.offset, most)
            self._sums[chunk] = stop == limit if count == most else stop < limit
        return self._sums[chunk]

    def record(self, stretch: Stretch, head: Position) -> bytes:
        """Return the bytes of a whole record."""
        start, end, *_ = stretch
        same = end.chunk == start.chunk  # else it is the last of its chunk, and the reader knows
        limit = limit_of(start, head)
        stop = end.offset if same else self.reader.boundary(start.chunk, start.offset, limit)
        return self.chunks.read(start.chunk, start.offset, stop)

    def item(self, at: Position, head: Position) -> tuple[object, int]:
        """Return the item of a record, and the offset at which the record ends.

        Raises:
            QueueCorrupt: it is damaged, or its chunk is missing.
            SerializationError, ItemTooLarge: it is whole but cannot be loaded here.
        """
        try:
            return self.reader.decode(at.chunk, at.offset, limit_of(at, head))
        except FileNotFoundError as error:
            raise self.recovery.damage(at, "the chunk is missing") from error
        except Damaged as damage:
            raise self.recovery.damage(at, str(damage)) from damage

    def close(self) -> None:
        """Let go of every descriptor."""
        self.reader.close()
        self.info.close()


def limit_of(place: Position, head: Position) -> int | None:
    """Return where the readable bytes of a place's chunk end; None for the end of the file."""
    return head.offset if place.chunk == head.chunk else None


# -- which queue is it? -------------------------------------------------------------------


def is_file_queue(path: str) -> bool:
    """Return whether a directory holds a file queue."""
    return "info" in os.listdir(path) or bool(_chunks_of(path).chunks())


def is_part(path: str) -> bool:
    """Return whether a file has the name of one in a file queue's directory."""
    return bool(_PARTS.fullmatch(os.path.basename(path)))


def serializer_of(path: str, unused: str | None = "pickle") -> str | None:
    """Return the name of the shipped serializer that wrote a queue; None for any other.

    Args:
        unused: returned for a queue into which nothing was put.
    """
    chunks = _chunks_of(path)
    for _ in range(_TRIES):  # the very first item may be on its way
        if name := _recognised(path, chunks):
            return name
        if "info" not in os.listdir(path) and not any(map(chunks.solid, chunks.chunks())):
            return unused
        time.sleep(_NAP)
    return None


def _chunks_of(path: str) -> ChunkDirectory:
    return ChunkDirectory(ReadOnlyDisk(), Folder(path))


def _recognised(path: str, chunks: ChunkDirectory) -> str | None:
    disk = ReadOnlyDisk()
    with suppress(FileNotFoundError), closing(disk.open(os.path.join(path, "info"))) as file:
        if name := recognise(disk.read(file, _BEGINNING, 0)):
            return name
    beginnings = (
        chunks.read(chunk, 0, min(_BEGINNING, chunks.length(chunk))) for chunk in chunks.chunks()
    )
    return next(filter(None, map(_writer_of, beginnings)), None)


def _writer_of(beginning: bytes) -> str | None:
    """Return which serializer can have written the beginning of a chunk."""
    if beginning.startswith(b"\x80\x04"):
        return "pickle"
    if beginning.startswith(MAGIC):
        return "signed"
    line, newline, _ = beginning.partition(b"\n")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return None
    return "json" if newline else None


# -- repair -------------------------------------------------------------------------------


class Salvaged(NamedTuple):
    """The result of a repair: items that were kept, and items that the damage took."""

    kept: int
    damaged: int


def repair(place: Place, progress: Callable[[int, int], None]) -> Salvaged:
    """Mend what opening mends, and move the whole records behind the damaged ones.

    Damage is copied to files of its own first; then the whole records that are not finished are
    written behind the head, in their order; then one write of ``info`` makes that the queue.  A
    crash before leaves the queue as it was.

    Args:
        progress: is told how many items of how many were looked at.

    Raises:
        QueueLocked: another process held the queue's lock for 10 s.
        QueueCorrupt, FormatError: nothing can be read; nothing was touched.
        OSError: it could not be written; the queue is as it was.
    """
    lock = _locked(place.folder)
    try:
        raw, state = place.recovery.mend(place.info, 100, sync=True)
        missing, damage, kept = state.missing.items, [], 0
        state = state._replace(missing=NONE_MISSING)  # the caller is told, and need no get be
        for stretch in place.walk(raw, state):
            if stretch.reason:
                damage.append(stretch)
            kept += not stretch.reason
            progress(state.ordinal(stretch.end) - state.ordinal(state.tail), state.size)
        for start, end, reason, _ in damage:
            place.recovery.set_aside(start, end, reason)
        if damage:
            _rewrite(place, raw, state, kept)
        elif missing:
            flushed, _ = place.info.supplement(raw, state)
            raw = place.info.encode(state, place.finished(raw, state), flushed=flushed)
            place.info.write(raw, sync=True)
        return Salvaged(kept, sum(stretch.items for stretch in damage) + missing)
    finally:
        lock.close()
        place.close()


def _locked(folder: Folder) -> DirectoryLock:
    lock = DirectoryLock(folder)
    deadline = monotonic() + _PATIENCE
    while not lock.try_acquire(now := monotonic()):
        if now > deadline:
            lock.close()
            raise QueueLocked(
                f"{folder.path}: another process holds the queue's lock; nothing was done"
            )
        time.sleep(0.005)
    return lock


def _rewrite(place: Place, raw: bytes | None, state: State, kept: int) -> None:
    """Write the whole records once more, and make the first of them the tail."""
    writer = ChunkWriter(place.disk, place.chunks, place.info, power=True, ahead=False)
    head = state.head
    try:
        for records in _batches(place, raw, state, kept):
            head = writer.append(records, state, head)
        writer.sync()
        mended = state.with_ends(state.head, head)
        place.info.write(place.info.encode(mended, flushed=True), sync=True)
    except BaseException:
        if place.info.restore(raw, sync=True):  # else both are there, and either is whole
            writer.undo(state.head)
        raise
    finally:
        writer.close()
    for chunk in place.chunks.between(state.tail.chunk, state.head.chunk):
        place.chunks.remove(chunk)


def _batches(place: Place, raw: bytes | None, state: State, kept: int) -> Iterator[list[bytes]]:
    """Yield the bytes of ``kept`` whole records, about a mebibyte at a time."""
    records: list[bytes] = []
    size = 0
    for stretch in place.walk(raw, state):
        if stretch.reason:
            continue
        records.append(place.record(stretch, state.head))
        size += len(records[-1])
        kept -= 1
        if size >= _BATCH:
            yield records
            records, size = [], 0
    if kept:
        raise OSError(errno.EIO, "other records can be read than a moment ago", place.path)
    yield records
