"""Losses of power below SQLite: what strace recorded, every state that a cut can leave, opened."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from cases import CASES, Case, on_sqlite, tortured
from crashdisk import lay_out
from powercuts import crashes_of
from syscalls import Call, Replay, need_strace, recorded
from workers import Item, Log

from persistqueue import PersistQueueError


class Recording:
    """One life of a queue.

    Attributes:
        place: a directory of the test's own.
    """

    def __init__(self, case: Case, place: Path, rounds: int, durability: str = "power") -> None:
        self._case, self._durability = case, durability
        self.place, self._log = place, place / "log"
        place.mkdir(parents=True)
        self.path = place / "new" / "queue"
        self.calls: list[Call] = recorded(
            place / "trace", "live", case=case.name, path=str(self.path), log=str(self._log),
            rounds=rounds, durability=durability,
        )  # fmt: skip
        self._lines = self._log.read_text().splitlines()

    def check(self, variants: int, every: int = 1, without_sync: str = "") -> int:
        """Cut the power everywhere and open what is left; return the states checked.

        Args:
            every: look at one state in so many.
            without_sync: the end of the names of files whose syncs are left out.
        """
        replay, states = Replay(self.path, self._log, without_sync), 0
        replay.follow(self.calls)
        for folder in (self.place, self.place / "new") if self._case.makes_directory else ():
            assert str(folder) in replay.synced, "the name of a directory is volatile"
        crashes = crashes_of(replay.platter.moments, variants)
        for step, files in itertools.islice(crashes, 0, None, every):
            states += 1
            self._check(files, step)
        return states

    def check_sound(self, variants: int, every: int) -> int:
        """The same where nothing is flushed: what is left opens, and nothing in it is strange."""
        replay, states = Replay(self.path, self._log), 0
        replay.follow(self.calls)
        crashes = crashes_of(replay.platter.moments, variants)
        for step, files in itertools.islice(crashes, 0, None, every):
            states += 1
            if not files:
                continue
            lay_out(files, self.place / "cut")
            log = Log(self._lines[: step + 1])
            there = {item[:3] for item in self._case.contents(self.place / "cut")}
            assert there <= set(log.put) | log.doubtful(["me"]), "an item that nobody put"
            synced = Log(self._lines[:step]).synced - log.taken
            assert set() == synced - there, "lost, although it was synced"
        return states

    def _check(self, files: dict[str, bytes], step: int) -> None:
        before, after = Log(self._lines[:step]), Log(self._lines[: step + 1])
        lay_out(files, self.place / "cut")
        if not files:
            assert [] == before.put, "everything is gone"
            return
        left: list[Item] = [item[:3] for item in self._case.contents(self.place / "cut")]
        there = set(left)
        assert len(left) == len(there)
        gone = after.finished if not self._case.at_most_once else Log(self._lines[: step + 2]).taken
        assert set() == set(before.put) - there - gone, f"lost, in step {step}"
        assert there <= set(after.put) | before.doubtful(["me"]), "an item that nobody put"
        over = before.finished if not self._case.at_most_once else before.taken
        assert set() == there & over, f"finished, and comes again, in step {step}"


@tortured(["AsyncSQLiteAckQueue-ack"], 1, 4, on_sqlite)
def test_power_cut_below_sqlite(case: Case, amount: int, memory: Path, figures: Any) -> None:
    """Each state opens, is a sound database, and holds what was acknowledged."""
    need_strace()
    recording = Recording(case, memory / "life", amount)
    states = recording.check(variants=5, every=1 if amount > 1 else 8)
    figures(calls=len(recording.calls), states=states)
    assert states > 5


@tortured(["SQLiteQueue-task_done"], 1, 2, lambda case: on_sqlite(case) and not case.twin)
def test_power_cut_without_flushes(case: Case, amount: int, memory: Path, figures: Any) -> None:
    """With durability="process" each state is a sound database, which holds what was synced."""
    need_strace()
    recording = Recording(case, memory / "life", amount, "process")
    states = recording.check_sound(variants=3, every=1 if amount > 1 else 8)
    figures(calls=len(recording.calls), states=states)
    assert states > 5


# -- the suite is tested, too -----------------------------------------------------------


def test_a_lower_synchronous_is_noticed(memory: Path) -> None:
    """With "PRAGMA synchronous" as of durability="process", a power cut loses something."""
    need_strace()
    recording = Recording(CASES["SQLiteQueue-task_done"], memory / "life", 1, "process")
    with pytest.raises(AssertionError, match=r"lost|gone|again"):
        recording.check(3)


@pytest.mark.parametrize(
    "file",
    ["-wal", "new", *(pytest.param(f, marks=pytest.mark.torture) for f in ("data.db", "queue", "life"))],
)  # fmt: skip
def test_each_sync_of_sqlite_is_needed(file: str, memory: Path) -> None:
    """Without the syncs of any one file or directory, a power cut loses something."""
    need_strace()
    recording = Recording(CASES["SQLiteQueue-get"], memory / "life", 2)
    with pytest.raises((AssertionError, PersistQueueError)):
        recording.check(5, without_sync=file)
