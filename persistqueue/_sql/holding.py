"""Rows that one object holds: it has their names in memory, and changes them by their fence.

A row that is handed out carries its owner, and the number of the hand-out (``takes``).  What an
object does with a row that it was handed is done only while both are still there: else another
object has taken the row over, and it may have been handed to this one again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from .._core.log import warn
from .._core.store import Stale
from .store import SqlStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.codec import RowCodec
    from .._core.store import Record
    from .connection import SqlConnection
    from .statements import Table

R = TypeVar("R")

# Places in a row, which is as it was when it had been handed out.
TAKES, ATTEMPTS, NOTE = 4, 5, 6
_MOST_NAMED = 10  # rows in one line of the log


class HoldingStore(SqlStore):
    """Knows which rows it holds.

    Args:
        lease: seconds without a sign of life after which an owner is gone; None for never.
    """

    _loses = False  # this object has lost rows that it held; the batch is run again

    def __init__(
        self,
        conn: SqlConnection,
        table: Table,
        codec: RowCodec,
        *,
        skip_corrupt: bool,
        lease: float | None,
    ) -> None:
        super().__init__(conn, table, codec, skip_corrupt=skip_corrupt)
        # Rows that this object holds, as far as it knows: their ids, and of which hand-outs.
        self._held: dict[int, int] = {}
        # What this transaction added there, and removed.
        self._before: tuple[list[int], list[tuple[int, int]]] = ([], [])
        self._owner = self.conn.new_owner(self._held, lease)

    # -- memory follows the database --------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        if not super().begin(exclusive):
            return False
        self._before = ([], [])
        return True

    def commit(self) -> None:
        super().commit()
        self._loses = False

    def overtaken(self) -> None:
        super().overtaken()
        self._owner.overtaken()

    def undone(self) -> None:
        super().undone()
        added, removed = self._before
        for number in added:
            self._held.pop(number, None)
        self._held.update(removed)
        self._before = ([], [])

    def guard(self, function: Callable[[], R]) -> R:
        place = len(self._before[1])
        try:
            return super().guard(function)
        except BaseException:
            self._held.update(self._before[1][place:])  # it is held still
            raise

    def _hold(self, records: Sequence[Record]) -> None:
        """Note that this object holds rows; at the end, so that no error follows."""
        held = {record.start: record.end[TAKES] for record in records}
        self._before[0].extend(held)
        self._held.update(held)
        self._owner.stay()

    def _let_go(self, number: int, takes: int) -> None:
        """Note that this object does not hold a row any more that it had in this hand-out."""
        if self._held.get(number) == takes:
            self._before[1].append((number, takes))  # noted first: an interrupt may come
            del self._held[number]

    # -- the fence ------------------------------------------------------------------

    def _fenced(
        self, statement: str, records: Sequence[Record], *values: object
    ) -> Sequence[Record]:
        """Write rows that this object holds; returns the records of those that it lost.

        Raises:
            Stale: it has lost some: the batch begins again, and each is written by itself.
        """
        mine = self._owner.name
        for record in records:
            self._let_go(record.start, record.end[TAKES])
        rows = [(*values, record.start, mine, record.end[TAKES]) for record in records]
        if len(rows) == 1:
            written = self.conn.execute(statement, rows[0]).rowcount
            return () if written else self._say_lost(records)
        if not self._loses:
            if not rows or self.conn.many(statement, rows) == len(rows):
                return ()
            self._loses = True
            raise Stale
        return self._say_lost([
            record
            for record, row in zip(records, rows, strict=True)
            if not self.conn.execute(statement, row).rowcount
        ])  # fmt: skip

    def _say_lost(self, records: Sequence[Record]) -> Sequence[Record]:
        if records:
            numbers = ", ".join(str(record.start) for record in records[:_MOST_NAMED])
            more = ", ..." if len(records) > _MOST_NAMED else ""
            warn(
                "%s: taken over from this object, or finished by their ids: the items with the ids "
                "%s%s; nothing changed for them",
                self._where(self.table), numbers, more,
            )  # fmt: skip
        return records

    # -- the end --------------------------------------------------------------------

    def close(self) -> None:
        holds = self._owner.leaves_files and self._still_holds()
        super().close()
        self._owner.disappear(holds=holds)

    def _still_holds(self) -> bool:
        try:
            return self._owner.name is not None and (
                self.conn.driver is None or self._owner.name in self._holders()
            )
        except Exception:  # noqa: BLE001 - the database may be gone
            return True

    def forget(self) -> None:
        super().forget()
        self._held.clear()
        self._before = ([], [])
        self._owner.forget()

    def _holders(self) -> list[str | None]:
        return [owner for (owner,) in self.conn.rows(self.table.owners)]
