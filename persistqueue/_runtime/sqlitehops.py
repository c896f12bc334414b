"""The thread of an aiosqlite connection, as the asyncio shell uses it.

aiosqlite runs one function at a time on a thread of its own, each for a future.  What a
queue *starts* is for nobody: it must come to its end even when its loop has gone.  The
thread is made a daemon, so that a program that forgets to close its queue ends as if it
had not; with aiosqlite 0.22 it would hang.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from .._log import warn

try:
    import aiosqlite
    from aiosqlite.core import _STOP_RUNNING_SENTINEL as _STOP
except ImportError as error:
    raise ImportError(
        "the async SQLite classes need the package aiosqlite (0.20 or newer): "
        'pip install "persist-queue[async]"'
    ) from error

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable


class _Nobody:
    """Stands where aiosqlite expects a future: whatever becomes of it, nobody hears."""

    def get_loop(self) -> _Nobody:
        """Return what is called in place of an event loop."""
        return self

    def call_soon_threadsafe(self, *_: object) -> None:
        """Do nothing."""


_NOBODY = _Nobody()


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection, on whose thread anything can be run."""

    def do(self, future: Any, function: Callable[[], Any]) -> None:
        """Have ``function`` called on the thread, behind everything that came before."""
        self._tx.put_nowait((future, function))


class SqliteHops:
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
        self._running().do(_NOBODY, partial(_work, [partial(function, *args)]))

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._running().do(future, partial(_once, [partial(function, *args)]))
        return await future

    def stop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection._connection = None  # noqa: SLF001 - the store has closed it
            connection._running = False  # noqa: SLF001
            if isinstance(connection, threading.Thread):  # before aiosqlite 0.22
                connection._tx.put_nowait(_STOP)  # type: ignore[arg-type]  # noqa: SLF001
            else:
                connection.do(_NOBODY, _stop)

    def join(self, timeout: float | None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def forget(self) -> None:
        self._connection = self._thread = None

    def __del__(self) -> None:
        self.stop()

    def _running(self) -> _Connection:
        if self._connection is None:
            before = self._thread
            connection = _Connection(_never, 64)
            # Before 0.22 the connection is a thread, since then it has one.
            thread: Any = getattr(connection, "_thread", connection)
            thread.daemon = True
            thread.start()
            self._thread = thread
            if before is not None:  # its jobs were there first
                connection.do(_NOBODY, before.join)
            self._connection = connection
        return self._connection


def _never() -> sqlite3.Connection:
    raise AssertionError("the store opens the connection")


def _stop() -> Any:
    return _STOP


def _once(job: list[Callable[[], Any]]) -> Any:
    """Do a job and hold on to nothing: aiosqlite keeps what it ran until the next one."""
    return job.pop()()


def _work(job: list[Callable[[], Any]]) -> None:
    """The same for a job that nobody waits for."""
    try:
        job.pop()()
    except Exception:  # noqa: BLE001 - the next job is somebody else's
        warn("work on a queue's thread failed", traceback=True)
