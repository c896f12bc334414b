"""The calls of an ack queue: which records they mean, and what the store does with these.

A record is found by the object that was handed out, even if it was changed since; else a raw dict
says which row it is; else an equal object is looked for.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from .._core import call
from .._core.arguments import NO_ITEM
from .._core.call import Finishing, R
from .._core.inflight import InFlightAcks
from .._core.log import warn
from .holding import TAKES
from .rows import in_range, is_raw, row_id
from .statements import ID_RANGE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from .._core.call import AnyCall, Call
    from .._core.inflight import AnyInFlight
    from .._core.store import Record
    from .acks import AckStore
    from .rows import RowId

    #: What gives one item a status, and the records of it that a book knows.
    Part: TypeAlias = tuple["Finish", Sequence[Record]]


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
        item: object,
        id: RowId | None,  # noqa: A002
        to_back: bool = False,
    ) -> Finish:
        """Return what gives one item a status."""
        return Finish(self._store, status, item, id, to_back)

    def many(
        self,
        status: int,
        items: Iterable[object],
        ids: Iterable[RowId] | None,
        to_back: bool = False,
    ) -> FinishMany:
        """Return what gives several items a status: all of them or, if it raises, none."""
        if (items is NO_ITEM) == (ids is None):
            raise ValueError("give the items or their ids, one of the two")
        if ids is None:
            each = [self.one(status, item, None, to_back) for item in items]
        else:
            each = [self.one(status, NO_ITEM, one, to_back) for one in ids]
        return FinishMany(each)

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

    def say_unknown(self, each: Sequence[Finish], item: object, id: object) -> None:  # noqa: A002
        """Log that something was not finished: it may be a mistake."""
        unknown = sum(one.unknown for one in each)
        if unknown:
            what = f"an object of type {type(item).__name__}" if id is None else f"the id {id!r}"
            what = what if len(each) == 1 else f"{unknown} of {len(each)} items"
            several = isinstance(item, (list, tuple, set)) and len(each) == 1
            warn(
                "%s: nothing changed for %s: it is finished already, or not handed out by this "
                "queue object%s",
                self._place,
                what,
                "; ack_many and nack_many take several items" if several else "",
            )


class _Parts(Finishing[R]):
    """Finishes one item or several: what neighbouring calls do alike is one statement."""

    __slots__ = ()

    @abstractmethod
    def parts(self, records: Sequence[Record]) -> Sequence[Part]:
        """Return each item's ``Finish``, with its records."""

    @abstractmethod
    def outcome(self, each: Iterator[list[int]]) -> R:
        """Return the call's result; those of its parts come next."""

    def together(self, calls: Sequence[AnyCall]) -> None:
        acts = [(one, one.act) for one in calls if isinstance(one.act, _Parts)]
        each = iter(_finish([part for one, act in acts for part in act.parts(one.load)]))
        for one, act in acts:
            one.result = act.outcome(each)


class Finish(_Parts[list[int]]):
    """Gives one item a status; the result is its row's id, or nothing if it is not known.

    Args:
        item, id: which, one of the two.
        to_back: put it behind all others.

    Attributes:
        number: the row's id, as far as it is known.
        unknown: it was no item that this object holds, or a row that could be changed.
    """

    __slots__ = ("_by_id", "_item", "_known", "_status", "_to_back", "number", "store", "unknown")

    def __init__(
        self,
        store: AckStore,
        status: int,
        item: object,
        id: RowId | None,  # noqa: A002
        to_back: bool,
    ) -> None:
        by_id = id is not None
        if by_id == (item is not NO_ITEM) and not (by_id and item is None):
            raise ValueError("give the item or its id, one of the two")
        self.store, self._status, self._item, self._to_back = store, status, item, to_back
        self._by_id = by_id
        self.number = row_id(id) if by_id else None
        self._known = False  # the object itself says which record it is
        self.unknown = False

    def pick(self, book: AnyInFlight, owner: object) -> list[Record]:
        """Find the record that is meant; one that is named by its id may be in nobody's hand."""
        assert isinstance(book, InFlightAcks)
        if self.number is not None:
            return book.at(self.number)
        record = book.same(self._item, owner)
        if record is None and is_raw(self._item):
            self.number = row_id(self._item)
            record = self._of_hand_out(book.at(self.number))
        elif record is None:
            record = book.alike(self._item, owner)
        self._known = record is not None
        return [] if record is None else [record]

    def _of_hand_out(self, records: Sequence[Record]) -> Record | None:
        """Return the record of the hand-out that a raw dict is of; without a number, the last."""
        takes = self._takes
        fit = [one for one in records if takes is None or one.end[TAKES] == takes]
        return fit[-1] if fit else None

    @property
    def _takes(self) -> int | None:
        takes = self._item.get("takes") if isinstance(self._item, dict) else None
        return takes if isinstance(takes, int) else None

    @property
    def shared(self) -> int | None:
        """The status, if other records can be given it in the same statement; else None."""
        return self._status if self._known and not self._to_back else None

    def __call__(self, records: Sequence[Record]) -> list[int]:
        store, number = self.store, self.number
        if self._known:
            if self._to_back:
                return store.put_last(records[0])
            return self.result(records, store.finish(records, self._status))
        moved: list[int] = []
        if number is not None and in_range(number):
            moved = store.move(
                number,
                self._status,
                takes=None if self._by_id else self._takes,
                held=not self._by_id,
                to_back=self._to_back,
            )
        self.unknown = not moved
        return moved

    def result(self, records: Sequence[Record], lost: Collection[Record]) -> list[int]:
        """Return the call's result, once its records were given the status."""
        return [] if records[0] in lost else [records[0].start]

    def parts(self, records: Sequence[Record]) -> Sequence[Part]:
        return ((self, records),)

    def outcome(self, each: Iterator[list[int]]) -> list[int]:
        return next(each)


class FinishMany(_Parts[list["int | None"]]):
    """Gives several items a status; the result has a place for each: the row's id, or None.

    Attributes:
        each: of each item.
    """

    __slots__ = ("_counts", "each")

    def __init__(self, each: list[Finish]) -> None:
        self.each = each
        self._counts: list[int] = []  # for each, how many records were found

    def pick(self, book: AnyInFlight, owner: object) -> Iterator[Record]:
        """Find the records that are meant."""
        for one in self.each:
            found = one.pick(book, owner)
            self._counts.append(len(found))
            yield from found

    def parts(self, records: Sequence[Record]) -> Sequence[Part]:
        rest = iter(records)
        return [
            (one, list(islice(rest, count)))
            for one, count in zip(self.each, self._counts, strict=True)
        ]

    def outcome(self, each: Iterator[list[int]]) -> list[int | None]:
        return [numbers[0] if numbers else None for numbers in islice(each, len(self.each))]

    def __call__(self, records: Sequence[Record]) -> list[int | None]:
        return self.outcome(iter(_finish(self.parts(records))))


def _finish(parts: Sequence[Part]) -> list[list[int]]:
    """Finish items, neighbours that are given the same status at once; returns the results."""
    results: list[list[int]] = []
    for status, neighbours in groupby(parts, key=_status_of):
        alike = list(neighbours)
        if status is None or len(alike) == 1:
            results += [one(records) for one, records in alike]
        else:
            records = [record for _, found in alike for record in found]
            lost = frozenset(alike[0][0].store.finish(records, status))
            results += [one.result(found, lost) for one, found in alike]
    return results


def _status_of(part: Part) -> int | None:
    return part[0].shared
