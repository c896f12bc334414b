"""The third way to finish an item: rows stay, and their status says how far they are.

A row that is handed out carries its owner, so that another worker's start takes back only what
dead workers held.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged
from .._core.deadline import monotonic
from .._core.log import warn
from .holding import ATTEMPTS, NOTE, TAKES, HoldingStore
from .rowstore import SILENT
from .statements import ACKED, FAILED, HELD, NEW, READY
from .store import MOST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.codec import RowCodec
    from .._core.store import Record
    from .connection import SqlConnection
    from .rowstore import Row
    from .statements import Table

# From which status a row that is named by its id may become another: any consumer may hold it,
# or none.  One that is named by what get() returned has to be held by this object.
MOVES = {
    ACKED: frozenset({NEW, READY, HELD}),
    FAILED: frozenset({NEW, READY, HELD}),
    READY: frozenset({HELD, FAILED}),
}
_ONLY_HELD = frozenset({HELD})
_MOST_MARKED = 500  # ids in one statement; SQLite takes 999 values at least
_CALLED = "ack_failed() was called"


class AckStore(HoldingStore):
    """Marks rows instead of deleting them.

    Args:
        keep_acked: how many acked rows are kept, about; None for all.
        resumes: the rows of owners that are gone are made ready, from opening on.
        lease: seconds without a sign of life after which an owner is gone; None for never.
        max_attempts: an item that was handed out so often fails when it comes back; None: never.
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
        max_attempts: int | None = None,
    ) -> None:
        super().__init__(conn, table, codec, skip_corrupt=skip_corrupt, lease=lease)
        self._resumes = resumes
        self._max_attempts = max_attempts
        self._keep_acked = keep_acked
        # Rows acked since old ones were deleted; before this object came: enough.
        self._unpruned = keep_acked or 0
        self._bereft: list[str] = []  # dead owners from which this transaction took all rows

    def opened(self) -> None:
        if self._resumes and not self.conn.suspended:
            self._check_writer(self.table)
            self.conn.alone(partial(self.resume, mine_too=False))
            if self._owner.leaves_files:  # behind the commit of rows that were taken from owners
                self.conn.alone(lambda: self._owner.sweep(self._holders()))
        super().opened()

    def commit(self) -> None:
        super().commit()
        if self._bereft:
            self._owner.remove(self._bereft)
            self._bereft = []

    def undone(self) -> None:
        super().undone()
        self._bereft = []

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

    def _first_of(self, read: Callable[[], Sequence[Row]]) -> list[Record]:
        if self._max_attempts is None or not self.conn.exclusive:
            return super()._first_of(read)
        return super()._first_of(partial(self._not_worn_out, read))

    def _not_worn_out(self, read: Callable[[], Sequence[Row]]) -> Sequence[Row]:
        """Return rows that may be handed out; those that were handed out too often fail."""
        while rows := read():
            if fit := self._fit(rows):
                return fit
        return []

    def _fit(self, rows: Sequence[Row]) -> Sequence[Row]:
        most, fit = self._max_attempts, []
        if most is None or not any(_is_worn(row, most) for row in rows):
            return rows
        for row in rows:
            if not _is_worn(row, most):
                fit.append(row)
            elif row[NOTE] is not None:  # it had failed, and a program of persist-queue put it back
                self.conn.execute(self.table.revive, (row[0],))
                fit.append((*row[:ATTEMPTS], 1, None, *row[NOTE + 1 :]))
            else:
                values = (_note(row[ATTEMPTS] - 1), row[0])
                if not self.conn.execute(self.table.wear_out, values).rowcount:
                    raise self._unfindable(self.table, row[0])
                self._more(-1, -1)
        return fit

    def _decode(self, table: Table, row: Row) -> Any:
        if not (type(row[TAKES]) is int and type(row[ATTEMPTS]) is int):
            raise Damaged("how often it was handed out is no number")
        return super()._decode(table, row)

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
        self._hold(records)

    def take(self, most: int) -> list[Record]:
        self._take_over()
        return super().take(most)

    def take_id(self, number: int) -> list[Record]:
        self._take_over()
        rows = self._fit(self.conn.rows(self.table.take_by_id, (number,)))
        records = self._records(rows)
        if records:
            self._hand_out(records)
        return records

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

    def untake(self, records: Sequence[Record]) -> Sequence[Record]:
        """Take back what was handed out; what no caller has seen was no attempt."""
        spent = [record for record in records if record.spent]
        unseen = [record for record in records if not record.spent] if spent else records
        lost = self._fenced(self.table.give_back, unseen, READY)
        self._follow(READY, len(unseen) - len(lost))
        return [*lost, *self.finish(spent, READY)]

    def settle(self, records: Sequence[Record]) -> Sequence[Record]:
        return self.finish(records, ACKED)

    def finish(self, records: Sequence[Record], status: int) -> Sequence[Record]:
        """Give rows that this object holds a status; returns the records of those it lost."""
        worn: Sequence[Record] = ()
        most = self._max_attempts
        if status == READY and most is not None:
            worn = [record for record in records if record.end[ATTEMPTS] >= most]
            records = [record for record in records if record.end[ATTEMPTS] < most]
        if status == FAILED:
            lost = self._fenced(self.table.fail, records, FAILED, _CALLED)
        else:
            lost = self._fenced(self.table.finish, records, status)
        self._follow(status, len(records) - len(lost))
        for record in worn:
            gone = self._fenced(self.table.fail, (record,), FAILED, _note(record.end[ATTEMPTS]))
            self._follow(FAILED, 1 - len(gone))
            lost = [*lost, *gone]
        return lost

    def put_last(self, record: Record) -> list[int]:
        """Put a row that this object holds behind all others; returns its new id, if it has it."""
        number, takes = record.start, record.end[TAKES]
        rows = self.conn.rows(self.table.state, (number,))
        mine = (HELD, self._owner.name, takes)
        self._let_go(number, takes)
        if not rows or rows[0][:3] != mine:
            self._say_lost((record,))
            return []
        if self._max_attempts is not None and record.end[ATTEMPTS] >= self._max_attempts:
            self.finish((record,), READY)
            return [record.start]
        return [self._move_last(record.start, rows[0])]

    def move(
        self, number: int, status: int, *, takes: int | None, held: bool, to_back: bool
    ) -> list[int]:
        """Give a row that is named by its id a status; returns its id, or a new one.

        Args:
            takes: only if it was handed out so often; None: however often.
            held: only if a consumer holds it.
            to_back: put it behind all others.
        """
        rows = self.conn.rows(self.table.state, (number,))
        allowed = _ONLY_HELD if held else MOVES[status]
        if not rows or rows[0][0] not in allowed or takes not in (None, rows[0][2]):
            return []
        was, takes = rows[0][0], rows[0][2]
        self._let_go(number, takes)
        if to_back:
            return [self._move_last(number, rows[0])]
        if was == FAILED:
            self.conn.execute(self.table.revive, (number,))
        elif status == FAILED:
            self.conn.execute(self.table.fail_any, (_CALLED, number))
        else:
            self.conn.execute(self.table.mark, (status, number))
        self._follow(status, 1, was)
        return [number]

    def _follow(self, status: int, count: int, was: int = HELD) -> None:
        """Follow up on rows that have been given a status."""
        if not count:
            return
        self._more(
            count * ((status < HELD) - (was < HELD)), count * ((status < ACKED) - (was < ACKED))
        )
        if status == READY:
            self._came_back()
        elif status == ACKED:
            self._prune(count)

    def _move_last(self, number: int, row: Sequence[Any]) -> int:
        """Give a row the last place, ready; returns its new id."""
        was, _, takes, attempts, *content = row
        if was == FAILED:
            self.conn.execute(self.table.revive, (number,))
            attempts = 0
        behind = self._put_behind(number, (takes, attempts, *content))
        self._follow(READY, 1, was)
        return behind

    def _put_behind(self, number: int, values: Sequence[Any]) -> int:
        """Put a row behind all others, ready; returns its new id."""
        if self.table.kind.newest_first:
            new: int = self.conn.one(self.table.lowest_id) - 1
            self.conn.execute(self.table.mark, (READY, number))
            self.conn.execute(self.table.to_the_front, (new, number))
            return new
        self.conn.execute(self.table.delete, (number,))
        behind = self.conn.execute(self.table.ready_insert, values).lastrowid
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
        gone = self._owner.gone(lambda: self._others(self._named_holders()))
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

    def _named_holders(self) -> Sequence[Row]:
        """Return the names of those that hold rows."""
        return self.conn.rows(self.table.holders)

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
                    for hand_out in tuple(self._held.items()):
                        self._let_go(*hand_out)
        self._more(resumed, 0)
        self._came_back()
        return resumed


def _note(attempts: int) -> str:
    """Return why an item failed that was handed out so often."""
    return f"handed out {attempts} times and never acknowledged"


def _is_worn(row: Row, most: int | None) -> bool:
    """Return whether a row was handed out too often; one without a number is damaged."""
    attempts = row[ATTEMPTS]
    return most is not None and type(attempts) is int and attempts > most
