"""Every engine under the contract that ``persistqueue.testing`` has for its author.

What asks the engine itself runs for each; what a queue makes of it, which is one code for
all, for one engine in three, another third with each test.  ``-m product`` runs the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FunctionType

import pytest
from aioqueue_engine import ListFile

from persistqueue import QueueCorrupt, engines
from persistqueue.testing import EngineContract

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))
from journal_engine import JournalEngine

#: Tests of what the engine does, not the queue above it.
ALWAYS = {
    "test_records_are_read_by_their_place",
    "test_opening_again_counts_what_is_stored",
    "test_random_changes_are_what_a_list_makes_of_them",
    "test_reopening_finds_what_was_put",
}


def by_turns(case: type[EngineContract]) -> type[EngineContract]:
    """Mark those of a class's tests with ``product`` whose turn it is not."""
    place = len(_turns)
    _turns.append(case)
    shared = [name for name in vars(EngineContract) if name.startswith("test_")]
    for number, name in enumerate(name for name in shared if name not in ALWAYS):
        if (number + place) % 3:
            test = vars(EngineContract)[name]
            copy = FunctionType(test.__code__, test.__globals__, name, test.__defaults__)
            copy.__dict__.update(test.__dict__)
            setattr(case, name, pytest.mark.product(copy))
    return case


_turns: list[type[EngineContract]] = []


@by_turns
class TestChunkFileEngine(EngineContract):
    engine = engines.ChunkFileEngine
    shared = True


@by_turns
class TestSQLiteEngine(EngineContract):
    engine = engines.SQLiteEngine


@by_turns
class TestMemoryEngine(EngineContract):
    engine = engines.MemoryEngine


@by_turns
class TestDbmEngine(EngineContract):
    engine = engines.DbmEngine


@by_turns
class TestPickledListEngine(EngineContract):
    engine = engines.PickledListEngine


@by_turns
class TestEngineOfAiodiskqueue(EngineContract):
    engine = engines.from_coroutines(ListFile)
    many = 150


@by_turns
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
