"""How far a loop over a broker's queue has come: no I/O, no waiting; both streams share it.

Three ways of going on: look at items by pages (``peek``), take one at a time, or hold some
and finish them when the next are held.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from .._core.arguments import T, uncopied
from .._core.deadline import FOREVER, NOW
from .._sql.statements import ID_RANGE
from .options import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.store import Record
    from .options import BrokerQueueFace

PAGE = 100  # items that a stream looks at in one go


class Progress(Generic[T]):
    """The items that a loop has at hand, and which of them its body has got.

    Args:
        interval: items that are held together.
        peek: look, and take nothing.
        follow: wait for more.
    """

    __getstate__ = uncopied

    def __init__(
        self, queue: BrokerQueueFace[T], interval: int, *, peek: bool, follow: bool
    ) -> None:
        self._records: Sequence[Any] = ()
        self._got = 0  # how many of them the body has got
        self._ended = False
        # Held by the thread or task that asks for the next item, and never waited for.
        self._turn = threading.Lock()
        self._last = ID_RANGE[0]  # the id of the last one
        self._queue = queue
        self._session = queue._session
        self._store = queue._store
        self._interval = PAGE if peek else interval
        self._peeks = peek
        self._holds = interval > 1 and not peek
        self._follows = follow
        self._deadline = FOREVER if follow else NOW

    @property
    def message(self) -> Message[T]:
        """The item that the body of the loop has got last, with its id and time."""
        if not 0 < self._got <= len(self._records):
            raise ValueError("no item is at hand: ask in the body of the loop")
        record = self._records[self._got - 1]
        _, number, _, timestamp = record.end
        return Message(number, record.item, timestamp)

    def _enter(self) -> None:
        """Begin to look for the next item; no other caller may until ``_turn`` is released."""
        if not self._turn.acquire(blocking=False):
            raise RuntimeError(
                "a stream is for one loop, and another thread or task is waiting in this one: "
                "call stream() for each"
            )

    def _step(self) -> bool:
        """Go on to the next item, if it is at hand; the one before it is done.

        It may be asked for again when there was none: a wait was cancelled, say.
        """
        records, got = self._records, self._got
        there = got < len(records)
        if self._holds and got <= len(records):
            if got:
                records[got - 1].done = True
            if there and not self._store.holds(records[got]):
                there = False  # given back by close(), or this is the child of a fork
        self._got = got + 1 if there else len(records) + 1
        return there

    def _current(self) -> T:
        item: T = self._records[self._got - 1].item
        return item

    def _way(self) -> Callable[[], Any]:
        """Return the store's function that gets the next items."""
        queue = self._queue
        if self._peeks:
            return partial(self._store.see, queue.name, self._last, self._interval)
        if self._holds:
            return queue._holding(self._interval, self._done())
        return queue._taking(self._interval)

    def _done(self) -> Sequence[Any]:
        """Return the items that are finished when the next ones are held."""
        return self._records if self._holds else ()

    def _begin(self, records: Sequence[Record]) -> bool:
        """Have the next items at hand; returns whether there are any."""
        if records:
            self._records, self._got, self._last = records, 1, records[-1].start
        return bool(records)

    def _end(self) -> Sequence[Any]:
        """Have nothing at hand any more; returns the items to give back."""
        self._ended = True
        records, self._records = self._records, ()
        return records if self._holds else ()

    def _leave(self) -> Sequence[Record]:
        """Leave the loop before its end; returns the items to give back."""
        left = self._end()
        self._session.back_off.left([record for record in left if not record.done][:1])
        return left
