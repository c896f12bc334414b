"""How tasks hold items: ``process`` blocks and loops over a queue, for every backend."""

from __future__ import annotations

import asyncio
from asyncio import sleep
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from .. import exceptions
from . import call
from .arguments import T, uncopied
from .deadline import FOREVER, Deadline, monotonic
from .log import warn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from .call import R
    from .store import Record
    from .tasks import TaskSession
    from .work import Work

S = TypeVar("S")
TURN = 0.002  # s for which a caller may have the loop for itself


# -- errors that are asyncio's, too -------------------------------------------------------

# asyncio.QueueShutDown exists from Python 3.13 on.
_ShutDown: type[Exception] = getattr(asyncio, "QueueShutDown", exceptions.QueueShutDown)
_shut_down_bases = tuple(dict.fromkeys((exceptions.QueueShutDown, _ShutDown)))


class AsyncEmpty(exceptions.Empty, asyncio.QueueEmpty):
    """No item was there, or none came within the timeout."""


class AsyncFull(exceptions.Full, asyncio.QueueFull):
    """There was no room, or none was made within the timeout."""


class AsyncQueueShutDown(*_shut_down_bases):  # type: ignore[misc]
    """``shutdown()`` was called on this object; what is stored stays stored."""


# -- loops --------------------------------------------------------------------------------


@overload
async def each(
    function: Callable[[S], Awaitable[R]], items: Iterable[S], *, awaits: Literal[True]
) -> list[R]: ...


@overload
async def each(
    function: Callable[[S], R], items: Iterable[S], *, awaits: Literal[False] = False
) -> list[R]: ...


async def each(
    function: Callable[[S], Any], items: Iterable[S], *, awaits: bool = False
) -> list[Any]:
    """Return the result of ``function`` for each of ``items``; other tasks get their turns.

    Args:
        awaits: ``function`` is a coroutine function.
    """
    made, now = [], monotonic
    turn = now() + TURN
    for item in items:
        made.append(await function(item) if awaits else function(item))
        if now() >= turn:
            await sleep(0)
            turn = now() + TURN
    return made


@asynccontextmanager
async def holding(
    queue: object, session: TaskSession, work: Work, block: bool, timeout: float | None
) -> AsyncIterator[Any]:
    """Hold an item for the length of a block."""
    deadline = Deadline.of(block, timeout)
    records: list[Record] = []
    working = False
    try:
        records = await session.run(work.take(deadline))
        working = True
        records[0].spent = work.failed is None
        yield work.shown(records[0])
        working = False
        await session.run(call.settle(records))
    except GeneratorExit:
        session.give_back_soon(records)
        raise
    except Exception as error:
        failure = work.failed(records, error) if working and work.failed is not None else None
        await _give_back(queue, session, records, working, failure)
        if not isinstance(error, work.signals):
            raise
    except BaseException:
        await _give_back(queue, session, records)
        raise


async def _give_back(
    queue: object,
    session: TaskSession,
    records: list[Record],
    failed: bool = False,
    failure: call.Call[Any] | None = None,
) -> None:
    """Give records back, or make the call that stores why working on them failed."""
    try:
        if failure is not None:
            await session.run(failure)
        elif records:
            await session.give_back(records, failed)
    except Exception:  # noqa: BLE001 - the error that led here must not be hidden
        warn("%s: an item could not be given back", repr(queue), traceback=True)
    session.back_off.say(queue)


def loop(queue: object, session: TaskSession) -> AsyncIterator[Any]:
    """Return one ``async for`` over a queue."""
    session.back_off.say(queue)
    return _Loop(queue, session)


class _Loop(Generic[T]):
    """One ``async for`` over a queue.

    No async generator: leaving the loop would give the last item back only when the event
    loop gets round to closing the generator.
    """

    __getstate__ = uncopied

    def __init__(self, queue: object, session: TaskSession) -> None:
        self._queue = queue  # which must not be dropped while the loop goes on
        self._session = session
        self._held: list[Record] = []

    def __aiter__(self) -> _Loop[T]:
        return self

    async def __anext__(self) -> T:
        held, self._held = self._held, []
        if held:
            await self._settle(held)
        try:
            self._held = await self._session.run(call.take(1, FOREVER, holds=True))
        except (exceptions.QueueShutDown, exceptions.QueueClosed):
            raise StopAsyncIteration from None
        self._held[0].spent = True
        item: T = self._held[0].item
        return item

    async def _settle(self, records: list[Record]) -> None:
        """Finish the item of a step; where that fails, it is redelivered."""
        try:
            await self._session.run(call.settle(records))
        except Exception:
            await _give_back(self._queue, self._session, records)
            raise

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
