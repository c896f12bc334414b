"""The two ends of a move or a copy, whatever they are stored in.

A source is read batch by batch and finishes batches by their *place*; a place names the very
items, so that what is put or taken meanwhile changes nothing.  A target stores a batch and, in
the same transaction, its number: so it is known what became of a batch whose mover was killed.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._sql.statements import Kind

BATCH_BYTES = 8 * 1024 * 1024  # of the items of a batch, as they are stored
MOST_ITEMS = 1000  # in a batch: what one call of Redis takes
LONGEST = 1 << 62  # bytes of an item: whatever could be put can be moved


class Candidate(NamedTuple):
    """A queue that a name may mean.

    Attributes:
        what: the class that uses it.
        name: of the queue in its database; empty where there is one queue only.
        table: of the queue, or dict.
        path: of the directory or file.
        engine: the class of a storage engine whose file it is.
    """

    what: str
    name: str = ""
    table: Any = None
    path: str = ""
    engine: Any = None

    def fits(self, scheme: str, name: str | None) -> bool:
        """Return whether a user who gives this name, or none, may mean it."""
        if (scheme == "file" and self.table) or (scheme == "sqlite" and not self.table):
            return False
        return name is None or name in (self.name, self._whole_name)

    def __str__(self) -> str:
        return f"{self._whole_name or self.path} ({self.what})"

    @property
    def _whole_name(self) -> str:
        return self.table.name if self.table else ""


class Carried(NamedTuple):
    """An item on its way, and what its row says beside it.

    Attributes:
        timestamp: when it was put, if that is known.
        priority: if it has one.
    """

    item: Any
    timestamp: Any = None
    priority: Any = None


class Batch(NamedTuple):
    """Items that go together.

    Attributes:
        place: where they stand in the source, as JSON can hold it.
    """

    items: list[Carried]
    place: Any


class Mover(NamedTuple):
    """Who moves a batch: the number of the move, and of the batch in it."""

    run: str
    number: int


class End:
    """What both ends have.

    Attributes:
        shown: its name, for messages.
        identity: equal for two names of one queue.
        key: what a journal calls it.
        directory: where a journal may be; None for a server.
        kind: what the queue promises: order, priority, uniqueness.
        serializer: what its items are written with; None for text in Redis.
    """

    identity: Any = None
    key = ""
    directory: str | None = None
    kind: Kind
    serializer: Any

    def __init__(self, shown: str) -> None:
        self.shown = shown

    def is_same(self, other: End) -> bool:
        """Return whether both ends are one queue."""
        return bool(self.identity == other.identity)

    def forget(self, run: str) -> None:
        """Remove what was noted for a move."""

    def close(self) -> None:
        """Let go of it."""


class Source(End, ABC):
    """Where items come from.

    Attributes:
        by_age: read in the order of the puts, whatever the order of the queue is.
    """

    by_age = False

    @property
    def default(self) -> Any:
        """The serializer of a target that is new and of which the user says nothing."""
        return self.serializer

    @abstractmethod
    def count(self) -> int:
        """Return how many items can be read, about."""

    def staying(self) -> dict[str, int]:
        """Return how many items stay where they are, by the word for it."""
        return {}

    @abstractmethod
    def read(self, most: int, behind: Any) -> Batch | None:
        """Return the next items, if there are any.

        Args:
            behind: the place of the batch to go on behind; None for the first item.
        """

    @abstractmethod
    def finish(self, place: Any, mover: Mover, *, resumed: bool) -> int:
        """Remove the items of a batch; to do it twice changes nothing.

        Args:
            resumed: the batch was read by a process that is gone: see whether the items are
                still the same.

        Returns:
            how many of them others had taken.
        """


class Target(End, ABC):
    """Where items go to."""

    @abstractmethod
    def encode(self, carried: Carried) -> Any:
        """Return an item as it is stored, with what stands beside it."""

    @abstractmethod
    def decode(self, stored: Any) -> Any:
        """Return the item that comes out again."""

    def note(self, stored: Sequence[Any]) -> Any:  # noqa: ARG002 - most can tell by themselves
        """Return what the journal is to keep, so that ``has`` can tell."""
        return None

    @abstractmethod
    def put(self, stored: Sequence[Any], mover: Mover) -> int:
        """Store a batch and its number, all or nothing.

        Returns:
            how many items were not stored, because a unique queue has equal ones.
        """

    @abstractmethod
    def has(self, mover: Mover, note: Any) -> bool:
        """Return whether a batch was stored."""


def digest(data: Any) -> str:
    """Return what tells an item's stored bytes (or text) from others."""
    raw = data if isinstance(data, bytes) else str(data).encode("utf-8", "surrogatepass")
    return hashlib.sha1(raw, usedforsecurity=False).hexdigest()


def within(sizes: Iterable[int]) -> int:
    """Return how many items of these sizes make a batch: one at least."""
    count = total = 0
    for size in sizes:
        total += size
        if count and total > BATCH_BYTES:
            break
        count += 1
    return count


def still_there(expected: Sequence[str], found: Sequence[str]) -> int:
    """Return how many items of a batch stand at the front of a queue.

    Consumers take from the front: what is left of a batch is its end.
    """
    for gone in range(len(expected)):
        left = expected[gone:]
        if list(found[: len(left)]) == list(left):
            return len(left)
    return 0
