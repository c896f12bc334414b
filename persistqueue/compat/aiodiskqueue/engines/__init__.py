"""aiodiskqueue's engines by their names, reading and continuing the files they wrote.

A class written for aiodiskqueue, with ``FifoStorageEngine`` as its base, works too.  The
modules have aiodiskqueue's names: ``engines.base`` is where its users import that from.
"""

from __future__ import annotations

from .base import FifoStorageEngine
from .dbm import DbmEngine
from .simple import PickledList, PickledListEngine, PickleSequence
from .sqlite import SqliteEngine

__all__ = [
    "DbmEngine",
    "FifoStorageEngine",
    "PickleSequence",
    "PickledList",
    "PickledListEngine",
    "SqliteEngine",
]
