"""Engines that were written for aiodiskqueue: coroutines that keep items, one at a time.

They run on an event loop in a thread of its own, so that a queue may call them from
anywhere.  Such an engine keeps items, not records: it gets what a record holds, so its files
are what aiodiskqueue would have written.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
from contextlib import suppress
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from .._core.log import warn
from ..exceptions import EngineError, SerializationError
from .base import Recipe, StorageEngine

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Sequence

    _Act = Callable[..., Coroutine[Any, Any, None]]
    _Told = SimpleQueue[BaseException | None]


_FAILURES = (Exception, asyncio.CancelledError)


class CoroutineEngine(Protocol):
    """The methods that aiodiskqueue asks of an engine: ``FifoStorageEngine``."""

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
    pickle.  A call of the class that fails leaves nothing half done as long as this process
    lives; what the class itself does not promise (all items of a ``put_many`` or none, whole
    files after a kill) no other code can promise that.

    Args:
        engine_class: takes a ``pathlib.Path``; has the coroutines ``initialize``,
            ``fetch_all``, ``add_item`` and ``remove_item``.
    """
    return Recipe(Adapter, engine_class=engine_class)


class Adapter(StorageEngine):
    """One object of such a class, as a ``StorageEngine``.

    It holds every item in memory, as that interface wants it.

    Items can be added and removed one by one only, so several may get half of the way.  What
    came of a call that failed is looked up (``fetch_all``).  Items of an append that failed
    are hidden: they are never handed out, and are removed as soon as they are the oldest.
    Where a removal got half of the way the rest is hidden likewise.  What is hidden is known
    to this object alone: another one, after a crash, finds such items again.
    """

    pickles_anew = True  # what is read is not byte by byte what was added

    def __init__(
        self, path: str | os.PathLike[str], engine_class: Callable[[Path], CoroutineEngine]
    ) -> None:
        super().__init__(path)
        self._engine = engine_class(Path(self.path))
        self._shown_as = type(self._engine).__name__  # in messages
        self._records: list[bytes] = []  # what is to be seen
        # Everything that the engine holds is numbered; what is hidden is among it.
        self._first = 0  # number of the oldest
        self._next = 0  # number behind the newest
        self._hidden: dict[int, bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._busy: asyncio.Lock  # one call at a time
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> int:
        if self._loop is None:
            self._busy = asyncio.Lock()
            self._loop = loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(loop,), daemon=True)
            self._thread.start()
        try:
            self._run(self._open)
        except BaseException:
            self.close()
            raise
        return len(self._records)

    def append(self, records: Sequence[bytes]) -> None:
        self._run(self._append, records, [self._item(record) for record in records])

    def read(self, start: int, count: int) -> Sequence[bytes]:
        return list(islice(self._records, start, start + count))

    def remove(self, count: int) -> None:
        self._run(self._remove, count)

    def sync(self) -> None:
        """Whether anything is safe against loss of power is up to the class."""

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            told = SimpleQueue[BaseException | None]()
            # Behind what a caller has left who was interrupted.
            loop.call_soon_threadsafe(self._start, self._stop, (), told)
            self._thread.join()
        self._records = []

    # -- on the loop, each to its end: Ctrl-C comes to the caller's thread -----------

    def _start(self, act: _Act, args: tuple[Any, ...], told: _Told) -> None:
        task = asyncio.ensure_future(self._alone(act, args, told))
        self._tasks.add(task)  # a loop holds them weakly
        task.add_done_callback(self._tasks.discard)

    async def _alone(self, act: _Act, args: tuple[Any, ...], told: _Told) -> None:
        error: BaseException | None = None
        async with self._busy:
            try:
                await act(*args)
            except BaseException as raised:  # noqa: BLE001 - its caller raises it
                error = raised
        told.put(error)

    async def _stop(self) -> None:
        asyncio.get_running_loop().stop()

    async def _open(self) -> None:
        stored = await self._fetched()
        if not stored:
            await self._engine.initialize()
        self._adopt(stored)

    async def _append(self, records: Sequence[bytes], items: list[Any]) -> None:
        try:
            for item in items:
                await self._engine.add_item(item)
        except _FAILURES:
            await self._hide_new(len(records))
            raise
        self._records += records
        self._next += len(records)

    async def _remove(self, count: int) -> None:
        for done in range(count):
            try:
                await self._shed()
                await self._remove_oldest()
            except _FAILURES as error:
                if not done:  # all is as it was
                    raise
                await self._hide_oldest(count - done)
                warn("%s: %d finished items are removed later: %s", self.path, count - done, error)
                break
            del self._records[0]
        else:
            with suppress(*_FAILURES):  # it is tried again, and raised then
                await self._shed()

    # -- what is hidden -------------------------------------------------------------

    def _adopt(self, stored: list[bytes]) -> None:
        """Show what is stored, but for what this object knows is hidden."""
        same = len(stored) == self._next - self._first and all(
            stored[number - self._first] == record for number, record in self._hidden.items()
        )
        if not same:  # another program was here
            self._hidden = {}
        self._next = self._first + len(stored)
        shown = enumerate(stored, self._first)
        self._records = [record for number, record in shown if number not in self._hidden]

    async def _hide_new(self, wanted: int) -> None:
        """Hide what was added of an append that failed; all of it is as good as a success."""
        with suppress(*_FAILURES):  # then opening again says what is there
            stored = await self._fetched()
            behind = self._first + len(stored)
            if self._next < behind < self._next + wanted:
                new = range(self._next, behind)
                self._hidden.update({number: stored[number - self._first] for number in new})
            self._next = max(self._next, behind)
            await self._shed()

    async def _hide_oldest(self, count: int) -> None:
        """Hide items that ought to be gone."""
        stored, number = await self._fetched(), self._first
        del self._records[:count]
        while count:
            if number not in self._hidden:
                self._hidden[number] = stored[number - self._first]
                count -= 1
            number += 1

    async def _shed(self) -> None:
        """Remove what is hidden and has become the oldest."""
        while self._first in self._hidden:
            oldest = self._first
            await self._remove_oldest()
            del self._hidden[oldest]

    async def _remove_oldest(self) -> None:
        try:
            await self._engine.remove_item()
        except _FAILURES:
            if len(await self._fetched()) != self._next - self._first - 1:
                raise
        self._first += 1

    # -- calling the engine ---------------------------------------------------------

    async def _fetched(self) -> list[bytes]:
        return [pickle.dumps(item, 4) for item in await self._engine.fetch_all()]

    def _item(self, record: bytes) -> Any:
        try:
            return pickle.loads(record)
        except Exception as error:
            raise SerializationError(
                f"an engine made for aiodiskqueue keeps items: use the serializer pickle ({error})"
            ) from error

    def _run(self, act: _Act, *args: Any) -> None:
        if self._loop is None:
            raise EngineError(f"{self.path} is not open; open the queue again")
        told = SimpleQueue[BaseException | None]()
        self._loop.call_soon_threadsafe(self._start, act, args, told)
        error = told.get()  # a caller that is interrupted here finds out by ``close`` and ``open``
        if isinstance(error, asyncio.CancelledError):
            raise EngineError(f"{self.path}: {self._shown_as} cancelled itself") from error
        if error is not None:
            raise error


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
