"""The third way to finish an item: rows stay, and their status says how far they are.

A row that is handed out carries its owner, so that another worker's start takes back only what
dead workers held.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from .._core.deadline import monotonic
from .._core.log import warn
from .rowstore import SILENT
from .statements import ACKED, FAILED, HELD, NEW, READY
from .store import MOST, SqlStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.codec import RowCodec
    from .._core.store import Record
    from .connection import SqlConnection
    from .rowstore import Row
    from .statements import Table

R = TypeVar("R")

# From which status a row that is named by its id may become another: any consumer may hold it,
# or none.  One that is named by what get() returned has to be held by this object.
MOVES = {
    ACKED: frozenset({NEW, READY, HELD}),
    FAILED: frozenset({NEW, READY, HELD}),
    READY: frozenset({HELD, FAILED}),
}
_ONLY_HELD = frozenset({HELD})
_MOST_MARKED = 500  # ids in one statement; SQLite takes 999 values at least


class AckStore(SqlStore):
    """Marks rows instead of deleting them.

    Args:
        keep_acked: how many acked rows are kept, about; None for all.
        resumes: the rows of owners that are gone are made ready, from opening on.
        lease: seconds without a sign of life after which an owner is gone; None for never.
    """

    def __init__(
        self,
        conn: SqlConnection,
        table: Table,
        codec: RowCodec,
        *,
        skip_corrupt: bool,
        keep_acked: int | None,
        resumes: bool,
        lease: float | None,
    ) -> None:
        super().__init__(conn, table, codec, skip_corrupt=skip_corrupt)
        self._resumes = resumes
        self._keep_acked = keep_acked
        # Rows acked since old ones were deleted; before this object came: enough.
        self._unpruned = keep_acked or 0
        self._held: set[int] = set()  # ids of rows that this object holds, as far as it knows
        # Ids that this transaction added there, and removed.
        self._before: tuple[list[int], list[int]] = ([], [])
        self._bereft: list[str] = []  # dead owners from which this transaction took all rows
        self._owner = self.conn.new_owner(self._held, lease)

    def opened(self) -> None:
        if self._resumes and not self.conn.suspended:
            self._check_writer(self.table)
            self.conn.alone(partial(self.resume, mine_too=False))
            if self._owner.leaves_files:  # behind the commit of rows that were taken from owners
                self.conn.alone(lambda: self._owner.sweep(self._holders()))
        super().opened()

    def close(self) -> None:
        holds = self._owner.leaves_files and self._still_holds()
        super().close()
        self._owner.disappear(holds=holds)

    # -- memory follows the database --------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        if not super().begin(exclusive):
            return False
        self._before = ([], [])
        return True

    def commit(self) -> None:
        super().commit()
        if self._bereft:
            self._owner.remove(self._bereft)
            self._bereft = []

    def overtaken(self) -> None:
        super().overtaken()
        self._owner.overtaken()

    def undone(self) -> None:
        super().undone()
        added, removed = self._before
        self._held.difference_update(added)
        self._held.update(removed)
        self._before, self._bereft = ([], []), []

    def guard(self, function: Callable[[], R]) -> R:
        place = len(self._before[1])
        try:
            return super().guard(function)
        except BaseException:
            self._held.update(self._before[1][place:])  # it is held still
            raise

    def _hold(self, ids: Sequence[int]) -> None:
        """Note that this object holds rows; at the end, so that no error follows."""
        self._before[0].extend(ids)
        self._held.update(ids)
        self._owner.stay()

    def _let_go(self, ids: Sequence[int]) -> None:
        """Note that this object does not hold rows."""
        self._before[1].extend(self._held.intersection(ids))
        self._held.difference_update(ids)

    # -- the end --------------------------------------------------------------------

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

    # -- counting -------------------------------------------------------------------

    def _count(self) -> tuple[int, int]:
        ((waiting, held),) = self.conn.rows(self.table.count_both)
        return waiting, waiting + held

    def _glance(self) -> tuple[int, int]:
        ((waiting, held),) = self.conn.rows(self.table.both_some)
        return waiting, waiting + held

    def count_status(self, status: int) -> int:
        """Return how many rows have this status."""
        if status == HELD:
            count: int = self.conn.one(self.table.count_held)
        else:
            which = self.table.count_live if status < HELD else self.table.count_over
            count = self.conn.one(which, (status,))
        return count

    # -- verbs ----------------------------------------------------------------------

    def _hand_out(self, records: list[Record]) -> None:
        owner, marked = self._owner.appear(), 0
        if len(records) == 1:
            marked = self.conn.execute(self.table.hand_out, (owner, records[0].start)).rowcount
        else:
            for start in range(0, len(records), _MOST_MARKED):
                ids = [record.start for record in records[start : start + _MOST_MARKED]]
                statement = self.table.hand_out_these(len(ids))
                marked += self.conn.execute(statement, (owner, *ids)).rowcount
        self._found(marked, records)
        self._more(-len(records), 0)
        self._hold([record.start for record in records])

    def take(self, most: int) -> list[Record]:
        self._take_over()
        return super().take(most)

    def take_id(self, number: int) -> list[Record]:
        self._take_over()
        return super().take_id(number)

    def take_next(self, number: int) -> list[Record]:
        """Hand out the row behind this id in the queue's order; behind the last, the first."""
        self._take_over()
        records = self._first_of(
            lambda: (
                self.conn.rows(self.table.take_after, (number, 1))
                or self.conn.rows(self.table.take_first, (1,))
            )
        )
        if records:
            self._hand_out(records)
        return records

    def untake(self, records: Sequence[Record]) -> None:
        self.finish(records, READY)

    def settle(self, records: Sequence[Record]) -> None:
        self.finish(records, ACKED)

    def writes_once(self, status: int, to_back: bool) -> bool:
        """Return whether to finish one row is one statement, which leaves nothing if it fails."""
        return not to_back and (status != ACKED or self._keep_acked is None)

    def finish(self, records: Sequence[Record], status: int, *, to_back: bool = False) -> list[int]:
        """Give rows that this object holds a status.

        Args:
            to_back: put them behind all others, which gives them a new id.

        Returns:
            the ids of those that had another status.
        """
        if to_back:
            moves = (self._move(record.start, status, _ONLY_HELD, True, True) for record in records)
            return [number for moved in moves for number in moved]
        statement, mine = self.table.finish_mine, self._owner.name
        moved = [
            record.start
            for record in records
            if self.conn.execute(statement, (status, record.start, mine)).rowcount
        ]
        self._let_go([record.start for record in records])
        self._more(len(moved) if status < HELD else 0, -len(moved) if status >= ACKED else 0)
        self._moved(status, len(moved))
        return moved

    def move(
        self, number: int, status: int, *, held: bool = False, to_back: bool = False
    ) -> list[int]:
        """Do what ``finish`` does for a row that is named by its id.

        Args:
            held: only if a consumer holds it.
        """
        return self._move(number, status, _ONLY_HELD if held else MOVES[status], to_back)

    def _move(
        self, number: int, status: int, allowed: frozenset[int], to_back: bool, mine: bool = False
    ) -> list[int]:
        rows = self.conn.rows(self.table.state, (number,))
        if not rows or rows[0][0] not in allowed or (mine and rows[0][1] != self._owner.name):
            return []
        was, _, *content = rows[0]
        self._let_go((number,))
        if to_back:
            number = self._put_behind(number, content)
        else:
            self.conn.execute(self.table.mark, (status, None, number))
        self._more((status < HELD) - (was < HELD), (status < ACKED) - (was < ACKED))
        self._moved(status, 1)
        return [number]

    def _moved(self, status: int, count: int) -> None:
        """Follow up on rows that have been given a status."""
        if status == READY:
            self._came_back()
        elif status == ACKED:
            self._prune(count)

    def _put_behind(self, number: int, content: Sequence[Any]) -> int:
        """Give a row the last place, ready; returns its new id."""
        if self.table.kind.newest_first:
            new: int = self.conn.one(self.table.lowest_id) - 1
            self.conn.execute(self.table.mark, (READY, None, number))
            self.conn.execute(self.table.to_the_front, (new, number))
            return new
        self.conn.execute(self.table.delete, (number,))
        behind = self.conn.execute(self.table.ready_insert, content).lastrowid
        assert behind is not None
        return behind

    # -- acked rows -----------------------------------------------------------------

    def clear(self, most: int, keep: int, failed_too: bool) -> int:
        """Delete acked rows; returns how many.

        Args:
            most: rows to delete at the most, negative for no bound.
            keep: how many of the newest stay.
            failed_too: count failed ones among them.
        """
        bounds = min(most if most >= 0 else MOST, MOST), min(keep, MOST)
        return max(self.conn.execute(self.table.clear[failed_too], bounds).rowcount, 0)

    def _prune(self, acked: int) -> None:
        """Delete acked rows beyond ``keep_acked``, when they are a tenth more."""
        if self._keep_acked is None:
            return
        self._unpruned += acked
        if self._unpruned * 10 >= self._keep_acked:
            self.clear(-1, self._keep_acked, failed_too=False)
            self._unpruned = 0

    # -- owners ---------------------------------------------------------------------

    def due(self, getting: bool) -> float:
        return self._owner.due() if getting and self._resumes else inf

    def changed(self, getting: bool) -> bool:
        if super().changed(getting):
            return True
        return monotonic() >= self.due(getting) and bool(
            self._owner.gone(lambda: self._others(self.conn.glimpse(self.table.holders)))
        )

    def _others(self, rows: Sequence[Row] | None) -> list[str] | None:
        """Return the names in these rows, without this object's."""
        return None if rows is None else [name for (name,) in rows if name != self._owner.name]

    def _take_over(self) -> None:
        """Make ready the rows of owners that are gone, if it is time to look at them."""
        if not self._resumes or monotonic() < self._owner.due():
            return
        gone = self._owner.gone(lambda: self._others(self.conn.rows(self.table.holders)))
        for name, dead in gone.items():
            count = self.conn.execute(self.table.resume, (name,)).rowcount
            self._owner.took_from(name)
            self._more(count, 0)
            if dead:
                self._bereft.append(name)
            else:
                warn(SILENT, self._where(self.table), name, count)
        if gone:
            self._came_back()

    def resume(self, *, mine_too: bool, living_too: bool = False) -> int:
        """Make ready the rows of dead owners, and rows without an owner; returns how many.

        Args:
            mine_too: rows that this object holds as well.
            living_too: rows of other owners as well that are alive.
        """
        resumed = 0
        for owner in self._holders():
            mine = owner is not None and owner == self._owner.name
            if mine_too if mine else owner is None or living_too or self._owner.is_dead(owner):
                resumed += self.conn.execute(self.table.resume, (owner,)).rowcount
                if mine:
                    self._let_go(tuple(self._held))
        self._more(resumed, 0)
        self._came_back()
        return resumed

    def _holders(self) -> list[str | None]:
        return [owner for (owner,) in self.conn.rows(self.table.owners)]
