"""File queues, and files of storage engines, as ends of a move."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._core import call
from .._core.cursor import Position
from .._core.deadline import FOREVER
from .._core.framing import framing_of
from .._core.inflight import AT_TASK_DONE
from .._core.threads import ThreadSession
from .._files.salvage import serializer_of
from .._files.store import ChunkFileStore
from .._sql.statements import FIFO
from ..engines._seal import Seal, writer_of
from ..engines._store import EngineStore
from ..exceptions import PersistQueueError
from ..serializers import pickle
from .ends import Batch, Carried, End, Mover, Source, Target, bounded, digest, still_there
from .places import LONGEST, place_of, shipped, usable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..serializers import Serializer
    from .ends import Place
    from .places import Found, Name

S = TypeVar("S", bound=ChunkFileStore | EngineStore)
_MOST_MOVERS = 3  # moves into one file queue at the same time


class _FileEnd(End, Generic[S]):
    """A directory or a file.

    Args:
        store: of it; made and opened if need be.  None where it is only looked at.
    """

    def __init__(self, name: Name, found: Found, serializer: Serializer, store: S | None) -> None:
        super().__init__(name, FIFO, serializer)
        self._path = os.path.realpath(found.path)
        self.directory, self.key = os.path.dirname(self._path), self._path
        if store is not None:
            self._store: S = store
            self._session = ThreadSession(store, 0, AT_TASK_DONE)
        status = os.stat(self._path)
        self.identity = status.st_dev, status.st_ino


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

    def read(self, most: int, behind: Place | None) -> Batch | None:
        if self._moves:
            self._raw, self._state = self._place.state()
        start = Position(*behind["end"]) if behind else self._state.tail
        found = bounded(self._onward(start), most)
        if not found:
            return None
        regions: list[list[Any]] = []
        for _, at, offset, _ in found:
            if not regions or regions[-1][0] != at.chunk:
                regions.append([at.chunk, at.offset, offset])
            regions[-1][2] = offset
        for region in regions:
            region.append(digest(self._place.chunks.read(*region)))
        place = {"start": start, "end": found[-1][3], "items": len(found), "regions": regions}
        return Batch([Carried(item) for item, *_ in found], place)

    def _onward(self, at: Position) -> Iterator[tuple[int, tuple[Any, Position, int, Position]]]:
        """Yield items: how long each is, and itself, its place, its end, and the next place."""
        for start, after, reason, _ in self._place.walk(self._raw, self._state, at):
            if reason:
                raise self._place.recovery.damage(start, reason)
            item, offset = self._place.item(start, self._state.head)
            yield offset - start.offset, (item, start, offset, after)

    def finish(self, place: Place, mover: Mover, *, resumed: bool) -> int:
        start, end = Position(*place["start"]), Position(*place["end"])

        def act() -> int:
            tail = self._store.state.tail
            if resumed and tail < end and not self._same(place["regions"], tail):
                raise PersistQueueError(
                    f"{self.shown}: it is not the queue that was being moved: was it made anew?"
                )
            self._raw, self._state = self._place.state()
            self._store.finish_until(end)
            gone = place["items"] - self._unfinished(start, end)
            return max(gone, 0) if tail < end or not resumed else 0

        gone = self._do(act)
        # Else a loss of power could bring items back that the journal forgets.
        self._run(call.sync())
        return gone

    def _same(self, regions: list[list[Any]], tail: Position) -> bool:
        read = self._place.chunks.read
        try:
            return all(
                digest(read(chunk, start, stop)) == known
                for chunk, start, stop, known in regions
                if chunk >= tail.chunk
            )
        except FileNotFoundError:
            return False

    def close(self) -> None:
        self._place.close()
        super().close()


class _RecordTarget(_FileEnd[S], Target[bytes]):
    """A target of records."""

    def __init__(self, name: Name, found: Found, serializer: Serializer, store: S) -> None:
        self._framing = framing_of(serializer)
        self._seal = Seal(self._framing, LONGEST)
        super().__init__(name, found, serializer, store)

    def encode(self, carried: Carried) -> bytes:
        return self._framing.encode(carried.item)

    def decode(self, stored: bytes) -> Any:
        return self._seal.decode(self._seal.put(stored))


class FileTarget(_RecordTarget[ChunkFileStore]):
    """A file queue, whose ``info`` names the last batch of a move; made if need be."""

    def __init__(self, name: Name, found: Found, source: Source) -> None:
        path, serializer = found.path, name.serializer
        if serializer is None:
            seen = serializer_of(path, None) if os.path.isdir(path) else None
            serializer = usable(name.shown, shipped(seen) or source.default)
        super().__init__(name, found, serializer, _store(path, serializer))

    def put(self, stored: Sequence[bytes], mover: Mover) -> int:
        def act() -> None:
            self._store.append(stored)
            self._mark(mover.run, str(mover.number))

        self._do(act)
        return 0

    def has(self, mover: Mover, note: Place | None) -> bool:
        return int(self._do(self._numbers).get(mover.run, "0")) >= mover.number

    def forget(self, run: str) -> None:
        self._do(lambda: self._mark(run, ""))

    def _numbers(self) -> dict[str, str]:
        """Return the numbers of the last batches, by move."""
        marks = self._store.state.moved.split()
        return dict(mark.split(":", 1) for mark in marks if ":" in mark)

    def _mark(self, run: str, number: str) -> None:
        """Have ``info`` say the number of a move's last batch; empty: the move is over."""
        numbers = {**self._numbers(), run: number}
        if len(numbers) > _MOST_MOVERS:
            raise PersistQueueError(
                f"{self.shown}: {_MOST_MOVERS} other moves into it are not at their end: give "
                "their commands again first"
            )
        self._store.mark_moved(" ".join(f"{run}:{n}" for run, n in numbers.items() if n))


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

    def __init__(self, name: Name, found: Found, *, moves: bool) -> None:
        super().__init__(name, found, *_engine_store(name, found, pickle))
        self._moves = moves

    def count(self) -> int:
        return self._store.state.size

    def read(self, most: int, behind: Place | None) -> Batch | None:
        start = behind["end"] if behind and not self._moves else self._store.state.tail.records
        found = self._do(lambda: self._records(start, most))
        if not found:
            return None
        place = {
            "end": start + len(found),
            "before": self._store.state.size,
            "digests": [digest(record) for record, _ in found],
        }
        return Batch([Carried(item) for _, item in found], place)

    def _records(self, start: int, most: int) -> list[tuple[bytes, Any]]:
        numbers = range(start, min(start + most, self._store.state.head.records))
        records = map(self._store.at, numbers)
        return bounded(((len(record), (record, item)) for record, item in records), most)

    def finish(self, place: Place, mover: Mover, *, resumed: bool) -> int:
        expected = place["digests"]

        def act() -> int:
            state = self._store.state
            if resumed and state.size < place["before"]:
                return 0  # they were removed
            tail = state.tail.records
            found = [digest(record) for record, _ in self._records(tail, len(expected))]
            left = still_there(expected, found)
            self._store.finish_until(Position(0, tail + left, 0))
            return 0 if resumed else len(expected) - left

        return self._do(act)


class EngineTarget(_RecordTarget[EngineStore]):
    """A queue in an engine's file: its records say whether a batch is stored."""

    def __init__(self, name: Name, found: Found, source: Source) -> None:
        super().__init__(name, found, *_engine_store(name, found, source.default))

    def note(self, stored: Sequence[bytes]) -> Place:
        records = map(self._seal.put, stored)
        return {"before": self._store.state.size, "digests": list(map(digest, records))}

    def put(self, stored: Sequence[bytes], mover: Mover) -> int:
        self._run(call.append(list(stored), FOREVER))
        return 0

    def has(self, mover: Mover, note: Place | None) -> bool:
        assert note is not None
        expected, before = note["digests"], note["before"]

        def act() -> bool:
            start = self._store.state.tail.records + before
            stop = min(start + len(expected), self._store.state.head.records)
            there = [digest(self._store.at(number)[0]) for number in range(start, stop)]
            return there == list(expected)

        return self._do(act)
