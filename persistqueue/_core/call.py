"""One call on its way to a store: which verb it needs, and the type of its result.

A face makes a ``Call[R]`` with one of the functions here, and ``run`` of a session gives the
``R``: ``ThreadSession.run`` returns it, ``await TaskSession.run(...)`` gives it.  A face that
forgets the ``await`` uses a coroutine in place of an ``R``, and a type checker says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from .deadline import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .deadline import Deadline
    from .inflight import AnyInFlight
    from .store import Record

    #: Finds records, of those that a book has handed out to an owner.  The session takes each out
    #: of the book before it asks for the next one.
    Pick: TypeAlias = Callable[[AnyInFlight, object], Iterable[Record]]

# Verbs of a call.
APPEND, TAKE, PEEK, UNTAKE, SETTLE, FINISH, COUNT, JOIN, SYNC, FLUSH, CALL, LOOK = (
    "append", "take", "peek", "untake", "settle", "finish", "count", "join", "sync", "flush",
    "call", "look",
)  # fmt: skip

# Where a call is (see ``waiters``).
NEW, PENDING, PARKED, FLYING, ANSWERED = range(5)

R = TypeVar("R")
Place = TypeVar("Place", int, int | None)
R_co = TypeVar("R_co", covariant=True)


class Unmet:
    """A result that leaves a call waiting."""


NOTHING_THERE, NO_ROOM, UNFINISHED = Unmet(), Unmet(), Unmet()


class Call(Generic[R_co]):
    """One call; its result is an ``R``.

    Attributes:
        verb: which store verb it needs.
        load: encoded records (append), a number (take), records (untake, settle; flush:
            those that are given back after ``close``).
        waits: whether it may be parked.
        owner: the thread or task it belongs to.
        holds: whether its caller answers for each item that it takes.
        deadline: when its caller gives up.
        act: a function of the store; take: hands out certain records, not the next ones;
            call and look: any function (look: one that stores nothing).  It is given the load,
            if there is one.  Finish: a ``Finishing``.
        at: of many queues, the one that it takes from (see ``waiters``).
        pick: finds the records that it finishes or gives back; they become its load.
        withdraws: a cancelled caller takes the call back if its batch has not begun.
        result: its outcome once answered, unless ``error`` is set.
        gate: the session's: its caller waits on it.
        noted: the session's: the book of items in flight knows the outcome.
        counted: the session's: it was counted as a ``task_done``.
        number: the line's: how many came before it.
        waited: the line's: whether it was parked.
    """

    __slots__ = (
        "act", "at", "counted", "deadline", "error", "gate", "holds", "load", "noted", "number",
        "owner", "pick", "result", "verb", "waited", "waits", "where", "withdraws",
    )  # fmt: skip

    def __init__(
        self,
        verb: str,
        load: Any = None,
        waits: bool = False,
        holds: bool = False,
        deadline: Deadline = FOREVER,
        act: Callable[..., R_co] | None = None,
        at: object = None,
        pick: Pick | None = None,
        withdraws: bool = True,
    ) -> None:
        self.verb = verb
        self.load = load
        self.waits = waits
        self.owner: Any = None
        self.holds = holds
        self.deadline = deadline
        self.act = act
        self.at = at
        self.pick = pick
        self.withdraws = withdraws
        self.result: Any = None
        self.error: BaseException | None = None
        self.gate: Any = None
        self.noted = self.counted = self.waited = False
        self.number = 0
        self.where = NEW


AnyCall: TypeAlias = Call[Any]


class Finishing(ABC, Generic[R]):
    """What one call does with the records that it has picked; the ``act`` of its call."""

    __slots__ = ()

    @abstractmethod
    def __call__(self, records: Sequence[Record]) -> R:
        """Do it, and return the call's result; an error undoes the whole transaction."""

    @abstractmethod
    def together(self, calls: Sequence[AnyCall]) -> None:
        """Do it for neighbouring calls, of which this one's is the first; set their results."""


def append(records: Sequence[object], deadline: Deadline) -> Call[Sequence[Place]]:
    """Store encoded items, all or none, when there is room.

    Its result has for each item a row's id, or whether it was stored.
    """
    return Call(APPEND, records, deadline.waits, False, deadline)


def take(
    most: int,
    deadline: Deadline,
    holds: bool = False,
    act: Callable[[], list[Record]] | None = None,
    at: object = None,
) -> Call[list[Record]]:
    """Wait for an item, then take up to ``most`` of those that are there.

    Args:
        holds: the caller settles or gives back each record.
        act: the store's function that hands out certain records, not the next ones.
        at: of many queues, the one that they are taken from.
    """
    return Call(TAKE, most, deadline.waits, holds, deadline, act, at)


def peek() -> Call[list[Record]]:
    """Look at the next record without taking it: a list of one."""
    return Call(PEEK)


def count() -> Call[int]:
    """Count the items that could be taken now."""
    return Call(COUNT)


def join() -> Call[None]:
    """Wait until every item is settled."""
    return Call(JOIN, waits=True)


def sync() -> Call[None]:
    """Make the stored items safe against loss of power."""
    return Call(SYNC)


def flush(pick: Pick | None = None) -> Call[bool]:
    """Store what is in memory only, with the picked records; then close the store."""
    return Call(FLUSH, [], pick=pick, withdraws=False)


def look(act: Callable[[], R]) -> Call[R]:
    """Call a function of the store that stores nothing."""
    return Call(LOOK, act=act)


def write(act: Callable[[], R]) -> Call[R]:
    """Call a function of the store in a transaction."""
    return Call(CALL, act=act)


def finish(act: Callable[[Sequence[Record]], R], pick: Pick, *, withdraws: bool = True) -> Call[R]:
    """Finish the picked records by a function of the store."""
    return Call(CALL, [], act=act, pick=pick, withdraws=withdraws)


def finish_together(finishing: Finishing[R], pick: Pick) -> Call[R]:
    """Finish the picked records, those of neighbouring calls at once."""
    return Call(FINISH, [], act=finishing, pick=pick)


def settle_picked(pick: Pick) -> Call[Sequence[Record]]:
    """Settle the picked records; gives those that had been lost to another object."""
    return Call(SETTLE, [], pick=pick)


def return_picked(pick: Pick, withdraws: bool = True) -> Call[Sequence[Record]]:
    """Give the picked records back; gives those that had been lost to another object."""
    return Call(UNTAKE, [], pick=pick, withdraws=withdraws)


def settle(records: Sequence[Record]) -> Call[Sequence[Record]]:
    """Settle those of ``records`` that are not settled yet, even if the caller is cancelled."""
    return Call(SETTLE, [], pick=lambda book, _: book.still(records), withdraws=False)


def task_done(count: int) -> Call[Sequence[Record]]:
    """Settle ``count`` items, the caller's oldest first (see ``inflight.InFlight``)."""
    return Call(SETTLE, [], pick=lambda book, owner: book.oldest(count, owner))


def all_done() -> Call[Sequence[Record]]:
    """Settle all items that the caller took; if there are none, those of all callers."""
    return settle_picked(lambda book, owner: book.all_of(owner))


def item_done(item: object) -> Call[Sequence[Record]]:
    """Settle the record of an item that was handed out."""
    return settle_picked(lambda book, owner: book.of_item(item, owner))
