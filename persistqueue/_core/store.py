"""What the runtime asks of a store.

Verbs are vectors and differ from the queue's verbs, so the verb tells the layer:
``append take untake settle`` here, ``put get task_done`` there.  Verbs stand
between ``begin`` and ``commit`` (or ``rollback``); a store is used by one thread
at a time and never waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..exceptions import QueueClosed, QueueFailed, QueueLocked

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


# What is logged, once, by an object that finds out: a path or table, and an ack queue's class.
TWO_CONSUMERS = (
    "%s: another object has finished an item that this one has in hand, so two have worked on it: "
    "each of two objects that consume here gets every item. Let one object consume (threads and "
    "tasks may share it), or use %s, which gives each item to one of them"
)


class Record:
    """One item that was handed out, and where it is stored."""

    __slots__ = ("end", "era", "item", "likeness", "owner", "start")

    likeness: int  # the runtime's, once it is asked for: equal items share it

    def __init__(self, start: Any, end: Any, item: Any, era: int = 0) -> None:
        self.start = start
        self.end = end
        self.item = item
        self.owner: Any = None  # the runtime's: who took it
        self.era = era  # the store's: how often it had begun anew, with other places

    @property
    def key(self) -> Any:
        """What tells the item from others while it is stored, whoever takes it."""
        return self.start


class Stale(Exception):
    """What was read without the lock was overtaken: begin again with the lock."""


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


class Apart(Exception):
    """A verb failed in a store without transactions: what was done before it stays done.

    Attributes:
        error: what went wrong.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Crowded(Exception):
    """There is no room any more: somebody was quicker, and nothing was stored."""


class Errors(NamedTuple):
    """What the runtime raises for a store: the package's own, or a subclass of it."""

    locked: type[QueueLocked] = QueueLocked
    failed: type[QueueFailed] = QueueFailed
    closed: type[QueueClosed] = QueueClosed


class Skips:
    """What a store is not to hand out now, although it waits; see ``_runtime.backoff``.

    Attributes:
        skip: keys of records, for the next ``take``.
        barren: whether the last ``take`` found less than it was asked for, but for those.
    """

    skip: Collection[Any] = ()
    barren = False

    @property
    def owes(self) -> bool:
        """Whether other objects wait for an item that this one was shown; see ``Store``."""
        return False

    def _unskipped(self, rows: Sequence[Any], most: int, queue: str | None = None) -> Sequence[Any]:
        """Return up to ``most`` rows, of so many more as are skipped, that may be handed out.

        Args:
            queue: the one that they are of, where keys say so.
        """
        if not self.skip:
            return rows
        keys = (row[0] if queue is None else (queue, row[0]) for row in rows)
        fit = [row for row, key in zip(rows, keys, strict=True) if key not in self.skip]
        self.barren = len(fit) < min(most, len(rows))
        return fit[:most]


class Store(Protocol):
    """A place where encoded items are kept in order.

    Attributes:
        errors: what is raised for it.
        skip, barren: see ``Skips``.
    """

    errors: Errors
    skip: Collection[Any]
    barren: bool

    @property
    def owes(self) -> bool:
        """Whether ``changed(False)`` has to be called even if no call waits any more."""

    @property
    def failed(self) -> str:
        """Why it cannot vouch for what it holds; empty while it can.

        The runner then calls ``open`` before it begins another transaction (see ``reopening``).
        """

    def open(self) -> bool:
        """Open, and repair what a crash left.  False: somebody else holds the lock.

        Where it is open and nothing has failed, this does nothing.  What has failed is opened
        anew from what is stored: items that are handed out keep their places where these are
        the same, else they are handed out again, and settling the old ones does nothing.
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
            what each put returns, if it returns anything.
        """

    def take(self, most: int) -> list[Record]:
        """Hand out up to ``most`` items; an empty list says there is none."""

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

        A store that would have to count may say less than that, but not less than ``wanted``
        when so many fit.
        """

    def needs(self, records: Sequence[Any], ahead: Sequence[Any]) -> int:
        """Return how much room ``records`` take that are appended behind ``ahead``."""

    def commit(self) -> None:
        """Make the transaction durable and end it; on an error nothing of it is stored."""

    def rollback(self) -> bool:
        """End the transaction.  True: it had been committed before it was interrupted.

        Until the next one begins it may be called again, and says the same.
        """

    def abandon(self) -> None:
        """Let go of what ``begin`` may have got: it failed, was interrupted, or is given up."""

    def hurry(self) -> None:
        """Somebody closes: wait for no server longer than must be; callable on any thread."""

    def changed(self, getting: bool) -> bool:
        """Return whether somebody else may have committed; callable at any time.

        Args:
            getting: a get is among those that wait.
        """

    def probe(self) -> tuple[int, bytes] | int | None:
        """Return what tells, at a glance, that somebody may have committed.

        Returns:
            a descriptor and what stands at its start until then; or that of a socket which
            can be read then; or None.
        """

    def sync(self) -> None:
        """Make everything committed so far safe against loss of power."""

    def close(self) -> None:
        """Let go of every descriptor, and of what is reserved."""

    def forget(self) -> None:
        """Let go of every descriptor and touch nothing: they are a parent process's."""
