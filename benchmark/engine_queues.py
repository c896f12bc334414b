"""What ``measure_engines`` compares: each kind of queue behind ``put``, ``get`` and ``fill``."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.side import PEER, BenchmarkError, installed_peer
from persistqueue import AsyncQueue, AsyncSQLiteQueue, engines

if TYPE_CHECKING:
    from types import ModuleType

Open = Callable[[Path], AbstractAsyncContextManager[Any]]


class Measured:
    """A queue with what is measured of it."""

    def __init__(self, put: Any, get: Any, put_many: Any = None) -> None:
        self.put, self.get = put, get
        self._put_many = put_many

    async def fill(self, item: Any, count: int) -> None:
        """Put many items, as quickly as this kind can."""
        while count > 0 and self._put_many:
            await self._put_many([item] * min(count, 20_000))
            count -= 20_000
        for _ in range(count):
            await self.put(item)


@asynccontextmanager
async def _ours(path: Path, make: Any, **options: Any) -> AsyncIterator[Measured]:
    async with make(str(path), **options) as queue:
        yield Measured(queue.put, queue.get, queue.put_many)


def _engine(engine: Any, durability: str) -> Open:
    return partial(_ours, make=AsyncQueue, engine=engine, durability=durability, autosave=True)


OURS: dict[tuple[str, str], Open] = {
    **{
        (name, durability): _engine(getattr(engines, name), durability)
        for name in ("ChunkFileEngine", "SQLiteEngine", "DbmEngine")
        for durability in ("process", "power")
    },
    ("MemoryEngine", "none"): _engine(engines.MemoryEngine, "process"),
    ("PickledListEngine", "power"): _engine(engines.PickledListEngine, "power"),
    ("AsyncSQLiteQueue", "power"): partial(_ours, make=AsyncSQLiteQueue, durability="power"),
}


def peers() -> dict[tuple[str, str], Open]:
    """Return other libraries' queues, those that are installed."""
    found: dict[tuple[str, str], Open] = {}
    if _there("aiodiskqueue"):
        for name in ("DbmEngine", "PickledList"):
            found["aiodiskqueue " + name, "process"] = partial(_aiodiskqueue, name=name)
        found["aiodiskqueue PickleSequence", "process"] = partial(
            _aiodiskqueue, name="PickleSequence"
        )
    if _there("litequeue"):
        found["litequeue", "process"] = _litequeue
    if _there("simplebroker"):
        found["SimpleBroker", "power"] = _simplebroker
    package = upstream(installed_peer())
    for name, durability in (("Queue", "process"), ("SQLiteQueue", "power")):
        kind = f"{PEER} {name}", durability
        found[kind] = partial(_persist_queue, package=package, name=name)
    return found


def upstream(folder: str) -> Any:
    """Return persist-queue's package, which has this one's name, from where it is installed."""
    ours = _taken_out()
    sys.path.insert(0, folder)
    try:
        package = importlib.import_module("persistqueue")
    finally:
        sys.path.remove(folder)
        _taken_out()
        sys.modules.update(ours)
    if not (package.__file__ or "").startswith(folder):
        raise BenchmarkError(f"{PEER} was looked for in {folder}, found was {package.__file__}")
    return package


def _taken_out() -> dict[str, ModuleType]:
    """Have the modules of ``persistqueue`` forgotten, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] == "persistqueue"]
    return {name: sys.modules.pop(name) for name in names}


def _there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


@asynccontextmanager
async def _aiodiskqueue(path: Path, name: str) -> AsyncIterator[Measured]:
    import aiodiskqueue  # noqa: PLC0415 - only when it is asked for

    queue = await aiodiskqueue.Queue.create(
        path, cls_storage_engine=getattr(aiodiskqueue.engines, name)
    )
    yield Measured(queue.put, queue.get)


class _Polled:
    """A synchronous queue on a thread; ``get`` asks again until there is something."""

    def __init__(self, put: Callable[[Any], Any], pop: Callable[[], Any]) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._put, self._pop = put, pop

    async def put(self, item: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._put, item)

    async def get(self) -> Any:
        loop = asyncio.get_running_loop()
        while (item := await loop.run_in_executor(self._thread, self._pop)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0)  # it cannot wait
        return item

    async def call(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def close(self) -> None:
        self._thread.shutdown()


@asynccontextmanager
async def _persist_queue(path: Path, package: Any, name: str) -> AsyncIterator[Measured]:
    options = {"auto_commit": True, "multithreading": True} if "SQL" in name else {"autosave": True}
    queue = getattr(package, name)(str(path), **options)

    def pop() -> Any:
        try:
            return queue.get(block=False)
        except package.Empty:
            return None

    polled = _Polled(queue.put, pop)
    try:
        yield Measured(polled.put, polled.get)
    finally:
        getattr(queue, "close", int)()
        polled.close()


@asynccontextmanager
async def _litequeue(path: Path) -> AsyncIterator[Measured]:
    import litequeue  # noqa: PLC0415 - only when it is asked for

    queue: Any = None

    def pop() -> Any:
        message = queue.pop()
        if message is None:
            return None
        found = message["data"] if isinstance(message, dict) else message.data
        queue.done(message["message_id"] if isinstance(message, dict) else message.message_id)
        return found

    def put(item: Any) -> None:
        queue.put(item)

    polled = _Polled(put, pop)
    queue = await polled.call(lambda: litequeue.LiteQueue(str(path)))
    try:
        yield Measured(polled.put, polled.get)
    finally:
        polled.close()


@asynccontextmanager
async def _simplebroker(path: Path) -> AsyncIterator[Measured]:
    import simplebroker  # noqa: PLC0415 - only when it is asked for

    queue: Any = None

    def write(item: Any) -> None:
        queue.write(item)

    def read() -> Any:
        return queue.read()

    polled = _Polled(write, read)
    queue = await polled.call(lambda: simplebroker.Queue("q", db_path=str(path), persistent=True))
    try:
        yield Measured(polled.put, polled.get)
    finally:
        await polled.call(queue.close)
        polled.close()
