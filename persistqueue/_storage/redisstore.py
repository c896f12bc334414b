"""A queue's keys in Redis as a store.

There are no transactions here: each verb is one call of the server, done as a whole or not
at all, and stays done whatever becomes of the next.  ``append`` alone is never sent twice:
when its answer is lost, its caller is told that nobody knows.  All else may be:

- what a ``take`` got is in a list of its own, whose name is new.  When the answer is lost,
  the same call is made again, and finds that list.
- an item is settled, or given back, only while it is in its list.

Each ``take`` has a list of its own, so that what it took falls due by itself: a consumer
that goes on taking does not keep alive what it forgot.  Long ones have several, because
finishing an item looks for it in its list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._clock import monotonic
from .._log import warn
from ..exceptions import (
    ItemTooLarge,
    PersistQueueError,
    QueueUnreachable,
    SerializationError,
)
from .base import Apart, Crowded, Errors, Record
from .block import Damaged
from .redischeck import check
from .redisheld import Held
from .redislink import Link
from .redisscripts import PER_LIST, PUT, TAKE, Keys, parts_of
from .redissweep import Sweep
from .redisvalues import Values
from .tripwire import Tripwire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .redislink import Command, Replicas, Word
    from .redissettings import Settings
    from .rowcodec import RowCodec
    from .textcodec import TextCodec


_AT_CLOSE = 1.0  # s without an answer after which a closing queue gives up
_IDLE_LOOK = 60.0  # s; the longest pause between two looks for what is overdue


class RedisStore:
    """The lists of one queue.

    Args:
        keys: its names.
        codec: decodes values.
        unique: equal values wait once.
        maxsize: items that may wait; 0 for no bound.
        native: the keys are not shared with aio-py-rq.
        lease: seconds after which what a call took is given to others; None for never.
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
        unique: bool,
        maxsize: int,
        native: bool,
        lease: float | None,
        skip_corrupt: bool,
        replicas: Replicas,
    ) -> None:
        self.label = settings.label
        self.keys = keys
        self._link = Link(settings)
        self._tripwire = Tripwire(settings, keys.base)
        self._codec = codec
        self._unique: tuple[Word, ...] = (keys.unique,) if unique else ()
        self._maxsize = maxsize
        self._native = native
        self._lease = lease
        self._replicas = replicas
        self.sweep = Sweep(self._link, keys, self._unique, replicas)
        self._held = Held(self._link, keys, self._unique, replicas)
        self._values = Values(
            self._link, self._held, codec, f"{settings.label}, {keys.base}", skip_corrupt
        )
        # Overdue items are looked for now and then; by a waiting get as well.
        self._pause = _IDLE_LOOK if lease is None else min(lease / 4, _IDLE_LOOK)
        self._sweep_at = self._look_at = 0.0
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
        check(self._link, self.label, self.keys, self._codec.name if self._native else None)
        self._opened = True
        self._look_at = monotonic() + self._pause
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
            while self._held.doubtful:
                self.sweep.reclaim(self.keys.processing(self._held.doubtful[-1]))
                self._held.doubtful.pop()
        except QueueUnreachable:
            self._lost = True
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
            self._held.doubt_since(self._before)  # nobody gets what was taken
        return self._seen_through

    def abandon(self) -> None:
        """There is no lock to queue for."""

    def hurry(self) -> None:
        self._lost = False  # it may be back
        self._link.hurry(_AT_CLOSE)

    def close(self) -> None:
        if self._held.left or self._held.doubtful:
            warn("%s: what was taken comes again after its lease", self.label)
            self._held.clear()
        self._link.drop()
        self._tripwire.close()
        self._opened = False

    def forget(self) -> None:
        self._link.drop()
        self._tripwire.forget()
        self.keys.renew()
        self._held.clear()
        self._opened = False

    # -- put ------------------------------------------------------------------------

    def append(self, records: Sequence[Any]) -> Sequence[int] | None:
        """Add values, all or none; a unique queue's put returns whether it was stored."""
        keys, behind = self.keys, self._replicas.behind
        parts = parts_of(records)
        try:
            if self._unique or self._maxsize > 0:
                stored, answers = self._run_put(records, behind)
            elif len(parts) == 1:
                answers = self._link.ask(("LPUSH", keys.base, *records), *behind)
                self._held.waiting, stored = answers[0], None
            else:
                pushes = [("LPUSH", keys.base, *part) for part in parts]
                answers = self._link.transaction(pushes, *behind)
                self._held.waiting, stored = answers[len(parts) - 1], None
            self._replicas.check(answers)
        except PersistQueueError as error:
            if isinstance(error, QueueUnreachable) and error.stored:  # Ctrl-C goes on at commit
                return [1] * len(records) if self._unique else None
            raise Apart(error) from error
        return stored

    def _run_put(
        self, records: Sequence[Any], behind: tuple[Command, ...]
    ) -> tuple[list[int], list[Any]]:
        """Run the script that knows of room and of equal values."""
        names, room = (self.keys.base, self.keys.timeouts, *self._unique), max(self._maxsize, 0)
        keys = len(names)
        calls = [(*names, room, *part) for part in parts_of(records)]
        if len(calls) == 1:
            (call,) = calls
            answers = self._link.script(PUT, call[:keys], call[keys:], *behind)
        elif 0 < self._maxsize < self.counts()[0] + self.needs(records, ()):
            raise Crowded
        else:
            # What there is room for was just looked at: the script would count a part.
            commands = [
                ("EVAL", PUT[0], keys, *call[:keys], 0, *call[keys + 1 :]) for call in calls
            ]
            answers = self._link.transaction(commands, *behind)
        done = answers[: len(calls)]
        if done[0][0] < 0:
            raise Crowded
        self._held.waiting, self._held.lists = done[-1][:2]
        return [flag for answer in done for flag in answer[2]], answers

    # -- take -----------------------------------------------------------------------

    def take(self, most: int) -> list[Record]:
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
            except BaseException:  # Ctrl-C: nobody gets what these lists hold
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
        self._held.number = number = self._held.number + 1
        keys = self.keys
        names = (keys.base, keys.timeouts, keys.processing(number), *self._unique)
        ((self._held.waiting, self._held.lists, values),) = self._link.script(
            TAKE, names, (most,), again=True
        )
        if values:
            self._held.took(number, len(values))
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
            (value,) = self._link.ask(("LINDEX", self.keys.base, -1), again=True)
            return None if value is None else Record(None, value, self._codec.decode(value))
        except (Damaged, SerializationError, ItemTooLarge) as error:
            self._values.refuse(error)
        except PersistQueueError as error:
            raise Apart(error) from error

    def newest(self, count: int) -> list[Any]:
        """Return the last so many items that wait, the newest last."""
        (values,) = self._link.ask(("LRANGE", self.keys.base, 0, count - 1), again=True)
        try:
            return [self._codec.decode(value) for value in reversed(values)]
        except (Damaged, SerializationError, ItemTooLarge) as error:
            self._values.refuse(error)

    # -- finish, give back ----------------------------------------------------------

    def settle(self, records: Sequence[Record]) -> None:
        try:
            self._held.settle(records)
        except PersistQueueError as error:
            raise Apart(error) from error

    def untake(self, records: Sequence[Record]) -> None:
        try:
            self._held.move(records)
        except PersistQueueError as error:
            raise Apart(error) from error

    def put_behind(self, records: Sequence[Record]) -> int:
        """Give items the last places instead of their own; returns how many there were."""
        self._held.move(records, to_back=True)
        return len(records)

    def flush(self) -> None:
        """Give back what this object holds: whoever comes next need not wait for the lease."""
        try:
            for number in sorted([*self._held.left, *self._held.doubtful], reverse=True):
                self.sweep.reclaim(self.keys.processing(number))
        except QueueUnreachable:
            self._lost = True
            raise
        self._held.clear()

    def unsaved(self) -> bool:
        """Return whether anything is held that can be given back: it is at the end."""
        return bool(self._held.left or self._held.doubtful) and not self._lost

    def heartbeat(self) -> int:
        """Let the lease of everything that is held begin now; returns how many lists it were."""
        return self.sweep.refresh([self.keys.processing(number) for number in self._held.left])

    def swept(
        self, sweep: Callable[[float | None], list[bytes]], older: float | None
    ) -> tuple[int, frozenset[int]]:
        """Do something to all lists; returns how many, and the numbers of this object's."""
        names = sweep(older)
        return len(names), self._held.lose(names)

    def _collect_overdue(self) -> None:
        """Put back what other consumers have held for too long, if it is time to look."""
        now = monotonic()
        if self._lease is not None and now >= self._sweep_at:
            self._sweep_at = now + self._pause
            self._held.lose(self.sweep.re_enqueue(self._lease, ours_only=True))

    # -- numbers --------------------------------------------------------------------

    def counts(self, exact: bool = True) -> tuple[int, int]:
        """Return how many wait, and at least how many are not finished."""
        if exact:
            try:
                self._count()
            except PersistQueueError as error:
                raise Apart(error) from error
        return self._held.waiting, self._held.waiting + self._held.lists

    def room(self, maxsize: int, wanted: int) -> int:  # noqa: ARG002 - LLEN is exact
        return maxsize - self.counts()[0]

    def needs(self, records: Sequence[Any], ahead: Sequence[Any]) -> int:
        new = set(records) - set(ahead)
        if not (self._unique and new):
            return len(new) if self._unique else len(records)
        try:
            (waiting,) = self._link.ask(("SMISMEMBER", *self._unique, *new), again=True)
        except PersistQueueError as error:
            raise Apart(error) from error
        known: int = sum(waiting)
        return len(new) - known

    def _count(self) -> None:
        keys = self.keys
        self._held.waiting, self._held.lists = self._link.ask(
            ("LLEN", keys.base), ("HLEN", keys.timeouts), again=True
        )
        self._tripwire.restless = self._held.lists > 0

    def changed(self) -> bool:
        now, touched = monotonic(), self._tripwire.touched()
        if self._lease is not None and now >= self._look_at and self._tripwire.connected:
            self._look_at = now + self._pause
            return True
        return touched

    def probe(self) -> None:
        """There is no file to look at."""

    def sync(self) -> None:
        try:
            self.sweep.sync()
        except PersistQueueError as error:
            raise Apart(error) from error
