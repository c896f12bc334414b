"""A piece of a chunk in memory, and the errors of a record in it."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from ..exceptions import ItemTooLarge, PersistQueueError, SerializationError
from .store import Reentry

if TYPE_CHECKING:
    from collections.abc import Callable

# Errors of loading a record that are this process's, not the record's.
NOT_DAMAGE = (MemoryError, RecursionError, PersistQueueError, Reentry)


class Short(Exception):
    """The block ends before the record does: ``need`` bytes are wanted from its start."""

    def __init__(self, need: int) -> None:
        super().__init__(need)
        self.need = need


class Damaged(Exception):
    """No record can be read here, and more bytes would not help."""


class Block:
    """A piece of a chunk in memory.

    Attributes:
        data: the bytes.
        base, end: offsets in the chunk at which they begin and end.
        limit: offset in the chunk at which readable bytes end.
        longest: payloads longer than this are not loaded.
        stream: opens so many bytes of the chunk from an offset, None for up to ``limit``.
    """

    __slots__ = ("base", "chunk", "data", "end", "limit", "longest", "stream")

    def __init__(
        self,
        chunk: int,
        base: int,
        data: bytes,
        limit: int,
        longest: int,
        stream: Callable[[int, int | None], IO[bytes]],
    ) -> None:
        self.chunk = chunk
        self.base = base
        self.data = data
        self.end = base + len(data)
        self.limit = limit
        self.longest = longest
        self.stream = stream

    def need(self, at: int, size: int) -> None:
        """Raise unless ``size`` bytes are there from ``at``."""
        if at + size > len(self.data):
            if self.base + at + size > self.limit:
                raise Damaged(f"{size} bytes expected, {self.limit - self.base - at} there")
            raise Short(size)


def reason_of(error: BaseException) -> str:
    """Return why something cannot be loaded, for the log."""
    cause = error.__cause__ if isinstance(error, SerializationError) else None
    return str(error) if cause is None else f"{type(cause).__name__}: {cause}"


def too_long(longest: int) -> ItemTooLarge:
    """Return the error for a stored item that is not to be loaded."""
    return ItemTooLarge(
        f"the next stored item is longer than max_item_bytes={longest}; "
        "it stays stored: open the queue with a larger bound to get it"
    )


def cannot_encode(name: str, item: Any, error: Exception) -> SerializationError:
    """Return the error for an item that a serializer refuses."""
    kind = type(item).__qualname__
    return SerializationError(f"{name} cannot encode this item of type {kind}: {error}")


def cannot_decode(name: str, error: Exception) -> SerializationError:
    """Return the error for a whole record that cannot be loaded in this process."""
    return SerializationError(
        f"{name} cannot decode an item that is stored whole "
        f"({type(error).__name__}: {error}); it stays stored: mend what fails, or get past it with "
        "set_aside()"
    )
