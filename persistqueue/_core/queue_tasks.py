"""Methods of all queues for asyncio, for every backend."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic

from .. import exceptions
from . import call
from .arguments import T, uncopied, whole
from .deadline import FOREVER, Deadline
from .log import warn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from types import TracebackType

    from typing_extensions import Self

    from .store import Record
    from .tasks import TaskSession


class AsyncOpened:
    """Opened by ``async with``, ``await`` or ``create``, and closed in the end."""

    _session: TaskSession
    __getstate__ = uncopied

    @classmethod
    async def create(cls, *args: Any, **kwargs: Any) -> Self:
        """Return an open object; arguments and errors are the constructor's."""
        return await cls(*args, **kwargs)

    def __await__(self) -> Generator[Any, None, Self]:
        return self._opened().__await__()

    async def _opened(self) -> Self:
        await self._session.open()
        return self

    async def close(self) -> None:
        """Let go of the files; a second call waits for the first.

        Waiting callers wake up with ``QueueClosed``, later calls raise it.  Items that were
        taken and not finished are redelivered when the queue is opened again.
        """
        await self._session.close()

    async def aclose(self) -> None:
        """Alias of ``close``, for ``contextlib.aclosing``."""
        await self.close()

    async def __aenter__(self) -> Self:
        return await self._opened()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        session = getattr(self, "_session", None)  # None: the constructor raised
        if session is not None:
            with suppress(Exception):  # a destructor has no caller to tell
                session.abandon()


class AsyncProcess(Generic[T]):
    """``process``, for queues and for a broker's queues."""

    _session: TaskSession

    @asynccontextmanager
    async def process(self, block: bool = True, timeout: float | None = None) -> AsyncIterator[T]:
        """Take an item for the length of an ``async with`` block.

        It is finished when the block ends, and back in its place when the block
        raises or is cancelled.  After an ``Exception`` this object does not hand it out again for
        0.1 s, twice as long each time, 5 s at the most; other items come meanwhile, and
        other objects may take it.  Arguments and errors are those of ``get``.
        """
        deadline = Deadline.of(block, timeout)
        records: list[Record] = []
        working = False
        try:
            records = await self._session.run(self._holding_one(deadline))
            working = True
            yield records[0].item
            working = False
            await self._session.run(call.settle(records))
        except GeneratorExit:
            self._session.give_back_soon(records)
            raise
        except BaseException as error:
            await self._give_back(records, working and isinstance(error, Exception))
            raise

    def _holding_one(self, deadline: Deadline) -> call.Call[list[Record]]:
        """Return the call that takes an item for a block."""
        return call.take(1, deadline, holds=True)

    async def _give_back(self, records: list[Record], failed: bool = False) -> None:
        try:
            if records:
                await self._session.give_back(records, failed)
        except Exception:  # noqa: BLE001 - the error that led here must not be hidden
            warn("%s: an item could not be given back", repr(self), traceback=True)
        self._session.back_off.say(self)


class AsyncQueueBase(AsyncOpened, AsyncProcess[T]):
    """The methods that are about waiting and finishing; a subclass knows how to put."""

    path: str
    maxsize: int
    _store: Any

    # -- get ------------------------------------------------------------------------

    async def get_many(self, max_items: int, timeout: float | None = None) -> list[T]:
        """Wait for one item, then take what is there, in their order.

        Args:
            max_items: how many at the most, 1 or more.
            timeout: seconds to wait for the first; None for as long as it takes.

        Raises:
            Everything that ``get`` raises.
        """
        most = whole("max_items", max_items, 1)
        return [
            record.item
            for record in await self._session.run(call.take(most, Deadline.of(True, timeout)))
        ]

    async def peek(self) -> T:
        """Return the next item and leave it in the queue.

        Raises:
            AsyncEmpty: there is none.
        """
        item: T = (await self._session.run(call.peek()))[0].item
        return item

    def __aiter__(self) -> AsyncIterator[T]:
        """Take items until the queue is shut down or closed, waiting for more.

        An item is finished when the next one is asked for.  Leaving the loop gives
        the last one back, unless ``task_done`` was called for it.  After ten times at
        the same item it is held back as ``process`` says.
        """
        self._session.back_off.say(self)
        return _Loop(self)

    async def _settle(self, records: list[Record]) -> None:
        """Finish what a block or a loop is through with; where that fails, it comes again."""
        try:
            await self._session.run(call.settle(records))
        except Exception:
            await self._give_back(records)
            raise

    async def set_aside(self) -> bool:
        """Get past the next item if it cannot be loaded: keep it beside the queue, and go on.

        For an item at which ``get`` raises ``QueueCorrupt``, ``SerializationError`` or
        ``ItemTooLarge`` each time.  Its bytes are kept: in a file ``*.corrupt-*`` beside those
        of the queue, in the table ``corrupt:...``, or in the list ``...-dead`` on Redis.
        ``skipped`` counts it.

        Returns:
            whether it was set aside; False if it can be loaded, or there is none.

        Raises:
            FormatError: another serializer wrote what is there.
        """
        done: bool = await self._session.run(call.write(self._store.set_aside))
        return done

    async def join(self) -> None:
        """Wait until every item that was put is finished."""
        await self._session.run(call.join())

    # -- look -----------------------------------------------------------------------

    async def qsize(self) -> int:
        """Return how many items could be taken now."""
        count: int = await self._session.run(call.count())
        return count

    async def empty(self) -> bool:
        """Return whether nothing could be taken now."""
        return await self.qsize() == 0

    async def full(self) -> bool:
        """Return whether ``put`` would have to wait now."""
        return 0 < self.maxsize <= await self.qsize()

    # -- end ------------------------------------------------------------------------

    async def sync(self) -> None:
        """Make everything so far safe against loss of power, at either durability."""
        await self._session.run(call.sync())

    async def shutdown(self, immediate: bool = False) -> None:
        """Refuse puts on this object from now on, and gets when nothing is left.

        Waiting callers wake up with ``AsyncQueueShutDown``.  Stored items stay stored.

        Args:
            immediate: refuse gets at once and let ``join`` return.
        """
        self._session.shutdown(immediate)


class _Loop(Generic[T]):
    """One ``async for`` over a queue.

    No async generator: leaving the loop would give the last item back only when the event
    loop gets round to closing the generator.
    """

    __getstate__ = uncopied

    def __init__(self, queue: AsyncQueueBase[T]) -> None:
        self._queue = queue  # which must not be dropped while the loop goes on
        self._session = queue._session
        self._held: list[Record] = []

    def __aiter__(self) -> _Loop[T]:
        return self

    async def __anext__(self) -> T:
        held, self._held = self._held, []
        if held:
            await self._queue._settle(held)
        try:
            self._held = await self._session.run(call.take(1, FOREVER, holds=True))
        except (exceptions.QueueShutDown, exceptions.QueueClosed):
            raise StopAsyncIteration from None
        item: T = self._held[0].item
        return item

    async def aclose(self) -> None:
        """Give the last item back, as leaving the loop does."""
        held, self._held = self._held, []
        if held:
            self._session.back_off.left(held)
            await self._session.give_back(held)

    def __del__(self) -> None:
        if self._held:
            self._session.back_off.left(self._held)
            self._session.give_back_soon(self._held)
