# Written by tools/unasync.py: change async_jobqueue.py instead.
"""``JobQueue``: jobs that are retried, delayed, unique by a key, and never lost; for threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from ._core import call
from ._core.arguments import NO_ITEM, T, uncopied, whole
from ._core.deadline import Deadline
from ._core.inflight import AT_ACK
from ._core.queue_threads import holding
from ._core.threads import ThreadSession
from ._core.work import GRACE
from ._core.work_threads import Worker, run
from ._sql.ackqueue import AckBase
from ._sql.jobcalls import JobCalls
from ._sql.jobs import JobStore
from ._sql.jobstatements import ATTEMPTS, DUE, HEADERS, KEY, JobTable
from ._sql.rows import row_id
from ._sql.sqlite.connection import SqliteConnection
from ._sql.sqlite.queue import SQLiteBase
from ._sql.statements import JOBS
from .exceptions import Empty, Full, JobLost
from .jobs import Dead, DeadJob, JobStats, Put, Retry, Snooze, moment_of, seconds_of, unpacked
from .serializers import pickle

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from typing_extensions import Unpack

    from ._core.store import Record
    from ._sql.rows import RowId
    from ._sql.sqlite.database import Database
    from ._sql.sqlite.queue import SqliteOptions

__all__ = [
    "Dead",
    "DeadJob",
    "Empty",
    "Full",
    "Job",
    "JobLost",
    "JobQueue",
    "JobStats",
    "Put",
    "Retry",
    "Snooze",
    "Worker",
]

_PAGE = 500  # dead jobs that are read at once


class JobQueue(AckBase[T], SQLiteBase[T]):
    """A queue of jobs: they are retried when they fail, may be delayed, and are never lost.

    A job is *ready*, or *delayed* until it is due; a consumer *holds* it; then it is done and
    gone, or it failed and is delayed, or *dead* when it has failed too often.  The jobs of a
    worker that died are ready again within a tenth of a second.  The lowest priority goes
    first, among equals the oldest.

    The table is ``SQLiteAckQueue``'s, with columns behind: an ack queue becomes a job queue
    by the name of its class.

    What survives what: when a call has returned, what it did survives loss of power
    (``durability="power"``) or death of the process (``"process"``).  A job is run at least once.

    Other arguments: see ``SQLiteQueue``.

    Args:
        path: the database's file, which is created if it is missing; or a directory that is
            there, which holds ``data.db``.  ``":memory:"`` for a queue of this object alone.
        name: of the queue; a database holds any number.
        serializer: as of every queue; a model's own ``dumps`` and ``loads`` give typed jobs.
        retry: when a job that failed is tried again, and how often.
        keep_dead: how many dead jobs are kept, about; None for all of them.

    Raises:
        Everything that ``SQLiteQueue`` raises.
    """

    _KIND = JOBS
    _MAKES_FILE = True
    _store: JobStore
    _calls: JobCalls

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        serializer: Any = pickle,
        *,
        retry: Retry | None = None,
        keep_dead: int | None = 10_000,
        timeout: float = 10.0,
        db_file_name: str | None = None,
        **options: Unpack[SqliteOptions],
    ) -> None:
        self.retry = Retry() if retry is None else retry
        if not isinstance(self.retry, Retry):
            raise TypeError(f"'retry' must be a Retry, not {type(retry).__name__}")
        self.keep_dead = None if keep_dead is None else whole("keep_dead", keep_dead, 0)
        super().__init__(
            path,
            name,
            timeout=timeout,
            serializer=serializer,
            db_file_name=db_file_name,
            **options,
        )

    def _open(self, database: Database, table: Any) -> None:
        table = JobTable(self._KIND, self.name)
        self._connection = SqliteConnection(database, table)
        self._store = JobStore(
            self._connection,
            table,
            self._rows.codec,
            skip_corrupt=self._skips,
            most=self.retry.max_attempts,
            keep_dead=self.keep_dead,
        )
        self._calls = JobCalls(self._store, f"{self.path}, {self.name}", self.retry, self._rows)
        self._session = ThreadSession(self._store, self.maxsize, AT_ACK, self.timeout)

    @property
    def dead(self) -> DeadJobs[T]:
        """The dead jobs."""
        return DeadJobs(self)

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

    def put_nowait(self, item: T, **how: Any) -> int | None:
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
        work = self._calls.work(partial(Job, self))
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
        return [Job(self, record) for record in records]

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
                records = [job._record for job in jobs]
                held = self._session.run(self._calls.done_each(records))
                return [number if number in held else None for number in map(_id_of, records)]
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

        Args:
            handler: is called with a job's item; see ``process`` for what its end means.
            concurrency: how many jobs are worked on at a time.
            timeout: seconds after which a handler has failed; None for no limit.
            grace: seconds.
            whole_job: call it with the ``Job`` in place of the item.
        """
        work = self._calls.work(partial(Job, self)) if whole_job else self._calls.work()
        return Worker(
            self,
            self._session,
            work,
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

    def cancel(self, id: RowId) -> bool:  # noqa: A002 - persist-queue's name for it
        """Delete a job that is ready or delayed.

        Returns:
            whether it was; a job that a consumer holds, and a dead one, stay.
        """
        return self._write(partial(self._store.cancel, row_id(id)))

    def reschedule(
        self,
        id: RowId,  # noqa: A002
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


class Job(Generic[T]):
    """A job that is handed out, and what is known of it.

    Attributes:
        item: what was put.
        id: the job's number.
        attempt: which one this is; the first is 1.
        max_attempts: how often it is handed out; None for no limit.
        put_at: when it was put, in seconds since 1970.
        due_at: when it was due.
        key: as it was put; None without one.
        headers: as they were put.
    """

    __getstate__ = uncopied

    def __init__(self, queue: JobQueue[T], record: Record) -> None:
        row = record.end
        self._queue = queue
        self._record = record
        self.item: T = record.item
        self.id: int = row[0]
        self.attempt: int = row[ATTEMPTS] + 1
        self.max_attempts: int | None = queue._store.most_of(row)
        self.put_at: float = row[2]
        self.due_at: float = row[2] if row[DUE] is None else row[DUE]
        self.key: str | None = row[KEY]
        self.headers: dict[str, str] = unpacked(row[HEADERS])

    def ack(self) -> None:
        """Say that the job is done.

        Raises:
            JobLost: it is not this consumer's any more, or was ended before.
        """
        self._end(self._queue._calls.done([self._record]))

    def retry(self, delay: float | None = None, reason: str = "") -> None:
        """Try the job again later; if this was its last attempt, it is dead.

        Args:
            delay: seconds; None for what the queue's ``retry`` says.
            reason: is stored with the job.

        Raises:
            JobLost: it is not this consumer's any more, or was ended before.
        """
        self._end(self._queue._calls.retry([self._record], delay, reason))

    def fail(self, reason: str = "") -> None:
        """Do not try the job again: it is dead.

        Raises:
            JobLost: it is not this consumer's any more, or was ended before.
        """
        self._end(self._queue._calls.dead([self._record], reason))

    def _end(self, ending: call.Call[int]) -> None:
        if not self._queue._session.run(ending):
            raise JobLost(f"the job {self.id} is not this consumer's any more, or has ended")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}, attempt {self.attempt}, of {self._queue!r}>"


class DeadJobs(Generic[T]):
    """The dead jobs of a queue: look at them, run them again, delete them."""

    def __init__(self, queue: JobQueue[T]) -> None:
        self._queue = queue

    def browse(self, limit: int | None = None) -> list[DeadJob]:
        """Return dead jobs, the oldest first, and leave them there.

        Args:
            limit: how many at the most; None for all.
        """
        left = 2**62 if limit is None else whole("limit", limit, 1)
        found: list[DeadJob] = []
        behind, store = -(2**63), self._queue._store
        while left > 0:
            look = partial(store.browse, behind, min(left, _PAGE))
            page = self._queue._session.run(call.look(look))
            if not page:
                break
            found += page
            behind, left = page[-1].id, left - len(page)
        return found

    def requeue(self, ids: Iterable[RowId] | None = None) -> list[int]:
        """Make dead jobs ready, with all their attempts before them.

        Args:
            ids: which ones; None for all.

        Returns:
            the ids of those that are ready now.  A job whose key is in use stays dead.
        """
        numbers = None if ids is None else [row_id(each) for each in ids]
        return self._queue._write(partial(self._queue._store.requeue, numbers))

    def purge(self, older: float = 0) -> int:
        """Delete dead jobs.

        Args:
            older: only those that were put so many seconds ago, or more.

        Returns:
            how many were deleted.
        """
        seconds = seconds_of("older", older)
        return self._queue._write(partial(self._queue._store.purge, seconds))


def _id_of(record: Record) -> int:
    number: int = record.start
    return number
