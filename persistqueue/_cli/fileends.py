"""File queues, and files of storage engines, as ends of a move."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._core import call
from .._core.cursor import Position
from .._core.framing import framing_of
from .._core.inflight import AT_TASK_DONE
from .._core.threads import ThreadSession
from .._files.salvage import serializer_of
from .._files.store import ChunkFileStore
from .._sql.statements import FIFO
from ..engines._seal import Seal, writer_of
from ..engines._store import EngineStore
from ..serializers import pickle
from .ends import Batch, Carried, End, Source, Target, bounded
from .places import LONGEST, place_of, shipped, usable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..serializers import Serializer
    from .places import Found, Name

S = TypeVar("S", bound=ChunkFileStore | EngineStore)


class _FileEnd(End, Generic[S]):
    """A directory or a file.

    Args:
        store: of it; made and opened if need be.  None where it is only looked at.
    """

    def __init__(self, name: Name, found: Found, serializer: Serializer, store: S | None) -> None:
        super().__init__(name, FIFO, serializer)
        if store is not None:
            self._store: S = store
            self._session = ThreadSession(store, 0, AT_TASK_DONE)
        status = os.stat(found.path)
        self.identity = status.st_dev, status.st_ino


class RecordTarget(_FileEnd[S], Target[bytes]):
    """A file queue or an engine's file that items go to."""

    def __init__(self, name: Name, found: Found, serializer: Serializer, store: S) -> None:
        self._framing = framing_of(serializer)
        self._seal = Seal(self._framing, LONGEST)
        super().__init__(name, found, serializer, store)

    def encode(self, carried: Carried) -> bytes:
        return self._framing.encode(carried.item)

    def decode(self, stored: bytes) -> Any:
        return self._seal.decode(self._seal.put(stored))


# -- file queues --------------------------------------------------------------------------


def _store(path: str, serializer: Serializer) -> ChunkFileStore:
    return ChunkFileStore(path, framing_of(serializer), longest=LONGEST)


class FileSource(_FileEnd[ChunkFileStore], Source):
    """A file queue that is read without its lock.

    Args:
        moves: items that were read will be finished; else nothing is written.
    """

    def __init__(self, name: Name, found: Found, *, moves: bool) -> None:
        path = found.path
        serializer = name.serializer or usable(name.shown, shipped(serializer_of(path)))
        super().__init__(name, found, serializer, _store(path, serializer) if moves else None)
        self._moves = moves
        self._place = place_of(path, serializer)
        self._raw, self._state = self._place.state()

    def count(self) -> int:
        return self._unfinished(self._state.tail, self._state.head)

    def _unfinished(self, start: Position, end: Position) -> int:
        """Return how many items stand between two places that are not finished."""
        state, finished = self._state, self._place.finished(self._raw, self._state)
        low, high = state.ordinal(max(start, state.tail)), state.ordinal(end)
        return max(high - low - finished.behind(low) + finished.behind(high), 0)

    def read(self, most: int, behind: Batch | None) -> Batch | None:
        if self._moves:
            self._raw, self._state = self._place.state()
        start = behind.place[1] if behind else self._state.tail
        found = bounded(self._onward(start), most)
        if not found:
            return None
        return Batch([Carried(item) for item, _ in found], (start, found[-1][1]))

    def _onward(self, at: Position) -> Iterator[tuple[int, tuple[Any, Position]]]:
        """Yield items: how long each is, and itself with the place behind it."""
        for start, after, reason, _ in self._place.walk(self._raw, self._state, at):
            if reason:
                raise self._place.recovery.damage(start, reason)
            item, offset = self._place.item(start, self._state.head)
            yield offset - start.offset, (item, after)

    def finish(self, batch: Batch) -> int:
        start, end = batch.place

        def act() -> int:
            self._raw, self._state = self._place.state()
            self._store.finish_until(end)
            return len(batch.items) - self._unfinished(start, end)

        gone = self._do(act)
        self._run(call.sync())  # else a loss of power could bring them back
        return gone

    def close(self) -> None:
        self._place.close()
        super().close()


def file_target(name: Name, found: Found, source: Source) -> RecordTarget[ChunkFileStore]:
    """Return a file queue; made if need be."""
    path, serializer = found.path, name.serializer
    if serializer is None:
        seen = serializer_of(path, None) if os.path.isdir(path) else None
        serializer = usable(name.shown, shipped(seen) or source.default)
    return RecordTarget(name, found, serializer, _store(path, serializer))


# -- files of storage engines -------------------------------------------------------------


def _engine_store(
    name: Name, found: Found, default: Serializer | None
) -> tuple[Serializer, EngineStore]:
    """Return the serializer that is named or seen, else the default; and a store with it."""
    serializer = name.serializer
    if serializer is None:
        session = ThreadSession(store := _of_engine(found, pickle), 0, AT_TASK_DONE)
        try:
            first = session.run(call.look(store.first))
        finally:
            session.close()
        serializer = usable(name.shown, default if first is None else shipped(writer_of(first)))
    return serializer, _of_engine(found, serializer)


def _of_engine(found: Found, serializer: Serializer) -> EngineStore:
    assert found.engine is not None
    return EngineStore(
        found.path, framing_of(serializer), partial(found.engine, found.path),
        autosave=False, power=True, skip_corrupt=False, longest=LONGEST,
    )  # fmt: skip


class EngineSource(_FileEnd[EngineStore], Source):
    """A queue in an engine's file, which no other process may have open meanwhile."""

    def __init__(self, name: Name, found: Found) -> None:
        super().__init__(name, found, *_engine_store(name, found, pickle))

    def count(self) -> int:
        return self._store.state.size

    def read(self, most: int, behind: Batch | None) -> Batch | None:
        start = behind.place if behind else self._store.state.tail.records
        numbers = range(start, min(start + most, self._store.state.head.records))
        items = self._run(call.look(lambda: bounded(map(self._at, numbers), most)))
        return Batch(items, start + len(items)) if items else None

    def _at(self, number: int) -> tuple[int, Carried]:
        record, item = self._store.at(number)
        return len(record), Carried(item)

    def finish(self, batch: Batch) -> int:
        self._do(partial(self._store.finish_until, Position(0, batch.place, 0)))
        return 0


def engine_target(name: Name, found: Found, source: Source) -> RecordTarget[EngineStore]:
    """Return a queue in an engine's file."""
    return RecordTarget(name, found, *_engine_store(name, found, source.default))
