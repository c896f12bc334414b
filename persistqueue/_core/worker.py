"""The thread on which an async queue's store works: one of its own, so hops keep their order.

A hop that carries a batch is *started*: it must come to its end even when no task waits for
it any more, because ``asyncio.run`` cancels every task when it ends.  One that a single
caller wants (opening) is *run*, and awaited as any coroutine is.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from .log import warn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


_Jobs: TypeAlias = "SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None]"


class Worker(Protocol):
    """The methods that the session for asyncio asks of a thread."""

    def start(self, function: Callable[..., Any], *args: Any) -> None:
        """Have ``function`` called on the thread, after all that was started before."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have it called on the thread, and return what it returns."""

    def stop(self) -> None:
        """Let the thread end when it is through with what was started; it can start again."""

    def join(self, timeout: float | None) -> None:
        """Wait up to ``timeout`` seconds until it has ended."""

    def forget(self) -> None:
        """Forget the thread: it is a parent process's."""


def running_loop() -> asyncio.AbstractEventLoop:
    """Return asyncio's running loop.

    Raises:
        RuntimeError: there is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "no event loop of asyncio is running in this thread, and the async classes need one "
            "(a loop of trio is none)"
        ) from None


def in_executor(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Do what ``aiofiles.os.wrap`` does, for a store of no files."""

    async def hop(*args: Any, executor: Executor) -> Any:
        return await running_loop().run_in_executor(executor, function, *args)

    return hop


class ThreadWorker(Executor):
    """A thread for a store of files, or of a server; started with the first hop.

    An executor of its own: handing a job to a ``ThreadPoolExecutor`` costs a lone caller
    20 to 30 µs more, a third of its hop.  The thread is a daemon, so that a program that
    forgets to close its queue ends as if it had not; ``join`` waits for it.

    Args:
        wrap: ``aiofiles.os.wrap``, or ``in_executor``.
    """

    def __init__(self, wrap: Callable[..., Callable[..., Awaitable[Any]]]) -> None:
        self._wrap = wrap
        self._jobs: _Jobs | None = None
        self._thread: threading.Thread | None = None

    def start(self, function: Callable[..., Any], *args: Any) -> None:
        jobs = self._jobs
        if jobs is None:
            jobs, before = SimpleQueue(), self._thread
            thread = threading.Thread(
                target=_work, args=(jobs, before), name="persistqueue-store", daemon=True
            )
            thread.start()  # may raise, and then nothing has changed
            self._thread, self._jobs = thread, jobs
        jobs.put((function, args))

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do what ``start`` does, and return a future (this is what ``wrap`` calls)."""
        future: Future[Any] = Future()
        self.start(_fulfil, future, function, args, kwargs)
        return future

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._wrap(function)(*args, executor=self)

    def stop(self) -> None:
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            jobs.put(None)

    def join(self, timeout: float | None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def forget(self) -> None:
        self._jobs = self._thread = None

    def __del__(self) -> None:
        self.stop()


def _work(jobs: _Jobs, before: threading.Thread | None) -> None:
    """Do one job after another, behind those of the thread before.

    Between two of them, hold on to nothing: what they belong to may be dropped.
    """
    if before is not None:
        before.join()
    del before
    while (job := jobs.get()) is not None:
        function, args = job
        try:
            function(*args)
        except Exception:  # noqa: BLE001 - the next job belongs to another caller
            warn("work on a queue's thread failed", traceback=True)
        del job, function, args


def _fulfil(
    future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - its caller raises it
            future.set_exception(error)


R = TypeVar("R")


class ReaderThreads:
    """A pool of threads, started when they are needed.

    A pool of its own: the loop's may be busy with something else.

    Args:
        most: threads at the most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool: Executor | None = None
        self._process = 0  # whose threads they are: a fork has none

    async def run(self, function: Callable[[], R]) -> R:
        """Have ``function`` called on a thread, and return what it returns."""
        try:
            if self._pool is None or self._process != os.getpid():
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - not in atexit

                self._pool = ThreadPoolExecutor(self._most, "persistqueue-read")
                self._process = os.getpid()
            reading = running_loop().run_in_executor(self._pool, function)
        except RuntimeError:  # in atexit there are no pools any more
            return function()
        return await reading

    def stop(self) -> None:
        """Let the threads end when they are through."""
        pool, self._pool = self._pool, None
        if pool is not None and self._process == os.getpid():
            pool.shutdown(wait=False)
