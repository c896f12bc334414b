"""``AsyncJob`` and ``AsyncDeadJobs``: one job that is handed out, and those that failed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic

from .._core import call
from .._core.arguments import T, uncopied, whole
from ..exceptions import JobLost
from ..jobs import seconds_of, unpacked
from .jobstatements import ATTEMPTS, DUE, HEADERS, KEY
from .rows import row_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._core.call import R
    from .._core.store import Record
    from .._core.tasks import TaskSession
    from ..jobs import DeadJob
    from .jobcalls import JobCalls
    from .jobs import JobStore
    from .rows import RowId

_PAGE = 500  # dead jobs that are read at once


class AsyncJob(Generic[T]):
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

    def __init__(self, session: TaskSession, calls: JobCalls, record: Record) -> None:
        row = record.end
        self._session = session
        self._calls = calls
        self.record = record
        self.item: T = record.item
        self.id: int = row[0]
        self.attempt: int = row[ATTEMPTS]
        self.max_attempts: int | None = calls.most_of(row)
        self.put_at: float = row[2]
        self.due_at: float = row[2] if row[DUE] is None else row[DUE]
        self.key: str | None = row[KEY]
        self.headers: dict[str, str] = unpacked(row[HEADERS])

    async def ack(self) -> None:
        """Say that the job is done.

        Raises:
            JobLost: it is not this consumer's any more, or was ended before.
        """
        await self._end(self._calls.done([self.record]))

    async def retry(self, delay: float | None = None, reason: str = "") -> None:
        """Try the job again later; if this was its last attempt, it is dead.

        Args:
            delay: seconds; None for what the queue's ``retry`` says.
            reason: is stored with the job.

        Raises:
            JobLost: it is not this consumer's any more, or was ended before.
        """
        await self._end(self._calls.retry([self.record], delay, reason))

    async def fail(self, reason: str = "") -> None:
        """Do not try the job again: it is dead.

        Raises:
            JobLost: it is not this consumer's any more, or was ended before.
        """
        await self._end(self._calls.dead([self.record], reason))

    async def _end(self, ending: call.Call[int]) -> None:
        ended: int = await self._session.run(ending)
        if not ended:
            raise JobLost(f"the job {self.id} is not this consumer's any more, or has ended")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}, attempt {self.attempt}>"


class AsyncDeadJobs:
    """The dead jobs of a queue: look at them, run them again, delete them."""

    def __init__(self, session: TaskSession, store: JobStore) -> None:
        self._session = session
        self._store = store

    async def browse(self, limit: int | None = None) -> list[DeadJob]:
        """Return dead jobs, the oldest first, and leave them there.

        Args:
            limit: how many at the most; None for all.
        """
        left = 2**62 if limit is None else whole("limit", limit, 1)
        found: list[DeadJob] = []
        behind = -(2**63)
        while left > 0:
            look = partial(self._store.browse, behind, min(left, _PAGE))
            page = await self._session.run(call.look(look))
            if not page:
                break
            found += page
            behind, left = page[-1].id, left - len(page)
        return found

    async def requeue(self, ids: Iterable[RowId] | None = None) -> list[int]:
        """Make dead jobs ready, with all their attempts before them.

        Args:
            ids: which ones; None for all.

        Returns:
            the ids of those that are ready now.  A job whose key is in use stays dead.
        """
        numbers = None if ids is None else [row_id(each) for each in ids]
        return await self._write(partial(self._store.requeue, numbers))

    async def purge(self, older: float = 0) -> int:
        """Delete dead jobs.

        Args:
            older: only those that were put so many seconds ago, or more.

        Returns:
            how many were deleted.
        """
        seconds = seconds_of("older", older)
        return await self._write(partial(self._store.purge, seconds))

    async def _write(self, function: Callable[[], R]) -> R:
        return await self._session.run(call.write(partial(self._store.guard, function)))
