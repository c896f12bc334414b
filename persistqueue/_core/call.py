"""One call on its way to a store: which verb it needs, and the type of its result.

A face makes a ``Call[R]`` with one of the functions here, and ``run`` of a session gives the
``R``: ``ThreadSession.run`` returns it, ``await TaskSession.run(...)`` gives it.  A face that
forgets the ``await`` uses a coroutine in place of an ``R``, and a type checker says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .deadline import FOREVER
from .waiters import APPEND, CALL, COUNT, JOIN, LOOK, PEEK, SETTLE, SYNC, TAKE, UNTAKE, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from .deadline import Deadline
    from .inflight import AnyInFlight
    from .store import Record

    #: Fills a list with records, of those that a book has handed out to an owner.
    Pick: TypeAlias = Callable[[AnyInFlight, object, list[Record]], None]

R = TypeVar("R")
Place = TypeVar("Place", int, int | None)
R_co = TypeVar("R_co", covariant=True)


class Call(Op, Generic[R_co]):
    """One call; its result is an ``R``.

    Attributes:
        pick: picks the records that it finishes or gives back, when it enters the line.
        withdraws: a cancelled caller takes the call back if its batch has not begun.
    """

    __slots__ = ("pick", "withdraws")

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
        super().__init__(verb, load, waits, None, holds, deadline, act, at)
        self.pick = pick
        self.withdraws = withdraws


def append(records: Sequence[object], deadline: Deadline) -> Call[Sequence[Place]]:
    """Store encoded items, all or none, when there is room.

    Its result is what the store gives for each item: a row's id, or whether it was stored.
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


def look(act: Callable[[], R]) -> Call[R]:
    """Call a function of the store that stores nothing."""
    return Call(LOOK, act=act)


def write(act: Callable[[], R]) -> Call[R]:
    """Call a function of the store in a transaction."""
    return Call(CALL, act=act)


def finish(act: Callable[[Sequence[Record]], R], pick: Pick) -> Call[R]:
    """Finish the picked records by a function of the store."""
    return Call(CALL, [], act=act, pick=pick)


def settle_picked(pick: Pick) -> Call[Sequence[Record]]:
    """Settle the picked records; gives those that had been lost to another object."""
    return Call(SETTLE, [], pick=pick)


def return_picked(pick: Pick) -> Call[Sequence[Record]]:
    """Give the picked records back; gives those that had been lost to another object."""
    return Call(UNTAKE, [], pick=pick)


def settle(records: Sequence[Record]) -> Call[Sequence[Record]]:
    """Settle those of ``records`` that are not settled yet, even if the caller is cancelled."""
    return Call(
        SETTLE,
        [],
        pick=lambda book, _, into: book.pick(records, into, SETTLE),
        withdraws=False,
    )


def task_done(count: int) -> Call[Sequence[Record]]:
    """Settle ``count`` items, the caller's oldest first (see ``inflight.InFlight``)."""
    return settle_picked(lambda book, owner, into: book.pick_oldest(count, owner, into))


def all_done() -> Call[Sequence[Record]]:
    """Settle all items that the caller took; if there are none, those of all callers."""
    return settle_picked(lambda book, owner, into: book.pick_all(owner, into))


def item_done(item: object) -> Call[Sequence[Record]]:
    """Settle the record of an item that was handed out."""
    return settle_picked(lambda book, owner, into: book.pick_item(item, owner, into))
