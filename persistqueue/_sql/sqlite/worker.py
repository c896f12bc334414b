"""The thread of an aiosqlite connection, as the asyncio session uses it.

aiosqlite runs one function at a time on a thread of its own, each for a future, and its
thread dies when it answers a future whose loop is closed.  So it never gets a loop's
future: a function tells its own caller that it is over.  The thread is made a
daemon, so that a program that forgets to close its queue ends as if it had not; with
aiosqlite 0.22 it would hang.
"""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from ..._core.log import warn
from ..._core.worker import running_loop

try:
    import aiosqlite
    from aiosqlite.core import _STOP_RUNNING_SENTINEL as _STOP
except ImportError:
    raise ImportError(
        "the async SQLite classes need the package aiosqlite (0.20 or newer): "
        'pip install "persist-queue[async]"'
    ) from None

if TYPE_CHECKING:
    import asyncio
    import sqlite3
    from collections.abc import Callable


class _NoFuture:
    """Stands where aiosqlite expects a future, and ignores the result."""

    def get_loop(self) -> _NoFuture:
        """Return an object that stands for an event loop, too."""
        return self

    def call_soon_threadsafe(self, *_: object) -> None:
        """Do nothing."""


_NO_FUTURE: Any = _NoFuture()


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection, on whose thread anything can be run."""

    def do(self, function: Callable[[], Any]) -> None:
        """Have ``function`` called on the thread, behind all that came before."""
        self._tx.put_nowait((_NO_FUTURE, function))

    async def ask(self, function: Callable[[], Any]) -> Any:
        """Call ``function`` on the thread, and return its result."""
        future = running_loop().create_future()
        self.do(partial(_work, [partial(_answer, future, function)]))
        return await future

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do what aiosqlite's methods ask for."""
        if not self._running or not self._connection:
            raise ValueError("Connection closed")
        return await self.ask(partial(fn, *args, **kwargs))


class SqliteWorker:
    """A connection's thread; started with the first hop, again after ``stop``."""

    def __init__(self) -> None:
        self._connection: _Connection | None = None
        self._thread: threading.Thread | None = None

    def connection(self, inner: sqlite3.Connection | None) -> aiosqlite.Connection | None:
        """Return the connection around ``inner``; None where there is none."""
        outer = self._connection
        if outer is None or inner is None:
            return None
        outer._connection = inner  # noqa: SLF001 - it is opened by the store, not by aiosqlite
        return outer

    def start(self, function: Callable[..., Any], *args: Any) -> None:
        connection, job = self._running(), partial(_work, [partial(function, *args)])
        if connection is not None:
            connection.do(job)
        else:
            job()

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        connection = self._running()
        if connection is not None:
            return await connection.ask(partial(function, *args))
        return function(*args)

    def stop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection._connection = None  # noqa: SLF001 - the store has closed it
            connection._running = False  # noqa: SLF001
            if isinstance(connection, threading.Thread):  # before aiosqlite 0.22
                connection._tx.put_nowait(_STOP)  # type: ignore[arg-type]  # noqa: SLF001
            else:
                connection.do(_stop)

    def join(self, timeout: float | None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def forget(self) -> None:
        self._connection = self._thread = None

    def __del__(self) -> None:
        self.stop()

    def _running(self) -> _Connection | None:
        """Return the connection, its thread started; None at exit, where Python may start none."""
        before = self._thread
        if before is not None and not before.is_alive():
            self.stop()
        if self._connection is None:
            connection = _Connection(_never, 64)
            # Before 0.22 the connection is a thread, since then it has one.
            thread: Any = getattr(connection, "_thread", connection)
            thread.daemon = True
            try:
                thread.start()
            except RuntimeError:
                if threading.main_thread().is_alive():
                    raise
                return None
            self._thread = thread
            if before is not None:  # its jobs were there first
                connection.do(before.join)
            self._connection = connection
        return self._connection


def _never() -> sqlite3.Connection:
    raise AssertionError("the store opens the connection")


def _stop() -> Any:
    return _STOP


def _work(job: list[Callable[[], Any]]) -> None:
    """Do a job and hold on to nothing: aiosqlite keeps what it ran until the next one."""
    try:
        job.pop()()
    except Exception:  # noqa: BLE001 - the next job belongs to another caller
        warn("work on a queue's thread failed", traceback=True)


def _answer(future: asyncio.Future[Any], function: Callable[[], Any]) -> None:
    """Call ``function``, and tell its outcome to the loop that waits for it."""
    outcome: Any = None
    failed = False
    try:
        outcome = function()
    except BaseException as error:  # noqa: BLE001 - its caller raises it
        outcome, failed = error, True
    with contextlib.suppress(RuntimeError):  # the loop was closed, and the caller is gone
        future.get_loop().call_soon_threadsafe(_settle, future, outcome, failed)
    del outcome, future  # a cycle, if it is an error


def _settle(future: asyncio.Future[Any], outcome: Any, failed: bool) -> None:
    if future.done():  # cancelled
        return
    if failed:
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
