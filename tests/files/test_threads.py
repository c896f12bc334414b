"""Threads that share an object, its commits and its failures."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE, Call, until

from persistqueue import Empty, Queue, QueueFailed, QueueLocked
from persistqueue._core.disk import Disk, File, SyncError
from persistqueue.testing import waiting_calls


class Counting(Disk):
    """Counts syncs, and makes the first wait until it is told to go on."""

    def __init__(self) -> None:
        self.syncs = 0
        self.go_on = threading.Event()
        self.held = threading.Event()

    def sync(self, file: File) -> None:
        self.syncs += 1
        if not self.held.is_set():
            self.held.set()
            assert self.go_on.wait(20)
        super().sync(file)


class Narrow(Disk):
    """Has no room for one write in ten."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.narrow = False

    def write(self, file: File, data: bytes, offset: int) -> None:
        if self.narrow and "q0" in file.path and self.chance.random() < 0.1:
            raise OSError(errno.ENOSPC, "no room")
        super().write(file, data, offset)


def on(disk: Disk) -> type[Queue[Any]]:
    """Return Queue on a disk of the test's."""
    return type("QueueOnDisk", (Queue,), {"_disk": disk})


def test_threads_share_a_commit(path: Path) -> None:
    """Puts that come while a commit is under way are committed together, with two syncs."""
    disk = Counting()
    disk.held.set()
    with on(disk)(path) as q:
        q.put(0)
        disk.held.clear()
        disk.go_on.clear()
        first = Call(q.put, 1)
        assert disk.held.wait(20)
        others = [Call(q.put, n) for n in range(2, 18)]
        until(lambda: waiting_calls(q).next == 16)
        before = disk.syncs
        disk.go_on.set()
        for call in (first, *others):
            call.outcome()
        assert 3 == disk.syncs - before  # the rest of the first, and two for all the others
        assert {*range(18)} == set(q.get_many(99))


def test_a_failed_put_fails_alone_and_leaves_nothing_behind(path: Path) -> None:
    """In one batch: a put, a get of it, a put that does not fit.  Only the last one fails."""
    disk = Counting()
    disk.held.set()

    class Full(Counting):
        def write(self, file: File, data: bytes, offset: int) -> None:
            if b"BIG" in data:
                raise OSError(errno.ENOSPC, "no room")
            super().write(file, data, offset)

    disk = Full()
    disk.held.set()
    with on(disk)(path) as q:
        disk.held.clear()
        disk.go_on.clear()
        first = Call(q.sync)
        assert disk.held.wait(20)
        calls = []
        for call in ((q.put, "aaaa"), (q.get,), (q.put, "BIG")):
            calls.append(Call(*call))
            until(lambda: waiting_calls(q).next == len(calls))
        disk.go_on.set()
        first.outcome()
        calls[0].outcome()
        assert "aaaa" == calls[1].outcome()
        with pytest.raises(OSError, match="no room"):
            calls[2].outcome()
        q.put("cccc")  # where BIG would have been
        assert "cccc" == q.get()


@pytest.mark.parametrize("autosave", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_disk_that_is_full_now_and_then_loses_nothing(
    path: Path, seed: int, autosave: bool
) -> None:
    """Eight threads on a disk that refuses writes: acknowledged is delivered, once each."""
    disk = Narrow(seed)
    put: list[tuple[int, int]] = []
    got: list[tuple[int, int]] = []
    with on(disk)(path, autosave=autosave, durability="process", chunksize=7) as q:
        disk.narrow = True

        def produce(name: int) -> None:
            for n in range(300):
                try:
                    q.put((name, n))
                except OSError:
                    continue
                put.append((name, n))

        def consume() -> None:
            while True:
                try:
                    item = q.get(timeout=0.2)
                except Empty:
                    return
                got.append(item)
                q.task_done(item=item)

        calls = [Call(produce, name) for name in range(4)] + [Call(consume) for _ in range(4)]
        for call in calls:
            call.outcome()
        disk.narrow = False
        got += q.get_many(10_000) if q.qsize() else []
    assert sorted(put) == sorted(got)


def test_a_failed_sync_wakes_everybody_who_waits(path: Path) -> None:
    """After a failed sync no get, put or join waits for ever: QueueFailed."""

    class Broken(Disk):
        broken = False

        def sync(self, file: File) -> None:
            if self.broken:
                raise SyncError(errno.EIO, "lost", file.path)
            super().sync(file)

    disk = Broken()
    with on(disk)(path, maxsize=2) as q:
        waiting = [Call(q.get) for _ in range(3)]
        until(lambda: waiting_calls(q).gets == 3)
        disk.broken = True
        with pytest.raises(SyncError):
            q.put("x")
        for call in waiting:
            with pytest.raises(QueueFailed, match="reopen"):
                call.outcome()


def test_an_abandoned_loop_is_collected_without_a_deadlock(path: Path) -> None:
    """A loop that is garbage in a cycle gives its item back, even in the middle of a call."""

    class Cycle:
        pass

    thresholds = gc.get_threshold()
    gc.set_threshold(50)
    try:
        with Queue[int](path, durability="process") as q:
            for n in range(1000):
                q.put(n)
                garbage = Cycle()
                garbage.me, garbage.loop = garbage, iter(q)  # type: ignore[attr-defined]
                next(garbage.loop)  # type: ignore[attr-defined]
                del garbage
            gc.collect()
            assert 1000 == q.qsize() == q.unfinished_tasks
            items: list[int] = []
            while len(items) < 1000:  # a loop was left at some of them again and again
                items += q.get_many(2000, timeout=PATIENCE)
            assert list(range(1000)) == sorted(items)
    finally:
        gc.set_threshold(*thresholds)


fcntl = pytest.importorskip("fcntl", reason="flock is POSIX only")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``flock`` on a file or directory, as another process would."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def test_a_timeout_bounds_the_wait_for_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the lock held elsewhere, put(timeout=...) raises QueueLocked in its time, not in 10 s."""
    monkeypatch.setattr("persistqueue._core.patience.LEAST_PATIENCE", 0.05)
    with Queue[int](path) as q:
        waiting = Call(q.get)
        until(lambda: waiting_calls(q).parked)
        with locked(path / ".lock"), pytest.raises(QueueLocked, match=r"lock for 0\.\d+ s"):
            q.put(1, timeout=0.05)
        q.put(2)
        assert 2 == waiting.outcome()  # whoever waits for an item was not disturbed


def test_a_process_that_is_next_for_ever_is_passed_by(path: Path) -> None:
    """A process that is stopped while it queues for the lock does not stop the others."""
    with Queue[int](path, durability="process") as q, locked(path):
        for n in range(10):
            q.put(n)
        assert list(range(10)) == q.get_many(99)


def test_close_while_others_are_inside(path: Path) -> None:
    """close() lets what is under way finish: each put is stored or raised QueueClosed."""
    for _ in range(20):
        q = Queue[tuple[int, int]](path, durability="process", autosave=True)
        stored: list[tuple[int, int]] = []

        def produce(name: int, q: Queue[Any] = q, stored: list[Any] = stored) -> None:
            n = 0
            while True:
                try:
                    q.put((name, n))
                except Exception as error:  # noqa: BLE001 - the name is what matters
                    assert "QueueClosed" == type(error).__name__
                    return
                stored.append((name, n))
                n += 1

        calls = [Call(produce, name) for name in range(4)]
        until(lambda stored=stored: len(stored) > 20)
        q.close()
        for call in calls:
            call.outcome()
        with Queue[tuple[int, int]](path, durability="process", autosave=True) as again:
            assert sorted(stored) == sorted(again.get_many(100_000))
