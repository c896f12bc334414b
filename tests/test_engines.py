"""Every engine under the contract that ``persistqueue.testing`` has for its author."""

from __future__ import annotations

import importlib

import pytest
from aioqueue_engine import ListFile

from persistqueue import engines
from persistqueue.testing import EngineContract


def has(module: str) -> bool:
    """Return whether this Python has a module of ``dbm``."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


class TestChunkFileEngine(EngineContract):
    engine = engines.ChunkFileEngine
    shared = True


class TestSQLiteEngine(EngineContract):
    engine = engines.SQLiteEngine


class TestMemoryEngine(EngineContract):
    engine = engines.MemoryEngine


class TestDbmEngine(EngineContract):
    engine = engines.DbmEngine


@pytest.mark.skipif(not has("dbm.gnu"), reason="needs the Debian package python3-gdbm")
class TestGnuDbmEngine(EngineContract):
    engine = engines.DbmEngine.using("gnu")


class TestDumbDbmEngine(EngineContract):
    engine = engines.DbmEngine.using("dumb")


class TestPickledListEngine(EngineContract):
    engine = engines.PickledListEngine


class TestEngineOfAiodiskqueue(EngineContract):
    engine = engines.from_coroutines(ListFile)
    many = 150
