"""Queues of other libraries for ``measure_engines``, where these are installed."""

from __future__ import annotations

import asyncio
import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmark.engine_queues import Kind, Measured
from benchmark.side import PEER, BenchmarkError, installed_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path
    from types import ModuleType

_THEIRS = ("DbmEngine", "PickledList", "PickleSequence", "SqliteEngine")


def peers() -> list[Kind]:
    """Return other libraries' queues; persist-queue is installed beside if it is not there."""
    found = []
    if there("aiodiskqueue"):
        for name, shown, durability in (
            ("DbmEngine", f"DbmEngine ({_dbm()})", "power" if "sqlite" in _dbm() else "process"),
            ("PickledList", "PickledList", "process"),
            ("PickleSequence", "PickleSequence", "process"),
            ("SqliteEngine", "SqliteEngine", "power"),
        ):
            opened = partial(_aiodiskqueue, name=name)
            found.append(Kind("peers", f"aiodiskqueue {shown}", durability, True, opened))
    if there("litequeue"):
        found.append(Kind("peers", "litequeue", "process", True, _litequeue))
    if there("simplebroker"):
        found.append(Kind("peers", "SimpleBroker", "power", True, _simplebroker))
    package = upstream(installed_peer())
    for name, durability in (
        ("AsyncQueue", "process"), ("Queue", "process"),
        ("AsyncSQLiteQueue", "power"), ("SQLiteQueue", "power"),
    ):  # fmt: skip
        tasks = name.startswith("Async")
        opened = partial(_their_async if tasks else _their_sync, package=package, name=name)
        found.append(Kind("peers", f"{PEER} {name}", durability, tasks, opened))
    return found


def _dbm() -> str:
    """Return which module of ``dbm`` this Python takes for a new file."""
    return next(name for name in ("dbm.sqlite3", "dbm.gnu", "dbm.ndbm", "dbm.dumb") if there(name))


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
    """Remove the modules of ``persistqueue`` from ``sys.modules``, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] == "persistqueue"]
    return {name: sys.modules.pop(name) for name in names}


def there(name: str) -> bool:
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

    async def qsize() -> int:
        return int(queue.qsize())

    yield Measured(queue.put, queue.get, None, qsize)


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


def _options(name: str) -> dict[str, bool]:
    """Return the options with which a get finishes its item, as in the other libraries."""
    if "SQL" not in name:
        return {"autosave": True}
    return (
        {"auto_commit": True} if "Async" in name else {"auto_commit": True, "multithreading": True}
    )


@asynccontextmanager
async def _their_async(path: Path, package: Any, name: str) -> AsyncIterator[Measured]:
    async with getattr(package, name)(str(path), **_options(name)) as queue:
        yield Measured(queue.put, queue.get, None, queue.qsize)


@contextmanager
def _their_sync(path: Path, package: Any, name: str) -> Iterator[Measured]:
    queue = getattr(package, name)(str(path), **_options(name))
    try:
        yield Measured(queue.put, queue.get, None, queue.qsize)
    finally:
        getattr(queue, "close", int)()


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
