"""Names of a broker's queues, and ids of its items: checked once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._core.arguments import whole
from .._sql.schema import folded
from .._sql.statements import ID_RANGE, identifier

if TYPE_CHECKING:
    from collections.abc import Iterable

_FOREVER = 10**15  # s, in both directions


def queue_name(name: str) -> str:
    """Return a queue's name, if a table can have it.

    Raises:
        TypeError, ValueError: it cannot.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a queue is a str, not {type(name).__name__}")
    identifier(name)
    return name


def message_id(given: Any) -> int:
    """Return the id of an item, if it is one."""
    return min(max(whole("id", given), ID_RANGE[0]), ID_RANGE[-1])


def a_time(name: str, given: Any) -> float | None:
    """Return a time in seconds since 1970, if it is one, or None."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise TypeError(f"{name} must be seconds since 1970, not {type(given).__name__}")
    if given != given:  # noqa: PLR0124 - not a number, and there are ints that no float holds
        raise ValueError(f"{name} must be seconds since 1970, not {given}")
    return float(min(max(given, -_FOREVER), _FOREVER))


def message_ids(given: int | Iterable[int]) -> list[int]:
    """Return one id or several as a list."""
    if isinstance(given, int):
        return [message_id(given)]
    return [message_id(one) for one in given]


def which_to_move(source: str, to: str, number: Any, limit: int | None) -> tuple[Any, int]:
    """Return the ids of what is to be moved, or None, and how many of the oldest.

    Raises:
        TypeError, ValueError: it makes no sense.
    """
    if folded(queue_name(source)) == folded(queue_name(to)):
        raise ValueError(f"{source!r} and {to!r} are one queue; name another to move to")
    if number is not None and limit is not None:
        raise ValueError("give the id of an item or a limit, one of the two")
    ids = None if number is None else [message_id(number)]
    return ids, 1 if limit is None else whole("limit", limit, 1)
