"""Engines that were written for aiodiskqueue: coroutines that keep items, one at a time.

They run on an event loop in a thread of its own, so that a queue may call them from
anywhere.  Such an engine keeps items, not records: it gets what a record holds, so its files
are what aiodiskqueue would have written.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import EngineError, SerializationError
from .base import Recipe, StorageEngine

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Sequence


class CoroutineEngine(Protocol):
    """What aiodiskqueue asks of an engine: ``FifoStorageEngine``."""

    async def initialize(self) -> Any:
        """See that items can be stored."""

    async def fetch_all(self) -> list[Any]:
        """Return every item, the oldest first."""

    async def add_item(self, item: Any) -> None:
        """Store an item behind the last one."""

    async def remove_item(self) -> None:
        """Remove the oldest item."""


def from_coroutines(engine_class: Callable[[Path], CoroutineEngine]) -> Recipe:
    """Return an engine for ``engine=`` made of one that was written for aiodiskqueue.

    ``Queue(path, engine=from_coroutines(TheirEngine))``.  The queue's serializer must be
    pickle.  What the class itself does not promise (all items of a ``put_many`` or none,
    whole files after a kill) nobody else can promise for it.

    Args:
        engine_class: takes a ``pathlib.Path``; has the coroutines ``initialize``,
            ``fetch_all``, ``add_item`` and ``remove_item``.
    """
    return Recipe(Adapter, engine_class=engine_class)


class Adapter(StorageEngine):
    """One object of such a class, as a ``StorageEngine``.

    It holds every item in memory, as that interface wants it.
    """

    def __init__(
        self, path: str | os.PathLike[str], engine_class: Callable[[Path], CoroutineEngine]
    ) -> None:
        super().__init__(path)
        self._engine = engine_class(Path(self.path))
        self._records: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> int:
        if self._loop is None:
            self._loop = loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(loop,), daemon=True)
            self._thread.start()
        try:
            items = self._run(self._engine.fetch_all())
            if not items:
                self._run(self._engine.initialize())
            self._records = [pickle.dumps(item, 4) for item in items]
        except BaseException:
            self.close()
            raise
        return len(self._records)

    def append(self, records: Sequence[bytes]) -> None:
        for item in [self._item(record) for record in records]:
            self._run(self._engine.add_item(item))
        self._records += records

    def read(self, start: int, count: int) -> Sequence[bytes]:
        return list(islice(self._records, start, start + count))

    def remove(self, count: int) -> None:
        for _ in range(count):
            self._run(self._engine.remove_item())
            del self._records[0]

    def sync(self) -> None:
        """Whether anything is safe against loss of power is up to the class."""

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()

    def _item(self, record: bytes) -> Any:
        try:
            return pickle.loads(record)
        except Exception as error:
            raise SerializationError(
                f"an engine made for aiodiskqueue keeps items: use the serializer pickle ({error})"
            ) from error

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._loop is None:
            coroutine.close()
            raise EngineError(f"{self.path} is not open; open the queue again")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
