"""A store of rows: it has a connection to a database, and decodes what it reads there.

A row that cannot be decoded stays, and is in the way until it is skipped: set aside in a table of
its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .._core.block import Damaged, reason_of
from .._core.codec import refuse_others
from .._core.log import warn
from .._core.store import Stale, StoreBase, Undone
from ..exceptions import ItemTooLarge, QueueCorrupt, SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.codec import RowCodec
    from .connection import SqlConnection
    from .statements import DictTable, Table

#: Logged when it is: a path, an owner, how many items.
SILENT = (
    "%s: the owner %s has given no sign of life for the time of its lease: the %d items that it "
    "holds are given to others"
)
R = TypeVar("R")
Row = tuple[Any, ...]  # _id, data, timestamp, then priority or status, then the checksum


class RowStore(StoreBase, ABC):
    """A store whose transactions are its connection's.

    Args:
        codec: decodes rows.
        skips: set aside rows that cannot be decoded, instead of raising.

    Attributes:
        conn: the connection.
        errors: see ``Store``.
        skipped: how many rows were set aside.
    """

    _ADVICE = 'open the queue with on_corrupt="skip" to set it aside and go on'

    def __init__(self, conn: SqlConnection, codec: RowCodec, *, skips: bool) -> None:
        self.conn = conn
        self.errors = conn.errors
        self._codec = codec
        self.skips = skips
        self.skipped = 0

    @property
    def failed(self) -> str:
        return self.conn.failed

    def open(self) -> bool:
        return self.conn.open(self)

    def begin(self, exclusive: bool) -> bool:
        return self.conn.begin(exclusive, self)

    def commit(self) -> None:
        self.conn.commit()

    def rollback(self) -> bool:
        return self.conn.rollback(self)

    def abandon(self) -> None:
        self.conn.abandon()

    def hurry(self) -> None:
        self.conn.hurry()

    def changed(self, getting: bool) -> bool:
        return self.conn.changed(getting)

    def probe(self) -> tuple[int, bytes] | None:
        return self.conn.probe()

    def sync(self) -> None:
        self.conn.sync()

    def close(self) -> None:
        self.conn.close()

    def forget(self) -> None:
        self.conn.forget()

    def shrink(self) -> None:
        """Give the space of deleted rows back; callable on any thread."""
        self.conn.shrink()

    def guard(self, function: Callable[[], R]) -> R:
        """Call ``function``; if it raises, what it wrote in this transaction is undone."""
        conn = self.conn
        if not conn.exclusive:
            return function()
        conn.execute("SAVEPOINT one_call")
        try:
            result = function()
        except (Stale, Undone):  # nothing of the transaction stays
            raise
        except Exception as error:
            try:
                conn.execute("ROLLBACK TO SAVEPOINT one_call")
                conn.execute("RELEASE SAVEPOINT one_call")
            except Exception as second:
                raise Undone(error) from second
            self.overtaken()
            raise
        conn.execute("RELEASE SAVEPOINT one_call")
        return result

    # -- what the connection tells --------------------------------------------------

    @abstractmethod
    def opened(self) -> None:
        """Look at the database: the connection has just been opened."""

    def overtaken(self) -> None:
        """Nothing is known that could be wrong now."""

    def undone(self) -> None:
        """Nothing was noted that could be wrong now."""

    def found_stored(self) -> None:
        """Nothing was handed out."""

    # -- rows -----------------------------------------------------------------------

    def _decoded(
        self, table: Table, rows: Sequence[Row], record: Callable[[Row, Any], R]
    ) -> list[R]:
        """Return records up to the first row that cannot be decoded; raise if that is the first.

        Args:
            record: makes one, of a row and its item.
        """
        records: list[R] = []
        for row in rows:
            try:
                records.append(record(row, self._decode(table, row)))
            except Damaged as error:
                if not records:
                    self._refuse_others(table, skips=self.skips)
                if self.skips:
                    self._set_aside(table, row, str(error))
                elif records:
                    break
                else:
                    raise self.corrupt(table.name, row[0], error) from error
            except (SerializationError, ItemTooLarge, OSError):
                if records:
                    break
                raise
        return records

    def _decode(self, table: Table, row: Row) -> Any:
        """Return the item of a row; an error that is no damage names the row."""
        try:
            return self._codec.decode(row[1], row[-1] if table.sums else None)
        except (SerializationError, ItemTooLarge) as error:
            raise type(error)(f"{table.name}, row {row[0]}: {error}") from error.__cause__

    def _check_writer(self, table: Table | DictTable) -> None:
        """Raise ``FormatError`` if another serializer wrote the next rows; runs no user's code."""
        if self._codec.shipped is not None and not self.conn.suspended:
            self._refuse_others(table, skips=False)

    def _refuse_others(self, table: Table | DictTable, *, skips: bool) -> None:
        """Raise ``FormatError`` if another serializer wrote the next rows."""
        rows = [data for (data,) in self.conn.rows(table.sample)]
        refuse_others(self._codec, rows, self._where(table), skips=skips)

    def _where(self, table: Table | DictTable) -> str:
        return f"{self.conn.database.path}, {table.name}"

    def corrupt(self, table: str, number: int, error: Damaged) -> QueueCorrupt:
        """Return the error for a row that cannot be decoded."""
        corrupt = QueueCorrupt(
            self.conn.database.path,
            table,
            index=number,
            reason=f"the row cannot be decoded ({error})",
            advice=self._ADVICE,
        )
        return self._codec.bad_row(corrupt, error.__cause__)

    def _set_first_aside(self, table: Table, rows: Sequence[Row]) -> bool:
        """Set the first of these rows aside if it cannot be loaded; returns whether it was."""
        if not rows:
            return False
        try:
            self._codec.decode(rows[0][1], rows[0][-1] if table.sums else None)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - its code may raise anything
            if isinstance(error, Damaged):
                self._refuse_others(table, skips=False)
            self._set_aside(table, rows[0], reason_of(error))
            return True
        return False

    def _set_aside(self, table: Table, row: Row, reason: str) -> None:
        if not self.conn.exclusive:
            raise Stale
        self.guard(partial(self._move_aside, table, row[0]))
        self.skipped += 1
        warn(
            "%s: row %d of %s cannot be decoded (%s); it is in the table %s now",
            self.conn.database.path, row[0], table.name, reason, table.aside,
        )  # fmt: skip

    def _move_aside(self, table: Table, number: int) -> None:
        """Move a row to the table of its own in which damage is kept."""
        self.conn.create(table.create_aside)
        self.conn.execute(table.set_aside, (number,))
        if not self.conn.execute(table.delete, (number,)).rowcount:  # or it comes for ever
            raise self._unfindable(table, number) if self.conn.counts else Stale

    def _unfindable(self, table: Table, number: int) -> QueueCorrupt:
        return QueueCorrupt(
            self.conn.database.path,
            table.name,
            index=number,
            reason="the row is not found where it was read: the database is damaged",
            advice="repair it with the command .recover of the program sqlite3",
        )
