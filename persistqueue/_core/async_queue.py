"""``AsyncQueueBase``: methods of all queues for asyncio, for every backend."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from . import call
from .arguments import T, uncopied, whole
from .deadline import Deadline
from .hooks import notice_class
from .queue_tasks import holding, loop
from .work import WORK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from typing_extensions import Self

    from .tasks import TaskSession


class AsyncOpened:
    """An object that is opened at the beginning and closed in the end."""

    _HOOKS: ClassVar[Mapping[str, str]] = {}  # of persist-queue; see ``hooks``
    _session: TaskSession
    __getstate__ = uncopied

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        notice_class(cls, cls._HOOKS)

    # async only
    @classmethod
    async def create(cls, *args: Any, **kwargs: Any) -> Self:
        """Return an open object; arguments and errors are the constructor's."""
        return await cls(*args, **kwargs)

    def __await__(self) -> Generator[Any, None, Self]:
        return self._opened().__await__()

    async def _opened(self) -> Self:
        await self._session.open()
        return self

    # end
    async def sync(self) -> None:
        """Make everything so far safe against loss of power, at either durability."""
        await self._session.run(call.sync())

    async def close(self) -> None:
        """Close it and release its files; a second call is harmless.

        Waiting callers wake up with ``QueueClosed``, later calls raise it.  Items that were
        taken and not finished are redelivered when the queue is opened again.

        In asyncio, a second call waits for the first.
        """
        await self._session.close()

    # async only
    async def aclose(self) -> None:
        """Alias of ``close``, for ``contextlib.aclosing``."""
        await self.close()

    # end
    async def __aenter__(self) -> Self:
        return await self._opened()  # async only
        # threads only: return self

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
                session.abandon()  # async only
                # threads only: session.close()


class AsyncQueueBase(AsyncOpened, Generic[T]):
    """Methods that are about waiting and finishing; a subclass knows how to put."""

    path: str
    maxsize: int
    _store: Any  # a subclass knows of which backend

    # -- get ------------------------------------------------------------------------

    async def get_many(self, max_items: int, timeout: float | None = None) -> list[T]:
        """Wait for one item, then take those that are there, in their order.

        Args:
            max_items: the greatest number of items, 1 or more.
            timeout: seconds to wait for the first; None for as long as it takes.

        Raises:
            Everything that ``get`` raises.
        """
        most = whole("max_items", max_items, 1)
        records = await self._session.run(call.take(most, Deadline.of(True, timeout)))
        return [record.item for record in records]

    async def peek(self) -> T:
        """Return the next item and leave it in the queue.

        Raises:
            AsyncEmpty: there is none.
        """
        item: T = (await self._session.run(call.peek()))[0].item
        return item

    def process(
        self, block: bool = True, timeout: float | None = None
    ) -> AbstractAsyncContextManager[T]:
        """Take an item for the length of an ``async with`` block.

        It is finished when the block ends, and back in its place when the block raises.
        After an ``Exception`` this object does not hand it out again for
        0.1 s, then twice as long each time, up to 5 s; other items are handed out before that, and
        other objects may take it.  Arguments and errors are those of ``get``.

        In asyncio, the item is back in its place when the block is cancelled, too.
        """
        return holding(self, self._session, WORK, block, timeout)

    def __aiter__(self) -> AsyncIterator[T]:
        """Take items until the queue is shut down or closed, waiting for more.

        An item is finished when the next one is asked for.  Leaving the loop gives
        the last one back, unless ``task_done`` was called for it.  After ten times at
        the same item it is held back as ``process`` says.
        """
        return loop(self, self._session)

    async def set_aside(self) -> bool:
        """Get past the next item if it cannot be loaded: keep it beside the queue, and go on.

        For an item at which ``get`` raises ``QueueCorrupt``, ``SerializationError`` or
        ``ItemTooLarge`` each time.  Its bytes are kept: in a file ``*.corrupt-*`` beside those
        of the queue, in the table ``corrupt:...``, or in the list ``...-dead`` on Redis.
        ``skipped`` counts it.

        Returns:
            whether it was set aside; False if it can be loaded, or there is none.

        Raises:
            FormatError: another serializer wrote it.
        """
        done: bool = await self._session.run(call.write(self._store.set_aside))
        return done

    async def join(self) -> None:
        """Wait until every item that was put is finished."""
        await self._session.run(call.join())

    # -- look -----------------------------------------------------------------------

    async def qsize(self) -> int:
        """Return how many items could be taken now."""
        return await self._session.run(call.count())

    # threads only: def __len__(self) -> int:
    # threads only:     return self.qsize()

    async def empty(self) -> bool:
        """Return whether nothing could be taken now."""
        return await self.qsize() == 0

    async def full(self) -> bool:
        """Return whether ``put`` would have to wait now."""
        return 0 < self.maxsize <= await self.qsize()

    # -- end ------------------------------------------------------------------------

    async def shutdown(self, immediate: bool = False) -> None:
        """Refuse puts on this object from now on, and gets when nothing is left.

        Waiting callers wake up with ``AsyncQueueShutDown``.  Stored items stay stored.

        Args:
            immediate: refuse gets at once and let ``join`` return.
        """
        self._session.shutdown(immediate)
