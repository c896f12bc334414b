"""The calls of an ack queue: which records they mean, and what the store does with these.

A record is found by the object that was handed out, even if it was changed since; else a raw dict
says which row it is; else an equal object is looked for.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._core import call
from .._core.arguments import NO_ITEM
from .._core.inflight import InFlightAcks
from .._core.log import warn
from .rows import in_range, is_raw, row_id
from .statements import ID_RANGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .._core.call import Call, Pick
    from .._core.inflight import AnyInFlight
    from .._core.store import Record
    from .acks import AckStore

    #: Finds the records that a call means, and gives them a status: the rows' ids.
    Finishing = tuple[Callable[[Sequence[Record]], list[int]], Pick]


class AckCalls:
    """Makes the calls of one ack queue.

    Args:
        place: the queue's path and name, for messages.
    """

    def __init__(self, store: AckStore, place: str) -> None:
        self._store = store
        self._place = place

    def one(
        self,
        status: int,
        item: Any,
        id: Any,  # noqa: A002
        to_back: bool = False,
    ) -> Call[list[int]]:
        """Give one item a status: gives its row's id, or nothing if it is not known."""
        act, pick = self._finishing(status, item, id, to_back)
        if self._store.writes_once(status, to_back):
            return call.finish(act, pick)
        return call.finish(lambda records: self._store.guard(partial(act, records)), pick)

    def many(
        self,
        status: int,
        items: Iterable[Any],
        ids: Iterable[Any] | None,
        to_back: bool = False,
    ) -> Call[list[int | None]] | None:
        """Give several items a status: all of them or, if it raises, none; None for no item.

        Its result has a place for each item: the row's id, or None.
        """
        if (items is NO_ITEM) == (ids is None):
            raise ValueError("give the items or their ids, one of the two")
        if ids is None:
            each = [self._finishing(status, item, None, to_back) for item in items]
        else:
            each = [self._finishing(status, NO_ITEM, one, to_back) for one in ids]
        counts: list[int] = []  # for each item, how many records were found

        def pick(book: AnyInFlight, owner: object) -> Iterator[Record]:
            for _, pick_one in each:
                found = list(pick_one(book, owner))
                counts.append(len(found))
                yield from found

        def act(records: Sequence[Record]) -> list[int | None]:
            rest = iter(records)
            found = [list(islice(rest, count)) for count in counts]
            moved = [one(these) for (one, _), these in zip(each, found, strict=True)]
            return [numbers[0] if numbers else None for numbers in moved]

        if not each:
            return None
        return call.finish(lambda records: self._store.guard(partial(act, records)), pick)

    def _finishing(
        self,
        status: int,
        item: Any,
        id: Any,  # noqa: A002
        to_back: bool,
    ) -> Finishing:
        """Return what finds the record, and what the store does."""
        by_id = id is not None
        if by_id == (item is not NO_ITEM) and not (by_id and item is None):
            raise ValueError("give the item or its id, one of the two")
        number = row_id(id) if by_id else None
        known = False  # whether the object itself says which record it is

        def pick(book: AnyInFlight, owner: object) -> list[Record]:
            nonlocal known, number
            assert isinstance(book, InFlightAcks)
            record = None
            if not by_id:
                record = book.same(item, owner)
                if record is None and is_raw(item):
                    number = row_id(item)
                elif record is None:
                    record = book.alike(item, owner)
            known = record is not None
            if number is not None:
                record = book.at(number)
            return [] if record is None else [record]

        def act(records: Sequence[Record]) -> list[int]:
            if known:
                return self._store.finish(records, status, to_back=to_back)
            if number is None or not in_range(number):
                return []
            return self._store.move(number, status, held=not by_id, to_back=to_back)

        return act, pick

    def resume(self, *, force: bool) -> Call[list[int]]:
        """Make ready the rows of dead workers and of this object; with ``force``, of all."""
        resume = partial(self._store.resume, mine_too=True, living_too=force)

        return call.finish(lambda _: [self._store.guard(resume)], lambda book, _: book.known())

    def clear(self, most: int, keep: int, *, failed_too: bool) -> Call[int]:
        """Delete old acked rows: gives their number."""
        most = most if most and most > 0 else -1
        clear = partial(self._store.clear, most, max(keep or 0, 0), failed_too)
        return call.write(partial(self._store.guard, clear))

    def count(self, status: int) -> Call[int]:
        """Count the rows of a status."""
        return call.look(partial(self._store.count_status, status))

    def following(self, next_in_order: bool, id: Any) -> Callable[[], list[Record]] | None:  # noqa: A002
        """Return what takes the row behind this one; None for an ordinary get.

        Raises:
            ValueError: there is no id to go on from.
        """
        if not isinstance(next_in_order, bool):
            raise ValueError("'next_in_order' must be True or False")  # noqa: TRY004 - as upstream
        if not next_in_order:
            return None
        if id is None:
            raise ValueError("'next_in_order' needs the 'id' of the item before it")
        number = min(max(row_id(id), ID_RANGE[0]), ID_RANGE[-1])
        return partial(self._store.guard, partial(self._store.take_next, number))

    def say_unknown(self, moved: Sequence[int | None], item: Any, id: Any) -> None:  # noqa: A002
        """Log that something was not finished: it may be a mistake."""
        unknown = moved.count(None)
        if unknown:
            what = f"an object of type {type(item).__name__}" if id is None else f"the id {id!r}"
            what = what if len(moved) == 1 else f"{unknown} of {len(moved)} items"
            several = isinstance(item, (list, tuple, set)) and len(moved) == 1
            warn(
                "%s: nothing changed for %s: it is finished already, or not handed out by this "
                "queue object%s",
                self._place,
                what,
                "; ack_many and nack_many take several items" if several else "",
            )
