"""The stores of the SQLite queues: a way to finish items, on SQLite's transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .owners import FileOwner
from .sqlacks import AckStore
from .sqliteerrors import bad_row
from .sqlitetransactions import SqliteTransactions
from .sqlstore import SqlStore
from .sqlways import DeletingStore, ReservingStore

if TYPE_CHECKING:
    from ..exceptions import QueueCorrupt
    from .block import Damaged
    from .sqlstore import Row


class _SqliteStore(SqlStore, SqliteTransactions):
    """What the three have in common."""

    def _corrupt(self, row: Row, error: Damaged) -> QueueCorrupt:
        return bad_row(super()._corrupt(row, error), error.__cause__)

    def room(self, maxsize: int, wanted: int) -> int:
        self._refresh()
        if not self._known:  # before counting: the range of ids may be narrow enough
            most: int = self._one(self._table.span) or 0
            if most <= maxsize - wanted:
                return maxsize - most
        return super().room(maxsize, wanted)


class SqliteDeletingStore(_SqliteStore, DeletingStore):
    """Deletes a row when it is handed out."""


class SqliteReservingStore(_SqliteStore, ReservingStore):
    """Deletes a row when it is settled."""


class SqliteAckStore(_SqliteStore, AckStore):
    """Marks rows; an owner holds a lock on a file beside the database."""

    def _new_owner(self) -> FileOwner:
        return FileOwner(self._database)
