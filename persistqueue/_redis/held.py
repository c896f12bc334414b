"""The items that one object has taken from a queue in Redis, and how they leave their lists.

A list is one object's own, so what is left in it is known here.  An item is finished or moved only
while it is in its list.  So to do it twice, or too late, changes nothing.

A list that is not there any more was lost: its lease was over, and another consumer got its items.
With one exception: if a command to the list was sent twice, or got no answer, it may have been done
the first time.  That counts as done while the lease lasts.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .._core.deadline import monotonic
from .._core.leases import PATIENCE, SHARE, keep
from .._core.log import warn
from ..exceptions import PersistQueueError, QueueUnreachable
from .connection import Link
from .scripts import MOVE, RENEW, SETTLE, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import TypeAlias

    from .._core.store import Record
    from .resp import Word
    from .scripts import Keys
    from .settings import Replicas, Settings

    _ByList: TypeAlias = dict[int, list[Record]]


class Batch:
    """The items that one call has taken, in a list of their own.

    Attributes:
        left: which of its items are still in it: bit n for the n-th.  Not how many: to finish
            one of them again must not count as finishing another.
        until: when its lease is over at the earliest, on the monotonic clock.
        unsure: a command to it may have been done although its answer never came.
    """

    __slots__ = ("left", "unsure", "until")

    def __init__(self, count: int, until: float) -> None:
        self.left = (1 << count) - 1
        self.until = until
        self.unsure = False


class Held:
    """The lists of one object.

    Args:
        lease: seconds after which a list falls due, unless it is renewed; None for never.

    Attributes:
        number: of the last list.
        asked: number of a list that a take was sent for and not answered; 0 for none.
        lists: the lists by number.
        doubtful: numbers of lists that may hold items which were not delivered.
        missed: numbers of lists that were not there when they were to be renewed; on any thread.
        lost: numbers of lists that are not this object's any more, for those who hold records.
        waiting: how many items wait, as of the last answer.
        others: how many lists other consumers have; 0 until a batch counts them.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        replicas: Replicas,
        settings: Settings,
        lease: float | None,
    ) -> None:
        self._link = link
        self.keys = keys
        self._replicas = replicas
        self.settings = settings
        self.lease = lease
        self.lease_word = "" if lease is None else str(lease)
        self.number = self.asked = self.waiting = self.others = 0
        self.lists: dict[int, Batch] = {}
        self.doubtful: list[int] = []
        self.missed: deque[int] = deque()
        self.lost: deque[int] = deque()
        self.kept = False  # the lists are renewed
        self._ripe = 0  # the number of the last list that was there at the last turn

    def took(self, number: int, count: int, began: float) -> None:
        """Note that a list holds ``count`` items, asked for at ``began``."""
        lease = self.lease
        self.lists[number] = Batch(count, began if lease is None else began + lease)
        if not self.kept and lease is not None:
            self._ripe = self.number
            keep(self)

    def doubt_since(self, number: int) -> None:
        """Have the items of all lists behind a number put back before the next call."""
        for later in {self.asked, *self.lists}:
            if later > number:
                self.lists.pop(later, None)
                self.doubtful.append(later)
        self.doubtful.sort()
        self.asked = 0

    def clear(self) -> None:
        """Forget all lists."""
        self.asked = 0
        self.lists.clear()
        self.doubtful.clear()
        self.missed.clear()
        self.lost.clear()

    def forget(self) -> None:
        """Forget a parent process's lists."""
        self.clear()
        self.kept = False

    # -- leases ---------------------------------------------------------------------

    @property
    def interval(self) -> float:
        """Seconds between two renewals."""
        assert self.lease is not None
        return self.lease / SHARE

    @property
    def place(self) -> str:
        """The identity of the server, and of the user there."""
        return self.settings.identity

    def line(self) -> Link:
        """Return a connection for the thread that renews."""
        return Link(self.settings, PATIENCE)

    def prolong(self, link: Link) -> bool:
        """Renew the lists that were there the last time; returns whether there are any now."""
        ripe = [number for number in list(self.lists) if number <= self._ripe]
        if ripe:
            self.missed.extend(self.renew(link, ripe))
        self._ripe = self.number
        return bool(self.lists)

    def renew(self, link: Link, numbers: Sequence[int]) -> list[int]:
        """Let the leases of lists begin now; returns those that are not there any more.

        Args:
            link: the calling thread's own.
        """
        gone: list[int] = []
        for part in parts_of(numbers):
            began, names = monotonic(), map(self.keys.processing, part)
            keys: tuple[Word, ...] = (self.keys.timeouts, self.keys.due, *names)
            (places,) = link.script(RENEW, keys, (self.lease_word,), again=True)
            gone += [part[place - 1] for place in places]
            for number in part:
                batch = self.lists.get(number)
                if batch is not None:
                    batch.until = began + (self.lease or 0)
        return gone

    def heartbeat(self) -> int:
        """Renew all lists; returns how many there are."""
        self._lose(self.renew(self._link, list(self.lists)))
        return len(self.lists)

    def note_missed(self) -> None:
        """Note which lists were missing when the leases were renewed."""
        numbers = [self.missed.popleft() for _ in range(len(self.missed))]
        # One may have been finished meanwhile.  Of one that is unsure an ack finds out.
        known = [number for number in numbers if number in self.lists]
        self._lose([number for number in known if not self.lists[number].unsure])

    def take_away(self, names: Iterable[bytes]) -> frozenset[int]:
        """Forget lists, of any consumer, that are gone; returns the numbers of this object's."""
        mine = self.keys.consumer.encode()
        gone = {int(name[len(mine) :]) for name in names if name.startswith(mine)}
        return frozenset(number for number in gone if self.lists.pop(number, None))

    def lose(self, names: Iterable[bytes]) -> None:
        """Note that the leases of lists, of any consumer, were over."""
        self._lose(self.take_away(names))

    def _lose(self, numbers: Collection[int]) -> None:
        if not numbers:
            return
        for number in numbers:
            self.lists.pop(number, None)
        self.lost.extend(numbers)
        warn(
            "%s: %s: %d batches were taken away before they were finished: their lease was over, "
            "or re_enqueue_all_items or the like was called",
            self.settings.label, self.keys.base, len(numbers),
        )  # fmt: skip

    # -- finish, give back ----------------------------------------------------------

    def settle(self, records: Sequence[Record]) -> list[Record]:
        """Finish items; returns those that are not this object's any more."""

        def words(lists: _ByList) -> list[Word]:
            arguments: list[Word] = []
            for number, of_list in lists.items():
                if self.lists[number].left & ~_bits(of_list):
                    arguments += (len(of_list), *(record.end for record in of_list))
                else:  # whole
                    arguments += (0,)
            return arguments

        return self._let_go(SETTLE, records, (self.keys.timeouts, self.keys.due), words)

    def move(
        self, records: Sequence[Record], *, to_back: bool = False, to_dead: bool = False
    ) -> list[Record]:
        """Move items out of their lists: to the front, to the back, or to the dead ones.

        Returns:
            those that are not this object's any more.
        """
        keys = self.keys

        def words(lists: _ByList) -> list[Word]:
            arguments: list[Word] = ["lpush" if to_back else "rpush", len(lists)]
            for place, of_list in enumerate(lists.values(), 1):
                for record in of_list:
                    arguments += (place, record.end)
            return arguments

        target = keys.dead if to_dead else keys.base
        names = (keys.base, keys.front, keys.timeouts, keys.due, target)
        behind = () if to_dead else keys.set
        ordered = sorted(records, key=_place_of, reverse=not to_back)
        return self._let_go(MOVE, ordered, names, words, behind)

    def _let_go(
        self,
        script: tuple[str, str],
        records: Sequence[Record],
        names: Sequence[Word],
        words: Callable[[_ByList], list[Word]],
        behind: Sequence[Word] = (),
    ) -> list[Record]:
        """Run a script that takes items out of their lists.

        Args:
            names: keys before those of the lists.
            words: makes the script's arguments of records by list.
            behind: keys behind those of the lists.

        Returns:
            the records that are not this object's any more.
        """
        lost: list[Record] = []
        confirmed = []
        for part in parts_of(records):
            lost += [record for record in part if record.start[0] not in self.lists]
            lists: _ByList = {}
            for record in part:
                if record.start[0] in self.lists:
                    lists.setdefault(record.start[0], []).append(record)
            if lists:
                keys = (*names, *map(self.keys.processing, lists), *behind)
                answers = self._run(script, keys, words(lists), lists)
                missing = answers[0]
                if script is MOVE:
                    self.waiting, *missing = missing
                lost += self._gone(lists, missing)
                confirmed.append(answers)
        self._replicas.check(*confirmed)
        return lost

    def _run(
        self,
        script: tuple[str, str],
        names: Sequence[Word],
        arguments: Sequence[Word],
        lists: Iterable[int],
    ) -> list[Any]:
        """Run a script that changes lists; returns its answer and those of replicas."""
        unsure = True  # after Ctrl-C, too
        try:
            answers = self._link.script(
                script, names, arguments, *self._replicas.behind, again=True
            )
            unsure = self._link.repeated
        except PersistQueueError as error:
            unsure = isinstance(error, QueueUnreachable) and error.stored is not False
            raise
        finally:
            if unsure:
                for number in lists:
                    self.lists[number].unsure = True
        return answers

    def _gone(self, lists: _ByList, missing: Sequence[int]) -> list[Record]:
        """Note that records have left their lists.

        Args:
            missing: which of the lists were not there; 1 is the first.

        Returns:
            records that had been lost before.
        """
        lost: list[Record] = []
        gone: list[int] = []
        for place, (number, records) in enumerate(lists.items(), 1):
            batch = self.lists[number]
            batch.left &= ~_bits(records)
            if place in missing and not (batch.unsure and self._lasts(batch)):
                gone.append(number)
                lost += records
            elif not batch.left or place in missing:
                del self.lists[number]
        self._lose(gone)
        return lost

    def _lasts(self, batch: Batch) -> bool:
        """Return whether the lease of a list goes on."""
        return self.lease is None or monotonic() < batch.until


def _place_of(record: Record) -> Any:
    return record.start


def _bits(records: Sequence[Record]) -> int:
    """Return the places of records in their list, as bits."""
    bits = 0
    for record in records:
        bits |= 1 << record.start[1]
    return bits
