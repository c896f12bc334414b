"""A queue's keys in Redis as a store.

There are no transactions here: each verb is one call of the server, done as a whole or not
at all, and stays done when the next one fails.  Each may be repeated when its answer was
lost, for the connection that it was lost with is ended first (``redislink``):

- a put has a number (``redisputs``).
- what a ``take`` got is in a list of its own, whose name is new: the same call, made again,
  finds that list.
- an item is settled, or given back, only while it is in its list (``redisheld``).

Each ``take`` has a list of its own, so that what it took falls due by itself, unless it is
renewed (``redisleases``).  Long ones have several, because finishing an item looks for it in its
list.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged
from .._core.deadline import monotonic
from .._core.log import warn
from .._core.store import Apart, Crowded, Errors, Record, Skips
from ..exceptions import ItemTooLarge, PersistQueueError, QueueUnreachable, SerializationError
from .check import check, check_serializer
from .connection import Link
from .held import Held
from .puts import Puts
from .recovery import Sweep
from .scripts import PER_LIST, TAKE, Keys
from .values import Values
from .wakeup import Tripwire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.codec import RowCodec
    from .connection import Replicas
    from .recovery import Stamped
    from .settings import Settings
    from .textcodec import TextCodec


_AT_CLOSE = 1.0  # s without an answer after which a closing queue gives up
_LONGEST_PAUSE = 15.0  # s between two looks for what is overdue
_OFTEN = 0.02  # s between two looks for room, and for the end of all that is under way


class RedisStore(Skips):
    """The lists of one queue.

    Args:
        keys: its names.
        codec: decodes values.
        maxsize: items that may wait; 0 for no bound.
        native: the keys are not shared with aio-py-rq.
        lease: seconds after which what a call took is given to others, unless it is renewed;
            None for never.
        skip_corrupt: set aside what cannot be decoded, instead of raising.
    """

    errors = Errors()
    failed = ""  # a connection is made anew where it is needed

    def __init__(
        self,
        settings: Settings,
        keys: Keys,
        codec: RowCodec | TextCodec,
        *,
        maxsize: int,
        native: bool,
        lease: float | None,
        skip_corrupt: bool,
        replicas: Replicas,
    ) -> None:
        self.label = settings.label
        self.keys = keys
        self._link = Link(settings)
        self._tripwire = Tripwire(settings, keys, self._link.suspect)
        self._codec = codec
        self._native = native
        self._lease = "" if lease is None else str(lease)
        self.sweep = Sweep(self._link, keys, replicas)
        self._held = Held(self._link, keys, replicas, settings, lease)
        self._puts = Puts(self._link, keys, self._held, maxsize, replicas)
        self._values = Values(
            self._link, self._held, codec, f"{settings.label}, {keys.base}", skip_corrupt
        )
        self.lost = self._held.lost  # numbers of lists that are not this object's any more
        # Overdue items are looked for now and then; by a waiting get as well.
        self._pause = min((lease or _LONGEST_PAUSE) / 4, _LONGEST_PAUSE)
        self._sweep_at = self._sweep_look = 0.0
        self._restless = False  # a call waits for something that no list tells
        self._restless_look = 0.0
        self._opened = self._seen_through = False
        self._before = 0  # the last list when the batch under way began
        self._lost = False  # the server could not be reached

    @property
    def skipped(self) -> int:
        """How many values this object has set aside."""
        return self._values.skipped

    # -- the connection -------------------------------------------------------------

    def open(self) -> bool:
        """Connect, and see that the keys are a queue's."""
        policy = check(self._link, self.label, self.keys.known)
        self._puts.evicted = bool(policy)
        if self._native:
            check_serializer(self._link, self.label, self.keys, self._codec.name)
        self._opened = True
        self._count()
        self._interrupted()
        return True

    def begin(self, exclusive: bool) -> bool:  # noqa: ARG002 - nothing here is exclusive
        self._seen_through = self._lost = False
        self._before = self._held.number
        try:
            self._link.connect()
            if not self._opened:
                self.open()
            if self._held.missed:
                self._held.note_missed()
            while self._held.doubtful:
                self.sweep.reclaim([(self.keys.processing(self._held.doubtful[-1]), b"")])
                self._held.doubtful.pop()
        except QueueUnreachable as error:
            self._lost = True
            if self._link.silent:  # so it was waited for, and is not tried again
                raise Apart(error) from error
            raise
        return True

    def commit(self) -> None:
        self._seen_through = True
        self._interrupted()

    def _interrupted(self) -> None:
        """Let a Ctrl-C go on that came while an answer was awaited."""
        interrupt, self._link.interrupt = self._link.interrupt, None
        if interrupt is not None:
            raise interrupt

    def rollback(self) -> bool:
        self._link.interrupt = None
        if not self._seen_through:
            self._held.doubt_since(self._before)  # the taken items are not delivered
        return self._seen_through

    def abandon(self) -> None:
        """There is no lock to queue for."""

    def hurry(self) -> None:
        self._lost = False  # it may be back
        self._link.hurry(_AT_CLOSE)

    def close(self) -> None:
        if self._held.lists or self._held.doubtful:
            warn("%s: what was taken comes again after its lease", self.label)
            self._held.clear()
        farewell = [*self._tripwire.close(), *self._puts.farewell()]
        if farewell and self._link.connected and not self._lost:
            with contextlib.suppress(PersistQueueError):  # all of it goes by itself
                self._link.answers(*farewell)
        self._link.drop()
        self._opened = False

    def forget(self) -> None:
        self._link.forget()
        self._tripwire.forget()
        self._puts.forget()
        self.keys.renew()
        self._held.forget()
        self._opened = False

    # -- put ------------------------------------------------------------------------

    def append(self, records: Sequence[Any]) -> Sequence[int] | None:
        """Add values, all or none; a unique queue's put returns whether it was stored."""
        try:
            stored = self._puts.append(records)
        except PersistQueueError as error:
            if isinstance(error, QueueUnreachable) and error.stored:  # Ctrl-C goes on at commit
                return [1] * len(records) if self.keys.set else None
            raise Apart(error) from error
        except Crowded:
            self._restless = True
            raise
        return stored

    # -- take -----------------------------------------------------------------------

    def take(self, most: int) -> list[Record]:
        if not self.skip:
            return self._take(most)
        # No script looks into values: those to be skipped are taken, and put back.
        records: list[Record] = []
        skipped: list[Record] = []
        before = self._held.number
        try:
            while len(records) < most:
                wanted = max(most - len(records), len(skipped))
                found = self._take(wanted)
                for record in found:
                    (skipped if record.key in self.skip else records).append(record)
                if len(found) < wanted:
                    break
            self.barren = bool(skipped) and len(records) < most
            if back := skipped + records[most:]:
                self.untake(back)
        except BaseException:
            self._held.doubt_since(before)  # the taken items are not delivered
            raise
        return records[:most]

    def _take(self, most: int) -> list[Record]:
        records: list[Record] = []
        before = self._held.number
        while len(records) < most:
            wanted, last = min(most - len(records), PER_LIST), self._held.number
            try:
                self._collect_overdue()
                found = self._take_list(wanted)
            except PersistQueueError as error:
                if isinstance(error, QueueUnreachable) and self._held.number > last:
                    self._held.doubt(self._held.number)
                self._held.doubt_since(last)  # another error, in the middle of decoding
                if records:
                    break  # the error will come again, and these are taken
                raise Apart(error) from error
            except BaseException:  # Ctrl-C: the items in these lists are not delivered
                for number in range(before, self._held.number):
                    self._held.doubt(number + 1)
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
        """Take values into a list of their own; returns its number, and them."""
        held, keys, began = self._held, self.keys, monotonic()
        held.number = number = held.number + 1
        rings = self._tripwire.rings
        names = (
            keys.base, keys.front, keys.timeouts, keys.due, keys.processing(number), *keys.set
        )  # fmt: skip
        ((held.waiting, held.others, *values),) = self._link.script(
            TAKE, names, (most, self._lease), again=True
        )
        self._tripwire.seen = rings
        if values:
            held.took(number, len(values), began)
        return number, values

    def set_aside(self) -> bool:
        """Move the next value to the list for such if it cannot be loaded; returns whether."""
        last = self._held.number
        try:
            number, values = self._take_values(1)
            return bool(values) and self._values.move_away(number, values[0])
        except BaseException:  # an answer is lost, or Ctrl-C: what is in that list goes back
            self._held.doubt_since(last)
            if self._held.number > last and self._held.number not in self._held.doubtful:
                self._held.doubt(self._held.number)
            raise

    def peek(self) -> Record | None:
        try:
            shown, value = self._link.ask(
                ("LINDEX", self.keys.front, -1), ("LINDEX", self.keys.base, -1), again=True
            )
            value = value if shown is None else shown
            return None if value is None else Record(None, value, self._codec.decode(value))
        except (Damaged, SerializationError, ItemTooLarge) as error:
            self._values.refuse(error)
        except PersistQueueError as error:
            raise Apart(error) from error

    def newest(self, count: int) -> list[Any]:
        """Return the last so many items that wait, the newest last."""
        values, shown = self._link.ask(
            ("LRANGE", self.keys.base, 0, count - 1),
            ("LRANGE", self.keys.front, 0, count - 1),
            again=True,
        )
        try:
            return [self._codec.decode(value) for value in reversed((values + shown)[:count])]
        except (Damaged, SerializationError, ItemTooLarge) as error:
            self._values.refuse(error)

    # -- finish, give back ----------------------------------------------------------

    def settle(self, records: Sequence[Record]) -> list[Record]:
        try:
            return self._held.settle(records)
        except PersistQueueError as error:
            raise Apart(error) from error

    def untake(self, records: Sequence[Record]) -> list[Record]:
        try:
            return self._held.move(records)
        except PersistQueueError as error:
            raise Apart(error) from error

    def put_behind(self, records: Sequence[Record]) -> list[Record]:
        """Give items the last places instead of their own; else as ``untake``."""
        return self._held.move(records, to_back=True)

    def flush(self) -> None:
        """Give back what this object holds: the next consumer need not wait for the lease."""
        held = self._held
        try:
            numbers = sorted([*held.lists, *held.doubtful], reverse=True)
            self.sweep.reclaim([(self.keys.processing(number), b"") for number in numbers])
        except QueueUnreachable:
            self._lost = True
            raise
        held.clear()

    def unsaved(self) -> bool:
        """Return whether anything is held that can be given back: it is at the end."""
        return bool(self._held.lists or self._held.doubtful) and not self._lost

    def heartbeat(self) -> int:
        """Let the lease of everything that is held begin now; returns how many lists it were."""
        return self._held.heartbeat()

    def swept(
        self, verb: Callable[[Sequence[Stamped]], list[bytes]], lists: Sequence[Stamped]
    ) -> frozenset[int]:
        """Do something to lists, of all consumers; returns the numbers of this object's."""
        return self._held.take_away(verb(lists))

    def _collect_overdue(self) -> None:
        """Put back what was held for too long, if it is time to look."""
        if monotonic() >= self._sweep_at:
            wait, lists = self.sweep.collect()
            self._sweep_at = monotonic() + min(wait, self._pause)
            self._held.lose(lists)

    # -- numbers --------------------------------------------------------------------

    def counts(self, exact: bool = True) -> tuple[int, int]:
        """Return how many wait, and at least how many are not finished."""
        if exact:
            try:
                self._count()
            except PersistQueueError as error:
                raise Apart(error) from error
            self._restless = True  # a join, maybe
        return self._held.waiting, self._held.waiting + self._held.others

    def room(self, maxsize: int, wanted: int) -> int:  # noqa: ARG002 - LLEN is exact
        return maxsize - self.counts()[0]

    def needs(self, records: Sequence[Any], ahead: Sequence[Any]) -> int:
        try:
            return self._puts.needs(records, ahead)
        except PersistQueueError as error:
            raise Apart(error) from error

    def _count(self) -> None:
        keys = self.keys
        waiting, shown, self._held.others = self._link.ask(
            ("LLEN", keys.base), ("LLEN", keys.front), ("HLEN", keys.timeouts), again=True
        )
        self._held.waiting = waiting + shown

    def changed(self, getting: bool) -> bool:
        now = monotonic()
        if self.barren and getting:  # what is held back would ring, and ring again
            if now < self._restless_look:
                return False
            self._restless_look = now + _OFTEN
            return True
        if self._tripwire.touched(getting):
            return True
        if self._restless and now >= self._restless_look:
            self._restless, self._restless_look = False, now + _OFTEN
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
        try:
            self.sweep.sync()
        except PersistQueueError as error:
            raise Apart(error) from error
