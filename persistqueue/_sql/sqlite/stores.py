"""The stores of the SQLite queues: a way to finish items, on SQLite's transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..acks import AckStore
from ..finishing import DeletingStore, ReservingStore
from ..statements import ANY_MOVE, CREATE_MOVES, DROP_MOVES, FORGET_MOVE, LAST_MOVED, MOVED
from ..store import SqlStore
from .connection import SqliteTransactions
from .errors import bad_row
from .owners import FileOwner

if TYPE_CHECKING:
    from ..._core.block import Damaged
    from ...exceptions import QueueCorrupt
    from ..store import Row


class SqliteStore(SqlStore, SqliteTransactions):
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

    # -- for a move: which of its batches the database has ------------------------------

    def mark_moved(self, run: str, number: int) -> None:
        """Note, in this transaction, the last batch of a move."""
        self._execute(CREATE_MOVES)
        self._execute(MOVED, (run, number))

    def last_moved(self, run: str) -> int:
        """Return the last batch of a move; 0 if there is none."""
        self._execute(CREATE_MOVES)
        rows = self._rows(LAST_MOVED, (run,))
        return rows[0][0] if rows else 0

    def forget_move(self, run: str) -> None:
        """Remove the note of a move, and the table with the last one."""
        self._execute(CREATE_MOVES)
        self._execute(FORGET_MOVE, (run,))
        if not self._rows(ANY_MOVE):
            self._execute(DROP_MOVES)


class SqliteDeletingStore(SqliteStore, DeletingStore):
    """Deletes a row when it is handed out."""


class SqliteReservingStore(SqliteStore, ReservingStore):
    """Deletes a row when it is settled."""


class SqliteAckStore(SqliteStore, AckStore):
    """Marks rows; an owner holds a lock on a file beside the database."""

    _owner: FileOwner

    def _new_owner(self) -> FileOwner:
        return FileOwner(self._database, self._table.name, "resume_unack_tasks(force=True)")

    def _opened(self) -> None:
        super()._opened()
        if self._resumes and not self._suspended:
            self._alone(lambda: self._owner.sweep(self._holders()))

    def close(self) -> None:
        holds = self._owner.name is not None and self._still_holds()
        super().close()
        self._owner.disappear(holds=holds)

    def _still_holds(self) -> bool:
        try:
            return self.connection is None or self._owner.name in self._holders()
        except Exception:  # noqa: BLE001 - who knows
            return True
