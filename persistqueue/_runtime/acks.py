"""What an ack queue has handed out: found by object, by equality, or by place.

No I/O, no waiting; the shell's mutex (or its event loop) protects these objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .likeness import alike, likeness
from .takes import Finish, Takes, item_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._storage.base import Record


class Unacked(Takes):
    """Takes whose records can be picked one by one, in constant time.

    Not finding one is no error: it was acked before, or never was here.
    """

    def pick_like(self, item: Any, owner: Any, into: list[Record]) -> None:
        """Pick the record of this very object, or else of an equal one; the caller's first."""
        same = list(self._same(item_of, id(item)))
        if not same:
            candidates = self._same(_likeness_of, likeness(item))
            same = [record for record in candidates if alike(record.item, item)]
        own = [record for record in same if record.owner is owner]
        self._pick_first(own or same, into)

    def pick_place(self, place: Any, into: list[Record]) -> None:
        """Pick the record at this place."""
        self._pick_first(self._same(_place_of, place), into)

    def forget_all(self) -> None:
        """Forget everything: it is handed out to nobody any more."""
        for record in list(self._all):
            self._discard(record)

    def _pick_first(self, records: Iterable[Record], into: list[Record]) -> None:
        record = next(iter(records), None)
        if record is not None:
            into.append(record)
            self._discard(record)


def _place_of(record: Record) -> Any:
    return record.start


def _likeness_of(record: Record) -> int:
    """Return the likeness that the item had when it was first asked for: it may change."""
    try:
        return record.likeness
    except AttributeError:
        record.likeness = likeness(record.item)
        return record.likeness


AT_ACK = Finish(Unacked, at_take=False, counted=False, looks=frozenset())
