"""Producers and consumers that are killed with SIGKILL at random moments, class by class.

The oracle is the log in ``workers.py``: what a worker noted, its call had returned.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cases import Case, tortured
from workers import Log, out_of_order
from zygote import Zygote

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

QUICK = ["Queue-task_done", "AsyncQueue-get", "AsyncSQLiteAckQueue-ack"]


class Slaughter:
    """Rounds in which everybody is killed, on one queue."""

    def __init__(self, case: Case, place: Path) -> None:
        self._case = case
        self._path, self.log = place / "queue", place / "log"
        self._chance = random.Random(case.name)
        self.producers: list[str] = []
        self.failed = 0  # workers that could not open the queue, or met another error
        self.deaths = 0  # of consuming threads, each with an item in hand at the most

    def round(self, zygote: Zygote, number: int) -> None:
        """Start everybody, and kill each at a moment of its own."""
        consumers = self._chance.randint(1, 2) if self._case.shared else 1
        threads = 1 if self._case.on_files else self._chance.randint(1, 2)
        victims = [self._start(zygote, "produce", name=f"p{number}", count=-1)]
        self.producers += [f"p{number}.1", f"p{number}.2"]
        for consumer in range(consumers):
            name = f"c{number}.{consumer}"
            victims.append(self._start(zygote, "consume", name=name, threads=threads))
            self.deaths += threads
        self._chance.shuffle(victims)
        for victim in victims:
            time.sleep(self._chance.uniform(0, self._chance.choice([0.005, 0.02, 0.05])))
            self.failed += not zygote.kill(victim)

    def _start(self, zygote: Zygote, worker: str, **arguments: Any) -> int:
        durability = self._chance.choice(["power", "process"])
        arguments |= {"case": self._case.name, "durability": durability}
        return zygote.fork(worker, path=str(self._path), log=str(self.log), **arguments)


@tortured(QUICK, 4, 250)
def test_kill_9(case: Case, amount: int, tmp_path: Path, figures: Any) -> None:
    """What was acknowledged is delivered; what was finished is not delivered again."""
    slaughter = Slaughter(case, tmp_path)
    with Zygote() as zygote:
        for number in range(amount):
            slaughter.round(zygote, number)
    log, left = Log(slaughter.log.read_text().splitlines()), case.contents(tmp_path / "queue")
    put, doubtful = set(log.put), log.doubtful(slaughter.producers)
    delivered = [item for items in log.got.values() for item in items]
    seen = Counter([*delivered, *left])
    lost, strange = put - set(seen), set(seen) - put - doubtful
    twice = {*log.again, *(log.finished & set(left))}
    if case.at_most_once:
        twice |= {item for item, count in seen.items() if count > 1}
    figures(
        rounds=amount, killed=amount + slaughter.deaths, acknowledged=len(put),
        finished=len(log.finished), **{"in hand and gone" if case.at_most_once else "lost": len(lost)},
        twice=len(twice), unopenable=slaughter.failed,
    )  # fmt: skip
    assert 0 == slaughter.failed, "see the traceback above"
    assert len(put) > amount, "they were killed before they did anything"
    assert set() == strange, "an item came that nobody put"
    assert set() == twice, "an item came again that was finished"
    assert len(lost) <= (slaughter.deaths if case.at_most_once else 0), "lost"
    assert len(left) == len(set(left)), "stored twice"
    if not case.at_most_once:  # at most once: a part of them may have been in somebody's hand
        whole = Counter((name, number) for name, number, _ in doubtful & set(seen))
        assert set(whole.values()) <= {1, 9}, "a put_many is stored in part"
    if not case.newest_first:
        # What a dead worker held comes back to its place, behind which the living may be.
        late = sum(out_of_order(items) for items in log.got.values())
        assert late <= (slaughter.deaths if case.done == "ack" else 0)
        assert 0 == out_of_order(left)
