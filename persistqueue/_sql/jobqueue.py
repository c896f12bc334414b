# Written by tools/unasync.py: change async_jobqueue.py instead.
"""``JobBase``: what every job queue in an SQL table does, for threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .._core import call
from .._core.arguments import NO_ITEM, T, whole
from .._core.deadline import Deadline
from .._core.queue_threads import holding
from .._core.work import GRACE
from .._core.work_threads import Worker, run
from ..jobs import Put, moment_of
from .ackqueue import AckBase
from .job import DeadJobs, Job
from .rows import row_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from typing_extensions import Unpack

    from ..jobs import JobOptions, JobStats
    from .jobcalls import JobCalls
    from .jobs import JobStore
    from .rows import RowId


class JobBase(AckBase[T]):
    """Jobs are retried, delayed and buried; a subclass says in which database."""

    _store: JobStore
    _calls: JobCalls

    @property
    def dead(self) -> DeadJobs:
        """The dead jobs."""
        return DeadJobs(self._session, self._store)

    # -- put ------------------------------------------------------------------------

    def put(
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
            Everything that ``SQLiteQueue.put`` raises.
        """
        job = Put(item, delay, at, priority, ttl, max_attempts, key, headers)
        return self._put(self._calls.row(job), block, timeout)

    def put_nowait(self, item: T, **how: Unpack[JobOptions]) -> int | None:
        """Store a job if there is room now: ``put(item, block=False, **how)``."""
        return self.put(item, False, **how)

    def put_many(
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
        return self._put_rows(
            lambda item: row(item if isinstance(item, Put) else Put(item)), items, block, timeout
        )

    # -- take -----------------------------------------------------------------------

    def process(
        self, block: bool = True, timeout: float | None = None
    ) -> AbstractContextManager[T]:
        """Take a job's item for the length of a ``with`` block.

        The job is done when the block ends.  When the block raises an ``Exception``, the job is
        tried again as ``retry`` says, or is dead; ``Snooze`` and ``Dead`` say which.
        Arguments and errors are those of ``get``.
        """
        return holding(self, self._session, self._calls.work(), block, timeout)

    def job(
        self, block: bool = True, timeout: float | None = None
    ) -> AbstractContextManager[Job[T]]:
        """Take a job for the length of a ``with`` block, with what is known of it.

        For the rest see ``process``.  Inside, ``job.retry()``, ``job.fail()`` or ``job.ack()``
        may end the job sooner.
        """
        work = self._calls.work(partial(Job, self._session, self._calls))
        return holding(self, self._session, work, block, timeout)

    def take_many(self, max_items: int, timeout: float | None = None) -> list[Job[T]]:
        """Wait for one job, then take those that are ready, in their order, with one commit.

        Args:
            max_items: the greatest number of jobs, 1 or more.
            timeout: seconds to wait for the first; None for as long as it takes.

        Raises:
            Everything that ``get`` raises.
        """
        most = whole("max_items", max_items, 1)
        records = self._session.run(call.take(most, Deadline.of(True, timeout)))
        return [Job(self._session, self._calls, record) for record in records]

    def ack_many(
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
            jobs = [item for item in items if isinstance(item, Job)]
            if jobs and len(jobs) == len(items):
                records = [job.record for job in jobs]
                held = self._session.run(self._calls.done_each(records))
                return [job.id if job.id in held else None for job in jobs]
        return super().ack_many(items, ids=ids)

    # -- work -----------------------------------------------------------------------

    def worker(
        self,
        handler: Callable[[Any], object],
        *,
        concurrency: int = 1,
        timeout: float | None = None,
        grace: float = GRACE,
        whole_job: bool = False,
    ) -> Worker:
        """Return a worker, which runs ``handler`` for each job while its block lasts.

        ::

            with queue, queue.worker(send, concurrency=8):
                ...

        At the end of the block the worker takes nothing new and waits ``grace`` seconds for the
        handlers that run.  The jobs of the others are ready again, and no attempt is counted.

        A handler that raises ``SystemExit`` has failed, and ends the worker with it.

        Args:
            handler: is called with a job's item; see ``process`` for what its end means.
            concurrency: how many jobs are worked on at a time.
            timeout: seconds after which a handler has failed; None for no limit.
            grace: seconds.
            whole_job: call it with the ``Job`` in place of the item.
        """
        shown = partial(Job, self._session, self._calls) if whole_job else None
        return Worker(
            self,
            self._session,
            self._calls.work(shown),
            handler,
            concurrency=concurrency,
            timeout=timeout,
            grace=grace,
        )

    def work(
        self,
        handler: Callable[[Any], object],
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
        run(
            self.worker(
                handler,
                concurrency=concurrency,
                timeout=timeout,
                grace=grace,
                whole_job=whole_job,
            )
        )

    # -- jobs that wait ---------------------------------------------------------------

    def cancel(self, id: RowId) -> bool:
        """Delete a job that is ready or delayed.

        Returns:
            whether it was; a job that a consumer holds, and a dead one, stay.
        """
        return self._write(partial(self._store.cancel, row_id(id)))

    def reschedule(
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
        return self._write(partial(self._store.reschedule, row_id(id), due))

    def stats(self) -> JobStats:
        """Count the jobs of each state."""
        return self._session.run(call.look(self._store.stats))
