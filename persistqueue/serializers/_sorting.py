"""Key order, for callers that compare stored bytes."""

from __future__ import annotations

from operator import is_ as _is
from typing import Any


def by_key(value: Any, sort_keys: bool) -> Any:
    """Return a dict with its top level in key order, anything else as it is."""
    if sort_keys and isinstance(value, dict):
        return {key: value[key] for key in sorted(value)}
    return value


def canonical(value: Any) -> Any:
    """Return ``value`` with the dicts inside it in key order, at every depth.

    Only plain dicts, lists and tuples are looked into.  What needs no change comes back
    as the object it is, and so does what has no such form: keys that cannot be compared,
    a structure that holds itself or is too deep.
    """
    try:
        return _canonical(value, {})
    except (TypeError, RecursionError):
        return value


def _canonical(value: Any, known: dict[int, Any]) -> Any:
    """Do the work; ``known`` keeps what occurs twice one object, as pickle sees it."""
    kind = type(value)
    if kind not in (dict, list, tuple):
        return value
    if id(value) in known:
        found = known[id(value)]
        if found is None:
            raise RecursionError("it holds itself")
        return found
    known[id(value)] = None
    made = _ordered(value, known) if kind is dict else _inside(value, kind, known)
    known[id(value)] = made
    return made


def _ordered(value: dict[Any, Any], known: dict[int, Any]) -> dict[Any, Any]:
    keys = sorted(value)
    made = {key: _canonical(value[key], known) for key in keys}
    same = all(map(_is, keys, value)) and all(map(_is, made.values(), value.values()))
    return value if same else made


def _inside(value: Any, kind: Any, known: dict[int, Any]) -> Any:
    made = [_canonical(element, known) for element in value]
    return value if all(map(_is, made, value)) else kind(made)
