"""``AsyncJobQueue``: jobs that are retried, delayed, and never lost; for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._core.arguments import T, whole
from ._core.deadline import checked_lease
from ._core.inflight import AT_ACK
from ._core.leases import LEASE
from ._core.tasks import TaskSession
from ._core.work_tasks import AsyncWorker
from ._sql.async_job import AsyncDeadJobs, AsyncJob
from ._sql.async_jobqueue import AsyncJobBase
from ._sql.jobcalls import JobCalls
from ._sql.jobs import JobStore
from ._sql.jobstatements import JobTable
from ._sql.sqlite.async_queue import AsyncSQLiteBase
from ._sql.sqlite.connection import SqliteConnection
from ._sql.statements import JOBS
from .exceptions import Empty, Full, JobLost
from .jobs import Dead, DeadJob, JobStats, Put, Retry, Snooze
from .serializers import pickle

if TYPE_CHECKING:
    import os

    from typing_extensions import Unpack

    from ._sql.sqlite.async_queue import SqliteOptions
    from ._sql.sqlite.database import Database

__all__ = [
    "AsyncDeadJobs",
    "AsyncJob",
    "AsyncJobQueue",
    "AsyncWorker",
    "Dead",
    "DeadJob",
    "Empty",
    "Full",
    "JobLost",
    "JobStats",
    "Put",
    "Retry",
    "Snooze",
]


class AsyncJobQueue(AsyncJobBase[T], AsyncSQLiteBase[T]):
    """A queue of jobs: they are retried when they fail, may be delayed, and are never lost.

    A job is *ready*, or *delayed* until it is due; a consumer *holds* it; then it is done and
    gone, or it failed and is delayed, or *dead* when it has failed too often.  The jobs of a
    worker that died are ready again within a tenth of a second.  The lowest priority goes
    first, among equals the oldest.

    The table is ``AsyncSQLiteAckQueue``'s, with columns behind: an ack queue becomes a job queue
    by the name of its class.

    What survives what: when a call has returned, what it did survives loss of power
    (``durability="power"``) or death of the process (``"process"``).  A job is run at least once.

    Other arguments: see ``AsyncSQLiteQueue``.

    Args:
        path: the database's file, which is created if it is missing; or a directory that is
            there, which holds ``data.db``.  ``":memory:"`` for a queue of this object alone.
        name: of the queue; a database holds any number.
        serializer: as of every queue; a model's own ``dumps`` and ``loads`` give typed jobs.
        retry: when a job that failed is tried again, and how often.
        lease: as of ``AsyncSQLiteAckQueue``.
        keep_dead: how many dead jobs are kept, about; None for all of them.

    Raises:
        Everything that ``AsyncSQLiteQueue`` raises.
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
        lease: float | None = LEASE,
        keep_dead: int | None = 10_000,
        # threads only: timeout: float = 10.0,
        # threads only: db_file_name: str | None = None,
        **options: Unpack[SqliteOptions],
    ) -> None:
        self.retry = Retry() if retry is None else retry
        if not isinstance(self.retry, Retry):
            raise TypeError(f"'retry' must be a Retry, not {type(retry).__name__}")
        self.lease = checked_lease(lease)
        self.keep_dead = None if keep_dead is None else whole("keep_dead", keep_dead, 0)
        super().__init__(path, name, serializer, **options)  # async only
        # threads only: super().__init__(
        # threads only:     path,
        # threads only:     name,
        # threads only:     timeout=timeout,
        # threads only:     serializer=serializer,
        # threads only:     db_file_name=db_file_name,
        # threads only:     **options,
        # threads only: )

    def _open(self, database: Database, table: Any) -> None:
        table = JobTable(self._KIND, self.name)
        self._connection = SqliteConnection(database, table)
        self._store = JobStore(
            self._connection,
            table,
            self._rows.codec,
            skip_corrupt=self._skips,
            lease=self.lease,
            most=self.retry.max_attempts,
            keep_dead=self.keep_dead,
        )
        place, codec = f"{self.path}, {self.name}", self._rows.codec
        self._calls = JobCalls(self._store, place, self.retry, codec)
        self._session = TaskSession(
            self._store, self.maxsize, AT_ACK, self.timeout, worker=self._worker
        )
