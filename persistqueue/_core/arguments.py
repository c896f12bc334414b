"""Checks of arguments that are the same for every queue; no queue can be copied."""

from __future__ import annotations

import os
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
NO_ITEM: Any = object()

#: Default bound on one encoded item, in bytes.
MAX_ITEM_BYTES = 64 * 1024 * 1024

DURABILITIES = ("power", "process")
ON_CORRUPT = ("raise", "skip")


def absolute(path: str | os.PathLike[str]) -> str:
    """Return ``path`` as an absolute string, so that a later ``chdir`` changes nothing."""
    found = os.fsdecode(os.fspath(path))
    if not found:
        raise ValueError("path is empty; name a directory for the queue")
    if "\0" in found:
        raise ValueError(f"a path cannot hold a NUL character: {found!r}")
    try:
        os.fsencode(found)
    except UnicodeEncodeError as error:
        raise ValueError(f"a path cannot hold half a character: {found!a}") from error
    return os.path.abspath(found)


def whole(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number, or raise an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, not {value}")
    return value


def check_room(count: int, maxsize: int) -> None:
    """Raise an error if so many items never fit.

    Raises:
        ValueError: that.
    """
    if 0 < maxsize < count:
        raise ValueError(f"{count} items never fit in a queue of maxsize {maxsize}")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return one of a few words, or raise an error that lists them."""
    if value not in allowed:
        words = " or ".join(map(repr, allowed))
        raise ValueError(f"{name} must be {words}, not {value!r}")
    return value


def uncopied(self: object) -> NoReturn:
    """Refuse ``copy`` and ``pickle``; a class has it as its ``__getstate__``.

    A subclass may say how it is copied nevertheless, by any of the methods that Python has
    for that.

    Raises:
        TypeError: always.
    """
    raise TypeError(
        f"a {type(self).__name__} cannot be copied or pickled: make another one with the same "
        "arguments, in each process; any number of them may share what is stored"
    )
