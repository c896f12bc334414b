"""The items in flight, and who took them: decisions without I/O or waiting.

The session's mutex (or its event loop) protects these objects.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING, Any

from .store import Record
from .waiters import SETTLE, TAKE, UNTAKE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    _Key = Callable[[Record], Any]  # what an index is made by

_TOO_MANY = "task_done() called too many times"


class InFlight:
    """The items that were handed out and are not settled, and their owners.

    A bare ``task_done`` is a count, like the standard library's.  It settles the
    oldest item of all when the consumer that took it has ended (such an item would
    hold the tail for ever), else the caller's oldest, else the oldest of all.

    Records that are picked are forgotten at once, so that they are picked once, and restored
    when settling it or giving it back fails.

    Args:
        ended: tells whether an owner can settle nothing any more.
    """

    unanswered = 0  # the store itself counts what is not settled

    def __init__(self, ended: Callable[[Any], bool]) -> None:
        self._ended = ended
        self._all: OrderedDict[Record, None] = OrderedDict()
        # By owner and by item, each made when it is first needed: while one thread alone
        # takes and calls a bare task_done, it is not (measured: 0.8 us a get and task_done).
        self._indexes: dict[_Key, dict[Any, OrderedDict[Record, None]]] = {}

    def add(self, records: Iterable[Record], owner: Any) -> None:
        """Note who took ``records``; to do it twice is harmless."""
        for record in records:
            if record not in self._all:
                record.owner = owner
                for key, index in self._indexes.items():
                    _enter(index, key, record)
                self._all[record] = None  # last: Ctrl-C may leave it to be added again

    def hold(self, records: Iterable[Record], owner: Any) -> None:
        """Note that a block or a loop answers for ``records``: they are known anyway."""

    def pick_oldest(self, count: int, owner: Any, into: list[Record]) -> None:
        """Pick what ``count`` bare ``task_done`` calls of ``owner`` settle.

        Raises:
            ValueError: that many are not there.
        """
        while len(into) < count:
            record = self._oldest(owner)
            if record is None:
                raise ValueError(_TOO_MANY)
            into.append(record)
            self._discard(record)

    def pick_all(self, owner: Any, into: list[Record]) -> None:
        """Pick all that ``owner`` took; else those whose owner has ended; else everything."""
        into += self._same(_owner_of, owner) or list(self._orphaned()) or self._all
        for record in into:
            self._discard(record)

    def pick_item(self, item: Any, owner: Any, into: list[Record]) -> None:
        """Pick the record of an item that was handed out, by identity.

        Small numbers and the like are one object in several records: the caller's
        own comes first.

        Raises:
            ValueError: no record has this very object.
        """
        record = next(iter(self._same(item_of, id(item))), None)
        if record is not None and record.owner is not owner:
            own = self._same(_owner_and_item_of, (owner, id(item)))
            record = next(iter(own), record)
        if record is None:
            raise ValueError(
                "task_done(item=...): this object was not handed out by this queue, or is "
                "done already; pass the very object that get() returned"
            )
        into.append(record)
        self._discard(record)

    def pick(self, records: Sequence[Record], into: list[Record], _verb: str) -> None:
        """Pick those of ``records`` that are not settled or given back yet."""
        for record in records:
            if record in self._all:
                into.append(record)
                self._discard(record)

    def known(self) -> list[Record]:
        """Return what is handed out and not settled, oldest first."""
        return list(self._all)

    def restore(self, records: Sequence[Record], _verb: str) -> None:
        """Remember again what could not be settled or given back, as the oldest."""
        self._indexes.clear()
        for record in reversed(records):
            if record not in self._all:
                self._all[record] = None
                self._all.move_to_end(record, last=False)

    def returned(self, records: Sequence[Record]) -> None:
        """Note that records are back in their places: nothing is left to forget."""

    def _oldest(self, owner: Any) -> Record | None:
        first = next(iter(self._all), None)
        if first is None or first.owner is owner or self._ended(first.owner):
            return first
        return next(iter(self._same(_owner_of, owner)), first)

    def _orphaned(self) -> Iterator[Record]:
        """Return the records whose owner has ended, oldest first."""
        if any(map(self._ended, self._index(_owner_of))):  # owners are few, records many
            yield from (record for record in self._all if self._ended(record.owner))

    def _same(self, key: _Key, value: Any) -> Iterable[Record]:
        """Return the records whose key is ``value``, oldest first."""
        return self._index(key).get(value, ())

    def _index(self, key: _Key) -> dict[Any, OrderedDict[Record, None]]:
        index = self._indexes.get(key)
        if index is None:
            index = {}
            for record in self._all:
                _enter(index, key, record)
            self._indexes[key] = index
        return index

    def _discard(self, record: Record) -> None:
        for key, index in self._indexes.items():
            value = key(record)
            same = index.get(value)
            if same is not None:
                same.pop(record, None)
                if not same:
                    del index[value]
        self._all.pop(record, None)
        if not self._all:
            self._indexes.clear()


def _enter(index: dict[Any, OrderedDict[Record, None]], key: _Key, record: Record) -> None:
    index.setdefault(key(record), OrderedDict())[record] = None


def _owner_of(record: Record) -> Any:
    return record.owner


def item_of(record: Record) -> int:
    """Return what tells one object from another."""
    return id(record.item)


def _owner_and_item_of(record: Record) -> Any:
    return record.owner, id(record.item)


class InFlightRows(InFlight):
    """Records in flight where each is settled by itself, and holds no other up.

    The caller's own come first; then those whose consumer has ended; then the others'.
    """

    def _oldest(self, owner: Any) -> Record | None:
        return next(chain(self._same(_owner_of, owner), self._orphaned(), self._all), None)


class InFlightCount:
    """Items in flight with autosave: they are settled when taken, so their number is enough.

    ``join`` waits for it; nothing is remembered of an item whose ``task_done`` never
    comes.  Only what a ``process`` block or a loop holds is known one by one, so that a
    ``task_done`` inside answers for it and nothing does so twice.
    """

    def __init__(self) -> None:
        self.unanswered = 0
        self._held: dict[Record, None] = {}

    def add(self, records: Sequence[Record], _owner: Any) -> None:
        """Note that items were taken."""
        self.unanswered += len(records)

    def hold(self, records: Iterable[Record], owner: Any) -> None:
        """Note that a block or a loop answers for ``records``."""
        for record in records:
            record.owner = owner
            self._held[record] = None

    def pick_oldest(self, count: int, owner: Any, into: list[Record]) -> None:
        """Count ``count`` calls of ``task_done``; what the caller holds comes first.

        Raises:
            ValueError: that many are not open.
        """
        if self.unanswered < count:
            raise ValueError(_TOO_MANY)
        self.unanswered -= count
        own = [record for record in self._held if record.owner is owner]
        into += (own + [_ANY] * count)[:count]
        for record in into:
            self._held.pop(record, None)

    def pick_all(self, owner: Any, into: list[Record]) -> None:
        """Count a ``task_done`` for each item that lacks one."""
        self.pick_oldest(self.unanswered, owner, into)

    def pick_item(self, item: Any, owner: Any, into: list[Record]) -> None:
        """Count a ``task_done``; of what is held, the record with this very object."""
        self.pick_oldest(1, _ANY, into)
        for record in self._held:
            if record.item is item and record.owner is owner:
                into[0] = record
                del self._held[record]
                return

    def pick(self, records: Sequence[Record], into: list[Record], verb: str) -> None:
        """Pick those of ``records`` that are still held."""
        for record in records:
            if record in self._held:
                del self._held[record]
                into.append(record)
        if verb == SETTLE:
            self.unanswered -= len(into)

    def known(self) -> list[Record]:
        """Return what blocks and loops hold: the rest is settled."""
        return list(self._held)

    def restore(self, records: Sequence[Record], verb: str) -> None:
        """Take the count back: settling, or giving back, failed."""
        for record in records:
            if record is not _ANY:
                self._held[record] = None
        if verb == SETTLE:
            self.unanswered += len(records)

    def returned(self, records: Sequence[Record]) -> None:
        """Note that items are back in the queue."""
        self.unanswered -= len(records)


_ANY = Record(None, None, None)  # some item whose record is not known


class InFlightHeld(InFlightCount):
    """Items in flight where each is finished when it is taken, and ``task_done`` does nothing.

    ``join`` waits until nothing is stored.  A ``task_done`` inside a ``process`` block or
    a loop says that the item shall not be given back; any other does nothing.
    """

    def add(self, records: Sequence[Record], _owner: Any) -> None:
        """Nothing is counted."""

    def pick_oldest(self, count: int, owner: Any, into: list[Record]) -> None:
        """Pick what the caller holds, if it holds anything."""
        into += [record for record in self._held if record.owner is owner][:count]
        for record in into:
            del self._held[record]

    def pick_all(self, owner: Any, into: list[Record]) -> None:
        """Pick everything that the caller holds."""
        self.pick_oldest(len(self._held), owner, into)

    def pick_item(self, item: Any, owner: Any, into: list[Record]) -> None:
        """Pick the record with this very object, if the caller holds it."""
        for record in self._held:
            if record.item is item and record.owner is owner:
                into.append(record)
                del self._held[record]
                return

    def pick(self, records: Sequence[Record], into: list[Record], _verb: str) -> None:
        """Pick those of ``records`` that are still held."""
        super().pick(records, into, UNTAKE)

    def restore(self, records: Sequence[Record], _verb: str) -> None:
        """Hold again what could not be given back."""
        super().restore(records, UNTAKE)

    def returned(self, records: Sequence[Record]) -> None:
        """Nothing is counted."""


AnyInFlight = InFlight | InFlightCount


class AckMode:
    """When an item is finished, and what follows from it.

    Args:
        book: makes what remembers who took what.
        at_take: what is taken is settled, and stored nowhere else.
        counted: ``join`` waits for a ``task_done`` all the same.
        looks: verbs that store nothing, apart from those that never do.
    """

    def __init__(
        self,
        book: Callable[[Callable[[Any], bool]], AnyInFlight],
        *,
        at_take: bool,
        counted: bool,
        looks: frozenset[str],
    ) -> None:
        self.book = book
        self.at_take = at_take
        self.counted = counted
        self.looks = looks


# An item is deleted when it is taken, unless a block or a stream holds it: then at its end.
UNLESS_HELD = AckMode(lambda _: InFlightHeld(), at_take=True, counted=False, looks=frozenset())
AT_TASK_DONE = AckMode(InFlight, at_take=False, counted=False, looks=frozenset({TAKE, UNTAKE}))
AT_ROW_DONE = AckMode(InFlightRows, at_take=False, counted=False, looks=AT_TASK_DONE.looks)
AUTOSAVE = AckMode(lambda _: InFlightCount(), at_take=True, counted=True, looks=frozenset({SETTLE}))
AT_TAKE = AckMode(lambda _: InFlightHeld(), at_take=True, counted=False, looks=frozenset({SETTLE}))
