"""What holds something open cannot be copied or pickled, and says so; nothing is harmed."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loops import in_loop

import persistqueue
from persistqueue import AsyncQueue, Broker, BrokerConfig, PDict, Queue, SQLiteQueue
from persistqueue.compat import simplebroker

#: Classes of plain values.
VALUES = {"AckStatus", "BrokerConfig", "DeadJob", "JobStats", "Put", "Retry"}

COPYING: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "oldest pickle": lambda value: pickle.dumps(value, 0),
}


def public_classes() -> list[type]:
    """Return all of them but errors and values."""
    named = {name: getattr(persistqueue, name) for name in persistqueue.__all__}
    classes = {name: value for name, value in named.items() if inspect.isclass(value)}
    return [
        public
        for name, public in classes.items()
        if name not in VALUES and not issubclass(public, BaseException)
    ]


@pytest.mark.parametrize("public", public_classes(), ids=lambda public: public.__name__)
def test_copying_is_refused(public: Any) -> None:
    """Each class refuses each way of copying in words that name it, open or not."""
    for how in COPYING.values():
        with pytest.raises(TypeError, match=f"a {public.__name__} cannot be copied or pickled"):
            how(public.__new__(public))


OPENED: dict[str, Callable[[Path], Any]] = {
    "Queue": Queue,
    "SQLiteQueue": SQLiteQueue,
    "Broker": Broker,
    "a queue of a broker": lambda path: Broker(path).queue("q"),
    "a stream": lambda path: Broker(path).queue("q").stream(),
}


@pytest.mark.parametrize("kind", OPENED)
def test_an_open_object_goes_on(path: Path, kind: str) -> None:
    """An attempt to copy something leaves it open: what was begun of the copy closes nothing."""
    opened = OPENED[kind](path)
    for how in COPYING.values():
        with pytest.raises(TypeError, match="copied or pickled"):
            how(opened)
    gc.collect()
    if kind == "a stream":
        opened._queue.put("item")
        assert ["item"] == list(opened)
    else:
        queue = opened.queue("q") if kind == "Broker" else opened
        queue.put("item")
        assert "item" == queue.get(timeout=0)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_what_holds_such_an_object_is_not_copied_either(path: Path, how: str) -> None:
    """The classes of ``compat`` hold one of these, and so does a list."""
    with simplebroker.Queue("q", db_path=str(path)) as compatible, Queue(f"{path}s") as q:
        for holder in (compatible, [q]):
            with pytest.raises(TypeError, match="copied or pickled"):
                COPYING[how](holder)


@in_loop
async def test_an_open_async_queue_goes_on(tmp_path: Path) -> None:
    """The same for a queue of an event loop, and for the loop over it that holds an item."""
    async with AsyncQueue(tmp_path / "q") as q:
        await q.put_many("ab")
        async for item in (loop := aiter(q)):
            with pytest.raises(TypeError, match="copied or pickled"):
                copy.copy(q)
            with pytest.raises(TypeError, match="copied or pickled"):
                copy.copy(loop)
            gc.collect()
            if item == "b":
                break
        assert 0 == await q.qsize()


def test_a_dict_names_the_way_to_copy_it(tmp_path: Path) -> None:
    """PDict refuses, and names the method that returns an ordinary dict."""
    with PDict(tmp_path, "d") as d, pytest.raises(TypeError, match=r"copy\(\) returns an ordinary"):
        copy.copy(d)


class Portable(Queue[str]):
    """A queue that a program has taught to be pickled."""

    def __reduce__(self) -> Any:
        return Portable, (self.path,)


class Restored(Queue[str]):
    """The same in the other way that Python has."""

    def __getstate__(self) -> Any:
        return self.path

    def __setstate__(self, path: str) -> None:
        Restored.__init__(self, path)


@pytest.mark.parametrize("taught", [Portable, Restored])
def test_a_subclass_may_be_taught_to_be_pickled(path: Path, taught: type[Queue[str]]) -> None:
    """A subclass that opens an object of its own where it is unpickled is not refused."""
    with taught(path) as q:
        q.put("a")
        with pickle.loads(pickle.dumps(q)) as twin:
            assert "a" == twin.get()


def test_values_are_copied() -> None:
    """A broker's settings are a value."""
    config = BrokerConfig(durability="process")
    assert vars(config) == vars(copy.deepcopy(config)) == vars(pickle.loads(pickle.dumps(config)))
