"""``AsyncJobBase``: what every job queue in an SQL table does, for asyncio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .._core import call
from .._core.arguments import NO_ITEM, T, whole
from .._core.deadline import Deadline
from .._core.queue_tasks import holding
from .._core.work import GRACE
from .._core.work_tasks import AsyncWorker, run
from ..jobs import Put, moment_of
from .async_ackqueue import AsyncAckBase
from .async_job import AsyncDeadJobs, AsyncJob
from .rows import row_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from typing_extensions import Unpack

    from ..jobs import JobOptions, JobStats
    from .jobcalls import JobCalls
    from .jobs import JobStore
    from .rows import RowId


class AsyncJobBase(AsyncAckBase[T]):
    """Jobs are retried, delayed and buried; a subclass says in which database."""

    _store: JobStore
    _calls: JobCalls

    @property
    def dead(self) -> AsyncDeadJobs:
        """The dead jobs."""
        return AsyncDeadJobs(self._session, self._store)

    # -- put ------------------------------------------------------------------------

    async def put(
        self,
        item: T,
        block: bool = True,
        timeout: float | None = None,
        *,
        delay: float | None = None,
        at: datetime | float | None = None,
        priority: int = 0,
        ttl: float | None = None,
        max_attempts: int | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int | None:
        """Store a job.

        Args:
            item: anything that the serializer takes; None is an item like any other.
            block: wait for room if ``maxsize`` jobs are ready.
            timeout: seconds to wait for room; None for as long as it takes.
            delay: seconds until it is due.
            at: when it is due, instead of ``delay``: an aware ``datetime``, or seconds since 1970.
            priority: the lower, the sooner; a whole number of 64 bits.
            ttl: seconds, from when it is due on, after which a job that waits is dead with the
                note "expired".  A job that a consumer holds does not expire.
            max_attempts: instead of the queue's ``retry.max_attempts``.
            key: nothing is stored while an unfinished job has the same key.
            headers: texts with names, beside the item: of a trace, say.

        Returns:
            the job's id; None if an unfinished job has the key.

        Raises:
            TypeError, ValueError: an argument is wrong.
            Everything that ``AsyncSQLiteQueue.put`` raises.
        """
        job = Put(item, delay, at, priority, ttl, max_attempts, key, headers)
        return await self._put(self._calls.row(job), block, timeout)

    async def put_nowait(self, item: T, **how: Unpack[JobOptions]) -> int | None:
        """Store a job if there is room now: ``put(item, block=False, **how)``."""
        return await self.put(item, False, **how)

    async def put_many(
        self, items: Iterable[T | Put[T]], block: bool = True, timeout: float | None = None
    ) -> list[int | None]:
        """Store jobs in their order with one commit: all of them or none.

        Args:
            items: each an item, or a ``Put`` with what ``put`` takes by keyword; read to its end
                before anything is stored.
            block: wait until there is room for all.
            timeout: seconds to wait for room; None for as long as it takes.

        Returns:
            the ids; None at the place of a job whose key is in use.

        Raises:
            ValueError: they are more than ``maxsize``, so they would never fit.
            Everything that ``put`` raises.
        """
        row = self._calls.row
        return await self._put_rows(
            lambda item: row(item if isinstance(item, Put) else Put(item)), items, block, timeout
        )

    # -- take -----------------------------------------------------------------------

    def process(
        self, block: bool = True, timeout: float | None = None
    ) -> AbstractAsyncContextManager[T]:
        """Take a job's item for the length of an ``async with`` block.

        The job is done when the block ends.  When the block raises an ``Exception``, the job is
        tried again as ``retry`` says, or is dead; ``Snooze`` and ``Dead`` say which.
        Arguments and errors are those of ``get``.

        In asyncio, a job whose block is cancelled is ready again, and no attempt is counted.
        """
        return holding(self, self._session, self._calls.work(), block, timeout)

    def job(
        self, block: bool = True, timeout: float | None = None
    ) -> AbstractAsyncContextManager[AsyncJob[T]]:
        """Take a job for the length of an ``async with`` block, with what is known of it.

        For the rest see ``process``.  Inside, ``job.retry()``, ``job.fail()`` or ``job.ack()``
        may end the job sooner.
        """
        work = self._calls.work(partial(AsyncJob, self._session, self._calls))
        return holding(self, self._session, work, block, timeout)

    async def take_many(self, max_items: int, timeout: float | None = None) -> list[AsyncJob[T]]:
        """Wait for one job, then take those that are ready, in their order, with one commit.

        Args:
            max_items: the greatest number of jobs, 1 or more.
            timeout: seconds to wait for the first; None for as long as it takes.

        Raises:
            Everything that ``get`` raises.
        """
        most = whole("max_items", max_items, 1)
        records = await self._session.run(call.take(most, Deadline.of(True, timeout)))
        return [AsyncJob(self._session, self._calls, record) for record in records]

    async def ack_many(
        self, items: Iterable[object] = NO_ITEM, *, ids: Iterable[RowId] | None = None
    ) -> list[int | None]:
        """Say that several jobs are done, with one commit.

        Args:
            items: jobs that ``take_many`` returned, or what ``get`` returned each time.
            ids: the jobs' ids, instead of ``items``.

        Returns:
            the id of each; None where nothing changed.

        Raises:
            ValueError: both or neither are given.
        """
        if ids is None and items is not NO_ITEM:
            items = list(items)
            jobs = [item for item in items if isinstance(item, AsyncJob)]
            if jobs and len(jobs) == len(items):
                records = [job.record for job in jobs]
                held = await self._session.run(self._calls.done_each(records))
                return [job.id if job.id in held else None for job in jobs]
        return await super().ack_many(items, ids=ids)

    # -- work -----------------------------------------------------------------------

    def worker(
        self,
        handler: Callable[[Any], Awaitable[object]],  # async only
        # threads only: handler: Callable[[Any], object],
        *,
        concurrency: int = 1,
        timeout: float | None = None,
        grace: float = GRACE,
        whole_job: bool = False,
    ) -> AsyncWorker:
        """Return a worker, which runs ``handler`` for each job while its block lasts.

        ::

            async with queue, queue.worker(send, concurrency=8):
                ...

        At the end of the block the worker takes nothing new and waits ``grace`` seconds for the
        handlers that run.  The jobs of the others are ready again, and no attempt is counted.

        A handler that raises ``SystemExit`` has failed, and ends the worker with it.

        Args:
            handler: is called with a job's item; see ``process`` for what its end means.
            concurrency: how many jobs are worked on at a time.
            timeout: seconds after which a handler has failed; None for no limit.
            grace: seconds.
            whole_job: call it with the ``AsyncJob`` in place of the item.
        """
        shown = partial(AsyncJob, self._session, self._calls) if whole_job else None
        return AsyncWorker(
            self,
            self._session,
            self._calls.work(shown),
            handler,
            concurrency=concurrency,
            timeout=timeout,
            grace=grace,
        )

    async def work(
        self,
        handler: Callable[[Any], Awaitable[object]],  # async only
        # threads only: handler: Callable[[Any], object],
        *,
        concurrency: int = 1,
        timeout: float | None = None,
        grace: float = GRACE,
        whole_job: bool = False,
    ) -> None:
        """Run ``handler`` for each job until SIGTERM or SIGINT comes: a program's main loop.

        It ends also when the queue is shut down and empty, or closed.  Arguments: see
        ``worker``.
        """
        await run(
            self.worker(
                handler,
                concurrency=concurrency,
                timeout=timeout,
                grace=grace,
                whole_job=whole_job,
            )
        )

    # -- jobs that wait ---------------------------------------------------------------

    async def cancel(self, id: RowId) -> bool:
        """Delete a job that is ready or delayed.

        Returns:
            whether it was; a job that a consumer holds, and a dead one, stay.
        """
        return await self._write(partial(self._store.cancel, row_id(id)))

    async def reschedule(
        self,
        id: RowId,
        *,
        delay: float | None = None,
        at: datetime | float | None = None,
    ) -> bool:
        """Set when a job that is ready or delayed is due; without ``delay`` and ``at``, now.

        Returns:
            whether it waits; a job that a consumer holds, and a dead one, stay as they are.
        """
        due = moment_of(self._store.clock(), delay, at)
        return await self._write(partial(self._store.reschedule, row_id(id), due))

    async def stats(self) -> JobStats:
        """Count the jobs of each state."""
        return await self._session.run(call.look(self._store.stats))
