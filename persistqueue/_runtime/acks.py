"""What an ack queue has handed out: found by object, by equality, or by place.

No I/O, no waiting; the shell's mutex (or its event loop) protects these objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .likeness import alike, likeness
from .takes import Finish, Takes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._storage.base import Record


class Unacked(Takes):
    """Takes whose records can be picked one by one, in constant time.

    Not finding one is no error: it was acked before, or never was here.
    """

    def __init__(self, ended: Callable[[Any], bool]) -> None:
        super().__init__(ended)
        self._alike: dict[int, dict[Record, None]] = {}
        self._by_place: dict[Any, Record] = {}

    def add(self, records: Iterable[Record], owner: Any) -> None:
        """Note who took ``records``; to do it twice is harmless."""
        records = list(records)
        super().add(records, owner)
        for record in records:
            self._by_place[record.start] = record
            self._alike.setdefault(likeness(record.item), {})[record] = None

    def pick_like(self, item: Any, owner: Any, into: list[Record]) -> None:
        """Pick the record of this very object, or else of an equal one; the caller's first."""
        same = list(self._by_item.get(id(item), ()))
        if not same:
            candidates = self._alike.get(likeness(item), ())
            same = [record for record in candidates if alike(record.item, item)]
        own = [record for record in same if record.owner is owner]
        for record in (own or same)[:1]:
            into.append(record)
            self._discard(record)

    def pick_place(self, place: Any, into: list[Record]) -> None:
        """Pick the record at this place."""
        record = self._by_place.get(place)
        if record is not None:
            into.append(record)
            self._discard(record)

    def forget_all(self) -> None:
        """Forget everything: it is handed out to nobody any more."""
        for record in list(self._all):
            self._discard(record)

    def _discard(self, record: Record) -> None:
        super()._discard(record)
        self._by_place.pop(record.start, None)
        number = likeness(record.item)
        same = self._alike.get(number)
        if same is None or same.pop(record, record) is record:
            self._search_and_drop(record)
        elif not same:
            del self._alike[number]

    def _search_and_drop(self, record: Record) -> None:
        """The item was changed since it was handed out: look everywhere."""
        for number, same in list(self._alike.items()):
            same.pop(record, None)
            if not same:
                del self._alike[number]


AT_ACK = Finish(Unacked, at_take=False, counted=False, looks=frozenset())
