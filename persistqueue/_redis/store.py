"""A queue's keys in Redis as a store.

There are no transactions here.  Each verb is one call of the server, done as a whole or not at
all, and stays done when the next one fails.  Each may be repeated when its answer was
lost, for the connection that it was lost with is ended first (``connection``):

- A put has a number (``puts``).
- What a ``take`` got is in a list of its own, whose name is new: the same call, made again, finds
  that list.  What it took falls due by itself, unless its lease is renewed.  A long take has
  several lists, because finishing an item looks for it in its list.
- An item is settled, or given back, only while it is in its list (``held``).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged
from .._core.deadline import monotonic
from .._core.log import warn
from .._core.store import Record, StoreBase, Undone
from ..exceptions import Full, PersistQueueError, QueueUnreachable
from .connection import Link
from .held import Held
from .puts import Puts
from .recovery import Sweep
from .scripts import PER_LIST, TAKE, Keys
from .settings import check, check_serializer
from .values import Values
from .wakeup import Tripwire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .recovery import Stamped
    from .settings import Replicas, Settings
    from .values import ValueCodec

_AT_CLOSE = 1.0  # s without an answer after which a closing queue gives up
_LONGEST_PAUSE = 15.0  # s between two looks for overdue items
_OFTEN = 0.02  # s between two looks for room, and for the end of all unfinished items


class RedisStore(StoreBase):
    """The lists of one queue.

    Args:
        codec: encodes and decodes values.
        maxsize: items that may wait; 0 for no bound.
        native: the keys are not shared with aio-py-rq.
        lease: seconds after which others get what a call took, unless it is renewed; None for
            never.
        skip_corrupt: set aside what cannot be decoded, instead of raising.
    """

    transactional = False
    failed = ""  # a connection is made anew where it is needed

    def __init__(
        self,
        settings: Settings,
        keys: Keys,
        codec: ValueCodec,
        *,
        maxsize: int,
        native: bool,
        lease: float | None,
        skip_corrupt: bool,
        replicas: Replicas,
    ) -> None:
        self.keys = keys
        self._label = settings.label
        self._link = Link(settings)
        self._tripwire = Tripwire(settings, keys, self._link.suspect)
        self._codec = codec
        self._native = native
        self.sweep = Sweep(self._link, keys, replicas)
        self.held = Held(self._link, keys, replicas, settings, lease)
        self._puts = Puts(self._link, keys, self.held, maxsize, replicas)
        self._values = Values(self._link, self.held, codec, settings.label, skip_corrupt)
        # Overdue items are looked for now and then; by a waiting get as well.
        self._pause = min((lease or _LONGEST_PAUSE) / 4, _LONGEST_PAUSE)
        self._sweep_at = self._sweep_look = 0.0
        self._restless = False  # a call waits for something that no list tells
        self._next_look = 0.0
        self._opened = self._seen_through = False
        self._before = 0  # the last list when the batch under way began
        self._lost = False  # the server could not be reached

    @property
    def skipped(self) -> int:
        """How many values this object has set aside."""
        return self._values.skipped

    # -- the connection -------------------------------------------------------------

    def open(self) -> bool:
        """Connect, and check that the keys are a queue's."""
        self._puts.evicted = bool(check(self._link, self._label, self.keys.known))
        if self._native:
            check_serializer(self._link, self._label, self.keys, self._codec.name)
        self._opened = True
        self._count()
        return True

    def begin(self, exclusive: bool) -> bool:  # noqa: ARG002 - nothing here is exclusive
        held = self.held
        self._seen_through = self._lost = False
        self._before, held.others = held.number, 0
        try:
            self._link.connect()
            if not self._opened:
                self.open()
            if held.missed:
                held.note_missed()
            while held.doubtful:
                self.sweep.reclaim([(self.keys.processing(held.doubtful[-1]), b"")])
                held.doubtful.pop()
        except QueueUnreachable as error:
            self._lost = True
            if self._link.silent:  # so it was waited for, and is not tried again
                raise Undone(error) from error
            raise
        return True

    def commit(self) -> None:
        self._seen_through = True

    def rollback(self) -> bool:
        if not self._seen_through:
            self.held.doubt_since(self._before)  # the taken items are not delivered
        return self._seen_through

    def abandon(self) -> None:
        """There is no lock to queue for."""

    def hurry(self) -> None:
        self._lost = False  # it may be back
        self._link.hurry(_AT_CLOSE)

    def close(self) -> None:
        if self.held.lists or self.held.doubtful:
            warn("%s: what was taken comes again after its lease", self._label)
            self.held.clear()
        farewell = [*self._tripwire.close(), *self._puts.farewell()]
        if farewell and self._link.connected and not self._lost:
            with contextlib.suppress(PersistQueueError):  # all of it expires
                self._link.answers(*farewell)
        self._link.drop()
        self._opened = False

    def forget(self) -> None:
        self._link.forget()
        self._tripwire.forget()
        self._puts.forget()
        self.keys.renew()
        self.held.forget()
        self._opened = False

    # -- put ------------------------------------------------------------------------

    def append(self, records: Sequence[Any]) -> Sequence[int] | None:
        """Add values, all or none; a unique queue's put returns whether it was stored."""
        try:
            return self._puts.append(records)
        except Full:
            self._restless = True
            raise

    def needs(self, records: Sequence[Any], ahead: Sequence[Any]) -> int:
        return self._puts.needs(records, ahead)

    # -- take -----------------------------------------------------------------------

    def take(self, most: int) -> list[Record]:
        if not self.skip:
            return self._take(most)
        # No script looks into values: those to be skipped are taken, and put back.
        records: list[Record] = []
        skipped: list[Record] = []
        before = self.held.number
        try:
            while len(records) < most:
                wanted = max(most - len(records), len(skipped))
                found = self._take(wanted)
                for record in found:
                    (skipped if record.key in self.skip else records).append(record)
                if len(found) < wanted:
                    break
            self.held_back = bool(skipped) and len(records) < most
            if back := skipped + records[most:]:
                self.held.move(back)
        except PersistQueueError:
            self.held.doubt_since(before)
            raise
        return records[:most]

    def _take(self, most: int) -> list[Record]:
        records: list[Record] = []
        while len(records) < most:
            wanted, last = min(most - len(records), PER_LIST), self.held.number
            try:
                self._collect_overdue()
                found = self._take_list(wanted)
            except PersistQueueError:
                self.held.doubt_since(last)
                if records:
                    break  # the error will come again, and these are taken
                raise
            records += found
            if len(found) < wanted:
                break
        return records

    def _take_list(self, most: int) -> list[Record]:
        """Take items into a list of their own."""
        while True:
            number, values = self._take_values(most)
            if not values:
                return []
            records = self._values.records(number, values)
            if records:
                return records

    def _take_values(self, most: int) -> tuple[int, Sequence[bytes]]:
        """Take values into a list of their own; returns its number, and them.

        If it is interrupted, ``rollback`` has them put back.
        """
        held, keys, began = self.held, self.keys, monotonic()
        held.number = held.asked = number = held.number + 1
        rings = self._tripwire.rings
        names = (
            keys.base, keys.front, keys.timeouts, keys.due, keys.processing(number), *keys.set
        )  # fmt: skip
        try:
            ((held.waiting, *values),) = self._link.script(
                TAKE, names, (most, held.lease_word), again=True
            )
        except PersistQueueError as error:
            if not isinstance(error, QueueUnreachable):
                held.asked = 0  # nothing was done
            raise
        self._tripwire.seen = rings
        if values:
            held.took(number, len(values), began)
        held.asked = 0
        return number, values

    def set_aside(self) -> bool:
        """Move the next value to the list for such if it cannot be loaded; returns whether."""
        last = self.held.number
        try:
            number, values = self._take_values(1)
            return bool(values) and self._values.move_away(number, values[0])
        except PersistQueueError:
            self.held.doubt_since(last)
            raise

    def peek(self) -> Record | None:
        value: bytes
        for value in self._link.ask(
            ("LINDEX", self.keys.front, -1), ("LINDEX", self.keys.base, -1), again=True
        ):
            if value is not None:
                return Record(None, value, self._loaded(value))
        return None

    def newest(self, count: int) -> list[Any]:
        """Return the newest ``count`` items that wait, the newest last."""
        values, shown = self._link.ask(
            ("LRANGE", self.keys.base, 0, count - 1),
            ("LRANGE", self.keys.front, 0, count - 1),
            again=True,
        )
        return [self._loaded(value) for value in reversed((values + shown)[:count])]

    def _loaded(self, value: bytes) -> Any:
        try:
            return self._codec.decode(value)
        except (Damaged, PersistQueueError) as error:
            self._values.refuse(error)

    # -- finish, give back ----------------------------------------------------------

    def settle(self, records: Sequence[Record]) -> list[Record]:
        return self.held.settle(records)

    def untake(self, records: Sequence[Record]) -> list[Record]:
        return self.held.move(records)

    def flush(self) -> None:
        """Give back what this object holds: the next consumer need not wait for the lease."""
        held = self.held
        try:
            numbers = sorted([*held.lists, *held.doubtful], reverse=True)
            self.sweep.reclaim([(self.keys.processing(number), b"") for number in numbers])
        except QueueUnreachable:
            self._lost = True
            raise
        held.clear()

    def unsaved(self) -> bool:
        """Return whether items are held that can be given back: the queue is closed."""
        return bool(self.held.lists or self.held.doubtful) and not self._lost

    def swept(
        self, verb: Callable[[Sequence[Stamped]], list[bytes]], lists: Sequence[Stamped]
    ) -> frozenset[int]:
        """Reclaim or drop lists of all consumers; returns the numbers of this object's."""
        return self.held.take_away(verb(lists))

    def _collect_overdue(self) -> None:
        """Put overdue items back, if it is time to look."""
        if monotonic() >= self._sweep_at:
            wait, lists = self.sweep.collect()
            self._sweep_at = monotonic() + min(wait, self._pause)
            self.held.lose(lists)

    # -- numbers --------------------------------------------------------------------

    def counts(self, exact: bool = True) -> tuple[int, int]:
        """Return how many wait, and at least how many are not finished.

        Without ``exact`` items of other consumers count in a batch alone that has counted them.
        """
        held = self.held
        if exact:
            self._count()
            self._restless = True  # a join, maybe
        return held.waiting, held.waiting + held.others + len(held.lists)

    def room(self, maxsize: int, wanted: int) -> int:  # noqa: ARG002 - LLEN is exact
        return maxsize - self.counts()[0]

    def _count(self) -> None:
        held, keys = self.held, self.keys
        waiting, shown, lists = self._link.ask(
            ("LLEN", keys.base), ("LLEN", keys.front), ("HLEN", keys.timeouts), again=True
        )
        held.waiting, held.others = waiting + shown, max(lists - len(held.lists), 0)

    # -- waiting --------------------------------------------------------------------

    def changed(self, getting: bool) -> bool:
        now = monotonic()
        if self.held_back and getting:  # held-back items would ring, and ring again
            if now < self._next_look:
                return False
            self._next_look = now + _OFTEN
            return True
        if self._tripwire.touched(getting):
            return True
        if self._restless and now >= self._next_look:
            self._restless, self._next_look = False, now + _OFTEN
            return True
        due = max(self._sweep_at, self._sweep_look)
        if getting and now >= due and self._tripwire.connected:
            self._sweep_look = now + 1.0  # it may not get so far
            return True
        return False

    @property
    def owes(self) -> bool:
        return self._tripwire.rings > self._tripwire.seen

    def probe(self) -> int | None:
        return None if self._restless else self._tripwire.fileno()

    def sync(self) -> None:
        self.sweep.sync()
