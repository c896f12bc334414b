"""The stores of the SQLite queues: a way to finish items, on SQLite's transactions."""

from __future__ import annotations

from .owners import FileOwner
from .sqlacks import AckStore
from .sqlitetransactions import SqliteTransactions
from .sqlways import DeletingStore, ReservingStore


class SqliteDeletingStore(DeletingStore, SqliteTransactions):
    """Deletes a row when it is handed out."""


class SqliteReservingStore(ReservingStore, SqliteTransactions):
    """Deletes a row when it is settled."""


class SqliteAckStore(AckStore, SqliteTransactions):
    """Marks rows; an owner holds a lock on a file beside the database."""

    def _new_owner(self) -> FileOwner:
        return FileOwner(self._database)
