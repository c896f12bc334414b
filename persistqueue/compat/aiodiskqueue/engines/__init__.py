"""aiodiskqueue's engines by their names, reading and continuing the files that it wrote.

A class written for aiodiskqueue, with ``engines.base.FifoStorageEngine`` as its base, works too.
"""

from __future__ import annotations

from ....engines.sqlite import SQLiteEngine as SqliteEngine
from ...dbm import DbmEngine
from .base import FifoStorageEngine, PickledList, PickleSequence

PickledListEngine = PickledList  # the name in aiodiskqueue's README

__all__ = [
    "DbmEngine",
    "FifoStorageEngine",
    "PickleSequence",
    "PickledList",
    "PickledListEngine",
    "SqliteEngine",
]
