"""The items in flight, and who took them: decisions without I/O or waiting.

The session's mutex (or its event loop) protects these objects.  Methods that look for records
change nothing.  ``discard`` and ``restore`` may be repeated, so a call that is interrupted in the
middle of either can be put in order.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from .call import SETTLE, TAKE, UNTAKE
from .store import Record

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    _Key = Callable[[Record], Any]  # an index is made by it

_TOO_MANY = "task_done() called too many times"


class InFlight:
    """The items that were handed out and are not settled, and their owners.

    A bare ``task_done`` is a count, like the standard library's.  It settles the
    oldest item of all when the consumer that took it has ended (such an item would
    hold the tail for ever), else the caller's oldest, else the oldest of all.

    Args:
        ended: tells whether an owner can settle nothing any more.
    """

    unanswered = 0  # the store itself counts these

    def __init__(self, ended: Callable[[Any], bool]) -> None:
        self._ended = ended
        self._all: OrderedDict[Record, None] = OrderedDict()
        # By owner and by item, each made when it is first needed: while one thread alone
        # takes and calls a bare task_done, it is not (measured: 0.8 us a get and task_done).
        self._indexes: dict[_Key, dict[Any, OrderedDict[Record, None]]] = {}

    def add(self, records: Iterable[Record], owner: object) -> None:
        """Note who took ``records``; to do it twice is harmless."""
        for record in records:
            if record not in self._all:
                record.owner = owner
                for key, index in self._indexes.items():
                    _enter(index, key, record)
                self._all[record] = None  # last: Ctrl-C may leave it to be added again

    def hold(self, records: Iterable[Record], owner: object) -> None:
        """Note that a block or a loop answers for ``records``: they are known anyway."""

    def discard(self, record: Record) -> None:
        """Forget a record: it is being settled or given back."""
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

    def restore(self, records: Sequence[Record]) -> None:
        """Remember records again that could not be settled or given back, as the oldest."""
        self._indexes.clear()
        for record in reversed(records):
            if record not in self._all:
                self._all[record] = None
                self._all.move_to_end(record, last=False)

    def returned(self, count: int) -> None:
        """Note that ``count`` records are back in their places."""

    def known(self) -> list[Record]:
        """Return all records in flight, oldest first."""
        return list(self._all)

    def still(self, records: Iterable[Record]) -> list[Record]:
        """Return those of ``records`` that are not settled or given back yet."""
        return [record for record in records if record in self._all]

    def oldest(self, count: int, owner: object) -> Collection[Record]:
        """Return the records that ``count`` bare ``task_done`` calls of ``owner`` settle.

        Raises:
            ValueError: that many are not there.
        """
        found: dict[Record, None] = {}
        own: Iterator[Record] | None = None
        for first in self._all:
            while first not in found:
                record = first
                if first.owner is not owner and not self._ended(first.owner):
                    own = own or iter(self._same(_owner_of, owner))
                    record = next((one for one in own if one not in found), first)
                found[record] = None
                if len(found) == count:
                    return found
        raise ValueError(_TOO_MANY)

    def all_of(self, owner: object) -> list[Record]:
        """Return all that ``owner`` took; else those whose owner has ended; else everything."""
        return list(self._same(_owner_of, owner)) or list(self._orphaned()) or list(self._all)

    def of_item(self, item: object, owner: object) -> list[Record]:
        """Return the record of an item that was handed out, by identity.

        Small numbers and the like are one object in several records: the caller's
        own comes first.

        Raises:
            ValueError: no record has this very object.
        """
        record = next(iter(self._same(_item_of, id(item))), None)
        if record is None:
            raise ValueError(
                "task_done(item=...): this object was not handed out by this queue, or is "
                "done already; pass the very object that get() returned"
            )
        if record.owner is not owner:
            record = next(iter(self._same(_own_item_of, (id(item), owner))), record)
        return [record]

    def _orphaned(self) -> Iterator[Record]:
        """Return the records whose owner has ended, oldest first."""
        if any(map(self._ended, self._index(_owner_of))):  # owners are few, records many
            yield from (record for record in self._all if self._ended(record.owner))

    def _same(self, key: _Key, value: object) -> Iterable[Record]:
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


def _enter(index: dict[Any, OrderedDict[Record, None]], key: _Key, record: Record) -> None:
    index.setdefault(key(record), OrderedDict())[record] = None


def _owner_of(record: Record) -> object:
    return record.owner


def _item_of(record: Record) -> int:
    return id(record.item)


def _own_item_of(record: Record) -> tuple[int, object]:
    return id(record.item), record.owner


class InFlightRows(InFlight):
    """Records in flight where each is settled by itself, and holds no other up.

    The caller's own come first; then those whose consumer has ended; then the others'.
    """

    def oldest(self, count: int, owner: object) -> Collection[Record]:
        found: dict[Record, None] = {}
        if count == 0:
            return found
        for record in chain(self._same(_owner_of, owner), self._orphaned(), self._all):
            found[record] = None
            if len(found) == count:
                return found
        raise ValueError(_TOO_MANY)


class InFlightAcks(InFlight):
    """Records of an ack queue: each is found in constant time, by object, equality or place.

    To find none is no error: it was acked before, or never was here.
    """

    def same(self, item: object, owner: object) -> Record | None:
        """Return the record of this very object; the caller's first."""
        own = self._same(_own_item_of, (id(item), owner))
        return next(iter(own or self._same(_item_of, id(item))), None)

    def alike(self, item: object, owner: object) -> Record | None:
        """Return the record of an equal object; the caller's first."""
        like = likeness(item)
        candidates = chain(
            self._same(_own_likeness_of, (like, owner)), self._same(_likeness_of, like)
        )
        return next((one for one in candidates if alike(one.item, item)), None)

    def at(self, place: object) -> list[Record]:
        """Return the records at this place: one that was taken away, and taken again, is in two."""
        return list(self._same(_place_of, place))

    def within(self, lists: Collection[object]) -> list[Record]:
        """Return the records in these lists: the first part of a place."""
        return [record for record in self._all if record.start[0] in lists] if lists else []


def _place_of(record: Record) -> object:
    return record.start


def _list_of(record: Record) -> object:
    return record.start[0]


def _own_likeness_of(record: Record) -> tuple[int, object]:
    return _likeness_of(record), record.owner


def _likeness_of(record: Record) -> int:
    """Return the likeness that the item had when it was first asked for: it may change."""
    try:
        return record.likeness
    except AttributeError:
        record.likeness = likeness(record.item)
        return record.likeness


def likeness(item: object) -> int:
    """Return a number that is the same for equal items."""
    try:
        return hash(item)
    except TypeError:
        pass
    except Exception:  # noqa: BLE001 - an item's own __hash__ may raise anything
        return 0
    try:
        return _of_unhashable(item)
    except RecursionError:
        return 1


def _of_unhashable(item: object) -> int:
    if isinstance(item, dict):
        return hash(frozenset((likeness(key), likeness(item[key])) for key in item))
    if isinstance(item, (list, tuple)):
        return hash((isinstance(item, list), *map(likeness, item)))
    if isinstance(item, set):
        return hash(frozenset(item))
    if isinstance(item, bytearray):
        return hash(bytes(item))
    return hash(type(item).__name__)


def alike(one: object, other: object) -> bool:
    """Return whether two items are equal, as far as they can tell."""
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - an array of several truth values, say
        return False


class InFlightLeased(InFlightAcks):
    """Records of a queue whose items are leased: another consumer may have them by now.

    Args:
        lost: the lists of which that is known: the first part of a place.
    """

    def __init__(self, ended: Callable[[Any], bool], lost: deque[Any]) -> None:
        super().__init__(ended)
        self._lost = lost

    def add(self, records: Iterable[Record], owner: object) -> None:
        """Note who took records, and forget those that other consumers have by now."""
        while self._lost:
            for record in list(self._same(_list_of, self._lost.popleft())):
                self.discard(record)
        super().add(records, owner)


class InFlightHeld:
    """Records in flight where each is finished when it is taken, and ``task_done`` does nothing.

    Only the records that a ``process`` block or a loop holds are known.  A ``task_done`` inside
    says that the item shall not be given back.  ``join`` waits until nothing is stored.
    """

    unanswered = 0

    def __init__(self) -> None:
        self._held: dict[Record, None] = {}

    def add(self, records: Sequence[Record], _: object) -> None:
        """Note that items were taken: they are finished."""

    def hold(self, records: Iterable[Record], owner: object) -> None:
        """Note that a block or a loop answers for ``records``."""
        for record in records:
            record.owner = owner
            self._held[record] = None

    def discard(self, record: Record) -> None:
        """Forget a record: its block or loop is through with it."""
        self._held.pop(record, None)

    def restore(self, records: Sequence[Record]) -> None:
        """Hold records again that could not be given back."""
        for record in records:
            if record is not _ANY:
                self._held[record] = None

    def returned(self, count: int) -> None:
        """Note that ``count`` items are back in the queue."""

    def known(self) -> list[Record]:
        """Return the records that blocks and loops hold: all others are settled."""
        return list(self._held)

    def still(self, records: Iterable[Record]) -> list[Record]:
        """Return those of ``records`` that are still held."""
        return [record for record in records if record in self._held]

    def oldest(self, count: int, owner: object) -> Collection[Record]:
        """Return up to ``count`` records that the caller holds."""
        return [record for record in self._held if record.owner is owner][:count]

    def all_of(self, owner: object) -> Collection[Record]:
        """Return everything that the caller holds."""
        return self.oldest(len(self._held), owner)

    def of_item(self, item: object, owner: object) -> list[Record]:
        """Return the record with this very object, if the caller holds it."""
        return [one for one in self._held if one.item is item and one.owner is owner][:1]


class InFlightCount(InFlightHeld):
    """Items in flight with autosave: they are settled when taken, so their number is enough.

    ``join`` waits for it; nothing is remembered of an item whose ``task_done`` never comes.
    Records that a ``process`` block or a loop holds are known one by one, so that a ``task_done``
    inside counts for them, and nothing counts twice.
    """

    def add(self, records: Sequence[Record], _: object) -> None:
        """Note that items were taken."""
        self.unanswered += len(records)

    def returned(self, count: int) -> None:
        self.unanswered -= count

    def oldest(self, count: int, owner: object) -> Collection[Record]:
        """Return a record for each of ``count`` calls of ``task_done``: the caller's own first.

        Raises:
            ValueError: that many are not open.
        """
        if self.unanswered < count:
            raise ValueError(_TOO_MANY)
        own = super().oldest(count, owner)
        return [*own, *[_ANY] * (count - len(own))]

    def all_of(self, owner: object) -> Collection[Record]:
        """Return a record for each item that lacks a ``task_done``."""
        return self.oldest(self.unanswered, owner)

    def of_item(self, item: object, owner: object) -> list[Record]:
        """Return the held record with this very object, or one for any item."""
        self.oldest(1, _ANY)
        return super().of_item(item, owner) or [_ANY]


_ANY = Record(None, None, None)  # some item whose record is not known

AnyInFlight: TypeAlias = InFlight | InFlightHeld


class AckMode:
    """When an item is finished, and how that is noted.

    Args:
        book: makes the book of the items in flight.
        at_take: an item is finished when it is taken, and stored nowhere else.
        counted: ``join`` waits for a ``task_done`` nevertheless.
        looks: verbs that store nothing in this mode, beside those that never do.
    """

    def __init__(
        self,
        book: Callable[[Callable[[Any], bool]], AnyInFlight],
        *,
        at_take: bool = False,
        counted: bool = False,
        looks: frozenset[str] = frozenset(),
    ) -> None:
        self.book = book
        self.at_take = at_take
        self.counted = counted
        self.looks = looks


# An item is deleted when it is taken, unless a block or a stream holds it: then at its end.
UNLESS_HELD = AckMode(lambda _: InFlightHeld(), at_take=True)
AT_TASK_DONE = AckMode(InFlight, looks=frozenset({TAKE, UNTAKE}))
AT_ROW_DONE = AckMode(InFlightRows, looks=AT_TASK_DONE.looks)
AUTOSAVE = AckMode(lambda _: InFlightCount(), at_take=True, counted=True, looks=frozenset({SETTLE}))
AT_TAKE = AckMode(lambda _: InFlightHeld(), at_take=True, looks=frozenset({SETTLE}))
AT_ACK = AckMode(InFlightAcks)
