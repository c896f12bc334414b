"""The queue classes under contract, each behind the same blocking methods.

A contract test is written once, in blocking calls.  The sync family is used as it is; a
call of the async family runs on an event loop in a thread of its own, and the caller
blocks until it is done.  All calls of one thread run in one task, as one consumer's do.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from persistqueue import AsyncQueue, Queue


class LoopThread:
    """An event loop that runs until the process ends."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._mine = threading.local()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        atexit.register(self._end)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run ``coroutine`` in the task of the calling thread, and return its result."""
        if not hasattr(self._mine, "errands"):
            self._mine.errands = asyncio.Queue[Any]()
            asyncio.run_coroutine_threadsafe(self._serve(self._mine.errands), self.loop)
        outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.loop.call_soon_threadsafe(self._mine.errands.put_nowait, (coroutine, outcome))
        return outcome.result()

    def _end(self) -> None:
        """Let every thread's task end, which would be pending else when Python is at its end."""

        async def cancel() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(cancel(), self.loop).result(1)

    async def _serve(self, errands: asyncio.Queue[Any]) -> None:
        while True:
            coroutine, outcome = await errands.get()
            try:
                outcome.set_result(await coroutine)
            except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
                outcome.set_exception(error)
            del coroutine, outcome


_thread: LoopThread | None = None


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run ``coroutine`` on the tests' event loop, and return its result."""
    global _thread  # noqa: PLW0603 - started when it is needed, once
    if _thread is None:
        _thread = LoopThread()
    return _thread.run(coroutine)


class BlockingAsyncQueue:
    """An async queue whose coroutine methods block until they are done."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._queue, name)
        if not asyncio.iscoroutinefunction(value):
            return value
        return lambda *args, **kwargs: run(value(*args, **kwargs))

    def __iter__(self) -> Iterator[Any]:
        loop = aiter(self._queue)
        try:
            while True:
                try:
                    item = run(anext(loop))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            run(loop.aclose())

    @contextmanager
    def process(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        block = self._queue.process(*args, **kwargs)
        item = run(block.__aenter__())
        try:
            yield item
        except BaseException as error:
            if not run(block.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            run(block.__aexit__(None, None, None))

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_async(path: Any, **arguments: Any) -> BlockingAsyncQueue:
    """Open an ``AsyncQueue`` for blocking calls."""
    return BlockingAsyncQueue(run(AsyncQueue.create(path, **arguments)))


#: name -> opens a queue: ``open(path, **arguments)``.
FILE_FAMILIES: dict[str, Callable[..., Any]] = {"AsyncQueue": open_async, "Queue": Queue}
