"""The thread on which an async queue's store works: one of its own, so hops keep their order.

A function that carries a batch is *started*: it must come to its end even when no task waits
for it any more, because ``asyncio.run`` cancels every task when it ends.  One that a single
caller wants (opening) is *run*, and awaited as any coroutine is.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from .forks import follow
from .log import warn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager


R = TypeVar("R")
_Jobs: TypeAlias = "SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None]"


class Worker(Protocol):
    """The methods that the session for asyncio asks of a thread."""

    def start(self, function: Callable[..., Any], *args: Any) -> None:
        """Have ``function`` called on the thread, after all that was started before."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have ``function`` called on the thread, and return its result."""

    def stop(self) -> None:
        """Let the thread end after all started functions; it can start again."""

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
    """Make a coroutine function of a function, as ``aiofiles.os.wrap`` does."""

    async def hop(*args: Any, executor: Executor) -> Any:
        return await running_loop().run_in_executor(executor, function, *args)

    return hop


class ThreadWorker(Executor):
    """A thread for a store of files, or of a server; or threads that only read.

    An executor of its own: handing a job to a ``ThreadPoolExecutor`` costs a lone caller
    20 to 30 µs more, a third of its hop, and is refused in a function that runs at exit.  A thread
    is a daemon, so that a program that forgets to close its queue ends as if it had not; ``join``
    waits for it.

    Args:
        wrap: ``aiofiles.os.wrap``, or ``in_executor``.
        most: threads at the most; each of the first jobs starts one.
    """

    def __init__(self, wrap: Callable[..., Callable[..., Awaitable[Any]]], most: int = 1) -> None:
        self._wrap = wrap
        self._most = most
        self._jobs: _Jobs
        self._thread: threading.Thread | None  # the one that was started last
        self._started: int  # how many there are for these jobs
        self.forget()
        follow(self)

    def start(self, function: Callable[..., Any], *args: Any) -> None:
        if self._started < self._most and not self._start_thread():
            _do(function, args)
        else:
            self._jobs.put((function, args))

    def _start_thread(self) -> bool:
        """Start one more thread; False at exit, where Python may start none."""
        thread = threading.Thread(
            target=_work, args=(self._jobs, self._turn), name="persistqueue-store", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            if threading.main_thread().is_alive():
                raise
            return False
        self._thread = thread
        self._started += 1
        return True

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``start``, and return a future (``wrap`` calls this)."""
        future: Future[Any] = Future()
        self.start(_fulfil, future, function, args, kwargs)
        return future

    async def run(self, function: Callable[..., R], *args: Any) -> R:
        result: R = await self._wrap(function)(*args, executor=self)
        return result

    def stop(self) -> None:
        self._jobs.put(None)
        self._jobs, self._started = SimpleQueue(), 0

    def join(self, timeout: float | None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def forget(self) -> None:
        self._jobs, self._thread, self._started = SimpleQueue(), None, 0
        # Held by a thread at work, where there is to be one only.  There may be another one: the
        # one of before ``stop``, or one whose start was interrupted (Ctrl-C) when it had begun.
        self._turn = threading.Lock() if self._most == 1 else nullcontext()

    after_fork = forget

    def __del__(self) -> None:
        self.stop()


def _work(jobs: _Jobs, turn: AbstractContextManager[Any]) -> None:
    """Do one job after another.

    Between two of them, keep no reference: their queue may be dropped.
    """
    with turn:
        while (job := jobs.get()) is not None:
            _do(*job)
            del job
    jobs.put(None)  # for the next thread with these jobs


def _do(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        function(*args)
    except Exception:  # noqa: BLE001 - the next job belongs to another caller
        warn("work on a queue's thread failed", traceback=True)


def _fulfil(
    future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - its caller raises it
            future.set_exception(error)
