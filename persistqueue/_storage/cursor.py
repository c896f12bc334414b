"""Which stored item is next, which are handed out, which are settled: no I/O.

``read`` is the place behind the last item that was read from disk.  Items that were
read but are not handed out (looked at, or given back) wait in ``front``, in order.

Without autosave, ``done`` (what ``info`` stores as the tail) is the oldest item that
is not settled; items settled out of order wait in ``settled`` until it reaches them.

With autosave an item is settled when it is taken, so ``done`` is the next item.  One
that is given back moves the tail back, unless somebody else moved it or its chunk is
gone: then it is *homeless*, kept in memory only, handed out next, and stored again
at the end of the queue when the queue is closed.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

from .base import Record
from .chunkstate import Position, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Cursor:
    """One object's view of the items between head and tail.

    Args:
        is_there: tells whether a chunk's file still exists.
    """

    def __init__(self, state: State, autosave: bool, is_there: Callable[[int], bool]) -> None:
        self.read = state.tail
        self._tail = state.tail
        self._autosave = autosave
        self._is_there = is_there
        self._index = state.index
        self._front: deque[Record] = deque()
        self._homeless: deque[Record] = deque()
        self._settled: dict[int, Position] = {}  # index of a settled item -> the place behind it
        self.begin()

    # -- a transaction: begin, then verbs, then landed or undo ----------------------

    def begin(self) -> None:
        """Forget the journal of the last transaction."""
        self._taken: list[Record] = []
        self._untaken: list[Record] = []
        self._settling: list[int] = []
        self._flushed: list[Record] = []

    def follow(self, old: State, new: State) -> None:
        """Move to the tail that somebody else committed."""
        self._tail, self._index = new.tail, new.index
        if new.tail == old.tail:
            return
        if self._autosave or new.tail < old.tail or self.read < new.tail:
            self.read = new.tail
            self._front.clear()
        while self._front and self._front[0].start < new.tail:
            self._front.popleft()
        tail = new.index(new.tail)
        self._settled = {index: end for index, end in self._settled.items() if index >= tail}

    def known(self) -> Record | None:
        """Return the next item if it is in memory already."""
        if self._homeless:
            return self._homeless.popleft()
        return self._front.popleft() if self._front else None

    def take(self, record: Record) -> None:
        """Note that ``record`` is handed out."""
        self._taken.append(record)

    def untake(self, records: Iterable[Record]) -> None:
        """Take back what was handed out, to the same places."""
        for record in sorted(records, key=_place_of, reverse=True):
            self.put_back(record)
            self._untaken.append(record)

    def put_back(self, record: Record) -> None:
        """Let ``record`` be handed out again, in its place."""
        start: Position = record.start
        if self._autosave:
            if record.end == self.place() and self._is_there(start.chunk):
                self._front.appendleft(record)
            else:
                self._homeless.appendleft(record)
        elif start >= self._tail and self._index(start) not in self._settled:
            earlier = []
            while self._front and self._front[0].start < start:
                earlier.append(self._front.popleft())
            self._front.appendleft(record)
            self._front.extendleft(reversed(earlier))

    def settle(self, records: Iterable[Record]) -> None:
        """Note that items are finished; what is settled already stays so."""
        if self._autosave:
            return
        for record in records:
            index = self._index(record.start)
            if record.start >= self._tail and index not in self._settled:
                self._settled[index] = record.end
                self._settling.append(index)

    def skip(self, start: Position, end: Position) -> None:
        """Settle what stands between two places: it is damaged."""
        self.read = end
        if not self._autosave:
            first, last = self._index(start), self._index(end)
            for index in range(first, last - 1):
                after = Position(start.chunk, start.count + index - first + 1, start.offset)
                self._settled[index] = after
            self._settled[last - 1] = end

    def flush(self) -> Sequence[Record]:
        """Return the homeless items: they are about to be stored again."""
        self._flushed = list(self._homeless)
        self._homeless.clear()
        return self._flushed

    def landed(self, new: State) -> None:
        """The transaction is stored, with the tail at ``done()``."""
        done, self._tail = self._tail, new.tail
        while done != new.tail and (end := self._settled.pop(self._index(done), None)) is not None:
            done = end

    def undo(self) -> None:
        """The transaction is not stored: be as before it."""
        for index in self._settling:
            self._settled.pop(index, None)
        for record in reversed(self._taken):
            self.put_back(record)
        for record in self._untaken:
            for line in (self._front, self._homeless):
                with contextlib.suppress(ValueError):
                    line.remove(record)
        self._homeless.extend(self._flushed)
        self.begin()

    # -- questions ------------------------------------------------------------------

    def place(self) -> Position:
        """Return where the next item that is on disk stands."""
        return self._front[0].start if self._front else self.read

    def done(self) -> Position:
        """Return the place of the oldest item that is not settled."""
        if self._autosave:
            return self.place()
        done = self._tail
        while (end := self._settled.get(self._index(done))) is not None:
            done = end
        return done

    def waiting(self, head: Position) -> int:
        """Return how many items are stored and not handed out."""
        ahead = self._index(head) - self._index(self.read)
        return ahead + len(self._front) + len(self._homeless)

    def unsettled(self, head: Position) -> int:
        """Return how many items are stored and not settled."""
        if self._autosave:
            return self.waiting(head)
        return self._index(head) - self._index(self._tail) - len(self._settled)


def _place_of(record: Record) -> Position:
    start: Position = record.start
    return start
