"""A queue's table as a store: what every way of finishing an item has in common.

An item is finished when its row is deleted (``sqlways``) or marked (``sqlacks``).  Rows
are read in the order of their kind; what cannot be decoded stays, and is in the way until
it is skipped: set aside in a table of its own.

Counting
    ``SELECT COUNT(*)`` reads the whole table, so counts are kept, and adjusted by what
    this object does.  They are trusted until SQLite's ``data_version`` says that somebody
    else has committed.  Then whoever asks for a number pays for counting; who only wants
    to know whether there is anything looks at a few rows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged, reason_of
from .._core.log import warn
from .._core.origin import SAMPLE, refuse_others
from .._core.store import Record, Stale
from ..exceptions import ItemTooLarge, QueueCorrupt, SerializationError
from .connection import Transactions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.codec import RowCodec
    from .statements import Table

MOST = 2**62  # rows: no more are ever there, and SQLite knows no number above 2**63
Row = tuple[Any, ...]  # _id, data, timestamp, then priority or status


class SqlStore(Transactions):
    """The table of one queue.

    Args:
        database: where it is.
        table: its statements.
        codec: decodes rows.
        skip_corrupt: set aside what cannot be decoded, instead of raising.
    """

    def __init__(self, database: Any, table: Table, codec: RowCodec, *, skip_corrupt: bool) -> None:
        super().__init__(database, table)
        self._table: Table = table
        self._codec = codec
        self._skip_corrupt = skip_corrupt
        self._waiting = 0  # rows that could be taken
        self._unsettled = 0  # rows that are not finished
        self._known = False  # whether these two are exact
        self.skipped = 0

    @property
    def table(self) -> Table:
        """The table's statements."""
        return self._table

    # -- counting -------------------------------------------------------------------

    def counts(self, exact: bool = True) -> tuple[int, int]:
        if exact:
            self._refresh()
            if not self._known:
                self._waiting, self._unsettled = self._count()
                self._known = True
        return self._waiting, self._unsettled

    def _count(self) -> tuple[int, int]:
        """Count what waits and what is not finished."""
        count = self._one(self._table.count)
        return count, count

    def _glance(self) -> tuple[int, int]:
        """The same, but no further than a few rows."""
        some = self._one(self._table.count_some)
        return some, some

    def room(self, maxsize: int, wanted: int) -> int:  # noqa: ARG002 - a subclass's may guess
        return maxsize - self.counts()[0]

    def needs(self, records: Sequence[Any], ahead: Sequence[Any]) -> int:
        if not self._table.kind.unique:
            return len(records)
        new = {data for data, *_ in records} - {data for data, *_ in ahead}
        return sum(not self._rows(self._table.by_data, (data,)) for data in new)

    def _opened(self) -> None:
        self._check_writer()
        self._count_anew()

    def _check_writer(self) -> None:
        """Raise ``FormatError`` if another serializer wrote what is there; runs no user's code."""
        if self._codec.shipped is not None and not self._suspended:
            self._refuse_others(skips=False)

    def _refuse_others(self, *, skips: bool) -> None:
        """Raise ``FormatError`` if another serializer wrote what comes next."""
        rows = [data for (data,) in self._rows(self._table.sample)]
        refuse_others(self._codec, rows, self._where, skips=skips)

    @property
    def _where(self) -> str:
        return f"{self._database.path}, {self._table.name}"

    def _count_anew(self) -> None:
        """Find out how many there are, when the store has just been opened."""
        self._waiting, self._unsettled = self._count()
        self._known = True

    def _overtaken(self) -> None:
        self._known = False

    def _undone(self) -> None:
        self._known = False

    def _forgotten(self) -> None:
        self._known = False

    def _ending(self) -> None:
        if not self._known:
            self._waiting, self._unsettled = self._glance()

    def _more(self, waiting: int, unsettled: int) -> None:
        """Adjust the counts by what was just done."""
        self._waiting += waiting
        self._unsettled += unsettled

    # -- verbs ----------------------------------------------------------------------

    def append(self, records: Sequence[Any]) -> Sequence[int | None]:
        """Insert rows and return their ids; None for what a unique queue holds already."""
        ids: Sequence[int | None]
        if len(records) == 1 or self._table.kind.unique:
            ids = [self._insert(row) for row in records]
            stored = len(ids) - ids.count(None)
        else:
            ids = self._insert_many(records)
            stored = len(ids)
        self._more(stored, stored)
        return ids

    def _insert(self, row: Row) -> int | None:
        """Insert a row and return its id; None if it is there already."""
        cursor = self._execute(self._table.insert, row)
        return cursor.lastrowid if cursor.rowcount > 0 else None

    def _insert_many(self, rows: Sequence[Row]) -> Sequence[int]:
        """Insert rows and return their ids."""
        self._many(self._table.insert, rows)
        # AUTOINCREMENT, in one transaction: nobody's ids are in between.
        last: int = self._one("SELECT last_insert_rowid()")
        return range(last - len(rows) + 1, last + 1)

    def _put_back(self, row: Row) -> bool:
        """Insert a row under its id; False if somebody has that, or an equal one is there."""
        return self._execute(self._table.put_back, row).rowcount > 0

    def _delete(self, ids: Sequence[int], statement: str = "") -> int:
        """Delete rows; returns how many there were.

        Args:
            statement: for one id; empty for that which deletes any row.
        """
        statement = statement or self._table.delete
        if len(ids) == 1:
            return self._execute(statement, ids).rowcount
        return max(self._many(statement, [(number,) for number in ids]).rowcount, 0)

    def remove(self, ids: Sequence[int]) -> int:
        """Delete rows that wait; returns how many of these did."""
        removed = self._delete(ids, self._table.delete_waiting) if ids else 0
        self._more(-removed, -removed)
        return removed

    def take(self, most: int) -> list[Record]:
        most = min(most, MOST)
        while True:
            rows = self._unskipped(self._next_rows(most + len(self.skip)), most)
            records = self._decoded(rows)
            if records or not rows:
                break
        if not records:
            return self._none()
        if len(records) == 1:
            self._hand_out(records)
        else:  # all or none: an error here is the taker's own, and the batch goes on
            self.guard(partial(self._hand_out, records))
        return records

    def _next_rows(self, most: int) -> list[Row]:
        """Return the rows to hand out next."""
        return self._rows(self._table.take_first, (most,))

    def _none(self) -> list[Record]:
        """Nothing is there; whoever waits must not be told otherwise by a count."""
        if self._waiting:
            self._known = False
        return []

    def take_id(self, number: int) -> list[Record]:
        """Hand out the row with this id, if it is there and waits."""
        records = self._decoded(self._rows(self._table.take_by_id, (number,)))
        if records:
            self._hand_out(records)
        return records

    def peek(self) -> Record | None:
        while True:
            rows = self._rows(self._table.first, (1,))
            records = self._decoded(rows)
            if records or not rows:
                return records[0] if records else None

    def untake(self, records: Sequence[Record]) -> None:
        """Take back what was handed out, to the same places."""
        raise NotImplementedError

    def _hand_out(self, records: list[Record]) -> None:
        """Write down that these are handed out."""
        raise NotImplementedError

    def _found(self, count: int, records: Sequence[Record]) -> None:
        """Raise unless as many rows were written as read: the same would come for ever."""
        if count != len(records):
            raise self._unfindable(records[0].start)

    def _unfindable(self, number: int) -> QueueCorrupt:
        return QueueCorrupt(
            self._database.path,
            self._table.name,
            index=number,
            reason="the row is not found where it was read: the database is damaged",
            advice="repair it with the command .recover of the program sqlite3",
        )

    # -- rows -----------------------------------------------------------------------

    def update(self, number: int, data: Any) -> int:
        """Replace what the row with this id holds, and return the id."""
        try:
            self._execute(self._table.update, (data, number))
        except Exception as error:
            if "UNIQUE" in str(error.__cause__):
                raise ValueError("the queue holds an equal item already") from error
            raise
        return number

    def newest(self) -> int | None:
        """Return the highest id of all rows; None if there is none."""
        newest: int | None = self._one(self._table.newest)
        return newest

    def all_rows(self) -> list[Row]:
        """Return every row in order of id, read beside whatever is under way."""
        return self._rows_beside(self._table.all_rows)

    def decoded_rows(self, rows: Sequence[Row]) -> list[tuple[Row, Any]]:
        """Return rows with their items; what cannot be decoded is left out if it may be skipped."""
        decoded = []
        for row in rows:
            try:
                decoded.append((row, self._decode(row)))
            except Damaged as error:
                if not decoded:
                    some = [row[1] for row in rows[:SAMPLE]]
                    refuse_others(self._codec, some, self._where, skips=self._skip_corrupt)
                if not self._skip_corrupt:
                    raise self._corrupt(row, error) from error
            except (SerializationError, ItemTooLarge) as error:
                if not self._skip_corrupt:
                    raise
                warn("%s: left out of the list: %s", self._database.path, error)
        return decoded

    # -- decoding -------------------------------------------------------------------

    def _decoded(self, rows: Sequence[Row]) -> list[Record]:
        """Return records up to the first row that cannot be decoded; raise if that is the first."""
        records: list[Record] = []
        for row in rows:
            try:
                records.append(Record(row[0], row, self._decode(row)))
            except Damaged as error:
                if not records:
                    self._refuse_others(skips=self._skip_corrupt)
                if self._skip_corrupt:
                    self._set_aside(row, str(error))
                elif records:
                    break
                else:
                    raise self._corrupt(row, error) from error
            except (SerializationError, ItemTooLarge, OSError):
                if records:
                    break
                raise
        return records

    def _decode(self, row: Row) -> Any:
        """Return the item of a row; an error that is no damage names the row."""
        try:
            return self._codec.decode(row[1])
        except (SerializationError, ItemTooLarge) as error:
            raise type(error)(f"{self._table.name}, row {row[0]}: {error}") from error.__cause__

    def set_aside(self) -> bool:
        """Set the next row aside if it cannot be loaded; returns whether it was."""
        rows = self._first_rows()
        if not rows:
            return False
        try:
            self._codec.decode(rows[0][1])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever its code raises
            if isinstance(error, Damaged):
                self._refuse_others(skips=False)
            self._set_aside(rows[0], reason_of(error))
            return True
        return False

    def _first_rows(self) -> Sequence[Row]:
        """Return the row that comes next."""
        rows = self._rows(self._table.take_first, (1 + len(self.skip),))
        return self._unskipped(rows, 1)

    def _set_aside(self, row: Row, reason: str) -> None:
        if not self._exclusive:
            raise Stale
        self.guard(partial(self.move_aside, row[0]))
        self._more(-1, -1)
        self.skipped += 1
        warn(
            "%s: row %d of %s cannot be decoded (%s); it is in the table %s now",
            self._database.path, row[0], self._table.name, reason, self._table.aside,
        )  # fmt: skip

    def move_aside(self, number: int) -> None:
        """Move a row to the table of its own in which damage is kept."""
        self._execute(self._table.create_aside)
        self._execute(self._table.set_aside, (number,))
        if not self._delete((number,)):
            raise self._unfindable(number)

    def _corrupt(self, row: Row, error: Damaged) -> QueueCorrupt:
        return QueueCorrupt(
            self._database.path,
            self._table.name,
            index=row[0],
            reason=f"the row cannot be decoded ({error})",
            advice='open the queue with on_corrupt="skip" to set it aside and go on',
        )
