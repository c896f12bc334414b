"""The interface of a store.

Verbs are vectors and differ from the queue's verbs, so the verb tells the layer:
``append take untake settle`` here, ``put get task_done`` there.  Verbs stand
between ``begin`` and ``commit`` (or ``rollback``); a store is used by one thread
at a time and never waits.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..exceptions import QueueClosed, QueueFailed, QueueLocked
from .waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


# Logged once, by an object that finds out: a path or table, and an ack queue's class.
TWO_CONSUMERS = (
    "%s: another object has finished an item that this one has in hand, so two have worked on it: "
    "each of two objects that consume here gets every item. Let one object consume (threads and "
    "tasks may share it), or use %s, which gives each item to one of them"
)


class Record:
    """One item that was handed out, and where it is stored."""

    __slots__ = ("end", "era", "item", "likeness", "owner", "spent", "start")

    likeness: int  # the session's, once it is asked for: equal items share it

    def __init__(self, start: Any, end: Any, item: Any, era: int = 0) -> None:
        self.start = start
        self.end = end
        self.item = item
        self.owner: Any = None  # the session's: who took it
        self.spent = False  # a block or a loop has worked on it: given back, it was an attempt
        self.era = era  # the store's: how often it had begun anew, with other places

    @property
    def key(self) -> Any:
        """The item's identity while it is stored; each object that takes it sees the same."""
        return self.start


class Stale(Exception):
    """Another object has changed what was read without the lock: begin again with the lock."""


class Reentry(RuntimeError):
    """A queue was called in the middle of another call on it, in the same thread."""


class Undone(Exception):
    """The store has undone the whole transaction by itself: nothing more may run in it.

    Attributes:
        error: what went wrong.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Errors(NamedTuple):
    """The classes of the errors that are raised for a store: the package's, or subclasses."""

    locked: type[QueueLocked] = QueueLocked
    failed: type[QueueFailed] = QueueFailed
    closed: type[QueueClosed] = QueueClosed


class StoreBase:
    """Methods of ``Store`` as most stores have them."""

    errors = Errors()
    transactional = True
    skip: Collection[Any] = ()
    held_back = False

    def waiters(self, maxsize: int) -> Waiters:
        return Waiters(maxsize, self.errors.closed)

    @property
    def owes(self) -> bool:
        return False

    def needs(self, records: Sequence[Any], ahead: Sequence[Any]) -> int:  # noqa: ARG002
        return len(records)

    def flush(self) -> None:
        """Do nothing: everything is stored."""

    def unsaved(self) -> bool:
        return False

    def hurry(self) -> None:
        """Do nothing: the lock belongs to a call that is at work."""

    def probe(self) -> tuple[int, bytes] | int | None:
        return None

    def due(self, getting: bool) -> float:  # noqa: ARG002 - whichever call waits
        return inf

    def _unskipped(self, rows: Sequence[Any], most: int, queue: str | None = None) -> Sequence[Any]:
        """Return up to ``most`` of these rows, without those that are skipped.

        Args:
            queue: the queue that the rows are in, where keys name it.
        """
        if not self.skip:
            return rows
        keys = (row[0] if queue is None else (queue, row[0]) for row in rows)
        fit = [row for row, key in zip(rows, keys, strict=True) if key not in self.skip]
        self.held_back = len(fit) < min(most, len(rows))
        return fit[:most]


class Store(Protocol):
    """A place where encoded items are kept in order.

    Attributes:
        errors: the classes of the errors that are raised for it.
        transactional: a batch is undone as a whole; otherwise a verb that fails raises a
            ``PersistQueueError``, and the others stay done.
        skip: keys of records that the next ``take`` does not hand out (see ``backoff``).
        held_back: the last ``take`` found fewer items than it was asked for, without those.
    """

    errors: Errors
    transactional: bool
    skip: Collection[Any]
    held_back: bool

    def waiters(self, maxsize: int) -> Waiters:
        """Return a new object that knows which call is next."""

    @property
    def owes(self) -> bool:
        """Whether ``changed(False)`` has to be called even if no call waits any more.

        Then this object was told of an item that other objects wait for, too.
        """

    @property
    def failed(self) -> str:
        """Why the stored items may not be what they should be; empty while they are.

        The runner then calls ``open`` before it begins another transaction (see ``patience``).
        """

    def open(self) -> bool:
        """Open, and repair what a crash left.  False: another object holds the lock.

        An open store that has not failed stays as it is.  A failed one is opened anew: items in
        hand keep their places where these are the same.  Otherwise they are handed out again,
        and settling the old records does nothing.
        """

    def begin(self, exclusive: bool) -> bool:
        """Start a transaction and see what others committed.  False: locked.

        A store that is not open, or was closed, is opened first.

        Without ``exclusive`` only ``take``, ``untake``, ``peek`` and ``counts`` may
        follow, and any of them may raise ``Stale``.
        """

    def append(self, records: Sequence[Any]) -> Sequence[Any] | None:
        """Add encoded items behind the last one, in order, all or none.

        Returns:
            what each put returns; None when puts return nothing.
        """

    def take(self, most: int) -> list[Record]:
        """Hand out up to ``most`` items; an empty list says that there are none."""

    def peek(self) -> Record | None:
        """Return the next item without handing it out."""

    def set_aside(self) -> bool:
        """Set the next item aside if it cannot be loaded; returns whether it was."""

    def untake(self, records: Sequence[Record]) -> Sequence[Record] | None:
        """Take back what was handed out, to the same places."""

    def settle(self, records: Sequence[Record]) -> Sequence[Record] | None:
        """Finish items: they are never handed out again."""

    def flush(self) -> None:
        """Store what is in memory only; called once, before ``close``."""

    def unsaved(self) -> bool:
        """Return whether anything is in memory only."""

    def counts(self, exact: bool = True) -> tuple[int, int]:
        """Return how many items are stored and not handed out, and not settled.

        Without ``exact`` a store that would have to count may say less than there is,
        but 0 only when there is none; callable outside a transaction, and never fails.
        """

    def room(self, maxsize: int, wanted: int) -> int:
        """Return how many items fit beside those that wait.

        A store that would have to count may say less, but not less than ``wanted``
        when so many fit.
        """

    def needs(self, records: Sequence[Any], ahead: Sequence[Any]) -> int:
        """Return how much room ``records`` take that are appended behind ``ahead``.

        A unique queue may hold some of them already.
        """

    def commit(self) -> None:
        """Make the transaction durable and end it; on an error nothing of it is stored."""

    def rollback(self) -> bool:
        """End the transaction.  True: it had been committed before it was interrupted.

        Until the next one begins it may be called again, and says the same.
        """

    def abandon(self) -> None:
        """Release what ``begin`` may have got: it failed, was interrupted, or is given up."""

    def hurry(self) -> None:
        """Wait for a server as short as can be: the queue is closed; callable on any thread."""

    def changed(self, getting: bool) -> bool:
        """Return whether another object may have committed; callable at any time.

        Args:
            getting: a get is among those that wait.
        """

    def probe(self) -> tuple[int, bytes] | int | None:
        """Return how to see at a glance that another object may have committed.

        Returns:
            a descriptor and the bytes at its start until then; or that of a socket which
            can be read then; or None: ``changed`` has to be called.
        """

    def due(self, getting: bool) -> float:
        """Return when ``changed`` has to be called though others have not committed.

        On the monotonic clock; callable at any time.

        Args:
            getting: a get is among those that wait.
        """

    def sync(self) -> None:
        """Make everything committed so far safe against loss of power."""

    def close(self) -> None:
        """Close every descriptor, and give back reserved space."""

    def forget(self) -> None:
        """Close every descriptor and change nothing: they belong to the parent process."""
