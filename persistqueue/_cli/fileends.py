"""File queues, and files of storage engines, as ends of a move."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._core import call
from .._core.block import Damaged
from .._core.cursor import Position, State
from .._core.deadline import FOREVER
from .._core.framing import framing_of
from .._core.inflight import AT_TASK_DONE
from .._core.store import Undone
from .._core.threads import ThreadShell
from .._files.info import BadInfo
from .._files.options import chunk_store
from .._sql.statements import FIFO
from ..engines._seal import Seal
from ..engines._store import store_of
from ..exceptions import PersistQueueError, QueueCorrupt
from ..serializers import pickle
from . import choice, filequeues
from .ends import (
    BATCH_BYTES,
    LONGEST,
    Batch,
    Carried,
    End,
    Mover,
    Source,
    Target,
    digest,
    still_there,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_MOST_MOVERS = 3  # moves into one file queue at the same time


def _shell_of(path: str, serializer: Any, engine: Any = None) -> tuple[Any, ThreadShell]:
    framing = framing_of(serializer)
    settings: dict[str, Any] = {
        "autosave": False, "power": True, "skip_corrupt": False, "longest": LONGEST
    }  # fmt: skip
    store = store_of(path, engine, framing, **settings) or chunk_store(
        path, framing, chunksize=100, **settings
    )
    return store, ThreadShell(store, 0, AT_TASK_DONE)


class _FileEnd(End):
    """A directory or a file.

    Args:
        path: of it.
        serializer: of its items.
        engine: the class of its storage engine, if it has one.
        opens: it is not only looked at; made if need be.
    """

    kind = FIFO
    _store: Any
    _shell: ThreadShell | None = None

    def __init__(
        self, shown: str, path: str, serializer: Any, engine: Any = None, *, opens: bool = True
    ) -> None:
        super().__init__(shown)
        self.serializer, self._path = serializer, os.path.realpath(path)
        self.directory, self.key = os.path.dirname(self._path), self._path
        if opens:
            self._store, self._shell = _shell_of(path, serializer, engine)
        found = os.stat(self._path)
        self.identity = found.st_dev, found.st_ino

    def _do(self, act: Callable[[], Any]) -> Any:
        """Have a function of the store called in a transaction: all of it or nothing."""

        def whole() -> Any:
            try:
                return act()
            except Exception as error:
                raise Undone(error) from error

        assert self._shell is not None
        return self._shell.run(call.write(whole))

    def close(self) -> None:
        if self._shell is not None:
            self._shell.close()


class FileSource(_FileEnd, Source):
    """A file queue that is read without its lock.

    Args:
        serializer: that the user has named; None for that which is seen.
        moves: what was read will be finished; else nothing is written.
    """

    def __init__(self, shown: str, path: str, serializer: Any, *, moves: bool) -> None:
        serializer = serializer or choice.named(filequeues.serializer_of(path))
        super().__init__(shown, path, _usable(shown, serializer), opens=moves)
        self._moves = moves
        self._place = filequeues.place_of(path, serializer, None)
        self._state = self._seen()

    def _seen(self) -> State:
        try:
            _, state = filequeues.stored_state(self._place)
        except BadInfo as bad:
            raise QueueCorrupt(self._path, "info", reason=str(bad), advice="repair it") from bad
        if state is None and any(map(self._place.chunks.solid, self._place.chunks.chunks())):
            raise QueueCorrupt(self._path, "info", reason="it is missing", advice="repair it")
        return state or State(1)

    def count(self) -> int:
        return self._state.size

    def read(self, most: int, behind: Any) -> Batch | None:
        if self._moves:
            self._state = self._seen()
        state = self._state
        start = at = Position(*behind["end"]) if behind else state.tail
        items: list[Carried] = []
        regions: list[list[Any]] = []
        length = 0
        while at < state.head and len(items) < most:
            item, offset = self._decoded(at)
            length += offset - at.offset
            if items and length > BATCH_BYTES:
                break
            if not regions or regions[-1][0] != at.chunk:
                regions.append([at.chunk, at.offset, offset])
            regions[-1][2] = offset
            items.append(Carried(item))
            at = state.after(at, offset)
        if not items:
            return None
        for region in regions:
            region.append(digest(self._place.chunks.read(*region)))
        return Batch(items, {"start": start, "end": at, "regions": regions})

    def _decoded(self, at: Position) -> tuple[Any, int]:
        limit = self._state.head.offset if at.chunk == self._state.head.chunk else None
        try:
            return self._place.reader.decode(at.chunk, at.offset, limit)
        except FileNotFoundError as error:
            raise self._place.recovery.damage(at, "the chunk is missing") from error
        except Damaged as damage:
            raise self._place.recovery.damage(at, str(damage)) from damage

    def finish(self, place: Any, mover: Mover, *, resumed: bool) -> int:  # noqa: ARG002
        start, end = Position(*place["start"]), Position(*place["end"])

        def act() -> int:
            state = self._store.state
            if resumed and state.tail < end and not self._same(place["regions"], state.tail):
                raise PersistQueueError(
                    f"{self.shown}: it is not the queue that was being moved: was it made anew?"
                )
            self._store.finish_until(end)
            gone = state.ordinal(min(state.tail, end)) - state.ordinal(start)
            return max(gone, 0) if state.tail < end or not resumed else 0

        gone: int = self._do(act)
        assert self._shell is not None
        self._shell.run(
            call.sync()
        )  # else a loss of power could bring back what the journal forgets
        return gone

    def _same(self, regions: list[list[Any]], tail: Position) -> bool:
        chunks = self._place.chunks
        try:
            return all(
                digest(chunks.read(chunk, start, stop)) == known
                for chunk, start, stop, known in regions
                if chunk >= tail.chunk
            )
        except FileNotFoundError:
            return False

    def close(self) -> None:
        self._place.close()
        super().close()


class _RecordTarget(_FileEnd, Target):
    """What a target of records knows of encoding."""

    def __init__(self, shown: str, path: str, serializer: Any, engine: Any = None) -> None:
        self._framing = framing_of(serializer)
        super().__init__(shown, path, serializer, engine)

    def encode(self, carried: Carried) -> bytes:
        return self._framing.encode(carried.item)

    def decode(self, stored: bytes) -> Any:
        seal = Seal(self._framing, LONGEST)
        return seal.decode(seal.put(stored))


class FileTarget(_RecordTarget):
    """A file queue, whose ``info`` says which batch of a move it has; made if need be.

    Args:
        serializer: that the user has named, if any.
        default: of a queue without items.
    """

    def __init__(self, shown: str, path: str, serializer: Any, default: Any) -> None:
        if serializer is None:
            found = filequeues.serializer_of(path, None) if os.path.isdir(path) else None
            serializer = choice.named(found) or default
        super().__init__(shown, path, _usable(shown, serializer))

    def put(self, stored: Sequence[bytes], mover: Mover) -> int:
        def act() -> None:
            self._store.append(stored)
            self._store.mark_moved(self._marks({mover.run: str(mover.number)}))

        self._do(act)
        return 0

    def has(self, mover: Mover, note: Any) -> bool:  # noqa: ARG002 - as a target's
        number: str = self._do(lambda: _numbers(self._store.state.moved).get(mover.run, "0"))
        return int(number) >= mover.number

    def forget(self, run: str) -> None:
        self._do(lambda: self._store.mark_moved(self._marks({run: ""})))

    def _marks(self, change: dict[str, str]) -> str:
        """Return what ``info`` says of moves, with a change; an empty number is no number."""
        numbers = {**_numbers(self._store.state.moved), **change}
        if len(numbers) > _MOST_MOVERS:
            raise PersistQueueError(
                f"{self.shown}: {_MOST_MOVERS} other moves into it are not at their end: give "
                "their commands again first"
            )
        return " ".join(f"{run}:{number}" for run, number in numbers.items() if number)


def _numbers(moved: str) -> dict[str, str]:
    """Return the numbers of the last batches, by move."""
    return dict(mark.split(":", 1) for mark in moved.split() if ":" in mark)


class EngineSource(_FileEnd, Source):
    """A queue in an engine's file, which nobody else may have open meanwhile."""

    def __init__(self, shown: str, path: str, serializer: Any, engine: Any, *, moves: bool) -> None:
        self._moves = moves
        serializer = serializer or _engine_serializer(shown, path, engine) or pickle
        super().__init__(shown, path, serializer, engine)

    def count(self) -> int:
        count: int = self._store.state.size
        return count

    def read(self, most: int, behind: Any) -> Batch | None:
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
        found: list[tuple[bytes, Any]] = []
        length = 0
        for number in range(start, min(start + most, self._store.state.head.records)):
            record, item = self._store.at(number)
            length += len(record)
            if found and length > BATCH_BYTES:
                break
            found.append((record, item))
        return found

    def finish(self, place: Any, mover: Mover, *, resumed: bool) -> int:  # noqa: ARG002
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

        gone: int = self._do(act)
        return gone


class EngineTarget(_RecordTarget):
    """A queue in an engine's file: what it holds at a place says whether a batch is stored."""

    def __init__(self, shown: str, path: str, serializer: Any, engine: Any, default: Any) -> None:
        serializer = serializer or _engine_serializer(shown, path, engine) or default
        super().__init__(shown, path, serializer, engine)

    def note(self, stored: Sequence[bytes]) -> Any:
        records = map(Seal(self._framing, LONGEST).put, stored)
        return {"before": self._store.state.size, "digests": list(map(digest, records))}

    def put(self, stored: Sequence[bytes], mover: Mover) -> int:  # noqa: ARG002
        assert self._shell is not None
        self._shell.run(call.append(list(stored), FOREVER))
        return 0

    def has(self, mover: Mover, note: Any) -> bool:  # noqa: ARG002
        expected = note["digests"]

        def act() -> bool:
            start = self._store.state.tail.records + note["before"]
            stop = min(start + len(expected), self._store.state.head.records)
            return bool(expected == [digest(self._store.at(n)[0]) for n in range(start, stop)])

        there: bool = self._do(act)
        return there


def _engine_serializer(shown: str, path: str, engine: Any) -> Any:
    """Return what wrote the first record; None if there is none."""
    store, shell = _shell_of(path, pickle, engine)
    try:
        first = shell.request(store.first, writes=False)
    finally:
        shell.close()
    if first is None:
        return None
    bare = first.startswith(b"\x80")  # a pickle; else a checksum stands in front
    return _usable(shown, choice.named(choice.recognise_chunk(first if bare else first[4:])))


def _usable(shown: str, serializer: Any) -> Any:
    """Return a serializer that was recognised, or raise what the user has to say."""
    if serializer is None or serializer == "signed":
        what = "it is signed" if serializer else "it cannot be seen which serializer wrote it"
        raise ValueError(f"{shown}: {what}: say ?serializer=module:object")
    return serializer
