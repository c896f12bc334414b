"""Engines that were written for aiodiskqueue: coroutines that keep items, one at a time.

They run on an event loop in a thread of its own, so that a queue may call them from any
thread.  Such an engine keeps items, not records: it is given the item that a record holds, so its
files are those that aiodiskqueue would have written.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..engines.base import StorageEngine
from ..exceptions import EngineError, QueueFailed, SerializationError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Sequence

    _Act = Callable[..., Coroutine[Any, Any, None]]


class CoroutineEngine(Protocol):
    """The methods of aiodiskqueue's ``FifoStorageEngine``."""

    async def initialize(self) -> Any:
        """Prepare the file."""

    async def fetch_all(self) -> list[Any]:
        """Return every item, the oldest first."""

    async def add_item(self, item: Any) -> None:
        """Store an item behind the newest."""

    async def remove_item(self) -> None:
        """Remove the oldest item."""


def from_coroutines(engine_class: Callable[[Path], CoroutineEngine]) -> type[StorageEngine]:
    """Return an engine for ``engine=`` made of a class that was written for aiodiskqueue.

    ``Queue(path, engine=from_coroutines(TheirEngine))``.  The queue's serializer must be
    pickle.  Such a class adds and removes one item at a time, so a call can fail in the middle
    of several.  The queue then asks ``fetch_all`` which items are stored.  As long as its
    object lives, items of a ``put_many`` that raised are not handed out.

    Args:
        engine_class: takes a ``pathlib.Path``; has the coroutines ``initialize``,
            ``fetch_all``, ``add_item`` and ``remove_item``.
    """

    class Adapted(_Adapter):
        make_engine = staticmethod(engine_class)

    Adapted.__name__ = getattr(engine_class, "__name__", "Adapted")  # messages show it
    return Adapted


class _Adapter(StorageEngine):
    """An object with four coroutines, as a ``StorageEngine``.

    It holds every item in memory, because that interface reads all of them at once.
    """

    pickles_anew = True  # records are not byte for byte the same when they are read again
    make_engine: Callable[[Path], CoroutineEngine]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._engine = self.make_engine(Path(self.path))
        self._records: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread
        self._busy: asyncio.Lock  # one call at a time: an interrupted caller's may go on

    def open(self) -> int:
        if self._loop is None:
            self._busy = asyncio.Lock()
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(loop,), daemon=True)
            self._thread.start()
            self._loop = loop
        try:
            self._run(self._open)
        except BaseException:
            self.close()
            raise
        return len(self._records)

    async def _open(self) -> None:
        stored = await self._engine.fetch_all()
        if not stored:
            await self._engine.initialize()
        self._records = [pickle.dumps(item, 4) for item in stored]

    def append(self, records: Sequence[bytes]) -> None:
        self._run(self._append, records, [self._item(record) for record in records])

    async def _append(self, records: Sequence[bytes], items: list[Any]) -> None:
        for item in items:
            await self._engine.add_item(item)
        self._records += records

    def read(self, start: int, count: int) -> Sequence[bytes]:
        return list(islice(self._records, start, start + count))

    def remove(self, count: int) -> None:
        self._run(self._remove, count)

    async def _remove(self, count: int) -> None:
        for _ in range(count):
            await self._engine.remove_item()
        del self._records[:count]

    def sync(self) -> None:
        """Do nothing: whether anything is safe against loss of power is up to the class."""

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._stop(loop), loop)
            self._thread.join()
        self._records = []

    async def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        async with self._busy:  # behind the call of a caller that was interrupted
            loop.stop()

    # -- calling the engine ---------------------------------------------------------

    def _item(self, record: bytes) -> Any:
        try:
            return pickle.loads(record)
        except Exception as error:
            raise SerializationError(
                f"an engine made for aiodiskqueue keeps items: use the serializer pickle ({error})"
            ) from error

    def _run(self, act: _Act, *args: Any) -> None:
        """Run a coroutine on the loop to its end, even if the caller is interrupted meanwhile."""
        if self._loop is None:
            raise QueueFailed(f"{self.path} is not open; open the queue again")
        asyncio.run_coroutine_threadsafe(self._alone(act, args), self._loop).result()

    async def _alone(self, act: _Act, args: tuple[Any, ...]) -> None:
        async with self._busy:
            try:
                await act(*args)
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:
                # These would end the loop's thread, and leave the caller waiting.
                raise EngineError(
                    f"{self.path}: {type(self).__name__} raised {type(error).__name__}"
                ) from error


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
