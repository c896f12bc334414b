"""What one object has taken from a queue in Redis: in which list each item is, and how it leaves.

A list is an object's own, so what is left in it is known here; and whatever is done to an
item is done only while it is there, so that doing it twice, or too late, changes nothing.

A list that is not there any more was lost: its lease was over, and what it held is, or was,
somebody else's.  Unless its last command was sent twice, or its answer never came: then this
may have been done the first time, and counts as done while the lease lasts.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .._core.deadline import monotonic
from .._core.leases import PATIENCE, SHARE, keep
from .._core.log import warn
from ..exceptions import QueueUnreachable
from .connection import Link
from .scripts import MOVE, RENEW, SETTLE, parts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from .._core.store import Record
    from .connection import Replicas
    from .resp import Word
    from .scripts import Keys
    from .settings import Settings


class Batch:
    """What one call has taken, which is in a list of its own.

    Attributes:
        left: which of its items are still in it: bit n for the n-th.  Not how many: to finish
            one of them again must not pass for finishing another.
        until: when its lease is over at the earliest, on the monotonic clock.
        unsure: something may have been done to it whose answer never came.
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
        lists: a list's number -> what is in it.
        doubtful: lists of which it is not known what is in them.
        missed: lists that were not there when they were to be renewed; on any thread.
        lost: lists that are not this object's any more: whoever has records of them may
            forget these.
        waiting, others: how many items wait, and how many lists all consumers have, as of the
            last answer.
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
        self.number = self.waiting = self.others = 0
        self.lists: dict[int, Batch] = {}
        self.doubtful: list[int] = []
        self.missed: deque[int] = deque()
        self.lost: deque[int] = deque()
        self.kept = False  # the lists are renewed
        self._ripe = 0  # the number of the last list that was there at the last turn

    def took(self, number: int, count: int, began: float) -> None:
        """Note that a list holds so many items.

        Args:
            began: when they were asked for.
        """
        lease = self.lease
        self.lists[number] = Batch(count, began if lease is None else began + lease)
        if not self.kept and lease is not None:
            self._ripe = self.number
            keep(self)

    def doubt(self, number: int) -> None:
        """Have what is in a list put back before anything else is done."""
        self.lists.pop(number, None)
        self.doubtful.append(number)

    def doubt_since(self, number: int) -> None:
        """Do that with all lists behind that number, in which anything is."""
        for later in [later for later in self.lists if later > number]:
            self.doubt(later)

    def clear(self) -> None:
        """Forget all lists."""
        self.lists.clear()
        self.doubtful.clear()
        self.missed.clear()
        self.lost.clear()

    def forget(self) -> None:
        """Forget what is a parent process's."""
        self.clear()
        self.kept = False

    # -- leases ---------------------------------------------------------------------

    @property
    def interval(self) -> float:
        """Seconds between two turns."""
        assert self.lease is not None
        return self.lease / SHARE

    @property
    def place(self) -> str:
        """Which server it is."""
        return self.settings.identity

    def line(self) -> Link:
        """Return a connection for the thread that renews."""
        return Link(self.settings, PATIENCE)

    def prolong(self, link: Link) -> bool:
        """Renew the lists that were there at the last turn; returns whether there are any."""
        ripe = [number for number in list(self.lists) if number <= self._ripe]
        if ripe:
            self.missed.extend(self.renew(link, ripe))
        self._ripe = self.number
        return bool(self.lists)

    def renew(self, link: Link, numbers: Sequence[int]) -> list[int]:
        """Let the lease of lists begin now; returns those that are not there any more.

        Args:
            link: over which; so that this can be called on any thread.
        """
        gone: list[int] = []
        lease = "" if self.lease is None else str(self.lease)
        for part in parts_of(numbers):
            began, names = monotonic(), map(self.keys.processing, part)
            keys: tuple[Word, ...] = (self.keys.timeouts, self.keys.due, *names)
            (places,) = link.script(RENEW, keys, (lease,), again=True)
            gone += [part[place - 1] for place in places]
            for number in part:
                batch = self.lists.get(number)
                if batch is not None:
                    batch.until = began + (self.lease or 0)
        return gone

    def heartbeat(self) -> int:
        """Let the lease of everything begin now; returns how many lists there are."""
        self._lose(self.renew(self._link, list(self.lists)))
        return len(self.lists)

    def note_missed(self) -> None:
        """Note what was found out while the leases were renewed."""
        numbers = [self.missed.popleft() for _ in range(len(self.missed))]
        # It may have been finished meanwhile, or nobody knows: then an ack finds out.
        known = [number for number in numbers if number in self.lists]
        self._lose([number for number in known if not self.lists[number].unsure])

    def take_away(self, names: Iterable[bytes]) -> frozenset[int]:
        """Note that lists are gone, anybody's; returns the numbers of those that were here."""
        mine = self.keys.consumer.encode()
        gone = {int(name[len(mine) :]) for name in names if name.startswith(mine)}
        return frozenset(number for number in gone if self.lists.pop(number, None))

    def lose(self, names: Iterable[bytes]) -> None:
        """Note that the leases of lists were over, anybody's."""
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
        keys, confirmed = self.keys, []
        lost: list[Record] = []
        names = (keys.base, keys.timeouts, keys.due, keys.retry_count, keys.retry_timeout)
        for part in self._parts(records, lost):
            lists = _by_list(part)
            arguments: list[Word] = []
            for number, of_list in lists.items():
                if self.lists[number].left & ~_bits(of_list):
                    arguments += (len(of_list), *(record.end for record in of_list))
                else:  # whole
                    arguments += (0,)
            answers = self._run(SETTLE, (*names, *map(keys.processing, lists)), arguments, lists)
            lost += self._gone(lists, answers[0])
            confirmed.append(answers)
        self._replicas.check(*confirmed)
        return lost

    def move(
        self, records: Sequence[Record], *, to_back: bool = False, to_dead: bool = False
    ) -> list[Record]:
        """Take items out of their lists and put them where somebody finds them.

        Returns:
            those that are not this object's any more.
        """
        keys, confirmed = self.keys, []
        lost: list[Record] = []
        target, push = (keys.dead if to_dead else keys.base), ("lpush" if to_back else "rpush")
        names = (keys.base, keys.front, keys.timeouts, keys.due, target)
        for part in self._parts(sorted(records, key=_place_of, reverse=not to_back), lost):
            by_list = _by_list(part)
            lists = list(by_list)
            arguments: list[Word] = [push, len(lists)]
            for record in part:
                arguments += (lists.index(record.start[0]) + 1, record.end)
            all_names = (*names, *map(keys.processing, lists), *(() if to_dead else keys.set))
            answers = self._run(MOVE, all_names, arguments, by_list)
            lost += self._gone(by_list, answers[0])
            confirmed.append(answers)
        self._replicas.check(*confirmed)
        return lost

    def _parts(self, records: Sequence[Record], lost: list[Record]) -> Iterator[Sequence[Record]]:
        """Return records in parts, each for one call.

        Args:
            lost: those are added whose lists are not ours any more.
        """
        for part in parts_of(records):
            ours = [record for record in part if record.start[0] in self.lists]
            if len(ours) < len(part):
                lost += [record for record in part if record.start[0] not in self.lists]
            if ours:
                yield ours

    def _run(
        self,
        script: tuple[str, str],
        names: Sequence[Word],
        arguments: Sequence[Word],
        lists: Iterable[int],
    ) -> list[Any]:
        """Run a script that changes lists; returns its answer and those of replicas."""
        unsure = False
        try:
            answers = self._link.script(
                script, names, arguments, *self._replicas.behind, again=True
            )
            unsure = self._link.repeated
        except QueueUnreachable as error:
            unsure = error.stored is not False
            raise
        finally:
            if unsure:
                for number in lists:
                    self.lists[number].unsure = True
        return answers

    def _gone(self, lists: dict[int, list[Record]], answer: Sequence[int]) -> list[Record]:
        """Note that records have left their lists; returns those that had not been there."""
        self.waiting, self.others = answer[0], answer[1]
        missing, lost, gone = answer[2:], [], []
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
        """Return whether the lease of a list is not over yet."""
        return self.lease is None or monotonic() < batch.until


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
