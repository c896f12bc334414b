"""How a file queue's items are read: finished ones and damage are stepped over."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from .._core.block import Damaged, reason_of
from .._core.cursor import NONE_MISSING, Cursored, Position
from .._core.log import warn
from .._core.store import Record, Stale
from ..exceptions import ItemTooLarge, SerializationError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Sequence

    from .chunks import ChunkReader
    from .commits import Commits
    from .recovery import Recovery


class ReadingStore(Cursored):
    """What a store over chunk files does to read them.

    Attributes:
        skipped: how many records were set aside, and how many items are missing.
    """

    skipped: int
    _commits: Commits
    _reader: ChunkReader
    _recovery: Recovery
    _skip_corrupt: bool
    # The transaction under way.
    _exclusive: bool  # whether it holds the lock
    _head: Position
    # A tail from which the end of the finished items behind it cannot be found.
    _stuck: Position | None = None

    @abstractmethod
    def _check_path(self) -> None:
        """Refuse to go on if the path leads to another directory by now."""

    def next_place(self) -> tuple[io.RawIOBase | io.BytesIO, int]:
        """Return the chunk of the next item as a stream, as far as it holds items, and where."""
        chunk, _, offset = self._cursor.place()
        last, _, limit = self._head
        return self._reader.window(chunk, limit if chunk == last else None), offset

    def _next(self) -> Record | None:
        cursor = self._cursor
        if cursor.front is not None or cursor.homeless is not None:
            return cursor.known()
        while True:
            start = cursor.read
            chunk, records, offset = start
            last, count, limit = self._head
            if chunk >= last and (chunk > last or records >= count):
                return None
            try:
                if cursor.until and (end := cursor.end_of(start)):
                    self._step_over_finished(start, end)
                    continue
                item, offset = self._reader.decode(chunk, offset, limit if chunk == last else None)
            except FileNotFoundError:
                self._skip(cursor.read, "the chunk is missing")
            except Damaged as damage:
                self._skip(cursor.read, str(damage))
            except (SerializationError, ItemTooLarge) as error:
                place = self._recovery.place(cursor.read)
                raise type(error)(f"{place}: {error}") from error.__cause__
            else:
                cursor.read = after = self._commits.state.after(start, offset)
                return Record(start, after, item, self._era)

    def _step_over_finished(self, start: Position, end: int) -> None:
        """Go on reading behind finished items, those in the chunk of ``start`` only.

        Args:
            end: the ordinal behind the last of them.
        """
        at = start
        try:
            for place in self._places(start, end):
                at = place
        finally:
            self._cursor.step_over(at)

    def _places(self, start: Position, end: int) -> Iterator[Position]:
        """Yield the places behind records, up to an ordinal, or to the end of the chunk."""
        state, (last, _, limit) = self._commits.state, self._head
        chunk = start.chunk
        if end >= (chunk + 1) * state.chunksize:
            yield Position(chunk + 1, 0, 0)
            return
        most = limit if chunk == last else None
        for _ in range(end - state.ordinal(start)):
            start = state.after(start, self._reader.boundary(chunk, start.offset, most))
            yield start

    def _skip(self, start: Position, reason: str) -> None:
        """Step over damage, or say where it is."""
        if not self._exclusive:
            raise Stale
        self._check_path()
        end, certain = self._resume(start)
        until = self._cursor.end_of(start)
        if until and certain and self._commits.state.ordinal(end) <= until:  # not needed any more
            self._cursor.step_over(end)
            return
        if not self._skip_corrupt:
            raise self._recovery.damage(start, reason)
        self._step_over(start, end, reason, certain=certain)

    def _resume(self, start: Position) -> tuple[Position, bool]:
        return self._recovery.resume(start, self._head, self._commits.state.chunksize)

    def _step_over(self, start: Position, end: Position, reason: str, *, certain: bool) -> None:
        self._recovery.set_aside(start, end, reason)
        self.skipped += self._commits.state.ordinal(end) - self._commits.state.ordinal(start)
        self._cursor.skip(start, end, certain=certain)

    def set_aside(self, *, unseen: bool = False) -> bool:
        """Set the next item aside if it cannot be loaded; returns whether it was.

        Args:
            unseen: also one that can; none is loaded.
        """
        cursor, (last, count, limit) = self._cursor, self._head
        reason, damaged = "it was to be set aside", False
        try:
            while cursor.until and (end_of_range := cursor.end_of(cursor.read)):
                self._step_over_finished(cursor.read, end_of_range)
        except (FileNotFoundError, Damaged, ItemTooLarge):
            pass  # as the next step will find
        chunk, records, offset = start = cursor.read
        if cursor.has_known(self.skip) or chunk > last or (chunk == last and records >= count):
            return False
        try:
            if not unseen:
                self._reader.decode(chunk, offset, limit if chunk == last else None)
                return False
        except FileNotFoundError:
            reason, damaged = "the chunk is missing", True
        except Damaged as damage:
            reason, damaged = str(damage), True
        except (SerializationError, ItemTooLarge, SystemExit) as error:
            reason = reason_of(error)
        end = None if damaged else self._recovery.end_of(start, self._commits.state)
        certain = True
        if end is None:
            end, certain = self._resume(start)
            several = self._commits.state.ordinal(end) - self._commits.state.ordinal(start) > 1
            if several and not (damaged or self._framing.native):
                raise SerializationError(
                    f"{self._recovery.place(start)}: {reason}. It cannot be set aside: where it "
                    f"ends, only the load of {self._framing.name} could tell"
                )
        self._step_over(start, end, reason, certain=certain)
        return True

    def _say_missing(self, record: Record | None, taken: Sequence[Record] | None) -> None:
        place: Position = self._cursor.place() if record is None else record.start
        count, before = self._missing
        if self._commits.state.ordinal(place) < before or (self._skip_corrupt and taken is None):
            return
        error = self._recovery.missing(count, place)
        says = taken is not None and (self._skip_corrupt or not taken)
        if says and not self._exclusive:
            raise Stale
        if says:
            self._missing = NONE_MISSING  # so says info with this commit
        if self._skip_corrupt:
            warn("%s", error)
            return
        if record is not None:
            self._cursor.put_back(record)
        raise error

    def _catch_up(self) -> None:
        """Find out where finished items end that reading does not come by any more."""
        cursor, state = self._cursor, self._commits.state
        while (start := cursor.catch_up()) is not None and start != self._stuck:
            first = start
            end = cursor.finished.end_of(state.ordinal(start))
            try:
                while state.ordinal(start) < end:
                    *_, start = self._places(start, end)
            except (OSError, Damaged, ItemTooLarge, SerializationError) as error:
                # The tail stays in front of them, and they are finished all the same.
                self._stuck = None if isinstance(error, OSError) else first
                return
            cursor.found(start)
