"""The stores of the MySQL queues: a way to finish items, on MySQL's transactions.

What is known of a table without asking the server is what this object has just done to it:
others are at work on other machines.  So a count is a bound from below (0 says that nothing
is known to be there), and whoever asks for a number pays for counting.

Rows are looked for behind the last one that this object has taken.  Those before it are dead,
and while anybody reads an older state (a dump does) the server steps over each of them for every
get.  Others may have put one back there, or committed a put late: so each second, and before
anything is called empty, the look begins in front.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from ..._core.deadline import monotonic
from ..._core.leases import PATIENCE, SHARE, keep
from ...exceptions import ItemTooLarge
from ..acks import AckStore
from ..finishing import VOID, DeletingStore, ReservingStore
from ..statements import ACKED, HELD, READY
from ..store import SqlStore
from .connection import MysqlTransactions
from .server import DUPLICATE, Line, number_of
from .statements import COMMITTED, LEAVE, LIFE, MOVED, NOT_MOVED, ONE_AT_A_TIME, SIGN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..._core.store import Record
    from ..store import Row
    from .statements import MysqlTable

_LONGEST_STATEMENT = 2**20  # bytes of items that are inserted together
_MOST_ROWS = 500  # rows in one statement
_FRONT_PAUSE = 1.0  # s between two looks in front
LEASE = 60.0  # s for which a session without a connection holds what it has


class _MysqlStore(SqlStore, MysqlTransactions):
    """What the three have in common.

    Args:
        bounded: a put is to count first.
    """

    _table: MysqlTable

    def __init__(self, *args: Any, bounded: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bounded = bounded
        self._handed: list[Record] = []  # handed out by this transaction
        self._behind: float | None = None  # the id of the last row that was taken in turn
        self._reached = inf  # the same, of this transaction
        self._returned = inf  # the lowest id that this transaction has put back
        self._front_due = 0.0  # on the monotonic clock

    # -- counting -------------------------------------------------------------------

    def _count_anew(self) -> None:
        self._waiting, self._unsettled = self._glance()

    def begin(self, exclusive: bool) -> bool:
        self._known = False  # others may have committed, and nothing tells
        self._reached = self._returned = inf
        return super().begin(exclusive)

    def _begun(self) -> None:
        super()._begun()
        self._handed = []

    def commit(self) -> None:
        super().commit()
        behind = self._behind if self._reached == inf else self._reached
        self._behind = None if behind is None else min(behind, self._returned - 1)

    def _ending(self) -> None:
        """To look what others did would cost a trip to the server."""

    def counts(self, exact: bool = True) -> tuple[int, int]:
        if exact and self._exclusive and self._bounded:
            self._execute(ONE_AT_A_TIME, (self._table.turn,))
        return super().counts(exact)

    def _more(self, waiting: int, unsettled: int) -> None:
        self._waiting = max(self._waiting + waiting, 0)
        self._unsettled = max(self._unsettled + unsettled, 0)

    def _none(self) -> list[Record]:
        self._waiting = 0
        return []

    # -- verbs ----------------------------------------------------------------------

    def take(self, most: int) -> list[Record]:
        records = super().take(most)
        if records and not self.skip:
            self._reached = records[-1].start
        return records

    def _next_rows(self, most: int) -> list[Row]:
        if self._behind is not None and monotonic() < self._front_due:
            rows = self._rows(self._table.take_after, (self._behind, most))
            if len(rows) == most:
                return rows
        self._front_due = monotonic() + _FRONT_PAUSE
        return super()._next_rows(most)

    def untake(self, records: Sequence[Record]) -> None:
        super().untake(records)
        self._came_back(record.start for record in records if record.start is not VOID)

    def _came_back(self, ids: Iterable[int]) -> None:
        """Note that rows wait again."""
        self._returned = min(self._returned, *ids, inf)

    def append(self, records: Sequence[Any]) -> Sequence[int | None]:
        for row in records:
            if not self._fits(row[0]):
                raise self._too_long(row[0])
        return super().append(records)

    def update(self, number: int, data: Any) -> int:
        if not self._fits(data):
            raise self._too_long(data)
        return super().update(number, data)

    def _too_long(self, data: Any) -> ItemTooLarge:
        advice = (
            "upgrade() widens the table's column"
            if len(data) > self.longest
            else "raise the server's max_allowed_packet"
        )
        return ItemTooLarge(
            f"{self._database.path}: {self._table.name} cannot hold an item of {len(data)} "
            f"bytes; nothing was stored ({advice})"
        )

    def _insert_many(self, rows: Sequence[Row]) -> Sequence[int]:
        ids: list[int] = []
        step = self._database.limits.step
        while len(ids) < len(rows):
            chunk = self._chunk(rows, len(ids))
            values = [value for row in chunk for value in row]
            first = self._execute(self._table.insert_many(len(chunk)), values).lastrowid
            assert first is not None
            # The ids of one statement that says how many rows it has follow each other.
            ids += range(first, first + step * len(chunk), step)
        return ids

    def _chunk(self, rows: Sequence[Row], start: int) -> Sequence[Row]:
        """Return the rows from ``start`` on that go in one statement."""
        most = min(_LONGEST_STATEMENT, self._database.limits.statement)
        length, end = 0, start
        while end < len(rows) and end - start < _MOST_ROWS:
            length += 2 * len(rows[end][0]) + 64  # escaped, and what is around it
            if length > most and end > start:
                break
            end += 1
        return rows[start:end]

    def _put_back(self, row: Row) -> bool:
        try:
            return super()._put_back(row)
        except Exception as error:
            if number_of(error.__cause__) == DUPLICATE:
                return False
            raise

    def _delete(self, ids: Sequence[int], statement: str = "") -> int:
        # One each: a DELETE of several may read the whole table (see ``_mark_these``), and no
        # hint keeps MariaDB from that.
        statement, deleted = statement or self._table.delete, 0
        for start in range(0, len(ids), _MOST_ROWS):
            chunk = ids[start : start + _MOST_ROWS]
            deleted += self._in_one_trip("; ".join([statement] * len(chunk)), chunk)
        return deleted

    def _hand_out(self, records: list[Record]) -> None:
        super()._hand_out(records)
        self._handed += records

    def _found_stored(self) -> None:
        """What the lost transaction handed out, nobody got to see: give it back.

        This may be lost in its turn, and is done again then: ``_handed`` stays as it is.
        """
        self.untake(self._handed)

    def move_aside(self, number: int) -> None:
        self._rows_beside(self._table.create_aside)  # it would commit the transaction
        self._execute(self._table.set_aside, (number,))
        self._execute(self._table.delete, (number,))

    # -- for a move: which of its batches a table has, among the numbers of sessions ----

    def mark_moved(self, run: str, number: int) -> None:
        """Note, in this transaction, the last batch of a move."""
        self._execute(MOVED, (run, number, number))

    def last_moved(self, run: str) -> int:
        """Return the last batch of a move; 0 if there is none."""
        self._execute(NOT_MOVED, (run,))  # waits for a commit that is still on its way
        number: int = self._one(COMMITTED, (run,))
        return number

    def forget_move(self, run: str) -> None:
        """Remove the note of a move."""
        self._execute(LEAVE, (run,))


class MysqlDeletingStore(_MysqlStore, DeletingStore):
    """Deletes a row when it is handed out."""


class MysqlReservingStore(_MysqlStore, ReservingStore):
    """Deletes a row when it is settled."""

    _lowest = -(2**63)  # MySQL knows no infinity

    def _begun(self) -> None:
        super()._begun()
        self._window.clear()
        self._ahead = 1  # no window outlives its transaction

    def take(self, most: int) -> list[Record]:
        if most > 1 or monotonic() >= self._front_due:
            self._look_in_front()
        return super().take(most) or self._take_in_front(most)

    def _take_in_front(self, most: int) -> list[Record]:
        self._look_in_front()
        return super().take(most)

    def peek(self) -> Record | None:
        self._look_in_front()
        return super().peek()

    def _look_in_front(self) -> None:
        self._front_due = monotonic() + _FRONT_PAUSE
        self._close_window()
        self._floor = self._lowest

    def _found_stored(self) -> None:
        """What is handed out is so in memory only."""


class MysqlAckStore(_MysqlStore, AckStore):
    """Marks rows; an owner is a session, which holds a named lock on the server.

    It is alive while it does, and for ``LEASE`` seconds after its last commit or sign of life: a
    network may cut its connection while it works.  The signs are given over another connection
    while it holds rows (``_core.leases``).  What dead ones hold is looked for as often.
    """

    interval = LEASE / SHARE

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.kept = False  # signs of life are given
        self._resume_due = inf  # on the monotonic clock

    def _new_owner(self) -> SessionOwner:
        return SessionOwner(self)

    # -- signs of life ----------------------------------------------------------------

    @property
    def place(self) -> str:
        """Which server it is."""
        return self._database.identity

    def line(self) -> Line:
        """Return a connection for the thread that gives signs of life."""
        return Line(self._database, PATIENCE)

    def prolong(self, line: Line) -> bool:
        """Give a sign of life, if no commit has done so; returns whether anything is held."""
        if self._closed:
            return False
        if monotonic() - self._committed < self.interval:
            return True
        table, mine = self._table, (self._session_name,)
        holds = bool(line.rows(table.held_by, mine, table.name))
        if holds:
            line.rows(SIGN, mine, table.name)
        return holds

    def commit(self) -> None:
        super().commit()
        if self._handed and not self.kept:
            keep(self)

    def forget(self) -> None:
        super().forget()
        self.kept = False

    def _opened(self) -> None:
        super()._opened()
        self._resume_due = monotonic() + LEASE

    def take(self, most: int) -> list[Record]:
        if self._resumes and monotonic() >= self._resume_due:
            self._resume_due = monotonic() + LEASE
            self.resume(mine_too=False)
        return super().take(most)

    # -- verbs ------------------------------------------------------------------------

    def finish(
        self,
        records: Sequence[Record],
        status: int,
        *,
        to_back: bool = False,
        guarded: bool = True,
    ) -> list[int]:
        if len(records) == 1 and not to_back and self._keep_acked is None:
            guarded = False  # one statement is undone without a savepoint
        return super().finish(records, status, to_back=to_back, guarded=guarded)

    def _finish(
        self, records: Sequence[Record], status: int, *, to_back: bool = False
    ) -> list[int]:
        if to_back:
            return super()._finish(records, status, to_back=True)
        statement, mine = self._table.finish_mine, self._owner.name
        moved = [
            record.start
            for record in records
            if self._execute(statement, (status, record.start, HELD, mine)).rowcount
        ]
        if status == READY:
            self._came_back(moved)
        self._more(len(moved) if status < HELD else 0, -len(moved) if status >= ACKED else 0)
        if status == ACKED:
            self._prune(len(moved))
        return moved

    def _mark(self, ids: Sequence[int], status: int, owner: str | None) -> int:
        marked = 0
        if status == READY:
            self._came_back(ids)
        for start in range(0, len(ids), _MOST_ROWS):
            chunk = ids[start : start + _MOST_ROWS]
            values = (status, owner, *chunk)
            marked += self._execute(self._table.mark_these(len(chunk)), values).rowcount
        return marked

    def resume(self, *, mine_too: bool, living_too: bool = False) -> int:
        resumed = super().resume(mine_too=mine_too, living_too=living_too)
        if resumed:
            self._came_back([0])
        return resumed


class SessionOwner:
    """A store's session, as the owner of rows."""

    def __init__(self, store: MysqlAckStore) -> None:
        self._store = store

    @property
    def name(self) -> str | None:
        return self._store._session_name  # noqa: SLF001 - its other half

    def appear(self) -> str | None:
        return self.name  # its lock is held since it was connected

    def is_dead(self, name: str) -> bool:
        if name == self.name:
            return False
        ((free, was_there),) = self._store._rows(LIFE, (name, name, LEASE))  # noqa: SLF001
        return bool(free) and not was_there

    def forget(self) -> None:
        """The session gets another name."""
