"""For tests: what every storage engine must pass, how many calls wait, a clock set forward.

``EngineContract`` is a mixin for the author of an engine:

::

    from persistqueue.testing import EngineContract

    class TestMyEngine(EngineContract):
        engine = MyEngine

and pytest finds the tests.  Each has a directory of its own.  ``engine`` is what ``engine=``
takes; a function is written as ``staticmethod(function)``.  The tests that kill a process
start a child which imports the engine, so it must be a name of a module.

Nothing here needs more than the standard library and pytest, and the async tests what
``AsyncQueue`` needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from . import exceptions
from .engines.base import StorageEngine
from .queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ._core.session import Session
    from ._core.waiters import WaitingCalls
    from ._sql.jobs import JobStore
    from .async_queue import AsyncQueue

_TIME = 60  # s that a child or an event loop may take
#: A program that works on a queue as it is told, then dies without a word.
_CHILD = """
import json, os, pickle, sys
sys.path[:] = json.loads(sys.argv[1])
from persistqueue import Queue
engine = pickle.loads(bytes.fromhex(sys.argv[2]))
queue = Queue(sys.argv[3], engine=engine, durability="process")
for verb, *arguments in json.loads(sys.argv[4]):
    getattr(queue, verb)(*arguments)
os._exit(9)
"""


class HasCalls(Protocol):
    """A queue or a broker of this package, for threads or for asyncio."""

    @property
    def _session(self) -> Session: ...


def waiting_calls(queue: HasCalls) -> WaitingCalls:
    """Return how many calls wait in a queue object, or in a broker.

    A test starts a thread or a task that gets, and puts when
    ``waiting_calls(queue).gets`` is 1.  Nothing is read or written.
    """
    return queue._session.waiting_calls()  # noqa: SLF001 - all that a test needs of it


class HasClock(Protocol):
    """A job queue of this package, for threads or for asyncio."""

    @property
    def _store(self) -> JobStore: ...


def set_clock_forward(queue: HasClock, seconds: float) -> None:
    """Set the clock of one queue object forward: delayed jobs are due, others expire.

    A test waits for nothing:

    ::

        queue.put("reminder", delay=86400)
        set_clock_forward(queue, 86400)
        assert queue.get() == "reminder"

    Args:
        seconds: are added to what the clock is ahead already.
    """
    store = queue._store  # noqa: SLF001 - as above
    before = store.clock
    store.clock = lambda: before() + seconds


class EngineContract:
    """The promises of a queue, with any engine.

    Attributes:
        engine: the engine under test, as ``engine=`` takes it.
        shared: several objects may have one path open (the chunk files alone).
        many: how many items are a lot; fewer for an engine that is slow.
    """

    engine: ClassVar[Any]
    shared: ClassVar[bool] = False
    many: ClassVar[int] = 3000

    # -- helpers --------------------------------------------------------------------

    def open(self, tmp_path: Path, **options: Any) -> Queue[Any]:
        """Open the queue of a test."""
        options.setdefault("durability", "process")
        return Queue(tmp_path / "queue", engine=self.engine, **options)

    def open_async(self, tmp_path: Path, **options: Any) -> AsyncQueue[Any]:
        """Return the queue of a test, for asyncio."""
        from .async_queue import AsyncQueue  # noqa: PLC0415 - needs aiofiles

        options.setdefault("durability", "process")
        return AsyncQueue(tmp_path / "queue", engine=self.engine, **options)

    def persists(self, tmp_path: Path) -> bool:
        """Return whether the engine keeps anything."""
        made = self.made(tmp_path)
        return made is None or made.persistent

    def made(self, tmp_path: Path) -> StorageEngine | None:
        """Return an engine; None for the chunk files, which are none."""
        engine = self.engine
        made = engine if isinstance(engine, StorageEngine) else None
        if made is None and not (
            isinstance(engine, type) and not issubclass(engine, StorageEngine)
        ):
            made = engine(str(tmp_path / "engine"))
        return made

    def in_child(self, tmp_path: Path, *calls: tuple[Any, ...]) -> None:
        """Have a child process make calls, and die behind the last one."""
        arguments = [json.dumps(sys.path), pickle.dumps(self.engine).hex()]
        arguments += [str(tmp_path / "queue"), json.dumps(calls)]
        done = subprocess.run(  # noqa: S603 - the arguments are ours
            [sys.executable, "-c", _CHILD, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIME, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (9, "")

    # -- the engine by itself -------------------------------------------------------

    def test_records_are_read_by_their_place(self, tmp_path: Path) -> None:
        """Appended records are read from any place, empty records too; removing moves places."""
        engine = self.made(tmp_path)
        if engine is None:
            return
        records = [self.record(number) for number in range(10)]
        assert engine.open() == 0
        engine.append(records[:1])
        engine.append(records[1:])
        assert list(engine.read(0, 10)) == records
        assert list(engine.read(7, 2)) == records[7:9]
        engine.remove(4)
        assert list(engine.read(0, 1)) == records[4:5]
        assert list(engine.read(5, 1)) == records[9:]
        engine.append(records[:2])
        assert list(engine.read(4, 4)) == [*records[8:], *records[:2]]
        engine.remove(8)
        engine.append(records[:1])
        assert list(engine.read(0, 1)) == records[:1]
        engine.sync()
        engine.close()

    def record(self, number: int) -> bytes:
        """Return a record; an engine that keeps items needs pickles."""
        return pickle.dumps("x" * number, 4)

    def test_opening_again_counts_what_is_stored(self, tmp_path: Path) -> None:
        """After close and open everything is there, in order; to close twice is harmless.

        An engine that keeps nothing is asked without close: that is how a queue counts.
        """
        engine = self.made(tmp_path)
        if engine is None:
            return
        records = [self.record(number) for number in range(300)]
        engine.open()
        engine.append(records)
        engine.remove(10)
        if engine.persistent:
            engine.close()
            engine.close()
        assert engine.open() == 290
        assert list(engine.read(0, 290)) == records[10:]
        engine.remove(290)
        if engine.persistent:
            engine.close()
        assert engine.open() == 0
        engine.close()

    def test_random_changes_are_what_a_list_makes_of_them(self, tmp_path: Path) -> None:
        """Appends, removals, reads and reopenings, beside a list."""
        engine = self.made(tmp_path)
        if engine is None:
            return
        chance, model = random.Random(9), list[bytes]()  # noqa: S311 - no secret
        assert engine.open() == 0
        for step in range(150):
            kind = chance.choice("aarrx" if engine.persistent else "aarr")
            if kind == "a":
                new = [self.record(step * 10 + n) for n in range(chance.randint(1, 6))]
                engine.append(new)
                model += new
            elif kind == "r" and model:
                count = chance.randint(1, len(model))
                engine.remove(count)
                del model[:count]
            elif kind == "x":
                engine.close()
                assert engine.open() == len(model)
            if model:
                start = chance.randrange(len(model))
                assert list(engine.read(start, len(model) - start)) == model[start:]
        engine.close()

    # -- order and content ----------------------------------------------------------

    def test_items_come_out_as_they_went_in(self, tmp_path: Path) -> None:
        """Every item comes back equal and in the order of the puts, None like any other."""
        items = [None, 0, "", "text", b"", b"bytes", 2**70, {"n": [1, None]}, (1, 2), None]
        with self.open(tmp_path) as q:
            q.put(items[0])
            q.put_many(items[1:])
            assert q.qsize() == len(items)
            assert [q.get() for _ in items] == items
            assert q.empty()

    def test_large_items_come_back(self, tmp_path: Path) -> None:
        """An item of some megabytes is as good as any."""
        items = [bytes([number]) * 3_000_000 for number in range(3)]
        with self.open(tmp_path) as q:
            q.put_many(items)
            assert q.get_many(3) == items

    def test_many_items_keep_their_order(self, tmp_path: Path) -> None:
        """Puts and gets in turns, over thousands of items."""
        with self.open(tmp_path) as q:
            third = self.many // 3
            q.put_many(range(2 * third))
            taken = q.get_many(third)
            q.put_many(range(2 * third, 3 * third))
            taken += [q.get() for _ in range(third + 1)] + q.get_many(self.many)
            assert taken == list(range(3 * third))
            q.task_done(3 * third)
            q.join()

    def test_every_serializer_works(self, tmp_path: Path) -> None:
        """Records are bytes, with any serializer."""
        from .serializers import json as serializer  # noqa: PLC0415

        engine = self.made(tmp_path)
        if type(engine).__name__ == "Adapter":  # keeps items: pickle alone
            return
        with self.open(tmp_path, serializer=serializer) as q:
            q.put_many(["a", None, {"n": 1}])
            assert q.get_many(9) == ["a", None, {"n": 1}]

    # -- restart --------------------------------------------------------------------

    def test_reopening_finds_what_was_put(self, tmp_path: Path) -> None:
        """Items that were put are there after close and open."""
        if not self.persists(tmp_path):
            return
        with self.open(tmp_path) as q:
            q.put_many([None, *range(200)])
        with self.open(tmp_path) as q:
            assert q.qsize() == 201
            assert q.unfinished_tasks == 201
            assert [q.get() for _ in range(201)] == [None, *range(200)]

    def test_unfinished_items_come_again(self, tmp_path: Path) -> None:
        """Settled out of order, items come again from the oldest unfinished one on."""
        if not self.persists(tmp_path):
            return
        with self.open(tmp_path) as q:
            q.put_many(list("abcdefg"))
            taken = [q.get() for _ in range(5)]
            for item in (taken[4], taken[0], taken[2], taken[1]):
                q.task_done(item=item)
            assert q.unfinished_tasks == 3
        with self.open(tmp_path) as q:
            assert q.get_many(9) == ["d", "e", "f", "g"]

    def test_autosave_finishes_at_get(self, tmp_path: Path) -> None:
        """With autosave a taken item is not redelivered, unless it was given back."""
        if not self.persists(tmp_path):
            return
        with self.open(tmp_path, autosave=True) as q:
            q.put_many("abc")
            assert q.get() == "a"
            with contextlib.suppress(ZeroDivisionError), q.process() as item:
                assert 0 / (item != "b")
        with self.open(tmp_path, autosave=True) as q:
            assert sorted(q.get_many(9)) == ["b", "c"]

    def test_a_process_that_dies_loses_nothing_it_was_told(self, tmp_path: Path) -> None:
        """Killed behind put, get and task_done: put items are there, finished ones are gone."""
        if not self.persists(tmp_path):
            return
        self.in_child(tmp_path, ("put_many", [0, 1, 2]), ("put", None))
        self.in_child(tmp_path, ("get_many", 4), ("task_done", 2), ("put", "last"))
        with self.open(tmp_path) as q:
            assert q.get_many(9) == [2, None, "last"]

    # -- waiting and cancelling -----------------------------------------------------

    def test_get_waits_and_maxsize_makes_put_wait(self, tmp_path: Path) -> None:
        """Empty and Full come in time; room is made by a get."""
        with self.open(tmp_path, maxsize=2) as q:
            _raises(exceptions.Empty, q.get, timeout=0.01)
            q.put_many([1, 2])
            assert q.full()
            _raises(exceptions.Full, q.put, 3, timeout=0.01)
            _raises(ValueError, q.put_many, [1, 2, 3])
            assert q.get() == 1
            q.put(3)
            assert q.get_many(9) == [2, 3]

    def test_tasks_share_commits_and_none_loses_an_item(self, tmp_path: Path) -> None:
        """Five producers and three consumers: each item once, each producer's in order."""

        async def work() -> list[tuple[int, int]]:
            taken = list[tuple[int, int]]()
            async with self.open_async(tmp_path, maxsize=7) as q:

                async def produce(who: int) -> None:
                    for number in range(30):
                        await q.put((who, number))

                async def consume() -> None:
                    while True:
                        taken.append(await q.get())
                        await q.task_done()

                consumers = [asyncio.ensure_future(consume()) for _ in range(3)]
                await asyncio.gather(*map(produce, range(5)))
                await q.join()
                for task in consumers:
                    task.cancel()
                await asyncio.wait(consumers)
            return taken

        taken = asyncio.run(asyncio.wait_for(work(), _TIME))
        assert sorted(taken) == [(who, number) for who in range(5) for number in range(30)]

    def test_cancelled_calls_lose_nothing(self, tmp_path: Path) -> None:
        """Gets and puts are cancelled at any time: items that were put are delivered or stored."""
        chance = random.Random(1)  # noqa: S311 - no secret

        async def work() -> None:
            told, doubtful, got = set[int](), set[int](), list[int]()
            async with self.open_async(tmp_path, autosave=True) as q:
                for number in range(60):
                    put = asyncio.ensure_future(q.put(number))
                    get = asyncio.ensure_future(q.get())
                    for _ in range(chance.choice([0, 1, 1, 2, 3, 5, 20])):
                        await asyncio.sleep(0)
                    chance.choice([put, get]).cancel()
                    await asyncio.wait([put])
                    (doubtful if put.cancelled() else told).add(number)
                    if not get.done() and await q.qsize() == 0:
                        get.cancel()
                    await asyncio.wait([get])
                    if not get.cancelled():
                        got.append(get.result())
                while not await q.empty():
                    got.append(await q.get())
            assert len(set(got)) == len(got), "delivered twice"
            assert told <= set(got), "lost"
            assert set(got) <= told | doubtful

        asyncio.run(asyncio.wait_for(work(), _TIME))

    # -- failure --------------------------------------------------------------------

    def test_what_cannot_be_stored_leaves_nothing(self, tmp_path: Path) -> None:
        """One item that cannot be pickled, or is too long: an error, and none is stored."""
        with self.open(tmp_path, max_item_bytes=1000) as q:
            _raises(exceptions.SerializationError, q.put_many, [1, lambda: None, 2])
            _raises(exceptions.ItemTooLarge, q.put, "x" * 1001)
            assert q.qsize() == 0
            q.put("good")
            assert q.get() == "good"

    def test_one_queue_at_a_time(self, tmp_path: Path) -> None:
        """A second object is told that the path is taken, and the first goes on."""
        if self.shared or not self.persists(tmp_path):
            return
        with self.open(tmp_path) as q:
            q.put(1)
            error = _raises(exceptions.QueueLocked, self.open, tmp_path)
            assert "open already" in str(error)
            assert q.get() == 1
        self.open(tmp_path).close()

    def test_damage_is_noticed_and_skipped_on_request(self, tmp_path: Path) -> None:
        """A damaged record raises QueueCorrupt until it is skipped; nothing behind it is lost."""
        if self.made(tmp_path) is None or not self.persists(tmp_path):
            return
        for damage in (_flip_a_bit, _lose):
            with self.open(tmp_path) as q:
                q.put_many(["a", "b", "c", "d"])
            with self.open(tmp_path) as q:
                q.get()
                q.task_done()
            with self.damaged(tmp_path, damage) as q:
                for _ in range(2):
                    error = _raises(exceptions.QueueCorrupt, q.get)
                    assert "skip" in str(error)
                assert q.qsize() == 3
            with self.damaged(tmp_path, damage, on_corrupt="skip") as q:
                assert q.get_many(9) == ["c", "d"]
                assert q.skipped == 1
                assert q.unfinished_tasks == 2
                q.task_done(2)
                q.join()

    def damaged(
        self, tmp_path: Path, damage: Callable[[bytes], bytes | None], **options: Any
    ) -> Queue[Any]:
        """Open the queue of a test with an engine that has lost or changed its oldest record."""
        engine = self.engine

        def make(path: str) -> StorageEngine:
            made: Any = engine if isinstance(engine, StorageEngine) else engine(path)
            read = made.read

            def read_damaged(start: int, count: int) -> list[bytes | None]:
                records = list(read(start, count))
                return [damage(records[0]), *records[1:]] if start == 0 else records

            made.read = read_damaged
            return made  # type: ignore[no-any-return]

        return Queue(tmp_path / "queue", engine=make, **options)


def _raises(
    error: type[Exception], call: Callable[..., object], *args: Any, **options: Any
) -> Exception:
    """Return the error that a call raises; it must be of that class."""
    try:
        call(*args, **options)
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def _flip_a_bit(record: bytes) -> bytes:
    """Return a record with another last byte but one."""
    return record[:-2] + bytes([record[-2] ^ 1]) + record[-1:]


def _lose(_: bytes) -> None:
    """Return no record."""
