"""The stores of the MySQL queues: a way to finish items, over a connection to a server.

Others are at work on other machines, and nothing tells of it.  So a count is a bound from below
(0 says that nothing is known to be there), and a call that asks for a number pays for counting.

Rows are looked for behind the last one that this object has taken.  Those before it are dead,
and while a reader sees an older state (a dump does) the server steps over each of them for every
get.  Others may have put one back there, or committed a put late: so each second, and before
anything is called empty, the look begins in front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._core.deadline import monotonic
from ..._core.leases import LEASE, PATIENCE, SHARE, keep
from ..acks import AckStore
from ..finishing import DeletingStore, ReservingStore
from ..store import SqlStore
from .server import Line
from .statements import LINE, ONE_AT_A_TIME, SIGN

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

    While it holds rows, a thread holds another lock over another connection (``_core.leases``),
    and gives signs of life there: a network may cut the first one while it works.  See ``owners``.
    """

    interval = 0.25  # s between two looks of that thread
    signs = LEASE / SHARE  # s between two signs of life
    kept = False  # they are given
    _signed = 0.0  # when the last one was; on the monotonic clock

    def _named_holders(self) -> Sequence[Row]:
        rows: list[Row] = []
        while (
            name := self.conn.one(self.table.next_holder, rows[-1] if rows else ("",))
        ) is not None:
            rows.append((name,))
        return rows

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
        """See that a lock is held on a connection; returns whether anything is held.

        A commit in this moment has shown that the other one is.
        """
        conn, table, now = self.conn, self.table, monotonic()
        if conn.closed:
            return False
        if now - conn.committed < self.interval:
            return True
        mine, lock = conn.session, conn.session + LINE
        ((holds, _),) = line.rows(table.held_and_locked, (mine, lock, lock), table.name)
        if holds and now - max(self._signed, conn.committed) >= self.signs:
            line.rows(SIGN, (mine,), table.name)
            self._signed = now
        return bool(holds)
