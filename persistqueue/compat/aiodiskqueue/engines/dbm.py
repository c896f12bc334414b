"""``DbmEngine``."""

from __future__ import annotations

from ....engines.dbm import DbmEngine as _Dbm
from .base import ReadyMade


class DbmEngine(ReadyMade):
    """Items in a file of dbm: what is there decides which; a new one is an SQLite file."""

    storage_engine = _Dbm
