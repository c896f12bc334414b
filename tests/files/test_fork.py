"""Forks: a child may use what it inherited, and has taken nothing."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crashdisk import contents, descriptors, in_child, watchdog
from waiting import Call, until

from persistqueue import Empty, Queue, QueueClosed

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings(
        "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
    ),
]


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(60):
        yield


def child(work: Callable[[], Any]) -> None:
    """Run ``work`` in a forked process, to its end."""
    status, _ = in_child(lambda acknowledge: work())
    assert 0 == status, "see the traceback above"


def test_child_puts_and_gets(path: Path) -> None:
    """A child uses an inherited queue, and parent and child see each other's items."""
    with Queue[str](path, chunksize=2) as queue:
        queue.put("parent's")

        def work() -> None:
            assert "parent's" == queue.get()
            queue.task_done()
            queue.put_many(["child's", "own"])

        child(work)
        assert 2 == queue.qsize()
        assert ["child's", "own"] == [queue.get(), queue.get()]
        queue.task_done(2)
        child(lambda: queue.put("more"))
        assert "more" == queue.get(timeout=5)


def test_child_has_taken_nothing(path: Path) -> None:
    """What a parent has taken is no business of its child, which cannot finish it."""
    with Queue[str](path) as queue:
        queue.put_many(["a", "b"])
        assert "a" == queue.get()

        def work() -> None:
            with pytest.raises(ValueError, match="too many times"):
                queue.task_done()
            with pytest.raises(ValueError, match="not handed out"):
                queue.task_done(item="a")

        child(work)
        queue.task_done()
        assert ["b"] == contents(path)


def test_child_of_an_autosaving_parent(path: Path) -> None:
    """With autosave parent and children share the items, each getting its own."""
    with Queue[int](path, chunksize=3, autosave=True) as queue:
        queue.put_many(range(9))
        assert 0 == queue.get()

        def work() -> None:
            assert [queue.get() for _ in range(4)] == [1, 2, 3, 4]
            queue.close()

        child(work)
        assert [queue.get() for _ in range(4)] == [5, 6, 7, 8]
        with pytest.raises(Empty):
            queue.get(block=False)


def test_both_put_at_once(path: Path) -> None:
    """Parent and children put at the same time, and each keeps its order."""
    with Queue[Any](path, chunksize=7, durability="process") as queue:

        def work(name: str) -> None:
            for number in range(100):
                queue.put((name, number))

        children = [Call(child, partial(work, name)) for name in ("a", "b")]
        work("parent")
        for call in children:
            call.outcome()
    items = contents(path)
    assert Counter(items) == Counter((n, i) for n in ("a", "b", "parent") for i in range(100))
    for name in ("a", "b", "parent"):
        assert [item for item in items if item[0] == name] == [(name, i) for i in range(100)]


def test_fork_in_the_middle_of_a_put(path: Path) -> None:
    """A fork while other threads put and wait leaves a child that can do both."""
    stop = threading.Event()
    with Queue[Any](path, chunksize=50, durability="process") as queue:

        def work(name: int) -> int:
            number = 0
            while not stop.is_set():
                queue.put((name, number))
                number += 1
            return number

        def in_the_child(fork: int) -> None:
            assert queue.qsize() >= 0
            queue.put(("child", fork))
            queue.get(timeout=30)
            queue.close()

        calls = [Call(work, name) for name in range(2)]
        until(lambda: queue.qsize() > 10)
        for fork in range(25):
            child(partial(in_the_child, fork))
        stop.set()
        counts = [call.outcome() for call in calls]
    items = contents(path)
    assert [item for item in items if item[0] == "child"] == [("child", fork) for fork in range(25)]
    for name, count in enumerate(counts):
        assert [item for item in items if item[0] == name] == [(name, i) for i in range(count)]


def test_fork_while_others_wait(path: Path) -> None:
    """A child of a process whose threads wait for items can wait itself, and wakes."""
    with Queue[str](path) as queue:
        waiting = [Call(queue.get) for _ in range(3)]
        until(lambda: any(thread.name == "persistqueue-watch" for thread in threading.enumerate()))

        def work() -> None:
            queue.put("from the child")
            get = Call(queue.get, timeout=30)
            with Queue[str](path) as other:
                other.put("for whoever")
            get.outcome()

        # Which of the four gets the second item nobody can say: without autosave,
        # processes that consume together may both get an item.
        child(work)
        assert waiting[0].outcome() in ("from the child", "for whoever")
        queue.put_many(["x", "y", "z"])
        for get in waiting[1:]:
            get.outcome()


def test_closed_before_the_fork(path: Path) -> None:
    """A queue that was closed is closed in the child, too."""
    queue = Queue[str](path)
    queue.close()

    def work() -> None:
        with pytest.raises(QueueClosed):
            queue.put("item")

    child(work)


def test_child_closes_or_drops_it(path: Path) -> None:
    """A child that closes or drops an inherited queue takes nothing from its parent."""
    before = descriptors()
    with Queue[str](path) as queue:
        queue.put("first")
        child(queue.close)
        queue.put("second")

        def drop() -> None:
            nonlocal queue
            del queue
            gc.collect()

        child(drop)
        queue.put("third")
        assert [queue.get() for _ in range(3)] == ["first", "second", "third"]
        queue.task_done(3)
    assert before == descriptors()
    assert [] == contents(path)


def test_grandchildren(path: Path) -> None:
    """A child of a child uses the queue as well."""
    with Queue[str](path) as queue:
        queue.put("parent")

        def work() -> None:
            queue.put("child")
            child(lambda: queue.put("grandchild"))
            queue.put("child again")

        child(work)
        queue.put("parent again")
    assert ["parent", "child", "grandchild", "child again", "parent again"] == contents(path)


def _produce(queue: Queue[Any], name: int) -> None:
    for number in range(30):
        queue.put((name, number))


def test_multiprocessing(path: Path) -> None:
    """Processes of multiprocessing's fork context share a queue object."""
    context = multiprocessing.get_context("fork")
    with Queue[Any](path, chunksize=8) as queue:
        processes = [context.Process(target=_produce, args=(queue, name)) for name in range(3)]
        for process in processes:
            process.start()
        taken = [queue.get(timeout=30) for _ in range(90)]
        queue.task_done(90)
        for process in processes:
            process.join()
            assert 0 == process.exitcode
            process.close()
    assert [(name, number) for name in range(3) for number in range(30)] == sorted(taken)
    assert [] == contents(path)
