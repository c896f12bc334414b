"""Which stored item is next, which are handed out, which are settled: no I/O.

``read`` is the place behind the last item that was read from disk.  Items that were
read but are not handed out (looked at, or given back) wait in ``front``, in order.

Without autosave, ``done`` (what ``info`` stores as the tail) is the oldest item that
is not settled; items settled out of order stand in ``finished`` until it reaches them.  So do
those that other objects have settled, and those that ``info`` names when a queue is opened:
reading steps over them.

With autosave an item is settled when it is taken, so ``done`` is the next item.  One
that is given back moves the tail back, unless another object moved it or its chunk is
gone: then it is *homeless*, kept in memory only, handed out next, and stored again
at the end of the queue when the queue is closed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from .finished import Finished
from .store import Record, Stale, StoreBase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from .framing import Framing

    _List = tuple[Record, "_List", int] | None  # the first, those behind it, how many in all


_new = tuple.__new__  # a NamedTuple's own __new__ is a Python function (0.1 us)


class Position(NamedTuple):
    """A place between two records."""

    chunk: int
    records: int  # in that chunk before it; ``count`` would hide a method of tuples
    offset: int


MOST_RECORDS = 2**63 - 1  # the largest chunk size; people pass sys.maxsize for "one chunk"
START = Position(0, 0, 0)


class Missing(NamedTuple):
    """Items that had been flushed and are gone."""

    items: int  # how many
    before: int  # the ordinal of the first item behind them


NONE_MISSING = Missing(0, 0)
MENDINGS = 8  # so far they are counted, and then from 0 on


class State(NamedTuple):
    """The value of ``info``.  ``size`` is derived: the number of records in between.

    Attributes:
        mended: how often the head was moved back, modulo 8: the ordinals behind it are used again.
        missing: until a get has said so.
    """

    chunksize: int
    tail: Position = START
    head: Position = START
    mended: int = 0
    missing: Missing = NONE_MISSING

    @property
    def size(self) -> int:
        head, tail = self.head, self.tail
        return (head[0] - tail[0]) * self.chunksize + head[1] - tail[1]

    def ordinal(self, position: Position) -> int:
        """Return how many records were ever stored before ``position``."""
        return position[0] * self.chunksize + position[1]

    def after(self, position: Position, offset: int, count: int = 1) -> Position:
        """Return the position ``count`` records on, in the same chunk, at ``offset``."""
        count += position[1]
        if count < self[0]:
            return _new(Position, (position[0], count, offset))
        return Position(position[0] + 1, 0, 0)

    def with_ends(self, tail: Position, head: Position) -> State:
        """Return the state with other ends."""
        return _new(State, (self[0], tail, head, self[3], self[4]))

    def mend(self) -> State:
        """Return the state as one of which other objects know nothing: they begin anew."""
        ordinal = self.ordinal(self.head)
        missing = self.missing
        if missing.before > ordinal:
            missing = Missing(missing.items, ordinal)
        return self._replace(mended=(self.mended + 1) % MENDINGS, missing=missing)

    def miss(self, count: int) -> State:
        """Return the state with so many items missing in front of its head."""
        before = self.missing.before if self.missing.items else self.ordinal(self.head)
        return self._replace(missing=Missing(self.missing.items + count, before))

    def mapping(self) -> dict[str, Any]:
        """Return the value of ``info``, keys in upstream's order."""
        chunksize, tail, head, *_ = self
        return {
            "chunksize": chunksize,
            "size": (head[0] - tail[0]) * chunksize + head[1] - tail[1],
            "tail": list(tail),
            "head": list(head),
        }


def parse(value: Any) -> State:
    """Check the value of an ``info`` file, field by field.

    Raises:
        ValueError: it is not what a queue can have written; says which field.
    """
    if not isinstance(value, dict):
        raise ValueError("it holds no mapping")
    chunksize = value.get("chunksize")
    if type(chunksize) is not int or not 1 <= chunksize <= MOST_RECORDS:
        raise ValueError(f"'chunksize' is {_say(chunksize)}")
    size = value.get("size")
    tail, head = (_position(value, key, chunksize) for key in ("tail", "head"))
    state = State(chunksize, tail, head)
    if state.tail > state.head or type(size) is not int or state.size != size:
        raise ValueError(f"'size' is {_say(size)}, but head and tail are {state.size} items apart")
    if size > MOST_RECORDS:
        raise ValueError("'size' is more than a disk can hold")
    return state


def _position(value: dict[Any, Any], key: str, chunksize: int) -> Position:
    found = value.get(key)
    if not isinstance(found, (list, tuple)) or len(found) != 3 or not all(map(_is_whole, found)):
        raise ValueError(f"{key!r} is not three whole numbers")
    position = Position(*found)
    if position.records >= chunksize or (position.records == 0 and position.offset != 0):
        raise ValueError(f"{key!r} is {list(position)} at a chunk size of {chunksize}")
    return position


def _is_whole(number: object) -> TypeGuard[int]:
    return type(number) is int and 0 <= number < 1 << 62


def _say(value: object) -> str:
    """Name a value without trusting it: the repr of a small nest can be gigabytes."""
    return str(value) if _is_whole(value) else f"of type {type(value).__name__}"


class Cursor:
    """One object's view of the items between head and tail.

    Args:
        is_there: tells whether a chunk's file still exists.
        before: the view of files whose places mean nothing any more: items that were given back and
            is stored nowhere goes on waiting.
        finished: ranges of ordinals behind the tail that ``info`` names.

    Attributes:
        finished: the settled items behind the oldest that is not.
        until: the ordinal up to which reading may meet finished items; 0: it meets none.
    """

    def __init__(
        self,
        state: State,
        autosave: bool,
        is_there: Callable[[int], bool],
        before: Cursor | None = None,
        finished: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.read = state.tail
        self._tail = state.tail
        self._autosave = autosave
        self._is_there = is_there
        self._chunksize = state.chunksize
        # Linked lists: ``undo`` needs one reference, however long they are.
        self.front: _List = None
        self.homeless: _List = None if before is None else before.homeless
        self._done = state.tail  # the oldest item that is not settled, without autosave
        self.finished = Finished()
        self.until = 0
        self.overtaken = False  # whether another object has finished an item in flight
        # The state at the beginning of the transaction, for ``undo``.
        self._before: tuple[Position, _List, _List, Position, int]
        self._take_over(state, finished)
        self.begin()

    # -- a transaction: begin, then verbs, then landed or undo ----------------------

    def begin(self) -> None:
        """Remember how things stand."""
        self._before = self.read, self.front, self.homeless, self._done, self.until
        if self.finished.changes:
            self.finished.begin()

    def follow(self, old: State, new: State, finished: Iterable[tuple[int, int]] = ()) -> None:
        """Move to the tail that another object committed, and note what else it has finished.

        Args:
            finished: ranges of ordinals, if they are not those of the last ``info``.
        """
        self._tail = new.tail
        if new.tail != old.tail:
            self._follow_tail(old, new)
        elif not finished:
            return
        self._take_over(new, finished)
        self._done = new.tail
        self._advance()
        self.begin()

    def _follow_tail(self, old: State, new: State) -> None:
        if not self._autosave and self._done < min(new.tail, self.read):
            # The item there is not settled: it is in flight, unless it was given back.
            self.overtaken |= self.front is None or self.front[0].start != self._done
        if self._autosave or new.tail < old.tail or self.read < new.tail:
            if new.tail < old.tail:
                self.until = max(self.until, self._ordinal(self.read))
            self.read, self.front = new.tail, None
        while self.front is not None and self.front[0].start < new.tail:
            self.front = self.front[1]
        self.finished.cut(0, new.ordinal(new.tail))

    def _take_over(self, state: State, ranges: Iterable[tuple[int, int]]) -> None:
        """Note what others have finished; what waits here of it is not handed out."""
        finished, size, head = self.finished, self._chunksize, state.ordinal(state.head)
        end = 0
        for first, end in ranges:
            place = state.head if end == head else None
            finished.add(first, end, Position(end // size, 0, 0) if end % size == 0 else place)
        if not end:
            return
        if end > self._ordinal(self.read):
            self.until = max(self.until, end)
        front, kept = self.front, []
        while front is not None:
            if not finished.end_of(self._ordinal(front[0].start)):
                kept.append(front[0])
            front = front[1]
        self.front = None
        for record in reversed(kept):
            self.front = _in_front(record, self.front)

    def _ordinal(self, place: Position) -> int:
        return place[0] * self._chunksize + place[1]

    def known(self) -> Record:
        """Return the next item, which is in memory already: ``front`` or ``homeless`` is."""
        if self.homeless is not None:
            record, self.homeless, _ = self.homeless
        else:
            assert self.front is not None
            record, self.front, _ = self.front
        # A new record: the one that had it before may yet be given back, which must do nothing.
        return Record(record.start, record.end, record.item, record.era)

    def untake(self, records: Iterable[Record], era: int = 0) -> None:
        """Take records back to their places.

        Args:
            era: which records have their places in these files.  Others are still stored
                where they were, or, with autosave, nowhere.
        """
        for record in sorted(records, key=_place_of, reverse=True):
            if record.era == era:
                self.put_back(record)
            elif self._autosave:
                self.homeless = _in_front(record, self.homeless)

    def put_back(self, record: Record) -> None:
        """Let ``record`` be handed out again, in its place."""
        start: Position = record.start
        if self._autosave:
            kept = start >= self._tail or self._is_there(start.chunk)
            if kept and record.end == self.place():
                self.front = _in_front(record, self.front)
            else:
                self.homeless = _in_front(record, self.homeless)
        elif start >= self._done and not self.finished.end_of(self._ordinal(start)):
            front, earlier = self.front, []
            while front is not None and front[0].start < start:
                earlier.append(front[0])
                front = front[1]
            front = _in_front(record, front)
            for other in reversed(earlier):
                front = _in_front(other, front)
            self.front = front

    def settle(self, records: Iterable[Record], era: int = 0) -> None:
        """Note that items are finished; settled ones stay so.

        Args:
            era: which records have their places in these files; no other is settled.
        """
        if self._autosave:
            return
        for record in records:
            start = record.start
            if record.era != era:
                continue
            if start == self._done:
                self._done = record.end
                if self.finished.ranges:
                    self._advance()
            elif start > self._done:
                self._finish(start, record.end)

    def _finish(self, start: Position, end: Position) -> None:
        """Note that what is between two places is settled, behind the oldest that is not."""
        size = self._chunksize
        self.finished.add(start[0] * size + start[1], end[0] * size + end[1], end)

    def _advance(self) -> None:
        """Step over items that were settled before those in front of them."""
        finished = self.finished
        while finished.ranges and (end := finished.advance(self._ordinal(self._done))):
            self._done = end
        # An object that has not read them may know where they end.
        self.read = max(self.read, self._done)

    def catch_up(self) -> Position | None:
        """Let ``done`` follow what reading has found out.

        Returns:
            the place of a finished item that ``done`` cannot step over, because reading does not
            come to the end of its range any more; mostly None.
        """
        finished = self.finished
        if self._autosave:
            finished.cut(0, self._ordinal(self.place()))
            return None
        self._advance()
        end = finished.end_of(self._ordinal(self._done)) if finished.ranges else 0
        return self._done if end and end <= self._ordinal(self.read) else None

    def end_of(self, start: Position) -> int:
        """Return the end of the range of finished items in which one is that is read next, or 0."""
        ordinal = start[0] * self._chunksize + start[1]
        if ordinal < self.until:
            return self.finished.end_of(ordinal)
        self.until = 0
        return 0

    def step_over(self, end: Position) -> None:
        """Go on reading behind finished items."""
        self.read = end
        self.found(end)

    def found(self, end: Position) -> None:
        """Note a place at which finished items may end."""
        self.finished.end_known(self._ordinal(end), end)

    def finish_until(self, end: Position) -> None:
        """Settle all items in front of a place, where nothing is handed out."""
        if end > self._done:
            self.read = self._done = end
            self._advance()

    def skip(self, start: Position, end: Position, *, certain: bool) -> None:
        """Settle the damaged bytes between two places.

        Args:
            certain: it is no guess how many records the damage took.  Else other items may have
                the ordinals of the finished ones behind it, in this chunk.
        """
        self.read = end
        if not certain:
            self.finished.cut(self._ordinal(end), (end.chunk + 1) * self._chunksize)
        if not self._autosave:
            self._finish(start, end)
            self._advance()

    def flush(self) -> Sequence[Record]:
        """Return the homeless items: they are about to be stored again."""
        homeless = []
        while self.homeless is not None:
            record, self.homeless, _ = self.homeless
            homeless.append(record)
        return homeless

    def landed(self, new: State) -> None:
        """The transaction is stored, with the tail at ``done()``."""
        self._tail = new.tail

    def undo(self) -> None:
        """The transaction is not stored: be as before it."""
        if self.finished.changes:
            self.finished.undo()
        self.read, self.front, self.homeless, self._done, self.until = self._before

    # -- questions ------------------------------------------------------------------

    def has_known(self, skip: Collection[Position]) -> bool:
        """Return whether an item in memory could be handed out."""
        for first in (self.homeless, self.front):
            known = first
            while known is not None and known[0].start in skip:
                known = known[1]
            if known is not None:
                return True
        return False

    def place(self) -> Position:
        """Return where the next item that is on disk stands."""
        return self.read if self.front is None else self.front[0].start

    def done(self) -> Position:
        """Return the place of the oldest item that is not settled."""
        return self.place() if self._autosave else self._done

    def counts(self, head: Position) -> tuple[int, int]:
        """Return how many items are stored and not handed out, and not settled."""
        size, (last, records, _) = self._chunksize, head
        chunk, before, _ = self.read
        waiting = (last - chunk) * size + records - before
        if self.until:
            waiting -= self.finished.behind(chunk * size + before)
        if self.front is not None:
            waiting += self.front[2]
        if self.homeless is not None:
            waiting += self.homeless[2]
        if self._autosave:
            return waiting, waiting
        chunk, before, _ = self._done
        return waiting, (last - chunk) * size + records - before - self.finished.total


class Cursored(StoreBase, ABC):
    """The verbs of a store whose items a cursor counts."""

    _missing = NONE_MISSING  # items: until a take has said so

    _cursor: Cursor
    _era: int
    _framing: Framing

    @abstractmethod
    def append(self, records: Sequence[bytes]) -> None:
        """Add encoded items behind the last one."""

    @abstractmethod
    def counts(self, exact: bool = True) -> tuple[int, int]:
        """Return how many items are stored and not handed out, and not settled."""

    @abstractmethod
    def _next(self) -> Record | None:
        """Hand out the next item, skipped ones too; None if there is none."""

    def _say_missing(self, record: Record | None, taken: Sequence[Record] | None) -> None:
        """Raise, if items are missing in front of a record; that is put back.

        Args:
            record: the one that was read; None: there is no other.
            taken: those that were taken in front of it: then this take must not say it.  None: it
                is a peek, and the next take will say it, too.
        """

    def take(self, most: int) -> list[Record]:
        taken: list[Record] = []
        skipped: list[Record] = []
        try:
            while len(taken) < most:
                record = self._next()
                if self._missing is not NONE_MISSING:
                    self._say_missing(record, taken)
                if record is None:
                    break
                (skipped if self.skip and record.start in self.skip else taken).append(record)
        except Exception as error:
            if not taken or isinstance(error, Stale):  # else it comes with the next take
                raise
        finally:
            if skipped:
                self._cursor.untake(skipped, self._era)
        self.held_back = bool(skipped) and len(taken) < most
        return taken

    def peek(self) -> Record | None:
        record = self._next()
        if self._missing is not NONE_MISSING:
            self._say_missing(record, None)
        if record is not None:
            self._cursor.put_back(record)
        return record

    def untake(self, records: Sequence[Record]) -> None:
        self._cursor.untake(records, self._era)

    def settle(self, records: Sequence[Record]) -> None:
        self._cursor.settle(records, self._era)

    def finish_until(self, end: Position) -> None:
        """Finish all items in front of a place; only for an object that has handed out none."""
        self._cursor.finish_until(end)

    def flush(self) -> None:
        self.append([self._framing.encode(record.item) for record in self._cursor.flush()])

    def unsaved(self) -> bool:
        return self._cursor.homeless is not None

    def room(self, maxsize: int, wanted: int) -> int:  # noqa: ARG002 - exact is free here
        return maxsize - self.counts()[0]


def _in_front(record: Record, others: _List) -> _List:
    return record, others, 1 if others is None else others[2] + 1


def _place_of(record: Record) -> Position:
    start: Position = record.start
    return start
