"""A number that equal items share, also those that cannot be hashed.

``ack(item)`` finds an item by equality when it is not the very object that ``get``
returned.  Comparing with everything that is handed out would make a thousand acks a
million comparisons; so items are kept by likeness, and only those alike are compared.
"""

from __future__ import annotations

from typing import Any


def likeness(item: Any) -> int:
    """Return a number that is the same for equal items."""
    try:
        return hash(item)
    except TypeError:
        pass
    except Exception:  # noqa: BLE001 - an item's own __hash__ may raise anything
        return 0
    try:
        return _of_unhashable(item)
    except RecursionError:
        return 1


def _of_unhashable(item: Any) -> int:
    if isinstance(item, dict):
        return hash(frozenset((likeness(key), likeness(item[key])) for key in item))
    if isinstance(item, (list, tuple)):
        return hash((isinstance(item, list), *map(likeness, item)))
    if isinstance(item, set):
        return hash(frozenset(item))
    if isinstance(item, bytearray):
        return hash(bytes(item))
    return hash(type(item).__name__)


def alike(one: Any, other: Any) -> bool:
    """Return whether two items are equal, as far as they can tell."""
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - an array of several truth values, say
        return False
