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
        left: a list's number -> items in it.
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

    def doubt(self, number: int) -> None:
        """Have what is in a list put back before anything else is done."""
        self.left.pop(number, None)
        self.doubtful.append(number)

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
        for part in self._known(records):
            lists = _by_list(part)
            arguments: list[Word] = []
            for number, values in lists.items():
                whole = len(values) == self.left[number]
                arguments += (0,) if whole else (len(values), *values)
            answers = self._link.script(
                SETTLE,
                (*names, *map(keys.processing, lists)),
                arguments,
                *self._replicas.behind,
                again=True,
            )
            self._gone(part, answers)
            self._replicas.check(answers)

    def move(
        self, records: Sequence[Record], *, to_back: bool = False, to_dead: bool = False
    ) -> None:
        """Take items out of their lists and put them where somebody finds them."""
        keys = self.keys
        target, push = (keys.dead if to_dead else keys.base), ("lpush" if to_back else "rpush")
        unique = () if to_dead else self._unique
        ordered = sorted(records, key=_place_of, reverse=not to_back)
        for part in self._known(ordered):
            lists = list(_by_list(part))
            arguments: list[Word] = [push, len(lists)]
            for record in part:
                arguments += (lists.index(record.start[0]) + 1, record.end)
            names = (keys.base, keys.timeouts, target, *map(keys.processing, lists), *unique)
            answers = self._link.script(MOVE, names, arguments, *self._replicas.behind, again=True)
            self._gone(part, answers)
            self._replicas.check(answers)

    def _known(self, records: Sequence[Record]) -> Iterator[list[Record]]:
        """Return records in parts, without those whose lists are not ours any more."""
        known = [record for record in records if record.start[0] in self.left]
        for at in range(0, len(known), MOST):
            yield known[at : at + MOST]

    def _gone(self, records: Sequence[Record], answers: Sequence[Any]) -> None:
        """Note that records have left their lists."""
        self.waiting, self.lists = answers[0]
        for record in records:
            number = record.start[0]
            self.left[number] -= 1
            if not self.left[number]:
                del self.left[number]


def _place_of(record: Record) -> Any:
    return record.start


def _by_list(records: Sequence[Record]) -> dict[int, list[bytes]]:
    """Return the values of records, by the number of their list."""
    lists: dict[int, list[bytes]] = {}
    for record in records:
        lists.setdefault(record.start[0], []).append(record.end)
    return lists
