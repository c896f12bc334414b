"""Rows of a broker's queues as items; what cannot be decoded stays, or is set aside."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .._core.block import Damaged, reason_of
from .._core.log import warn
from .._core.origin import refuse_others
from .._core.store import Record, Stale
from .._sql.schema import folded
from ..exceptions import ItemTooLarge, QueueCorrupt, SerializationError
from .queues import BrokerQueues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.codec import RowCodec
    from .._sql.sqlite.database import Database
    from .statements import BrokerTable

Row = tuple[Any, ...]  # _id, data, timestamp
R = TypeVar("R", bound=Record)


class BrokerRows(BrokerQueues):
    """The queues of one database, and their rows.

    Attributes:
        skips: whether damaged rows are set aside, instead of raising.
        skipped: how many were.
    """

    def __init__(self, database: Database, codec: RowCodec, *, skip_corrupt: bool) -> None:
        super().__init__(database)
        self._codec = codec
        self.skips = skip_corrupt
        self.skipped = 0

    def _decoded(self, table: BrokerTable, rows: Sequence[Row], kind: type[R]) -> list[R]:
        """Return records up to the first row that cannot be decoded; raise if that is the first."""
        records: list[R] = []
        for row in rows:
            try:
                item = self._codec.decode(row[1])
            except Damaged as error:
                if not records:
                    self._refuse_others(table)
                if self.skips:
                    self._set_aside(table, row, str(error))
                elif records:
                    break
                else:
                    raise self.corrupt(table.name, row[0], error) from error
            except (SerializationError, ItemTooLarge) as error:
                if records:
                    break
                raise type(error)(f"{table.name}, row {row[0]}: {error}") from error.__cause__
            else:
                records.append(kind(row[0], (table.queue, *row), item))
        return records

    def _refuse_others(self, table: BrokerTable) -> None:
        """Raise ``FormatError`` if another serializer wrote what comes next."""
        rows = [data for (data,) in self.conn.rows(table.sample)]
        where = f"{self.conn.database.path}, {table.name}"
        refuse_others(self._codec, rows, where, skips=self.skips)

    def corrupt(self, table: str, number: int, error: Damaged) -> QueueCorrupt:
        """Return the error for a row that cannot be decoded."""
        corrupt = QueueCorrupt(
            self.conn.database.path,
            table,
            index=number,
            reason=f"the row cannot be decoded ({error})",
            advice='open the broker with on_corrupt="skip" to set it aside and go on, or delete it',
        )
        return self._codec.bad_row(corrupt, error.__cause__)

    def set_aside(self, name: str) -> bool:
        """Set a queue's next row aside if it cannot be loaded; returns whether it was."""
        table = self.find(name)
        if table is None:
            return False
        some = self.conn.rows(table.first, (1 + len(self.skip),))
        rows = self._unskipped(some, 1, table.queue)
        if not rows:
            return False
        try:
            self._codec.decode(rows[0][1])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - its code may raise anything
            if isinstance(error, Damaged):
                self._refuse_others(table)
            self._set_aside(table, rows[0], reason_of(error))
            self.ready.unknown(folded(name))
            return True
        return False

    def _set_aside(self, table: BrokerTable, row: Row, reason: str) -> None:
        if not self.conn.exclusive:
            raise Stale
        self.guard(partial(self._move_aside, table, row[0]))
        self.skipped += 1
        warn(
            "%s: row %d of %s cannot be decoded (%s); it is in the table %s now",
            self.conn.database.path, row[0], table.name, reason, table.aside,
        )  # fmt: skip

    def _move_aside(self, table: BrokerTable, number: int) -> None:
        self.conn.execute(table.create_aside)
        self._schema = -1
        self.conn.execute(table.set_aside, (number,))
        self.conn.execute(table.delete, (number,))
