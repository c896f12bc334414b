"""Every engine under the contract that ``persistqueue.testing`` has for its author."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from aioqueue_engine import ListFile

from persistqueue import QueueCorrupt, engines
from persistqueue.testing import EngineContract

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))
from journal_engine import JournalEngine


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


@pytest.mark.slow
class TestDumbDbmEngine(EngineContract):
    engine = engines.DbmEngine.using("dumb")


class TestPickledListEngine(EngineContract):
    engine = engines.PickledListEngine


class TestEngineOfAiodiskqueue(EngineContract):
    engine = engines.from_coroutines(ListFile)
    many = 150


class TestEngineOfTheDocumentation(EngineContract):
    engine = JournalEngine

    def test_a_file_that_was_cut_short(self, tmp_path: Path) -> None:
        """At whatever byte a crash cut it, it opens with the changes that are whole."""
        path = tmp_path / "journal"
        engine, ends = JournalEngine(str(path)), []
        engine.open()
        for n in range(4):
            engine.append([b"%d" % n] * 2)
            ends.append(path.stat().st_size)
        engine.close()
        whole = path.read_bytes()
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            assert 2 * sum(size >= end for end in ends) == engine.open()
            engine.close()

    def test_a_flipped_bit_is_noticed(self, tmp_path: Path) -> None:
        """Wherever it is: no record is lost without a word."""
        path = tmp_path / "journal"
        engine = JournalEngine(str(path))
        engine.open()
        engine.append([b"one", b"two"])
        engine.append([b"three"])
        engine.close()
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(QueueCorrupt):
                engine.open()
            engine.close()
