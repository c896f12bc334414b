"""A queue's table as a store: what all three ways of finishing an item have in common.

An item is finished when its row is deleted (``finishing``) or marked (``acks``).  Rows are read
in the order of their kind.

Counting
    ``SELECT COUNT(*)`` reads the whole table, so counts are kept, and adjusted by what this
    object does.  They are trusted until the connection says that others have committed.  Then a
    call that asks for a number pays for counting; one that only wants to know whether anything is
    there looks at a few rows.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged
from .._core.codec import SAMPLE, refuse_others
from .._core.log import warn
from .._core.store import Record
from ..exceptions import ItemTooLarge, SerializationError
from .rowstore import Row, RowStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.codec import RowCodec
    from .connection import SqlConnection
    from .statements import Table

MOST = 2**62  # rows: no more are ever there, and SQLite knows no number above 2**63


class SqlStore(RowStore):
    """The table of one queue.

    Args:
        conn: to its database.
        table: its statements.
        codec: decodes rows.
        skip_corrupt: set aside what cannot be decoded, instead of raising.
    """

    def __init__(
        self, conn: SqlConnection, table: Table, codec: RowCodec, *, skip_corrupt: bool
    ) -> None:
        super().__init__(conn, codec, skips=skip_corrupt)
        self.table = table
        self._waiting = 0  # rows that could be taken
        self._unsettled = 0  # rows that are not finished
        self._known = False  # whether these two are exact

    def opened(self) -> None:
        self._check_writer(self.table)
        self._known = self.conn.counts
        self._waiting, self._unsettled = self._count() if self._known else self._glance()

    def overtaken(self) -> None:
        self._known = False

    def undone(self) -> None:
        self._known = False

    def forget(self) -> None:
        super().forget()
        self._known = False

    def commit(self) -> None:
        if not self._known and self.conn.counts:
            self._waiting, self._unsettled = self._glance()
        super().commit()

    # -- counting -------------------------------------------------------------------

    def counts(self, exact: bool = True) -> tuple[int, int]:
        if exact:
            self.conn.refresh(self)
            if not self._known:
                self._waiting, self._unsettled = self._count()
                self._known = True
        return self._waiting, self._unsettled

    def _count(self) -> tuple[int, int]:
        """Count the items that wait, and those that are not finished."""
        count = self.conn.one(self.table.count)
        return count, count

    def _glance(self) -> tuple[int, int]:
        """Count no further than a few rows."""
        some = self.conn.one(self.table.count_some)
        return some, some

    def room(self, maxsize: int, wanted: int) -> int:
        if self.table.span and not self._known:
            most: int = self.conn.one(self.table.span) or 0  # the range of ids may be narrow enough
            if most <= maxsize - wanted:
                return maxsize - most
        return maxsize - self.counts()[0]

    def needs(self, records: Sequence[Any], ahead: Sequence[Any]) -> int:
        if not self.table.kind.unique:
            return len(records)
        new = {data for data, *_ in records} - {data for data, *_ in ahead}
        return sum(not self.conn.rows(self.table.by_data, (data,)) for data in new)

    def _more(self, waiting: int, unsettled: int) -> None:
        """Adjust the counts by what was just done."""
        self._waiting += waiting
        self._unsettled += unsettled

    def _came_back(self) -> None:
        """Note that rows wait again, which may be in front of the last one that was taken."""

    # -- verbs ----------------------------------------------------------------------

    def append(self, records: Sequence[Any]) -> Sequence[int | None]:
        """Insert rows and return their ids; None for what a unique queue holds already."""
        ids: Sequence[int | None]
        if len(records) == 1 or self.table.kind.unique:
            ids = [self._insert(row) for row in records]
            stored = len(ids) - ids.count(None)
        else:
            ids = self.conn.insert_many(self.table, records)
            stored = len(ids)
        self._more(stored, stored)
        return ids

    def _insert(self, row: Row) -> int | None:
        """Insert a row and return its id; None if it is there already."""
        cursor = self.conn.execute(self.table.insert, row)
        return cursor.lastrowid if cursor.rowcount > 0 else None

    def _delete(self, ids: Sequence[int], statement: str = "") -> int:
        """Delete rows; returns how many there were.

        Args:
            statement: for one id; empty for that which deletes any row.
        """
        statement = statement or self.table.delete
        if len(ids) == 1:
            return self.conn.execute(statement, ids).rowcount
        return self.conn.many(statement, [(number,) for number in ids])

    def remove(self, ids: Sequence[int]) -> int:
        """Delete rows that wait; returns how many of these did."""
        removed = self._delete(ids, self.table.delete_waiting) if ids else 0
        self._more(-removed, -removed)
        return removed

    def take(self, most: int) -> list[Record]:
        most = min(most, MOST)
        some = most + len(self.skip)
        records = self._first_of(lambda: self._unskipped(self._next_rows(some), most))
        if not records:
            return self._none()
        if len(records) == 1:
            self._hand_out(records)
        else:  # all or none: an error here is the caller's own, and the batch goes on
            self.guard(partial(self._hand_out, records))
        return records

    def _next_rows(self, most: int) -> list[Row]:
        """Return the rows to hand out next."""
        return self.conn.rows(self.table.take_first, (most,))

    def _none(self) -> list[Record]:
        """Nothing is there; no count may say otherwise to the calls that wait."""
        if self._waiting:
            self._waiting, self._known = 0, False
        return []

    def take_id(self, number: int) -> list[Record]:
        """Hand out the row with this id, if it is there and waits."""
        records = self._records(self.conn.rows(self.table.take_by_id, (number,)))
        if records:
            self._hand_out(records)
        return records

    def peek(self) -> Record | None:
        records = self._first_of(lambda: self.conn.rows(self.table.first, (1,)))
        return records[0] if records else None

    @abstractmethod
    def _hand_out(self, records: list[Record]) -> None:
        """Write down that these are handed out."""

    @abstractmethod
    def untake(self, records: Sequence[Record]) -> Sequence[Record] | None:
        """Take back what was handed out, to the same places."""

    @abstractmethod
    def settle(self, records: Sequence[Record]) -> Sequence[Record] | None:
        """Finish items: they are never handed out again."""

    def _found(self, count: int, records: Sequence[Record]) -> None:
        """Raise unless as many rows were written as read: the same would come for ever."""
        if count != len(records):
            raise self._unfindable(self.table, records[0].start)

    # -- rows -----------------------------------------------------------------------

    def update(self, number: int, data: Any) -> int:
        """Replace what the row with this id holds, and return the id."""
        summed = (self._codec.sum_of(data),) if self.table.kind.unique else ()
        try:
            self.conn.execute(self.table.update, (data, *summed, number))
        except Exception as error:
            if "UNIQUE" in str(error.__cause__):
                raise ValueError("the queue holds an equal item already") from error
            raise
        return number

    def newest(self) -> int | None:
        """Return the highest id of all rows; None if there is none."""
        newest: int | None = self.conn.one(self.table.newest)
        return newest

    def all_rows(self) -> list[Row]:
        """Return every row in order of id, read beside the transaction that is under way."""
        return self.conn.rows_beside(self.table.all_rows)

    def decoded_rows(self, rows: Sequence[Row]) -> list[tuple[Row, Any]]:
        """Return rows with their items; what cannot be decoded is left out if it may be skipped."""
        decoded = []
        for row in rows:
            try:
                decoded.append((row, self._decode(self.table, row)))
            except Damaged as error:
                if not decoded:
                    some = [row[1] for row in rows[:SAMPLE]]
                    refuse_others(self._codec, some, self._where(self.table), skips=self.skips)
                if not self.skips:
                    raise self.corrupt(self.table.name, row[0], error) from error
            except (SerializationError, ItemTooLarge) as error:
                if not self.skips:
                    raise
                warn("%s: left out of the list: %s", self.conn.database.path, error)
        return decoded

    # -- decoding -------------------------------------------------------------------

    def _first_of(self, read: Callable[[], Sequence[Row]]) -> list[Record]:
        """Return records of what ``read`` returns; it reads on where all of it was set aside."""
        while rows := read():
            if records := self._records(rows):
                return records
        return []

    def _records(self, rows: Sequence[Row]) -> list[Record]:
        return self._decoded(self.table, rows, _record)

    def set_aside(self) -> bool:
        """Set the next row aside if it cannot be loaded; returns whether it was."""
        return self._set_first_aside(self.table, self._first_rows())

    def _first_rows(self) -> Sequence[Row]:
        """Return the row that comes next."""
        rows = self.conn.rows(self.table.take_first, (1 + len(self.skip),))
        return self._unskipped(rows, 1)

    def _set_aside(self, table: Table, row: Row, reason: str) -> None:
        super()._set_aside(table, row, reason)
        self._more(-1, -1)


def _record(row: Row, item: Any) -> Record:
    return Record(row[0], row, item)
