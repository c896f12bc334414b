"""The two ends of a move or a copy: what every backend has to do for it.

A source is read batch by batch and finishes a batch by its *place*.  A place names the very items
of a batch, so other puts and gets meanwhile change nothing.  A target stores a batch, all or none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from .._core import call
from .._core.deadline import FOREVER
from .._core.store import Stale, Undone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._core.threads import ThreadSession
    from .._sql.statements import Kind
    from ..serializers import Serializer
    from .places import Name

R = TypeVar("R")
T = TypeVar("T")
Stored = TypeVar("Stored")  # an item as a target stores it
BATCH_BYTES = 8 * 1024 * 1024  # of the items of a batch, as they are stored
MOST_ITEMS = 1000  # in a batch: as many as one call of Redis takes


class Carried(NamedTuple):
    """An item on its way.

    Attributes:
        timestamp: when it was put, if that is known.
        priority: if it has one.
    """

    item: Any
    timestamp: object = None
    priority: object = None


class Batch(NamedTuple):
    """Items that go together, and where they stand: only their source knows what that means."""

    items: list[Carried]
    place: Any


class End:
    """One end of a move.

    Attributes:
        shown: its name, for messages.
        identity: equal for two names of one queue.
        kind: order, priority and uniqueness of the queue.
        serializer: of its items; None for text in Redis.
    """

    identity: object = None
    _session: ThreadSession | None = None

    def __init__(self, name: Name, kind: Kind, serializer: Serializer | None) -> None:
        self.shown, self.kind, self.serializer = name.shown, kind, serializer

    def close(self) -> None:
        """Close the queue."""
        if self._session is not None:
            self._session.close()

    def _run(self, wanted: call.Call[R]) -> R:
        """Run a call of the store."""
        assert self._session is not None
        return self._session.run(wanted)

    def _do(self, act: Callable[[], R]) -> R:
        """Call a function of the store in a transaction, all of it or nothing."""
        assert self._session is not None
        return in_transaction(self._session, act)


class Source(End, ABC):
    """The end that items come from.

    Attributes:
        by_age: read in the order of the puts, not in that of the queue.
    """

    by_age = False

    @property
    def default(self) -> Serializer | None:
        """The serializer of a new target, if the user names none."""
        return self.serializer

    @abstractmethod
    def count(self) -> int:
        """Return how many items can be read, about."""

    def staying(self) -> dict[str, int]:
        """Return how many items stay where they are, by the word for it."""
        return {}

    @abstractmethod
    def read(self, most: int, behind: Batch | None) -> Batch | None:
        """Return the next items, if there are any.

        Args:
            behind: the batch to go on behind; None for the first item.
        """

    @abstractmethod
    def finish(self, batch: Batch) -> int:
        """Remove the items of a batch; returns how many of them others had taken."""


class OneQueue(ValueError):
    """A queue is to be moved onto itself."""

    def __init__(self, source: Source, target: Name) -> None:
        super().__init__(f"{source.shown} and {target.shown} are one queue")


class Target(End, ABC, Generic[Stored]):
    """The end that items go to."""

    @abstractmethod
    def encode(self, carried: Carried) -> Stored:
        """Return an item as it is stored, with the other columns of its row."""

    @abstractmethod
    def decode(self, stored: Stored) -> Any:
        """Return the item that comes out again."""

    def put(self, stored: Sequence[Stored]) -> int:
        """Store a batch, all or nothing.

        Returns:
            how many items were not stored, because a unique queue has equal ones.
        """
        numbers: Sequence[int | None] | None = self._run(call.append(stored, FOREVER))
        return sum(not number for number in numbers or ())


def in_transaction(session: ThreadSession, act: Callable[[], R]) -> R:
    """Call a function of a store in a transaction: if it raises, nothing is stored."""

    def whole() -> R:
        try:
            return act()
        except (Stale, Undone):
            raise
        except Exception as error:
            raise Undone(error) from error

    return session.run(call.write(whole))


def bounded(found: Iterable[tuple[int, T]], most: int) -> list[T]:
    """Return the first things that make a batch, one at least.

    Args:
        found: bytes of each, and the thing.
    """
    batch, total = list[T](), 0
    for size, one in found:
        total += size
        if batch and total > BATCH_BYTES:
            break
        batch.append(one)
        if len(batch) == most:
            break
    return batch
