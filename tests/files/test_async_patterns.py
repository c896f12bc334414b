"""How programs consume an async queue, and a disk that dies under them at any call.

Four patterns of consumers times three ways to finish an item.  What was acknowledged
before the crash is there after it, and what was finished does not come again, but behind
something that was not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from crashdisk import (
    KILLED,
    DeadlyDisk,
    Fault,
    FaultyDisk,
    NumberedDisk,
    contents,
    in_child,
    watchdog,
)
from ledger import SOON

from persistqueue import AsyncQueue, PersistQueueError
from persistqueue import QueueShutDown as ShutDown
from persistqueue._core.disk import Disk

NUMBER = 12  # items that a run puts
GIVES_UP = (OSError, PersistQueueError)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory in memory where that can be had: nothing here needs the disk itself."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        yield Path(place)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Do without warnings of what could not be given back to a dead disk."""
    caplog.set_level(logging.CRITICAL, "persistqueue")


class LastCall(NumberedDisk):
    """Call ``at`` is the last one, or its first half if ``torn``: then nothing works."""

    def __init__(self, at: int, torn: bool) -> None:
        super().__init__()
        self._at = at
        self._torn = torn

    def happen(
        self, name: str, call: Callable[..., Any], args: tuple[Any, ...], options: Any
    ) -> Any:
        if self.calls < self._at or (self.calls == self._at and not self._torn):
            return call(*args, **options)
        if self.calls == self._at and name == "write":
            file, data, offset = args
            call(file, data[: len(data) // 2], offset)
        raise OSError("the disk is dead")


class Run:
    """One producer, some consumers, and what the queue acknowledged.

    Args:
        note: told what comes of an item: ``("put", n)``, ``("ends", n)`` when it is about to be
            finished, and ``("done", n)`` when that was acknowledged.
    """

    def __init__(self, path: Path, disk: Disk, note: Callable[[str, int], None]) -> None:
        kind = type("QueueOnDisk", (AsyncQueue,), {"_disk": disk})
        self.q: AsyncQueue[Any] = kind(path, chunksize=3, durability="power")
        self.note = note

    async def whole(self, pattern: Pattern, finish: str) -> None:
        """Put and consume everything, or as much as the disk lets us."""
        producer = asyncio.ensure_future(self._produce())
        consumer = asyncio.ensure_future(pattern(self, finish))
        outcomes = await asyncio.gather(producer, consumer, return_exceptions=True)
        with suppress(*GIVES_UP):
            await self.q.close()
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not _gave_up(outcome):
                raise outcome

    async def _produce(self) -> None:
        number = 0
        try:
            while number < NUMBER:
                many = list(range(number, number + 1 + number % 3))
                await self.q.put_many([n] for n in many)
                for n in many:
                    self.note("put", n)
                number += len(many)
        finally:
            await self.q.shutdown()  # consumers end when nothing is left

    async def work(self, item: list[int]) -> None:
        """Do what an item asks for."""
        await asyncio.sleep(0)

    async def consume(self, finish: str) -> None:
        """Work until the queue is shut down."""
        with suppress(ShutDown):
            await getattr(self, f"_by_{finish}")()

    async def _by_task_done(self) -> None:
        while True:
            item = await self.q.get()
            await self.work(item)
            self.note("ends", item[0])
            await self.q.task_done(item=item)
            self.note("done", item[0])

    async def _by_process(self) -> None:
        while True:
            async with self.q.process() as item:
                await self.work(item)
                self.note("ends", item[0])
            self.note("done", item[0])

    async def _by_iteration(self) -> None:
        before: list[list[int]] = []
        async for item in self.q:
            for done in before:
                self.note("done", done[0])
            await self.work(item)
            self.note("ends", item[0])
            before = [item]
        for done in before:
            self.note("done", done[0])


Pattern = Callable[[Run, str], Awaitable[None]]


def _gave_up(error: BaseException) -> bool:
    inner = getattr(error, "exceptions", None)  # a group, since Python 3.11
    return all(map(_gave_up, inner)) if inner else isinstance(error, GIVES_UP)


# -- patterns -------------------------------------------------------------------------


async def workers(run: Run, finish: str) -> None:
    """Three tasks that do the same, in a TaskGroup where there is one."""
    if hasattr(asyncio, "TaskGroup"):
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(run.consume(finish))
    else:
        await asyncio.gather(*(run.consume(finish) for _ in range(3)))


async def dispatcher(run: Run, finish: str) -> None:
    """One task takes, other tasks work and finish."""
    errands: set[asyncio.Task[None]] = set()
    q = run.q

    async def errand(item: list[int], end: Callable[[], Awaitable[Any]]) -> None:
        await run.work(item)
        run.note("ends", item[0])
        await end()
        run.note("done", item[0])

    async def one() -> None:
        if finish == "task_done":
            item = await q.get()
            errands.add(asyncio.create_task(errand(item, lambda: q.task_done(item=item))))
        else:
            block = q.process()
            item = await block.__aenter__()
            end = errand(item, lambda: block.__aexit__(None, None, None))
            errands.add(asyncio.create_task(end))

    try:
        if finish == "iteration":
            before: list[list[int]] = []
            async for item in q:
                for done in before:
                    run.note("done", done[0])
                before = [item]
                await asyncio.create_task(run.work(item))
                run.note("ends", item[0])
            return
        with suppress(ShutDown):
            while True:
                await one()
    finally:
        outcomes = await asyncio.gather(*errands, return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


async def stoppable(run: Run, finish: str) -> None:
    """A get raced with a stop event that comes in the middle, then the next consumer."""
    await _until_stopped(run, finish, 4)
    await _until_stopped(run, finish, NUMBER)


async def _until_stopped(run: Run, finish: str, most: int) -> None:
    stop, q = asyncio.Event(), run.q
    stopped = asyncio.create_task(stop.wait())
    loop = aiter(q)
    done: list[int] = []
    try:
        while True:
            block = q.process()
            take: Any = {
                "task_done": q.get,
                "process": block.__aenter__,
                "iteration": loop.__anext__,
            }[finish]
            taking = asyncio.ensure_future(take())
            await asyncio.wait([taking, stopped], return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                taking.cancel()  # it may be served in this very moment
                with suppress(asyncio.CancelledError, StopAsyncIteration, ShutDown):
                    item = await taking
                    await _end(run, finish, block, item)
                return
            item = await taking
            await run.work(item)
            await _end(run, finish, block, item)
            if finish != "iteration":
                run.note("done", item[0])
            done.append(item[0])
            if len(done) == most:
                stop.set()
    except (ShutDown, StopAsyncIteration):
        return
    finally:
        stopped.cancel()
        await loop.aclose()


async def _end(run: Run, finish: str, block: Any, item: Any) -> None:
    run.note("ends", item[0])
    if finish == "task_done":
        await run.q.task_done(item=item)
    elif finish == "process":
        await block.__aexit__(None, None, None)


async def thread_pool(run: Run, finish: str) -> None:
    """The work itself is done by threads."""

    async def work(item: list[int]) -> None:
        await asyncio.to_thread(item.copy)

    run.work = work  # type: ignore[method-assign]
    await asyncio.gather(*(run.consume(finish) for _ in range(2)))


PATTERNS: list[Pattern] = [workers, dispatcher, stoppable, thread_pool]
WAYS = ["task_done", "process", "iteration"]
each = pytest.mark.parametrize("finish", WAYS)
every = pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)


# -- crash points ---------------------------------------------------------------------


class Notes:
    """What was acknowledged."""

    def __init__(self) -> None:
        self.of: dict[str, list[int]] = {"put": [], "ends": [], "done": []}

    def __call__(self, verb: str, number: int) -> None:
        self.of[verb].append(number)

    def check(self, path: Path, where: str) -> None:
        """Compare what is stored with it."""
        stored = [item[0] for item in contents(path)]
        assert stored == sorted(set(stored)), where
        assert set() == set(self.of["put"]) - set(self.of["ends"]) - set(stored), f"lost, {where}"
        assert set() == set(stored[:1]) & set(self.of["done"]), f"comes again, {where}"


def play(path: Path, disk: Disk, pattern: Pattern, finish: str, note: Any) -> None:
    """Do a whole run on a disk."""
    asyncio.run(asyncio.wait_for(Run(path, disk, note).whole(pattern, finish), SOON))


def calls_of(path: Path, pattern: Pattern, finish: str) -> int:
    """Return how many disk calls a run comes to; everything is put, and finished."""
    disk, notes = NumberedDisk(), Notes()
    play(path, disk, pattern, finish, notes)
    assert list(range(NUMBER)) == notes.of["put"]
    if finish == "iteration" and pattern is stoppable:  # nobody tells when the loop ends
        assert len(contents(path)) <= 1
    else:
        assert [] == contents(path)
    return disk.calls


def check_crashes(path: Path, pattern: Pattern, finish: str, step: int) -> int:
    """Let the disk die, or fail once, at every ``step``-th call."""
    last = calls_of(path / "clean", pattern, finish)
    for at in range(1, last + 1, step):
        disks: dict[str, Disk] = {
            "last": LastCall(at, torn=False),
            "torn": LastCall(at, torn=True),
            "fails": FaultyDisk(Fault(at, "instead")),
        }
        for name, disk in disks.items():
            place, notes = path / f"{at}-{name}", Notes()
            play(place, disk, pattern, finish, notes)
            notes.check(place, f"call {at} of {last} ({name})")
    return last


@every
@each
def test_a_disk_that_dies_under_consumers(tmp_path: Path, pattern: Pattern, finish: str) -> None:
    """Whatever consumers do, a crash loses no item and brings no finished one back."""
    with watchdog(60):
        assert check_crashes(tmp_path, pattern, finish, step=9) > 20


@pytest.mark.slow
@every
@each
def test_a_disk_that_dies_at_any_call(tmp_path: Path, pattern: Pattern, finish: str) -> None:
    """The same for every call to the disk."""
    with watchdog(280):
        for number in range(3):  # which calls share a commit is a matter of time
            check_crashes(tmp_path / str(number), pattern, finish, step=1)


def check_deaths(path: Path, pattern: Pattern, finish: str, step: int) -> None:
    """Let a process die at every ``step``-th call to the disk."""
    last = calls_of(path / "clean", pattern, finish)
    for at in range(1, last + 1, step):
        place, log = path / str(at), path / f"{at}.log"

        def work(acknowledge: Any, at: int = at, place: Path = place, log: Path = log) -> None:
            fd = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

            def note(verb: str, number: int) -> None:
                os.write(fd, f"{verb} {number}\n".encode())

            play(place, DeadlyDisk(at), pattern, finish, note)

        status, _ = in_child(work)
        assert status in (0, KILLED)
        notes = Notes()
        for line in log.read_text().splitlines():
            said = line.split()
            notes(said[0], int(said[1]))
        notes.check(place, f"call {at} of {last}")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)
@every
@each
def test_a_process_that_dies_at_any_call(tmp_path: Path, pattern: Pattern, finish: str) -> None:
    """The same when the process dies with the call."""
    with watchdog(280):
        check_deaths(tmp_path, pattern, finish, step=1)
