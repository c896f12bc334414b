"""A piece of a chunk in memory, the errors of a record in it, and whether a pickle is whole."""

from __future__ import annotations

import io
import pickle
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


# -- is a pickle whole?  Its classes are not looked at, and none of its code runs ---------


class _Kind(type):
    """The class of ``_Anything``."""

    def __call__(cls, *_args: Any, **_options: Any) -> Any:
        return cls

    def __setitem__(cls, _key: Any, _value: Any) -> None:
        """Take any value."""


class _Anything(metaclass=_Kind):
    """Stands for every class, function and object that a pickle names."""

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        return cls

    @staticmethod
    def append(*_: Any) -> None:
        """Take any arguments."""

    __setstate__ = extend = add = append


class _Harmless(pickle.Unpickler):
    """Goes through a pickle and calls nothing that it names."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ARG002
        return _Anything

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002
        return _Anything


def check_pickle(data: Any) -> None:
    """Raise ``Damaged`` unless this is one whole pickle; its classes are not looked at."""
    if not isinstance(data, bytes):
        raise Damaged("a pickle is bytes")
    stream = io.BytesIO(data)
    try:
        _Harmless(stream).load()
    except Exception as error:
        raise Damaged(f"not a pickle: {error}") from error
    if left := len(data) - stream.tell():
        raise Damaged(f"{left} bytes are behind the pickle")


def is_whole_pickle(data: Any) -> bool:
    """Return whether this is one whole pickle; its classes are not looked at."""
    try:
        check_pickle(data)
    except Damaged:
        return False
    return True
