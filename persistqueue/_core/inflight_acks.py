"""The items that an ack queue has handed out: found by object, by equality, or by place.

No I/O, no waiting; the session's mutex (or its event loop) protects these objects.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from .inflight import AckMode, InFlight, item_of

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Collection, Iterable

    from .store import Record


def likeness(item: Any) -> int:
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


def _of_unhashable(item: Any) -> int:
    if isinstance(item, dict):
        return hash(frozenset((likeness(key), likeness(item[key])) for key in item))
    if isinstance(item, (list, tuple)):
        return hash((isinstance(item, list), *map(likeness, item)))
    if isinstance(item, set):
        return hash(frozenset(item))
    if isinstance(item, bytearray):
        return hash(bytes(item))
    return hash(type(item).__name__)


def alike(one: Any, other: Any) -> bool:
    """Return whether two items are equal, as far as they can tell."""
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - an array of several truth values, say
        return False


class InFlightAcks(InFlight):
    """Items in flight whose records can be picked one by one, in constant time.

    Not finding one is no error: it was acked before, or never was here.
    """

    def pick_same(self, item: Any, owner: Any, into: list[Record]) -> None:
        """Pick the record of this very object; the caller's first."""
        own = self._same(_own_item_of, (id(item), owner))
        self._pick_first(own or self._same(item_of, id(item)), into)

    def pick_alike(self, item: Any, owner: Any, into: list[Record]) -> None:
        """Pick the record of an equal object; the caller's first."""
        like = likeness(item)
        candidates = chain(
            self._same(_own_likeness_of, (like, owner)), self._same(_likeness_of, like)
        )
        self._pick_first((one for one in candidates if alike(one.item, item)), into)

    def pick_place(self, place: Any, into: list[Record]) -> None:
        """Pick the record at this place."""
        self._pick_first(self._same(_place_of, place), into)

    def pick_in(self, lists: Collection[Any], into: list[Record]) -> None:
        """Pick what is in one of these lists: the first part of a place."""
        into += [record for record in self._all if record.start[0] in lists] if lists else ()
        for record in into:
            self._discard(record)

    def pick_every(self, into: list[Record]) -> None:
        """Pick everything."""
        into += self._all
        for record in into:
            self._discard(record)

    def _pick_first(self, records: Iterable[Record], into: list[Record]) -> None:
        record = next(iter(records), None)
        if record is not None:
            into.append(record)
            self._discard(record)


def _place_of(record: Record) -> Any:
    return record.start


def _own_item_of(record: Record) -> tuple[int, Any]:
    return id(record.item), record.owner


def _own_likeness_of(record: Record) -> tuple[int, Any]:
    return _likeness_of(record), record.owner


def _likeness_of(record: Record) -> int:
    """Return the likeness that the item had when it was first asked for: it may change."""
    try:
        return record.likeness
    except AttributeError:
        record.likeness = likeness(record.item)
        return record.likeness


class Leased(InFlightAcks):
    """The same where what was handed out may be taken away.

    Args:
        lost: the lists of which that is known: the first part of a place.
    """

    def __init__(self, ended: Callable[[Any], bool], lost: deque[Any]) -> None:
        super().__init__(ended)
        self._lost = lost

    def add(self, records: Iterable[Record], owner: Any) -> None:
        """Note who took records, and forget those that have been taken away."""
        while self._lost:
            for record in list(self._same(_list_of, self._lost.popleft())):
                self._discard(record)
        super().add(records, owner)


def _list_of(record: Record) -> Any:
    return record.start[0]


AT_ACK = AckMode(InFlightAcks, at_take=False, counted=False, looks=frozenset())
