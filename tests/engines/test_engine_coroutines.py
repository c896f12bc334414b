"""Engines written for aiodiskqueue that fail in the middle: what a queue makes of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
from loops import in_loop

from persistqueue import AsyncQueue, EngineError, PersistQueueError, Queue, QueueFailed, QueueLocked
from persistqueue.engines import from_coroutines


class Flaky:
    """Four coroutines over a list that outlives the object; calls fail before or behind their work."""

    stored: ClassVar[list[Any]] = []
    before: ClassVar[dict[str, set[int]]] = {}  # coroutine -> which of its calls
    behind: ClassVar[dict[str, set[int]]] = {}
    calls: ClassVar[dict[str, int]] = {}

    def __init__(self, data_path: Path) -> None:
        pass

    async def initialize(self) -> None:
        pass

    async def fetch_all(self) -> list[Any]:
        return await self._do("fetch_all", lambda: list(self.stored))

    async def add_item(self, item: Any) -> None:
        await self._do("add_item", lambda: self.stored.append(item))

    async def remove_item(self) -> None:
        await self._do("remove_item", lambda: self.stored.pop(0))

    async def _do(self, name: str, work: Any) -> Any:
        number = self.calls[name] = self.calls.get(name, -1) + 1
        await asyncio.sleep(0)
        if number in self.before.get(name, ()):
            raise OSError(f"{name} {number} failed")
        result = work()
        if number in self.behind.get(name, ()):
            raise ValueError(f"{name} {number} has done it, and failed")
        return result


@pytest.fixture(autouse=True)
def anew() -> None:
    for state in (Flaky.stored, Flaky.before, Flaky.behind, Flaky.calls):
        state.clear()  # type: ignore[attr-defined]


def fail(name: str, *numbers: int, behind: bool = False) -> None:
    """Have the next calls fail: 0 for the very next."""
    at = Flaky.calls.get(name, -1) + 1
    (Flaky.behind if behind else Flaky.before)[name] = {at + number for number in numbers}


def queue(tmp_path: Path, **options: Any) -> Queue[Any]:
    """Open a queue on it."""
    options.setdefault("durability", "process")
    return Queue(tmp_path / "q", engine=from_coroutines(Flaky), **options)


@pytest.mark.parametrize("there", [[], ["a"], ["a", "b", "c"]])
@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("behind", [False, True])
def test_a_put_many_that_fails_in_the_middle_is_not_there(
    there: list[str], at: int, behind: bool, tmp_path: Path
) -> None:
    """It raises and stores nothing, or all and returns; the queue goes on; the rest is in order."""
    with queue(tmp_path) as q:
        if there:
            q.put_many(there)
        fail("add_item", at, behind=behind)
        if whole := behind and at == 3:
            q.put_many([1, 2, 3, 4])
        else:
            with pytest.raises((OSError, PersistQueueError), match=f"add_item {at + len(there)}"):
                q.put_many([1, 2, 3, 4])
        expected = [*there, *([1, 2, 3, 4] if whole else [])]
        assert len(expected) == q.qsize() == q.unfinished_tasks
        q.put("behind")
        q.put_many(["it", "all"])
        assert [*expected, "behind", "it", "all"] == q.get_many(99)
        q.task_done(len(expected) + 3)
        q.join()
        assert [] == Flaky.stored  # what was hidden is gone, too


def test_what_could_not_be_removed_comes_again_after_a_restart(tmp_path: Path) -> None:
    """That is the most that can be done: the engine cannot remove at its end."""
    with queue(tmp_path) as q:
        q.put("a")
        fail("add_item", 1)
        with pytest.raises(OSError, match="failed"):
            q.put_many([1, 2])
        assert 1 == q.qsize()
    with queue(tmp_path) as q:
        assert ["a", 1] == q.get_many(9)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("at", range(3))
def test_a_removal_that_fails_in_the_middle(
    at: int, behind: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Finished items never come again while the queue is open; none that is not finished goes."""
    caplog.set_level(logging.WARNING, "persistqueue")
    with queue(tmp_path) as q:
        q.put_many("abcde")
        q.get_many(3)
        fail("remove_item", at, behind=behind)
        if at == 0 and not behind:
            with pytest.raises(OSError, match="remove_item"):
                q.task_done(3)
            assert 5 == q.unfinished_tasks
            q.task_done(3)
        else:
            q.task_done(3)
        assert bool(at or behind) == ("cleaning up behind it failed" in caplog.text)
        assert 2 == q.unfinished_tasks
        assert ["d", "e"] == q.get_many(9)
        q.put("f")
        q.task_done(2)
        assert "f" == q.get()
        q.task_done()
        assert [] == Flaky.stored


def test_a_failure_that_cannot_be_looked_into_ends_the_queue(tmp_path: Path) -> None:
    """Nobody knows what is stored: later calls say so, and opening again finds everything."""
    q = queue(tmp_path)
    q.put("a")
    fail("add_item", 1)
    fail("fetch_all", *range(9))
    with pytest.raises(OSError, match="add_item"):
        q.put_many([1, 2])
    with pytest.raises(QueueFailed, match="reopen"):
        q.put("b")
    q.close()
    Flaky.before.clear()
    with queue(tmp_path) as q:
        assert ["a", 1] == q.get_many(9)


@pytest.mark.parametrize("seed", range(20))
def test_random_failures_against_a_list(seed: int, tmp_path: Path) -> None:
    """Puts, gets and settling beside an engine whose calls fail now and then: nothing is lost."""
    chance, numbers, model = random.Random(seed), itertools.count(), list[int]()
    for verb in ("add_item", "remove_item"):
        Flaky.before[verb] = {n for n in range(900) if chance.random() < 0.1}
        Flaky.behind[verb] = {n for n in range(900) if chance.random() < 0.1}
    with queue(tmp_path) as q:
        for _ in range(150):
            kind = chance.choice("pppgg")
            if kind == "p":
                new = [next(numbers) for _ in range(chance.randint(1, 5))]
                try:
                    q.put_many(new)
                except (OSError, PersistQueueError):
                    continue
                model += new
            elif model:
                count = chance.randint(1, len(model))
                assert model[:count] == q.get_many(count)
                while True:
                    try:
                        q.task_done(count)
                    except (OSError, PersistQueueError):
                        continue
                    break
                del model[:count]
            assert len(model) == q.qsize() == q.unfinished_tasks
    Flaky.before.clear()
    Flaky.behind.clear()
    with queue(tmp_path) as q:  # what failed may be among it, what was put is
        found = q.get_many(10_000) if q.qsize() else []
        assert model == [item for item in found if item in model]


def test_errors_name_the_class_that_raised(tmp_path: Path) -> None:
    """Not the adapter, which nobody has written or heard of."""
    with queue(tmp_path) as q:
        fail("add_item", 0, 1, behind=True)
        with pytest.raises(EngineError, match=r"Flaky\.append raised ValueError: add_item"):
            q.put_many([1, 2])
        with pytest.raises(QueueLocked, match="Flaky serves one queue"):
            queue(tmp_path)


@in_loop
async def test_of_tasks_that_share_a_commit_each_is_told(tmp_path: Path) -> None:
    """One append for ten puts fails in the middle: those that raise are not there, the others are."""
    async with AsyncQueue(tmp_path / "q", engine=from_coroutines(Flaky)) as q:
        await q.put("first")
        fail("add_item", *range(5, 900))
        results = await asyncio.gather(*map(q.put, range(10)), return_exceptions=True)
        Flaky.before.clear()
        told = [n for n, result in enumerate(results) if result is None]
        assert 1 + len(told) == await q.qsize()
        assert len(told) < 10
        assert ["first", *told] == await q.get_many(99)


@pytest.mark.skipif(sys.platform == "win32", reason="needs pthread_kill")
def test_ctrl_c_waits_for_the_coroutine_that_is_under_way(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Its outcome is known before the queue goes on: all or nothing of the put is there."""

    class Slow(Flaky):
        async def add_item(self, item: Any) -> None:
            if item == "slow":
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                await asyncio.sleep(0.1)  # the interrupt comes meanwhile
            await super().add_item(item)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))  # ignores it
    with Queue(tmp_path / "q", engine=from_coroutines(Slow), durability="process") as q:
        q.put("a")
        with pytest.raises(KeyboardInterrupt):
            q.put("slow")
        q.put("b")
        assert q.get_many(9) in (["a", "slow", "b"], ["a", "b"])
        assert len(Flaky.stored) == q.unfinished_tasks
