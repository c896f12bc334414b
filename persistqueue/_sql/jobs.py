"""Jobs as a store: an ack queue whose rows wait for their time, are tried again, and can be dead.

Time
    A delayed row is *promoted* when it is due, a row whose time is over is *buried*; both by the
    next take, some hundred rows at a time.  The store knows the next moment at which there is
    something to do, so that a take before it asks nothing.  The clock of the wall decides this,
    and nothing else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core.block import Damaged
from .._core.deadline import monotonic
from .._core.log import warn
from .._core.store import Stale
from ..jobs import DeadJob, JobStats, unpacked
from .acks import AckStore
from .jobstatements import ATTEMPTS, DUE, EXPIRES, HEADERS, KEY, MOST, NOTE, TAKES, key_of
from .statements import ACKED, DELAYED, FAILED, ID_RANGE, READY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._core.codec import RowCodec
    from .._core.store import Record
    from .connection import SqlConnection
    from .jobstatements import JobTable
    from .rowstore import Row
    from .statements import Table

_SLICE = 100  # rows that one call promotes or buries, beside its own work
_BACKLOG = 1000  # the same, where a call finds one in its way
_NEVER = float("inf")
_BACK = 1.0  # s by which a clock that went back is noticed
_EXPIRED = "expired"


class Ending(NamedTuple):
    """What becomes of a job that is handed out.

    Attributes:
        statement: as of the table.
        values: in front of the row's id, owner and takes.
        waits: whether the row is ready behind it.
        over: whether it is finished.
        due: when the row is ready again; None where that says nothing.
    """

    statement: str
    values: tuple[Any, ...] = ()
    waits: bool = False
    over: bool = False
    due: float | None = None


class JobStore(AckStore):
    """The table of one job queue.

    Args:
        most: how often a job is handed out that does not say itself; None for no limit.
        keep_dead: how many dead jobs are kept, about; None for all.

    Attributes:
        clock: seconds since 1970; a test may set another one.
    """

    table: JobTable

    def __init__(
        self,
        conn: SqlConnection,
        table: JobTable,
        codec: RowCodec,
        *,
        skip_corrupt: bool,
        lease: float | None,
        most: int | None,
        keep_dead: int | None,
    ) -> None:
        super().__init__(
            conn,
            table,
            codec,
            skip_corrupt=skip_corrupt,
            keep_acked=None,
            resumes=True,
            lease=lease,
        )
        self.clock: Callable[[], float] = time.time
        self._most = most
        self._keep_dead = keep_dead
        self._undug = keep_dead or 0  # jobs that died since old ones were deleted
        self._moment: float | None = None  # when there is something to do; None: not known
        self._seen = 0.0  # the clock, when it was last looked at

    def overtaken(self) -> None:
        self._moment = None
        super().overtaken()

    def undone(self) -> None:
        self._moment = None
        super().undone()

    # -- time -----------------------------------------------------------------------

    def due(self, getting: bool) -> float:
        soonest = super().due(getting)
        return min(soonest, monotonic() + self._ahead()) if getting else soonest

    def _ahead(self) -> float:
        """Return in how many seconds there is something to do, as far as is known."""
        moment = self._moment
        return _NEVER if moment is None else moment - self.clock()

    def changed(self, getting: bool) -> bool:
        return self._ahead() <= 0 or super().changed(getting)

    def commit(self) -> None:
        if self._moment is None:
            self._find_moment()
        super().commit()

    def _find_moment(self) -> None:
        (times,) = self.conn.rows(self.table.next_times)
        known = (moment for moment in times if isinstance(moment, (float, int)))
        self._moment = min(known, default=_NEVER)

    def _sooner(self, *moments: float | None) -> None:
        if self._moment is not None:
            known = (moment for moment in moments if moment is not None)
            self._moment = min(self._moment, *known, _NEVER)

    def _pass_time(self) -> float:
        """Promote and bury the rows whose time has come, and return the time."""
        now = self.clock()
        if now < self._seen - _BACK:
            warn("%s: the clock went back by %.0f s", self._where(self.table), self._seen - now)
        self._seen = now
        if self._moment is None:
            self._find_moment()
            assert self._moment is not None
        if now >= self._moment:
            promoted = self.conn.execute(self.table.promote, (now, _SLICE)).rowcount
            expired = self.conn.execute(self.table.expire, (_EXPIRED, now, _SLICE)).rowcount
            self._known = False
            self._moment = now if _SLICE in (promoted, expired) else None
            self._died(expired)
        return now

    # -- counting -------------------------------------------------------------------

    def counts(self, exact: bool = True) -> tuple[int, int]:
        if exact and self._ahead() <= 0:
            self._known = False
        return super().counts(exact)

    def _count(self) -> tuple[int, int]:
        return self._counted(self.table.count_jobs)

    def _glance(self) -> tuple[int, int]:
        return self._counted(self.table.some_jobs)

    def _counted(self, statement: str) -> tuple[int, int]:
        ((ready, held, delayed, due),) = self.conn.rows(statement, (self.clock(),))
        return ready + due, ready + held + delayed

    def stats(self) -> JobStats:
        """Count the jobs of each state."""
        now = self.clock()
        ((ready, held, delayed, due, dead, *put, next_due),) = self.conn.rows(
            self.table.stats, (now, now, now)
        )
        oldest = min((moment for moment in put if moment is not None), default=None)
        return JobStats(ready + due, delayed - due, held, dead, oldest, next_due)

    # -- verbs ----------------------------------------------------------------------

    def append(self, records: Sequence[Any]) -> Sequence[int | None]:
        """Insert jobs and return their ids; None for a job whose key is in use."""
        if len(records) == 1 or any(key_of(row) is not None for row in records):
            ids: Sequence[int | None] = [insert_job(self.conn, self.table, row) for row in records]
        else:
            ids = self.conn.insert_many(self.table, records)
        for row, number in zip(records, ids, strict=True):
            if number is not None:
                _, _, status, _, due, expires, *_ = row
                self._more(int(status != DELAYED), 1)
                if due is not None or expires is not None:
                    self._sooner(due if status == DELAYED else None, expires)
        return ids

    def take(self, most: int) -> list[Record]:
        self._pass_time()
        return super().take(most)

    def take_id(self, number: int) -> list[Record]:
        self._pass_time()
        return super().take_id(number)

    def take_next(self, number: int) -> list[Record]:
        self._pass_time()
        return super().take_next(number)

    def _records(self, rows: Sequence[Row]) -> list[Record]:
        """Return the records of rows that may run; those that may not are dead from now on."""
        now, fit, over = self.clock(), [], False
        for row in rows:
            expires, most, attempts = row[EXPIRES], self.most_of(row), row[ATTEMPTS]
            if not _is_whole(row):  # decoding says so
                fit.append(row)
            elif expires is not None and expires <= now:
                self._bury_waiting(row[0], _EXPIRED)
                over = True
            elif most is not None and attempts > most:  # as taken
                note = f"handed out {attempts - 1} times and never finished"
                self._bury_waiting(row[0], note)
            else:
                fit.append(row)
        if over:  # there may be a million of them in front of the next one
            values = (_EXPIRED, now, _BACKLOG)
            self._died(self.conn.execute(self.table.expire, values).rowcount)
        return super()._records(fit)

    def _decode(self, table: Table, row: Row) -> Any:
        if not _is_whole(row):
            raise Damaged("what stands beside the item is no number")
        return super()._decode(table, row)

    def most_of(self, row: Row) -> int | None:
        """Return how often a job may be handed out."""
        most: int | None = self._most if row[MOST] is None else row[MOST]
        return most

    def _bury_waiting(self, number: int, note: str) -> None:
        if not self.conn.exclusive:
            raise Stale
        self._died(self.conn.execute(self.table.bury_waiting, (note, number)).rowcount)
        self._known = False

    def untake(self, records: Sequence[Record]) -> Sequence[Record]:
        spent = [record for record in records if record.spent]
        unseen = [record for record in records if not record.spent]
        lost = self.end(unseen, Ending(self.table.unspent, waits=True))
        return [*lost, *self.finish(spent, READY)]

    def settle(self, records: Sequence[Record]) -> Sequence[Record]:
        return self.end(records, self.done())

    # -- what becomes of a job that is handed out ---------------------------------------

    def end(self, records: Sequence[Record], ending: Ending) -> Sequence[Record]:
        """Let jobs that this object holds end in one way; returns those that it has lost."""
        lost = self._fenced(ending.statement, records, *ending.values)
        ended = len(records) - len(lost)
        self._more(ended if ending.waits else 0, -ended if ending.over else 0)
        if ending.due is not None:
            self._sooner(ending.due)
        if ending.waits:
            self._came_back()
        if ending.statement == self.table.bury:
            self._died(ended)
        return lost

    def done(self) -> Ending:
        """A job is done."""
        return Ending(self.table.done, over=True)

    def dead(self, note: str) -> Ending:
        """A job is not tried again."""
        return Ending(self.table.bury, (note,), over=True)

    def later(self, delay: float, note: str, *, spent: bool = True) -> Ending:
        """A job is due again after a delay in seconds."""
        statement = self.table.later if spent else self.table.snooze
        due = self.clock() + delay
        return Ending(statement, (due, note), due=due)

    def finish(self, records: Sequence[Record], status: int) -> Sequence[Record]:
        endings = {
            ACKED: self.done(),
            FAILED: self.dead("ack_failed() was called"),
            READY: Ending(self.table.again, waits=True),
        }
        return self.end(records, endings[status])

    def move(
        self, number: int, status: int, *, takes: int | None, held: bool, to_back: bool
    ) -> list[int]:
        moved = super().move(number, status, takes=takes, held=held, to_back=to_back)
        if moved and status == ACKED:
            self.conn.execute(self.table.delete, (number,))
        return moved

    def _put_behind(self, number: int, values: Sequence[Any]) -> int:  # noqa: ARG002 - all of it
        behind = self.conn.execute(self.table.copy_behind, (number,)).lastrowid
        assert behind is not None
        self.conn.execute(self.table.delete, (number,))
        return behind

    def _died(self, count: int) -> None:
        """Delete old dead jobs, when there are a tenth more than are to be kept."""
        if self._keep_dead is None or not count:
            return
        self._undug += count
        if self._undug * 10 >= self._keep_dead:
            self.conn.execute(self.table.prune, (self._keep_dead,))
            self._undug = 0

    # -- jobs by their ids ------------------------------------------------------------

    def cancel(self, number: int) -> bool:
        """Delete a job that waits; returns whether it did."""
        self._known = False
        return number in ID_RANGE and self.conn.execute(self.table.cancel, (number,)).rowcount > 0

    def reschedule(self, number: int, due: float | None) -> bool:
        """Set when a job that waits is due; None for at once; returns whether it waits."""
        self._known = False
        values = (READY if due is None else DELAYED, due, number)
        self._sooner(due)
        if number not in ID_RANGE or not self.conn.execute(self.table.reschedule, values).rowcount:
            return False
        self._came_back()
        return True

    def browse(self, behind: int, most: int) -> list[DeadJob]:
        """Return dead jobs behind an id, the oldest first."""
        rows = self.conn.rows(self.table.dead, (behind, most))
        return [
            DeadJob(
                row[0],
                item,
                row[ATTEMPTS],
                row[2],
                row[NOTE] or "",
                row[KEY],
                unpacked(row[HEADERS]),
            )
            for row, item in self.decoded_rows(rows)
        ]

    def requeue(self, ids: Iterable[int] | None) -> list[int]:
        """Make dead jobs ready; returns the ids of those that are, the others' keys are in use."""
        if ids is None:
            ids = [number for (number,) in self.conn.rows(self.table.dead_ids)]
        execute, statement = self.conn.execute, self.table.requeue
        ready = [n for n in ids if n in ID_RANGE and execute(statement, (n,)).rowcount > 0]
        self._more(len(ready), len(ready))
        self._came_back()
        return ready

    def purge(self, older: float) -> int:
        """Delete the dead jobs that were put ``older`` seconds ago or more; returns how many."""
        return max(self.conn.execute(self.table.purge, (self.clock() - older,)).rowcount, 0)


def _is_whole(row: Row) -> bool:
    """Return whether the numbers of a row are numbers."""
    return (
        type(row[ATTEMPTS]) is int
        and type(row[TAKES]) is int
        and isinstance(row[MOST], (int, type(None)))
        and all(isinstance(row[place], (float, int, type(None))) for place in (DUE, EXPIRES))
    )


def insert_job(conn: SqlConnection, table: JobTable, row: Row) -> int | None:
    """Insert a job and return its id; None if an unfinished job has its key."""
    key = key_of(row)
    if key is None:
        return conn.execute(table.insert, row).lastrowid
    cursor = conn.execute(table.insert_keyed, (*row, key))
    return cursor.lastrowid if cursor.rowcount > 0 else None
