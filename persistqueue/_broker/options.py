"""The part of a broker that is the same for threads and for asyncio: it never waits."""

from __future__ import annotations

import inspect
import os
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from .._core import call
from .._core.arguments import ON_CORRUPT, T, absolute, one_of, uncopied, whole
from .._core.block import Damaged
from .._core.deadline import FOREVER, NOW, checked_lease
from .._sql.schema import folded
from .._sql.sqlite.database import MEMORY
from .._sql.sqlite.errors import SqliteRowCodec
from .._sql.statements import ID_RANGE
from ..brokerconfig import BrokerConfig
from ..exceptions import ItemTooLarge, SerializationError
from .readers import BrokerDatabase, Readers, matches, page
from .statements import a_time, message_id, queue_name
from .store import BrokerStore, Seen
from .transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._core.call import Call
    from .._core.deadline import Deadline
    from .._core.store import Record
    from .readers import Ask

R = TypeVar("R")
MOST = 2**62  # items: no more are ever there
PAGE = 100  # items that a stream looks at in one go
_ORDINARY = "transact() takes an ordinary function of one argument"


class _Fields(NamedTuple):
    id: int
    item: Any
    timestamp: float


class Message(_Fields, Generic[T]):  # Python 3.10 knows no generic named tuples
    """An item that waits in a queue: a named tuple.

    Attributes:
        id: its number among all that the broker wrote.
        item: what was written.
        timestamp: when, in seconds since 1970.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        item: T


class BrokerFace:
    """One object on a database of queues."""

    path: str
    _databases = BrokerDatabase
    __getstate__ = uncopied

    def _set_up(
        self,
        path: str | os.PathLike[str],
        *,
        pool_size: int,
        config: BrokerConfig | None,
        settings: dict[str, Any],
        serializer: Any,
        on_corrupt: str,
        lease: float | None,
    ) -> None:
        """Check the arguments and make the store; nothing is opened."""
        given = {name: value for name, value in settings.items() if value is not None}
        if config is not None and not isinstance(config, BrokerConfig):
            raise TypeError(f"config must be a BrokerConfig, not {type(config).__name__}")
        self.config = config = replace(config or BrokerConfig(), **given)
        self.path = MEMORY if os.fspath(path) == MEMORY else absolute(path)
        self._serializer = serializer
        self._codec = SqliteRowCodec(serializer, ordered=False, longest=config.max_item_bytes)
        database = self._databases(
            self.path,
            power=config.durability == "power",
            patience=float(config.timeout),
            cache=config.cache_mb,
        )
        upkeep = (config.vacuum_interval, config.vacuum_threshold) if config.auto_vacuum else None
        skips = one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
        self.lease = checked_lease(lease)
        self._store = BrokerStore(
            database, self._codec, skip_corrupt=skips, upkeep=upkeep, lease=self.lease
        )
        self._memory = database.memory
        self._pool_size = whole("pool_size", pool_size, 1)
        self._readers = Readers(database, self._store, self._pool_size)

    @property
    def skipped(self) -> int:
        """Damaged items that this object set aside (``on_corrupt="skip"``)."""
        return self._store.skipped

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.path!r}>"

    # -- what the store is asked to do ----------------------------------------------

    def _records(self, name: str, items: Iterable[Any]) -> list[tuple[str, Any, float]]:
        now = time.time()
        return [(name, self._codec.encode(item), now) for item in items]

    def _broadcast(
        self, data: Any, pattern: str | None, names: Sequence[str] | None, create: bool
    ) -> dict[str, int]:
        """Write an encoded item to several queues, in a transaction; returns its ids."""
        store, now = self._store, time.time()
        if names is None:
            names = [name for name in store.names() if matches(name, pattern)]
        elif not create:
            for name in names:
                store.existing(name)
        ids = store.append([(name, data, now) for name in names]) if names else []
        return dict(zip(names, ids, strict=True))

    def _transact(self, function: Callable[[Transaction], R]) -> R:
        """Run a user's function, in a transaction."""
        with Transaction(self._store, self._codec) as tx:
            result = function(tx)
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError(_ORDINARY)
        return result

    # -- reading --------------------------------------------------------------------

    def _messages(
        self, name: str, limit: int | None, **bounds: Any
    ) -> Callable[[Ask], list[Message[Any]]]:
        """Return the call that reads rows with their items: they are decoded where it runs.

        Damaged ones are left out if they may be skipped.
        """
        most = MOST if limit is None else whole("limit", limit, 1)
        for key, given in bounds.items():
            if given is not None:
                in_ids = key in ("after", "before")
                bounds[key] = message_id(given) if in_ids else a_time(key, given)

        def messages(ask: Ask) -> list[Message[Any]]:
            found: list[Message[Any]] = []
            for number, data, timestamp in page(ask, name, most, **bounds):
                try:
                    found.append(Message(number, self._codec.decode(data), timestamp))
                except Damaged as error:
                    if not self._store.skips:
                        raise self._store.corrupt(f"queue_{name}", number, error) from error
                except (SerializationError, ItemTooLarge) as error:
                    place = f"queue_{name}, row {number}"
                    raise type(error)(f"{place}: {error}") from error.__cause__
            return found

        return messages

    def _seen(self, name: str, last: int, most: int) -> Callable[[Ask], list[Record]]:
        """Return the call that reads the items behind an id, as records for a stream."""
        messages = self._messages(name, most, after=last)
        return lambda ask: [
            Seen(one.id, (name, one.id, None, one.timestamp), one.item) for one in messages(ask)
        ]


class BrokerQueueFace(Generic[T]):
    """One queue of a broker."""

    __getstate__ = uncopied

    def __init__(self, broker: Any, name: str) -> None:
        self.name = queue_name(name)
        self._broker = broker
        self._session = broker._session
        self._store: BrokerStore = broker._store
        self._key = folded(name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} in {self._broker.path!r}>"

    def __contains__(self, item: object) -> bool:
        raise TypeError("'in' would have to take every item out; browse() shows the items")

    def _take(
        self, most: int, deadline: Deadline, since: float | None = None
    ) -> Call[list[Record]]:
        """Return the call that takes up to ``most`` items.

        With ``since`` it must not wait: others that wait would be asked in vain again and again.
        """
        return call.take(most, deadline, False, self._taking(most, since), self._key)

    def _taking(self, most: int, since: float | None = None) -> Callable[[], Any]:
        return partial(self._store.take, self.name, most, a_time("since", since))

    def _holding(self, most: int, done: Sequence[Any] = ()) -> Callable[[], Any]:
        return partial(self._store.guard, partial(self._store.hold, self.name, most, done))


def an_ordinary(function: Any) -> None:
    """Raise unless a function may run in a transaction."""
    if inspect.iscoroutinefunction(function) or not callable(function):
        raise TypeError(_ORDINARY)


def one_or_all(ids: list[int], limit: int | None) -> int | list[int] | None:
    """Return what a move returns: an id, or with ``limit`` a list of them."""
    if limit is not None:
        return ids
    return ids[0] if ids else None


class Progress(Generic[T]):
    """The items that a loop over a queue has at hand, and which of them its body has got.

    There are three ways of going on: look at items by pages (``peek``), take one at a time, or hold
    some and finish them when the next are held.

    Args:
        interval: items that are held together.
        peek: look, and take nothing.
        follow: wait for more.
    """

    __getstate__ = uncopied

    def __init__(
        self, queue: BrokerQueueFace[T], interval: int, *, peek: bool, follow: bool
    ) -> None:
        self._records: Sequence[Any] = ()
        self._got = 0  # how many of them the body has got
        self._ended = False
        # Held by the thread or task that asks for the next item, and never waited for.
        self._turn = threading.Lock()
        self._last = ID_RANGE[0]  # the id of the last one
        self._queue = queue
        self._session = queue._session
        self._store = queue._store
        self._interval = PAGE if peek else interval
        self._peeks = peek
        self._holds = interval > 1 and not peek
        self._follows = follow
        self._deadline = FOREVER if follow else NOW

    @property
    def message(self) -> Message[T]:
        """The item that the body of the loop has got last, with its id and time."""
        if not 0 < self._got <= len(self._records):
            raise ValueError("no item is at hand: ask in the body of the loop")
        record = self._records[self._got - 1]
        _, number, _, timestamp = record.end
        return Message(number, record.item, timestamp)

    def _enter(self) -> None:
        """Begin to look for the next item; no other caller may until ``_turn`` is released."""
        if not self._turn.acquire(blocking=False):
            raise RuntimeError(
                "a stream is for one loop, and another thread or task is waiting in this one: "
                "call stream() for each"
            )

    def _step(self) -> bool:
        """Go on to the next item, if it is at hand; the one before it is done.

        It may be asked for again when there was none: a wait was cancelled, say.
        """
        records, got = self._records, self._got
        there = got < len(records)
        if self._holds and got <= len(records):
            if got:
                records[got - 1].done = True
            if there and not self._store.holds(records[got]):
                there = False  # given back by close(), or this is the child of a fork
        self._got = got + 1 if there else len(records) + 1
        return there

    def _current(self) -> T:
        item: T = self._records[self._got - 1].item
        return item

    def _way(self) -> Callable[[], Any]:
        """Return the store's function that gets the next items."""
        queue = self._queue
        if self._peeks:
            return partial(self._store.see, queue.name, self._last, self._interval)
        if self._holds:
            return queue._holding(self._interval, self._done())
        return queue._taking(self._interval)

    def _done(self) -> Sequence[Any]:
        """Return the items that are finished when the next ones are held."""
        return self._records if self._holds else ()

    def _begin(self, records: Sequence[Record]) -> bool:
        """Have the next items at hand; returns whether there are any."""
        if records:
            self._records, self._got, self._last = records, 1, records[-1].start
        return bool(records)

    def _end(self) -> Sequence[Any]:
        """Have nothing at hand any more; returns the items to give back."""
        self._ended = True
        records, self._records = self._records, ()
        return records if self._holds else ()

    def _leave(self) -> Sequence[Record]:
        """Leave the loop before its end; returns the items to give back."""
        left = self._end()
        self._session.back_off.left([record for record in left if not record.done][:1])
        return left


# -- arguments --------------------------------------------------------------------------


def different(queues: Iterable[str]) -> list[str]:
    """Return the names of queues, each queue once: two names may be one queue's."""
    if isinstance(queues, str):
        raise TypeError("queues are the names of queues: a list, not one str")
    found: dict[str, str] = {}
    for name in queues:
        found.setdefault(folded(queue_name(name)), name)
    return list(found.values())
