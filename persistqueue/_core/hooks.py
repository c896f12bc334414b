"""Hooks of persist-queue 1.1.0 that nothing calls here: a program that replaces one is told so.

Its classes call private methods, and read private class attributes, that subclasses and
patches replace.  Here a replacement is noticed at two moments: when a subclass is
created, and when an object is created (its class may have been patched before).
Each is a ``UserWarning``, once.  It is a ``TypeError``
when an object is created, and only where stored items would be invisible.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_PACKAGE = __name__.partition(".")[0]
_originals: dict[int, object] = {}  # what this package's classes have, by ids
_told: weakref.WeakKeyDictionary[type, set[str]] = weakref.WeakKeyDictionary()


def notice_class(cls: type, hooks: Mapping[str, str]) -> None:
    """Remember what a class of the package has, or tell of the hooks that a subclass replaces.

    Args:
        hooks: the name of each, and what to do instead.
    """
    if cls.__module__.partition(".")[0] == _PACKAGE:
        private = [vars(cls)[name] for name in vars(cls) if name.startswith("_")]
        _originals.update({id(value): value for value in private})
    else:
        tell_of_replaced(cls, hooks)


def tell_of_replaced(cls: type, hooks: Mapping[str, str]) -> None:
    """Tell of the hooks that a subclass or a patch has replaced."""
    for name, advice in hooks.items():
        if (owner := replaced_by(cls, name)) is not None:
            _tell(owner, name, advice)


def replaced_by(cls: type, name: str) -> type | None:
    """Return the class in which a subclass or a patch replaced this name; None: none did."""
    found = getattr(cls, name, None)  # quick: each new object asks for some thirty names
    if found is None or id(found) in _originals:
        return None
    return next(base for base in cls.__mro__ if name in vars(base))


def refuse_replaced(cls: type, names: Iterable[str], why: str) -> None:
    """Refuse a class that has one of these names replaced: stored items would be invisible.

    Raises:
        TypeError: it has.
    """
    for name in names:
        if (owner := replaced_by(cls, name)) is not None:
            raise TypeError(f"{owner.__name__}.{name} is never used, so {why}")


class Lazy:
    """An attribute that is made when a program first asks for it, one for all threads."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        # No lock, which a fork might leave locked: of two that are made at once, one stays.
        return vars(instance).setdefault(self._name, self._make(instance))


def _tell(owner: type, name: str, advice: str) -> None:
    told = _told.setdefault(owner, set())
    if name not in told:
        told.add(name)
        warnings.warn(
            f"{owner.__name__}.{name} is never used: persist-queue 1.1.0 calls it, this version "
            f"does not. {advice}",
            UserWarning,
            stacklevel=_depth(),
        )


def _depth() -> int:
    """Return where the program's own frame is, as ``warnings.warn`` counts for our caller."""
    level, frame = 1, sys._getframe(1)
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_PROGRAM
    ):
        level, frame = level + 1, frame.f_back
    return level


_NOT_THE_PROGRAM = (_PACKAGE, "abc")
