"""The two plain ways to finish an item: when it is taken, and at task_done."""

from __future__ import annotations

from bisect import insort
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._core.log import warn
from .._core.store import TWO_CONSUMERS, Stale
from .statements import ID_RANGE, MOST_COUNTED
from .store import MOST, SqlStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._core.codec import RowCodec
    from .._core.store import Record
    from .connection import SqlConnection
    from .rowstore import Row
    from .statements import Table

    _Before = tuple[dict[int, Record], dict[int, Record], float]

_LONGEST_WINDOW = 256  # rows that are read ahead
VOID = None  # in place of the id of a record that was handed out and is not there any more
_CHUNK = 500  # values in one statement; SQLite takes 999 at least


class DeletingStore(SqlStore):
    """Deletes a row when it is handed out; giving it back inserts it again."""

    def _hand_out(self, records: list[Record]) -> None:
        self._found(self._delete([record.start for record in records]), records)
        self._more(-len(records), -len(records))

    def untake(self, records: Sequence[Record]) -> None:
        for record in records:
            stored = self.conn.put_back(self.table, record.end)
            if not stored and not self.table.kind.unique:  # another row has its id: a new one
                stored = self._insert(record.end[1:]) is not None
            self._more(stored, stored)
        self._came_back()

    def settle(self, records: Sequence[Record]) -> None:
        """They were settled when they were taken."""


class ReservingStore(SqlStore):
    """Remembers what it has handed out, and deletes it when it is settled.

    Handing out writes nothing.  ``_window`` holds the next rows, read ahead.  Where new rows come
    behind all others, every row up to ``_floor`` was handed out; given-back rows lower it.  In the
    other orders, rows that are handed out are stepped over.  There the window holds only
    the places of rows; a row that this object puts is entered there.
    """

    _lowest: float = float("-inf")  # every id is above

    def __init__(
        self, conn: SqlConnection, table: Table, codec: RowCodec, *, skip_corrupt: bool
    ) -> None:
        super().__init__(conn, table, codec, skip_corrupt=skip_corrupt)
        self._out: dict[int, Record] = {}  # handed out, by id
        self._has_company = False  # another object consumes, too; it has been said
        self._forget_ahead()

    def _forget_ahead(self) -> None:
        self._window: deque[Row] = deque()
        self._ahead = 1  # rows to read next time
        self._floor = self._lowest
        # Records that this transaction has handed out and returned, and the floor before it.
        self._before: _Before = ({}, {}, self._lowest)

    # -- memory follows the database ------------------------------------------------

    def opened(self) -> None:
        if self.conn.suspended:  # handed-out rows stay so, as far as they are the same still
            self._forget_ahead()
            self._void_strangers()
        else:
            self._start_anew()
        super().opened()

    def _void_strangers(self) -> None:
        """Forget handed-out rows that are gone: another item may have their id."""
        for number, record in list(self._out.items()):
            if self.conn.rows(self.table.stamp, (number,)) != [(record.end[2],)]:
                del self._out[number]
                record.start = VOID

    def _start_anew(self) -> None:
        self._out = {}
        self._forget_ahead()

    def forget(self) -> None:
        super().forget()
        self._start_anew()

    def begin(self, exclusive: bool) -> bool:
        if not super().begin(exclusive):
            return False
        self._before = ({}, {}, self._floor)
        return True

    def undone(self) -> None:
        handed_out, returned, self._floor = self._before
        for number in handed_out:
            self._out.pop(number, None)
        self._out.update(returned)
        self._before = ({}, {}, self._floor)
        self._close_window()
        super().undone()

    def overtaken(self) -> None:
        self._close_window()
        self._ahead = max(self._ahead // 4, 1)
        self._floor = self._lowest  # others may have put a row back to its place
        super().overtaken()

    # -- counting -------------------------------------------------------------------

    def _count(self) -> tuple[int, int]:
        return self.conn.at_once(self._count_beside_out)

    def _count_beside_out(self) -> tuple[int, int]:
        stored = self.conn.one(self.table.count)
        present = self._present(self._out)
        if len(present) < len(self._out):
            self._out = {number: self._out[number] for number in present}
        return stored - len(self._out), stored

    def _present(self, ids: Iterable[int]) -> set[int]:
        """Return those of ``ids`` that others have not deleted."""
        found: set[int] = set()
        left = list(ids)
        while left:
            chunk, left = left[:_CHUNK], left[_CHUNK:]
            found.update(
                number for (number,) in self.conn.rows(self.table.in_list(len(chunk)), chunk)
            )
        return found

    def _glance(self) -> tuple[int, int]:
        if self.table.kind.in_order_of_id:
            rows = self.conn.rows(self.table.ids_after, (self._floor, MOST_COUNTED))
            waiting = sum(number not in self._out for (number,) in rows)
            if not waiting and len(rows) >= MOST_COUNTED:  # all of them handed out: look properly
                waiting = len(self._next(1, keep=True))
        else:
            self._look_ahead(1)
            waiting = len(self._window)
        return waiting, self.conn.one(self.table.count_some)

    # -- verbs ----------------------------------------------------------------------

    def append(self, records: Sequence[Any]) -> Sequence[int | None]:
        ids = super().append(records)
        if not self.table.kind.in_order_of_id:
            self._enter([(number, *row[2:]) for number, row in zip(ids, records, strict=True)])
        return ids

    def update(self, number: int, data: Any) -> int:
        self._close_window()
        return super().update(number, data)

    def take(self, most: int) -> list[Record]:
        most = min(most, MOST)
        self.conn.refresh(self)
        records: list[Record] = []
        while not records and (read := self._next(most + len(self.skip))):
            rows = self._unskipped(read, most)
            try:
                records = self._records(rows)
            finally:  # rows that were read and not handed out (a damaged one is between) come again
                if len(records) < len(read):
                    self._close_window()
            if not rows:
                break
        if not records:
            return self._none()
        self._hand_out(records)
        if self.table.kind.in_order_of_id and not self.skip:
            self._floor = max(self._floor, records[-1].start)
        return records

    def take_id(self, number: int) -> list[Record]:
        self.conn.refresh(self)
        if number in self._out:
            return []
        records = super().take_id(number)
        if records:
            self._close_window()
        return records

    def peek(self) -> Record | None:
        self.conn.refresh(self)
        while rows := self._next(1, keep=True):
            if records := self._records(rows):
                return records[0]
            self._close_window()
        return None

    def _first_rows(self) -> Sequence[Row]:
        self.conn.refresh(self)
        rows = self._next(1 + len(self.skip), keep=True)
        self._close_window()
        return self._unskipped(rows, 1)

    def _hand_out(self, records: list[Record]) -> None:
        taken = {record.start: record for record in records}
        self._before[0].update(taken)
        self._out.update(taken)
        self._more(-len(taken), 0)

    def untake(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.start in self._out:
                self._let_go(record.start)
                self._floor = min(self._floor, self._below(record.start))
                self._more(1, 0)
        self._close_window()

    def _let_go(self, number: int) -> None:
        self._before[1][number] = self._out[number]  # noted first: an interrupt may come
        del self._out[number]

    def settle(self, records: Sequence[Record]) -> None:
        ids = {record.start for record in records} - {VOID}
        deleted = self._delete(list(ids)) if ids else 0
        for number in ids & self._out.keys():
            self._let_go(number)
        self._more(0, -deleted)
        if deleted != len(ids):
            self._known = False
            if not self._has_company:
                self._has_company = True
                warn(
                    TWO_CONSUMERS,
                    self._where(self.table),
                    "an ack queue (SQLiteAckQueue, MySQLAckQueue)",
                )

    # -- reading --------------------------------------------------------------------

    def _next(self, count: int, *, keep: bool = False) -> list[Row]:
        """Return up to ``count`` rows that are next; ``keep`` leaves them next."""
        window, in_order = self._window, self.table.kind.in_order_of_id
        if count > _LONGEST_WINDOW and not in_order:
            return self._next_many(count)
        (self._read_ahead if in_order else self._look_ahead)(count)
        rows = list(islice(window, count))
        if not in_order:
            rows = [row for place in rows for row in self._row_at(place[0])]
        if not keep:
            for _ in rows:
                window.popleft()
        return rows

    def _close_window(self) -> None:
        """Read the next rows again."""
        self._window.clear()

    def _read_ahead(self, count: int) -> None:
        """See that the window holds ``count`` rows, as far as there are as many."""
        if self._floor == self._lowest and self._out:
            self._find_floor()
        behind = self._window[-1][0] if self._window else self._floor
        while len(self._window) < count:
            most = max(count - len(self._window), self._ahead)
            rows = self.conn.rows(self.table.after, (behind, most))
            if not rows:
                break
            if rows[-1][0] <= behind:  # or this would never end
                raise self._unfindable(self.table, rows[-1][0])
            behind = rows[-1][0]
            self._window.extend(row for row in rows if row[0] not in self._out)
            if not self._window:
                self._floor = behind  # all of these are handed out
            self._ahead = min(2 * most, _LONGEST_WINDOW)

    def _find_floor(self) -> None:
        """Step over handed-out rows, reading no more than ids."""
        ids = self.conn.rows(self.table.ids_after, (self._lowest, len(self._out)))
        waiting = (number for (number,) in ids if number not in self._out)
        first = next(waiting, None)
        if first is not None:
            self._floor = self._below(first)
        elif ids:
            self._floor = ids[-1][0]

    def _below(self, number: int) -> float:
        """Return the number that this id, and those behind it, are above."""
        return number - 1 if number > ID_RANGE[0] else self._lowest

    # -- reading where new rows do not come behind all others -------------------------

    def _look_ahead(self, count: int) -> None:
        """See that the window holds ``count`` places, as far as there are as many."""
        if len(self._window) < count:
            more = max(count, self._ahead)
            places = self.conn.rows(self.table.places, (len(self._out) + more,))
            self._window.clear()
            self._window.extend(place for place in places if place[0] not in self._out)
            self._ahead = min(2 * more, _LONGEST_WINDOW)

    def _next_many(self, count: int) -> list[Row]:
        """Return so many rows that to read those before them costs less than one by one."""
        self._close_window()
        rows = self.conn.rows(self.table.first, (count + len(self._out),))
        return [row for row in rows if row[0] not in self._out][:count]

    def _row_at(self, number: int) -> list[Row]:
        rows = self.conn.rows(self.table.by_id, (number,))
        if not rows:  # another consumer took it a moment ago, or an index is damaged
            raise self._unfindable(self.table, number) if self.conn.exclusive else Stale
        return rows

    def _enter(self, places: Sequence[Row]) -> None:
        """Enter the place of a new row, where the window reaches as far as that."""
        window = self._window
        if len(places) > 1 or len(window) >= 2 * _LONGEST_WINDOW:
            self._close_window()
        elif window:
            try:
                if self._order(places[0]) < self._order(window[-1]):
                    insort(window, places[0], key=self._order)
            except TypeError:  # another program's priority is no number
                self._close_window()

    def _order(self, place: Row) -> Any:
        """Return the sort key of a place: (priority, id), or the newest id first."""
        return place[::-1] if self.table.kind.priority else -place[0]
