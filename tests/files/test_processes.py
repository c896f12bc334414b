"""Several processes, threads and objects on one path."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crashdisk import Child, contents, descriptors, drain, on_disk, watchdog
from traffic import CONSUMER, PRODUCER, in_order
from waiting import Call, until

from persistqueue import Empty, Full, Queue, QueueFailed, QueueLocked
from persistqueue._core.disk import Disk, File
from persistqueue.testing import waiting_calls

fcntl = pytest.importorskip("fcntl", reason="needs flock")


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(120):
        yield


# -- producers and consumers --------------------------------------------------------


def test_many_producers_and_consumers(path: Path) -> None:
    """What processes and threads put, consumers with autosave get once each, in order."""
    count = 100
    with ExitStack() as stack:
        consumers = [stack.enter_context(Child(CONSUMER, path, True)) for _ in range(2)]
        producers = [stack.enter_context(Child(PRODUCER, path, n, count, 0)) for n in range(3)]
        for producer in producers:
            producer.wait()
        with Queue[str](path) as queue:
            queue.put_many(["stop"] * 4)
        lists = [ast.literal_eval(line) for consumer in consumers for line in consumer.wait()]
    taken = Counter(item for items in lists for item in items)
    assert (
        Counter((str(n), t, i) for n in range(3) for t in range(2) for i in range(count)) == taken
    )
    assert all(in_order(items) for items in lists)
    assert [] == contents(path)


def test_a_consumer_in_a_process_of_its_own(path: Path) -> None:
    """One consuming process that finishes its items gets each once, whoever puts."""
    count = 60
    with Child(CONSUMER, path, False) as consumer, ExitStack() as stack:
        producers = [stack.enter_context(Child(PRODUCER, path, n, count, 0)) for n in range(2)]
        for producer in producers:
            producer.wait()
        with Queue[str](path) as queue:
            queue.put_many(["stop"] * 2)
        lists = [ast.literal_eval(line) for line in consumer.wait()]
    taken = Counter(item for items in lists for item in items)
    assert (
        Counter((str(n), t, i) for n in range(2) for t in range(2) for i in range(count)) == taken
    )
    assert [] == contents(path)


def test_threads_of_one_object(path: Path) -> None:
    """Threads that share an object lose nothing, get nothing twice, and join returns."""
    taken: list[list[Any]] = [[] for _ in range(4)]
    with Queue[Any](path, chunksize=16, durability="process") as queue:

        def produce(name: int) -> None:
            for number in range(100):
                queue.put((name, number))

        def consume(mine: list[Any]) -> None:
            while (item := queue.get()) is not None:
                mine.append(item)
                queue.task_done()
            queue.task_done()

        consumers = [Call(consume, mine) for mine in taken]
        for producer in [Call(produce, name) for name in range(8)]:
            producer.outcome()
        queue.put_many([None] * 4)
        queue.join()
        for consumer in consumers:
            consumer.outcome()
        assert 0 == queue.unfinished_tasks
    items = [item for mine in taken for item in mine]
    assert [(name, number) for name in range(8) for number in range(100)] == sorted(items)
    assert all(in_order(mine) for mine in taken)


def test_maxsize_is_everybodys(path: Path) -> None:
    """Processes that put into a bounded queue wait for room that another process makes."""
    most = 0
    taken: list[Any] = []
    with ExitStack() as stack:
        producers = [stack.enter_context(Child(PRODUCER, path, n, 25, 4)) for n in range(2)]
        queue = stack.enter_context(
            Queue[Any](path, maxsize=4, autosave=True, durability="process")
        )
        watcher = stack.enter_context(Queue[Any](path, durability="process"))
        while len(taken) < 100:
            most = max(most, watcher.qsize())
            taken.append(queue.get())
        for producer in producers:
            producer.wait()
        assert queue.empty()
    assert 0 < most <= 4
    assert in_order(taken)
    assert 100 == len(set(taken))


def test_full_by_another_object(path: Path) -> None:
    """A put finds the queue full that another object filled, and room that another made."""
    with Queue[int](path, maxsize=2) as one, Queue[int](path, maxsize=2, autosave=True) as two:
        one.put_many([1, 2])
        with pytest.raises(Full):
            two.put(3, block=False)
        waiting = Call(two.put, 3, timeout=20)
        assert 1 == two.get()
        waiting.outcome()
        assert one.full()


class SlowDisk(Disk):
    """A disk whose first write waits for ``go``."""

    def __init__(self) -> None:
        self.writing, self.go = threading.Event(), threading.Event()

    def write(self, file: File, data: bytes, offset: int) -> None:
        self.writing.set()
        assert self.go.wait(20)
        super().write(file, data, offset)


@pytest.mark.parametrize("verb", ["put", "get"])
def test_who_waits_in_anothers_batch_is_woken(path: Path, verb: str) -> None:
    """A put or get that began in a batch of another thread's, and waits, notices other objects."""
    disk = SlowDisk()
    with on_disk(disk)(path, maxsize=2) as queue, Queue[int](path, autosave=True) as other:
        first = Call(queue.put, 0)
        assert disk.writing.wait(20)
        call = partial(queue.put, 0) if verb == "put" else queue.get
        seconds = [Call(call) for _ in range(2)]
        # Both go together with the batch after this one, which one of their threads runs.
        until(lambda: waiting_calls(queue).next == 2)
        disk.go.set()
        first.outcome()
        until(lambda: sum(not call.is_alive() for call in seconds) == 1)
        if verb == "put":
            assert 0 == other.get()
        else:
            other.put(0)
        for second in seconds:
            second.outcome()


ECHO = """
import sys, time
from persistqueue import Queue

queue = Queue(sys.argv[1], autosave=True)
while True:
    print("ready", flush=True)
    sent = queue.get()
    print(time.monotonic() - sent, flush=True)
"""


def test_a_put_wakes_another_process(path: Path) -> None:
    """A get that waits notices another process's put, soon."""
    waits = []
    with Child(ECHO, path) as child, Queue[float](path) as queue:
        for _ in range(15):
            assert ["ready"] == child.lines(1)
            queue.put(time.monotonic())
            waits += [float(line) for line in child.lines(1)]
    assert max(waits) < 2


TIGHT_LOOP = """
import sys
from persistqueue import Queue

queue = Queue(sys.argv[1], durability="process")
print("go", flush=True)
while True:
    queue.put("tight")
"""


@pytest.mark.parametrize("rivals", [1, 3])
def test_nobody_starves(path: Path, rivals: int) -> None:
    """A process that puts in a tight loop keeps no other from putting for long."""
    waits = []
    with ExitStack() as stack:
        children = [stack.enter_context(Child(TIGHT_LOOP, path)) for _ in range(rivals)]
        for child in children:
            child.lines(1)
        with Queue[str](path, durability="process") as queue:
            for _ in range(50):
                before = time.monotonic()
                queue.put("patient")
                waits.append(time.monotonic() - before)
            for child in children:
                child.kill()
    assert 50 == contents(path).count("patient")
    assert max(waits) < 3


# -- two objects in one process -----------------------------------------------------


def test_two_objects_in_one_process(path: Path) -> None:
    """Objects on one path see what the other commits, and outlive the other's close."""
    with Queue[int](path, chunksize=3) as one:
        with Queue[int](path, chunksize=3) as two:
            for number in range(0, 20, 2):
                one.put(number)
                two.put(number + 1)
            assert one.qsize() == two.qsize() == 20
            assert [two.get() for _ in range(5)] == [0, 1, 2, 3, 4]
            two.task_done(5)
        assert [one.get() for _ in range(15)] == list(range(5, 20))
        one.task_done(15)
        one.put(20)
    assert [20] == contents(path)


def test_two_objects_at_once(path: Path) -> None:
    """Threads with an object each put and take at once, and nothing is lost or double."""
    queues = [Queue[Any](path, chunksize=5, durability="process", autosave=True) for _ in range(4)]

    def work(name: int) -> list[Any]:
        taken = []
        for number in range(50):
            queues[name].put((name, number))
            if number % 2:
                taken.append(queues[name].get())
        return taken

    calls = [Call(work, name) for name in range(4)]
    lists = [call.outcome() for call in calls]
    for queue in queues:
        queue.close()
    lists.append(contents(path))
    items = sorted(item for items in lists for item in items)
    assert items == [(name, number) for name in range(4) for number in range(50)]
    assert all(in_order(items) for items in lists)


# -- locks --------------------------------------------------------------------------

HOLDER = """
import fcntl, sys
lock = open(sys.argv[1], "rb+")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


def test_locked_by_another_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that somebody keeps makes calls raise QueueLocked, until it is free again."""
    monkeypatch.setattr("persistqueue._core.patience.LOCK_PATIENCE", 0.1)
    with Queue[str](path) as queue:
        queue.put("first")
        with Child(HOLDER, path / ".lock") as holder:
            holder.lines(1)
            with pytest.raises(QueueLocked, match="lock"):
                queue.put("second")
            with pytest.raises(QueueLocked, match="lock"):
                queue.sync()
            before = descriptors()
            with pytest.raises(QueueLocked, match="lock"):
                Queue(path)
            assert before == descriptors()
            assert 1 == queue.qsize()  # looking needs no lock
            assert "first" == queue.get()
            with pytest.raises(QueueLocked):
                queue.task_done()
            holder.tell("")
            holder.wait()
        queue.task_done()
        queue.put("third")
    assert ["third"] == contents(path)


def test_waits_for_the_lock(path: Path) -> None:
    """A call waits for somebody who keeps the lock for a short time."""
    with Queue[str](path) as queue, Child(HOLDER, path / ".lock") as holder:
        holder.lines(1)
        put = Call(queue.put, "item")
        assert put.is_alive()
        holder.tell("")
        put.outcome()
    assert ["item"] == contents(path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_no_locks_here(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file system without locks is worth a WARNING, and one process may use it."""

    def flock(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with Queue[int](path, chunksize=2) as queue:
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "lock" in caplog.text
        queue.put_many(range(5))
        assert [queue.get() for _ in range(3)] == [0, 1, 2]
        queue.task_done(3)
    assert [3, 4] == contents(path)


def test_a_lock_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the lock that means neither busy nor impossible is raised as it is."""
    with Queue[int](path) as queue:

        def flock(fd: int, operation: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", flock)
            with pytest.raises(OSError, match="Input/output") as caught:
                queue.put(1)
            assert errno.EIO == caught.value.errno
        queue.put(2)
    assert [2] == contents(path)


# -- the directory ------------------------------------------------------------------


def fails(queue: Queue[Any]) -> bool:
    """Return whether a put says that the queue has failed."""
    try:
        queue.put("nowhere")
    except QueueFailed:
        return True
    return False


def test_directory_is_removed_while_open(path: Path) -> None:
    """A queue whose directory is removed says so, and a new one starts afresh."""
    queue = Queue[str](path)
    queue.put("item")
    shutil.rmtree(path)
    until(lambda: fails(queue), "QueueFailed")
    for call in (queue.get_nowait, queue.qsize, queue.sync):
        with pytest.raises(QueueFailed, match="reopen"):
            call()
    queue.close()
    assert not path.exists()
    with Queue[str](path) as queue:
        assert queue.empty()
        queue.put("new")
    assert ["new"] == contents(path)


@pytest.mark.parametrize("items", [["theirs"], [], ["same!!"], ["same!!", "theirs"]])
@pytest.mark.parametrize("durability", ["power", "process"])
def test_directory_is_replaced_while_open(path: Path, items: list[str], durability: str) -> None:
    """A queue whose directory is another's by now says so, and leaves the other alone."""
    with Queue[str](path) as queue:
        if items:
            queue.put("own..."[: len(items[0])].ljust(len(items[0])))
        shutil.rmtree(path)
        with Queue[str](path, durability=durability) as other:
            if items:
                other.put_many(items)
            until(lambda: fails(queue), "QueueFailed")
            assert items == drain(other)
            other.put("more")
            assert "more" == other.get()
    assert [*items, "more"] == contents(path)


@pytest.mark.parametrize("items", [[], ["same!!"]])
def test_directory_is_replaced_by_its_like(path: Path, items: list[str]) -> None:
    """A directory that was replaced by one with the same info is noticed, too, and left alone."""
    with Queue[str](path) as queue:
        queue.put_many(items)
        shutil.rmtree(path)
        with Queue[str](path) as other:
            other.put_many(items)
            begun = time.monotonic()
            until(lambda: time.monotonic() - begun > 0.1, "the next look at the name")
            assert fails(queue)
            assert items == drain(other)
            other.put("more")
            assert "more" == other.get()
    assert [*items, "more"] == contents(path)


def test_waiting_get_on_a_removed_directory(path: Path) -> None:
    """A get that waits does not wait for ever when its directory is removed."""
    with Queue[str](path) as queue:
        queue.put("item")
        assert "item" == queue.get()
        get = Call(queue.get)
        shutil.rmtree(path)
        with pytest.raises(QueueFailed):
            get.outcome()


def test_put_into_a_removed_directory(path: Path) -> None:
    """A first put into a directory that was removed is an error, and not done somewhere else."""
    with Queue[str](path) as queue:
        shutil.rmtree(path)
        with pytest.raises((QueueFailed, OSError)):
            queue.put("nowhere")
    assert [] == contents(path)


READ_ONLY = """
import os, sys
from persistqueue import Queue

path, user = sys.argv[1:]
if int(user):
    os.setgid(int(user))
    os.setuid(int(user))
for place in (path, path + "/inside"):
    try:
        Queue(place)
    except PermissionError:
        print("refused")
"""


@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
def test_read_only_directory(there: bool) -> None:
    """A directory that may not be written to is refused with a PermissionError, and untouched."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place)
        if there:
            with Queue[str](path) as queue:
                queue.put("item")
        names = sorted(os.listdir(path))
        path.chmod(0o555)
        try:
            root = os.geteuid() == 0
            with Child(READ_ONLY, path, 65534 if root else 0) as child:
                assert ["refused"] * 2 == child.wait()
            assert names == sorted(os.listdir(path))
        finally:
            path.chmod(0o755)


def test_everything_is_private(path: Path) -> None:
    """New directories can be entered, and new files read, by their owner alone."""
    with Queue[str](path / "deep", chunksize=1) as queue:
        queue.put_many(["a", "b"])
        assert 0o700 == (path / "deep").stat().st_mode & 0o777
        modes = {file.name: file.stat().st_mode & 0o777 for file in (path / "deep").iterdir()}
    assert set(modes.values()) == {0o600}, modes


# -- waiting ------------------------------------------------------------------------


def test_idle_waiters_cost_little(tmp_path: Path) -> None:
    """Gets that wait on a hundred idle queues look at each some forty times a second."""
    queues = [Queue[str](tmp_path / str(number), durability="process") for number in range(100)]
    gets = [Call(queue.get) for queue in queues]
    until(lambda: threading.active_count() > 100, "every get")
    threading.Event().wait(0.2)  # the first looks are closer together
    before = [queue._store._looks for queue in queues]
    threading.Event().wait(0.5)
    looks = [queue._store._looks - number for queue, number in zip(queues, before, strict=True)]
    assert max(looks) <= 30  # every 25 ms, and not all at once after a machine that was busy
    assert sum(looks) > 0
    for queue in queues:
        with Queue[str](queue.path, durability="process") as other:
            other.put("item")
    assert [get.outcome() for get in gets] == ["item"] * 100
    for queue in queues:
        queue.close()


def test_timeout_of_a_waiting_get(path: Path) -> None:
    """A get with a timeout raises Empty in time while others wait without one."""
    with Queue[str](path) as queue:
        forever = Call(queue.get)
        before = time.monotonic()
        with pytest.raises(Empty):
            queue.get(timeout=0.05)
        assert 0.04 < time.monotonic() - before < 5
        queue.put("item")
        assert "item" == forever.outcome()
