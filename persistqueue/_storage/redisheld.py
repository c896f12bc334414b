"""What one object has taken from a queue in Redis: in which list each item is, and how it leaves.

A list is an object's own, so what is left in it is known here; and whatever is done to an
item is done only while it is there, so that doing it twice, or too late, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .redisscripts import MOST, MOVE, SETTLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .base import Record
    from .redislink import Link, Replicas, Word
    from .redisscripts import Keys


class Held:
    """The lists of one object.

    Args:
        unique: the key of the set of what waits, if there is one.

    Attributes:
        number: of the last list.
        left: a list's number -> which of its items are in it: bit n for the n-th.  Not how
            many: to finish one of them again must not pass for finishing another.
        doubtful: lists of which it is not known what is in them.
        waiting, lists: how many items wait, and how many lists all consumers have, as of the
            last answer.
    """

    def __init__(
        self, link: Link, keys: Keys, unique: tuple[Word, ...], replicas: Replicas
    ) -> None:
        self._link = link
        self.keys = keys
        self._unique = unique
        self._replicas = replicas
        self.number = self.waiting = self.lists = 0
        self.left: dict[int, int] = {}
        self.doubtful: list[int] = []

    def took(self, number: int, count: int) -> None:
        """Note that a list holds so many items."""
        self.left[number] = (1 << count) - 1

    def doubt(self, number: int) -> None:
        """Have what is in a list put back before anything else is done."""
        self.left.pop(number, None)
        self.doubtful.append(number)

    def doubt_since(self, number: int) -> None:
        """Do that with all lists behind that number, in which anything is."""
        for later in [later for later in self.left if later > number]:
            self.doubt(later)

    def clear(self) -> None:
        """Forget all lists."""
        self.left.clear()
        self.doubtful.clear()

    def lose(self, names: Sequence[bytes]) -> frozenset[int]:
        """Note that lists are gone, anybody's; returns the numbers of those that were here."""
        mine = self.keys.consumer.encode()
        gone = {int(name[len(mine) :]) for name in names if name.startswith(mine)}
        return frozenset(number for number in gone if self.left.pop(number, 0))

    def settle(self, records: Sequence[Record]) -> None:
        """Finish items; those that are in nobody's list any more are finished already."""
        keys = self.keys
        names = (keys.base, keys.timeouts, keys.retry_count, keys.retry_timeout)
        confirmed: list[Sequence[Any]] = []
        for part in self._known(records):
            lists = _by_list(part)
            arguments: list[Word] = []
            for number, of_list in lists.items():
                if self.left[number] & ~_bits(of_list):
                    arguments += (len(of_list), *(record.end for record in of_list))
                else:  # whole
                    arguments += (0,)
            answers = self._link.script(
                SETTLE,
                (*names, *map(keys.processing, lists)),
                arguments,
                *self._replicas.behind,
                again=True,
            )
            self._gone(lists, answers)
            confirmed.append(answers)
        self._replicas.check(*confirmed)

    def move(
        self, records: Sequence[Record], *, to_back: bool = False, to_dead: bool = False
    ) -> None:
        """Take items out of their lists and put them where somebody finds them."""
        keys = self.keys
        target, push = (keys.dead if to_dead else keys.base), ("lpush" if to_back else "rpush")
        unique = () if to_dead else self._unique
        ordered = sorted(records, key=_place_of, reverse=not to_back)
        confirmed: list[Sequence[Any]] = []
        for part in self._known(ordered):
            by_list = _by_list(part)
            lists = list(by_list)
            arguments: list[Word] = [push, len(lists)]
            for record in part:
                arguments += (lists.index(record.start[0]) + 1, record.end)
            names = (keys.base, keys.timeouts, target, *map(keys.processing, lists), *unique)
            answers = self._link.script(MOVE, names, arguments, *self._replicas.behind, again=True)
            self._gone(by_list, answers)
            confirmed.append(answers)
        self._replicas.check(*confirmed)

    def _known(self, records: Sequence[Record]) -> Iterator[list[Record]]:
        """Return records in parts, without those whose lists are not ours any more."""
        known = [record for record in records if record.start[0] in self.left]
        for at in range(0, len(known), MOST):
            yield known[at : at + MOST]

    def _gone(self, lists: dict[int, list[Record]], answers: Sequence[Any]) -> None:
        """Note that records have left their lists."""
        self.waiting, self.lists = answers[0]
        for number, records in lists.items():
            left = self.left[number] & ~_bits(records)
            if left:
                self.left[number] = left
            else:
                del self.left[number]


def _place_of(record: Record) -> Any:
    return record.start


def _by_list(records: Sequence[Record]) -> dict[int, list[Record]]:
    """Return records by the number of their list."""
    lists: dict[int, list[Record]] = {}
    for record in records:
        lists.setdefault(record.start[0], []).append(record)
    return lists


def _bits(records: Sequence[Record]) -> int:
    """Return which of its list's items these are."""
    bits = 0
    for record in records:
        bits |= 1 << record.start[1]
    return bits
