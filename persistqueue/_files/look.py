"""Looks at a file queue without its lock: nothing is changed, and no writer has to wait.

A writer may be at work meanwhile, so bytes that look torn are read again before they are damage.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from .._core.block import Damaged
from .._core.cursor import State
from .._core.deadline import monotonic
from .._core.disk import ReadOnlyDisk
from .._core.folder import Folder
from .._core.framing import recognise
from ..exceptions import QueueCorrupt
from ..serializers._signed import MAGIC
from .directory import ChunkDirectory
from .info import BadInfo, InfoFile
from .reader import ChunkReader
from .recovery import Recovery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core.cursor import Position
    from .._core.disk import Disk
    from .._core.framing import Framing

SET_ASIDE = re.compile(r".*\.corrupt-[0-9]+", re.DOTALL)  # names of files with damage
_PARTS = re.compile(rf"info|q[0-9]{{5,}}|\.lock|{SET_ASIDE.pattern}", re.DOTALL)
_TRIES = 20  # times that bytes are read which look torn
_NAP = 0.005  # s between two of them
_BEGINNING = 4096  # bytes of a file that tell its serializer


class Stretch(NamedTuple):
    """A whole record, or a stretch of damage if there is a reason."""

    start: Position
    end: Position
    reason: str


class Place:
    """A queue's directory and its readers.

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

    def walk(self, state: State) -> Iterator[Stretch]:
        """Yield all records and damage between tail and head, in order."""
        place, head = state.tail, state.head
        while place < head:
            limit = head.offset if place.chunk == head.chunk else None
            reason = ""
            try:
                offset = self.reader.boundary(place.chunk, place.offset, limit)
                end = state.after(place, offset)
            except FileNotFoundError:
                reason = "the chunk is missing"
            except Damaged as damage:
                reason = str(damage)
            if reason:
                end = self.recovery.resume(place, head, state.chunksize)
            yield Stretch(place, end, reason)
            place = end

    def record(self, stretch: Stretch, head: Position) -> bytes:
        """Return the bytes of a whole record."""
        (chunk, _, offset), end, _ = stretch
        limit = head.offset if chunk == head.chunk else None
        same = end.chunk == chunk  # else it is the last of its chunk, and the reader knows
        stop = end.offset if same else self.reader.boundary(chunk, offset, limit)
        return self.chunks.read(chunk, offset, stop)

    def item(self, at: Position, head: Position) -> tuple[object, int]:
        """Return the item of a record, and the offset at which the record ends.

        Raises:
            QueueCorrupt: it is damaged, or its chunk is missing.
            SerializationError, ItemTooLarge: it is whole but cannot be loaded here.
        """
        limit = head.offset if at.chunk == head.chunk else None
        try:
            return self.reader.decode(at.chunk, at.offset, limit)
        except FileNotFoundError as error:
            raise self.recovery.damage(at, "the chunk is missing") from error
        except Damaged as damage:
            raise self.recovery.damage(at, str(damage)) from damage

    def close(self) -> None:
        """Let go of every descriptor."""
        self.reader.close()
        self.info.close()


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
    try:
        file = disk.open(os.path.join(path, "info"))
        try:
            if name := recognise(disk.read(file, _BEGINNING, 0)):
                return name
        finally:
            file.close()
    except FileNotFoundError:
        pass
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
        if newline and json.loads(line) is not line:
            return "json"
    except (ValueError, RecursionError):
        pass
    return None
