"""Job queues of both families, behind the same blocking calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from families import BlockingAsyncQueue, run

from persistqueue import AsyncJobQueue, JobQueue


class Blocking:
    """An object whose coroutine methods block until they are done."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._of, name)
        if not asyncio.iscoroutinefunction(value):
            return value
        return lambda *args, **kwargs: run(value(*args, **kwargs))


class BlockingJobs(BlockingAsyncQueue):
    """An ``AsyncJobQueue`` for blocking calls; handlers stay plain functions."""

    @property
    def dead(self) -> Blocking:
        return Blocking(self._queue.dead)

    @contextmanager
    def job(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with self._holding(self._queue.job(*args, **kwargs)) as job:
            yield Blocking(job)

    def take_many(self, *args: Any, **kwargs: Any) -> list[Any]:
        return run(self._queue.take_many(*args, **kwargs))

    @contextmanager
    def worker(self, handler: Callable[[Any], Any], **kwargs: Any) -> Iterator[Any]:
        async def handle(item: Any) -> None:
            if (waiting := handler(item)) is not None:
                await waiting

        with self._holding(self._queue.worker(handle, **kwargs)) as worker:
            yield Blocking(worker)

    @contextmanager
    def _holding(self, block: Any) -> Iterator[Any]:
        held = run(block.__aenter__())
        try:
            yield held
        except BaseException as error:
            if not run(block.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            run(block.__aexit__(None, None, None))


def _open_async(path: Any, *args: Any, **options: Any) -> BlockingJobs:
    return BlockingJobs(run(AsyncJobQueue.create(path, *args, **options)))


#: name -> opens a job queue: ``open(path, name, **options)``.
JOB_FAMILIES: dict[str, Callable[..., Any]] = {"AsyncJobQueue": _open_async, "JobQueue": JobQueue}
