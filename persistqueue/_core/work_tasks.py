"""A worker for asyncio: ``concurrency`` tasks that take jobs, call a handler, and finish them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from ..exceptions import QueueClosed, QueueShutDown
from .arguments import whole
from .deadline import FOREVER, checked_timeout
from .log import warn
from .work import PASSING, PAUSE, SIGNALS, ended, is_async, overtime, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from .store import Record
    from .tasks import TaskSession
    from .work import Work


class AsyncWorker:
    """Calls a handler with each job of a queue; made by ``worker`` of the queue.

    ``async with`` starts it.  Its end takes no new job, lets the handlers that run go on for
    ``grace`` seconds, cancels the others, and gives their jobs back; these cost no attempt.
    """

    def __init__(
        self,
        queue: object,
        session: TaskSession,
        work: Work,
        handler: Callable[[Any], Awaitable[object]],
        *,
        concurrency: int,
        timeout: float | None,
        grace: float,
    ) -> None:
        if not is_async(handler):
            raise TypeError(
                "the handler must be an 'async def' function; JobQueue.worker takes plain ones"
            )
        self._queue = queue
        self._session = session
        self._work = work
        self._handler = handler
        self._concurrency = whole("concurrency", concurrency, 1)
        self._timeout = None if timeout is None else checked_timeout(timeout)
        self._grace = checked_timeout(grace, "grace")
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()  # those whose handler runs
        self._stopping = False  # no job is taken any more
        self._hurrying = asyncio.Event()  # the handlers that run are cancelled

    async def __aenter__(self) -> Self:
        if self._tasks:
            raise RuntimeError("a worker can be started once; make another one")
        self._session.check_open()
        for _ in range(self._concurrency):
            self._tasks.add(_Task(self._run(), loop=asyncio.get_running_loop()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        if error is None:
            self._raise()

    async def wait(self) -> None:
        """Wait until the queue is shut down and empty, or closed.

        Raises:
            QueueCorrupt, SerializationError, FormatError: a job cannot be read; the worker has
                stopped.
        """
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        self._raise()

    async def stop(self) -> None:
        """Take nothing new, wait ``grace`` seconds for handlers, give the rest back unspent."""
        self._stopping = True
        for task in self._tasks - self._busy:
            task.cancel()
        try:
            if self._busy and not self._hurrying.is_set():
                await self._last_end()
        finally:
            self._hurrying.set()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _last_end(self) -> None:
        """Wait until no handler runs, ``grace`` is over, or ``hurry`` was called."""
        hurry = asyncio.ensure_future(self._hurrying.wait())
        clock = asyncio.get_running_loop().time
        end = clock() + self._grace
        try:
            while self._busy and not hurry.done() and (left := end - clock()) > 0:
                ends = {*self._busy, hurry}
                await asyncio.wait(ends, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()

    def hurry(self) -> None:
        """Do not wait for the handlers that run any longer."""
        self._hurrying.set()

    def _raise(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    # -- one of the tasks -----------------------------------------------------------

    async def _run(self) -> None:
        while not self._stopping:
            try:
                records = await self._session.run(self._work.take(FOREVER))
            except (QueueShutDown, QueueClosed):
                return
            except PASSING as error:
                warn("%s: a worker tries again: %s", repr(self._queue), error)
                await asyncio.sleep(PAUSE)
                continue
            await self._handle(records)

    async def _handle(self, records: list[Record]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        failure: BaseException | None = None
        try:
            await self._call(self._work.shown(records[0]))
        except asyncio.CancelledError as error:
            if self._is_ending(task):
                await self._session.give_back(records)
                raise
            failure = error  # the handler's own
        except GeneratorExit:
            self._session.give_back_soon(records)
            raise
        except KeyboardInterrupt:
            await self._session.give_back(records)
            raise
        except BaseException as error:  # noqa: BLE001 - it is stored with the job
            failure = error
        finally:
            self._busy.discard(task)
        await self._conclude(records, failure)
        if failure is not None and not isinstance(failure, (Exception, asyncio.CancelledError)):
            raise failure  # SystemExit, say: its attempt counts, or it would come for ever

    def _is_ending(self, task: asyncio.Task[None]) -> bool:
        """Return whether a cancellation came from outside, not out of the handler."""
        if sys.version_info >= (3, 11):
            return self._stopping or task.cancelling() > 0
        return self._stopping or not isinstance(task, _Task) or task.told

    async def _call(self, job: Any) -> None:
        if self._timeout is None:
            await self._handler(job)
            return
        try:
            await asyncio.wait_for(self._handler(job), self._timeout)
        except asyncio.TimeoutError as error:
            raise overtime(self._timeout, error) from error

    async def _conclude(self, records: list[Record], failure: BaseException | None) -> None:
        """Finish a job, or store that it failed; a full disk is waited for."""
        say(self._queue, self._work, failure)
        while True:
            try:
                await self._session.run(ended(self._work, records, failure))
            except QueueClosed:
                return
            except PASSING as error:
                warn("%s: a worker tries again: %s", repr(self._queue), error)
                if self._stopping:
                    return
                await asyncio.sleep(PAUSE)
            else:
                return


class _Task(asyncio.Task[None]):
    """A task that knows whether it was cancelled, as all do since Python 3.11."""

    told = False

    def cancel(self, msg: Any = None) -> bool:
        self.told = True
        return super().cancel(msg)


async def run(worker: AsyncWorker) -> None:
    """Run a worker until SIGTERM or SIGINT, or until its queue is shut down and empty.

    A second signal does not wait for the handlers that run.
    """
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set():
            worker.hurry()
        stop.set()

    with _signals(told):
        async with worker:
            ends = [asyncio.ensure_future(end) for end in (stop.wait(), worker.wait())]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
                await asyncio.gather(*ends, return_exceptions=True)


@contextlib.contextmanager
def _signals(told: Callable[[], None]) -> Iterator[None]:
    """Call ``told`` at each signal that ends a program, where this thread may be told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        try:
            loop.add_signal_handler(number, told)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(told))
    try:
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)
