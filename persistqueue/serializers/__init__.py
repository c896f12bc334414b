"""How an item becomes bytes: ``pickle`` (default), ``msgpack``, ``cbor2``, ``json``.

Each is a module with ``dump(value, fp)``, ``dumps(value)``, ``load(fp)`` and
``loads(data)``, reachable as an attribute: ``serializers.msgpack``.  A module is
imported when it is first asked for; msgpack and cbor2 need the ``extra`` extra.

Any object with ``dump(value, fp)`` and ``load(fp)`` may serve as a serializer.
``load`` reads exactly one value and leaves ``fp`` behind it.  ``signed(inner, key)``
makes a serializer of another one that accepts nothing but what a holder of the key wrote.
"""

from __future__ import annotations

import importlib
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from . import async_pickle, json, pickle
    from . import cbor2 as cbor2
    from . import msgpack as msgpack
    from ._signed import signed as signed

# Without cbor2 and msgpack, so that a star import needs neither of those libraries.
__all__ = ["Serializer", "async_pickle", "json", "pickle", "signed"]

_MODULES = frozenset({"async_pickle", "cbor2", "json", "msgpack", "pickle"})


class Serializer(Protocol):
    """The two methods of a serializer that a queue calls."""

    def dump(self, value: Any, fp: IO[bytes], /) -> Any:
        """Write one value to ``fp``."""

    def load(self, fp: IO[bytes], /) -> Any:
        """Read one value from ``fp`` and leave ``fp`` behind it."""


def __getattr__(name: str) -> Any:
    if name == "signed":  # a function; it imports hashlib, which most programs do not need
        return importlib.import_module(f"{__name__}._signed").signed
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
