"""Where a queue keeps its records: ``Queue(path, engine=...)``, ``AsyncQueue(path, engine=...)``.

An engine of your own is a subclass of ``StorageEngine``; ``persistqueue.testing`` has the
tests that it must pass.  Ready-made are

- ``ChunkFileEngine``, the default of a queue;
- ``SQLiteEngine``, ``DbmEngine``, ``PickledListEngine``: one file each;
- ``MemoryEngine``: nothing survives;
- ``from_coroutines(cls)``: engines that were written for aiodiskqueue.

Each is imported when it is first asked for.  Those that aiodiskqueue's users need are kept
in ``persistqueue.compat``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..compat.coroutines import from_coroutines as from_coroutines
    from ..compat.dbm import DbmEngine as DbmEngine
    from ..compat.pickledlist import PickledListEngine as PickledListEngine
    from .base import ChunkFileEngine as ChunkFileEngine
    from .base import MemoryEngine as MemoryEngine
    from .base import StorageEngine as StorageEngine
    from .sqlite import SQLiteEngine as SQLiteEngine

_HOMES = {
    "ChunkFileEngine": ".base",
    "DbmEngine": "..compat.dbm",
    "MemoryEngine": ".base",
    "PickledListEngine": "..compat.pickledlist",
    "SQLiteEngine": ".sqlite",
    "StorageEngine": ".base",
    "from_coroutines": "..compat.coroutines",
}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_HOMES)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOMES)
