"""The stores of the MySQL queues: a way to finish items, over a connection to a server.

Others are at work on other machines, and nothing tells of it.  So a count is a bound from below
(0 says that nothing is known to be there), and a call that asks for a number pays for counting.

Rows are looked for behind the last one that this object has taken.  Those before it are dead,
and while a reader sees an older state (a dump does) the server steps over each of them for every
get.  Others may have put one back there, or committed a put late: so each second, and before
anything is called empty, the look begins in front.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from ..._core.deadline import monotonic
from ..._core.leases import LEASE, PATIENCE, SHARE, keep
from ..acks import AckStore
from ..finishing import DeletingStore, ReservingStore
from ..store import SqlStore
from .server import Line
from .statements import ONE_AT_A_TIME, SIGN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._core.store import Record
    from ..rowstore import Row
    from .connection import MysqlConnection
    from .statements import MysqlTable

_FRONT_PAUSE = 1.0  # s between two looks in front


class _MysqlStore(SqlStore):
    """What the three have in common."""

    conn: MysqlConnection
    table: MysqlTable

    _handed: Sequence[Record] = ()  # handed out by this transaction
    # The id of the last row that was taken in turn, unless rows may wait in front of it; and when
    # to look there anyway, on the monotonic clock.
    _behind: int | None = None
    _front_due = 0.0

    def begin(self, exclusive: bool) -> bool:
        self._known = False  # others may have committed, and nothing tells
        if not super().begin(exclusive):
            return False
        if exclusive:
            self._handed = ()
        return True

    def undone(self) -> None:
        super().undone()
        self._came_back()

    def found_stored(self) -> None:
        # This may be lost in its turn, and is done again then: ``_handed`` stays as it is.
        self.untake(self._handed)

    def room(self, maxsize: int, wanted: int) -> int:
        self.conn.execute(ONE_AT_A_TIME, (self.table.turn,))
        return super().room(maxsize, wanted)

    def _more(self, waiting: int, unsettled: int) -> None:
        self._waiting = max(self._waiting + waiting, 0)
        self._unsettled = max(self._unsettled + unsettled, 0)

    def _came_back(self) -> None:
        self._behind = None

    def take(self, most: int) -> list[Record]:
        records = super().take(most)
        if records and not self.skip:
            self._behind = records[-1].start
        return records

    def _next_rows(self, most: int) -> list[Row]:
        if self._behind is not None and monotonic() < self._front_due:
            rows = self.conn.rows(self.table.take_after, (self._behind, most))
            if len(rows) == most:
                return rows
        self._front_due = monotonic() + _FRONT_PAUSE
        return super()._next_rows(most)

    def _hand_out(self, records: list[Record]) -> None:
        super()._hand_out(records)  # type: ignore[safe-super]  # of one of the three
        self._handed = (*self._handed, *records)


class MysqlDeletingStore(_MysqlStore, DeletingStore):
    """Deletes a row when it is handed out."""


class MysqlReservingStore(_MysqlStore, ReservingStore):
    """Deletes a row when it is settled."""

    _lowest = -(2**63)  # MySQL knows no infinity

    def begin(self, exclusive: bool) -> bool:
        self._close_window()
        self._ahead = 1  # no window outlives its transaction
        return super().begin(exclusive)

    def take(self, most: int) -> list[Record]:
        if most > 1 or monotonic() >= self._front_due:
            self._look_in_front()
        records = super().take(most)
        if not records:
            self._look_in_front()
            records = super().take(most)
        return records

    def peek(self) -> Record | None:
        self._look_in_front()
        return super().peek()

    def _look_in_front(self) -> None:
        self._front_due = monotonic() + _FRONT_PAUSE
        self._close_window()
        self._floor = self._lowest

    def found_stored(self) -> None:
        """Do nothing: rows are handed out in memory only."""


class MysqlAckStore(_MysqlStore, AckStore):
    """Marks rows; an owner is a session, which holds a named lock on the server.

    It is alive while it does, and for ``LEASE`` seconds after its last commit or sign of life: a
    network may cut its connection while it works.  The signs are given over another connection
    while it holds rows (``_core.leases``).  Rows of dead ones are looked for as often.
    """

    interval = LEASE / SHARE
    kept = False  # signs of life are given
    _resume_due = inf  # when to look for rows of dead owners, on the monotonic clock

    def opened(self) -> None:
        super().opened()
        self._resume_due = monotonic() + LEASE

    def take(self, most: int) -> list[Record]:
        if self._resumes and monotonic() >= self._resume_due:
            self._resume_due = monotonic() + LEASE
            self.resume(mine_too=False)
        return super().take(most)

    def commit(self) -> None:
        super().commit()
        if self._handed and not self.kept:
            keep(self)

    def found_stored(self) -> None:
        self._loses = True  # each is written by itself: the batch cannot begin again here
        super().found_stored()

    def forget(self) -> None:
        super().forget()
        self.kept = False

    # -- signs of life ----------------------------------------------------------------

    @property
    def place(self) -> str:
        """The server, so that stores on the same one share a connection."""
        return self.conn.database.identity

    def line(self) -> Line:
        """Return a connection for the thread that gives signs of life."""
        return Line(self.conn.database, PATIENCE)

    def prolong(self, line: Line) -> bool:
        """Give a sign of life, if no commit has done so; returns whether anything is held."""
        if self.conn.closed:
            return False
        if monotonic() - self.conn.committed < self.interval:
            return True
        table, mine = self.table, (self.conn.session,)
        holds = bool(line.rows(table.held_by, mine, table.name))
        if holds:
            line.rows(SIGN, mine, table.name)
        return holds
