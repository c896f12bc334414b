"""The third way to finish an item: rows stay, and their status says how far they are.

What may become of a row is a table (``MOVES``).  A row that is handed out carries its
owner, so that another worker's start takes back only what dead workers held.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .statements import ACKED, FAILED, HELD, NEW, READY
from .store import MOST, Row, SqlStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._core.store import Record
    from .sqlite.owners import Owner

# From which status a row may become another: when it is named by what get() returned, and
# when it is named by its id alone (which may be a row that nobody holds).
MOVES = {
    ACKED: (frozenset({HELD}), frozenset({NEW, READY, HELD})),
    FAILED: (frozenset({HELD}), frozenset({NEW, READY, HELD})),
    READY: (frozenset({HELD}), frozenset({HELD, FAILED})),
}


class AckStore(SqlStore):
    """Marks rows instead of deleting them.

    Args:
        keep_acked: how many acked rows are kept, about; None for all.
        resumes: opening makes ready what dead owners hold.
    """

    def __init__(self, *args: Any, keep_acked: int | None, resumes: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._resumes = resumes
        self._keep_acked = keep_acked
        # Rows acked since old ones were deleted; before this object came: enough.
        self._unpruned = keep_acked or 0
        self._owner = self._new_owner()

    def _new_owner(self) -> Owner:
        """Return who holds what this object hands out."""
        raise NotImplementedError

    def _opened(self) -> None:
        if self._resumes and not self._suspended:
            self._check_writer()
            self._alone(partial(self.resume, mine_too=False))
        super()._opened()

    # -- counting -------------------------------------------------------------------

    def _count(self) -> tuple[int, int]:
        ((waiting, held),) = self._rows(self._table.count_both)
        return waiting, waiting + held

    def _glance(self) -> tuple[int, int]:
        ((waiting, held),) = self._rows(self._table.both_some)
        return waiting, waiting + held

    def count_status(self, status: int) -> int:
        """Return how many rows have this status."""
        if status == HELD:
            count: int = self._one(self._table.count_held)
        else:
            which = self._table.count_live if status < HELD else self._table.count_over
            count = self._one(which, (status,))
        return count

    # -- verbs ----------------------------------------------------------------------

    def _hand_out(self, records: list[Record]) -> None:
        ids = [record.start for record in records]
        self._found(self._mark(ids, HELD, self._owner.appear()), records)
        self._more(-len(records), 0)

    def take_next(self, number: int) -> list[Record]:
        """Hand out the row behind this id in the queue's order; behind the last, the first."""
        while True:
            rows = self._rows(self._table.take_after, (number, 1))
            rows = rows or self._rows(self._table.take_first, (1,))
            records = self._decoded(rows)
            if records or not rows:
                break
        if records:
            self._hand_out(records)
        return records

    def untake(self, records: Sequence[Record]) -> None:
        self._finish(records, READY)

    def settle(self, records: Sequence[Record]) -> None:
        self._finish(records, ACKED)

    def finish(
        self,
        records: Sequence[Record],
        status: int,
        *,
        to_back: bool = False,
        guarded: bool = True,
    ) -> list[int]:
        """Give rows that this object holds a status.

        Args:
            to_back: put them behind all others, which gives them a new id.
            guarded: all of them or, if it raises, none.  Else the caller sees to that.

        Returns:
            the ids of those that had another status.
        """
        finishing = partial(self._finish, records, status, to_back=to_back)
        return self.guard(finishing) if guarded else finishing()

    def _finish(
        self, records: Sequence[Record], status: int, *, to_back: bool = False
    ) -> list[int]:
        """The same, where an error undoes everything."""
        numbers = (record.start for record in records)
        return self._move(numbers, status, MOVES[status][0], to_back, mine=True)

    def move(
        self,
        number: int,
        status: int,
        *,
        held: bool = False,
        to_back: bool = False,
        guarded: bool = True,
    ) -> list[int]:
        """Do what ``finish`` does for a row that is named by its id.

        Args:
            held: only if somebody holds it.
        """
        allowed = MOVES[status][0 if held else 1]
        moving = partial(self._move, (number,), status, allowed, to_back, mine=False)
        return self.guard(moving) if guarded else moving()

    def _move(
        self,
        numbers: Iterable[int],
        status: int,
        allowed: frozenset[int],
        to_back: bool,
        *,
        mine: bool,
    ) -> list[int]:
        moved = []
        for number in numbers:
            rows = self._rows(self._table.state, (number,))
            if not rows or rows[0][0] not in allowed or (mine and rows[0][1] != self._owner.name):
                continue
            was, _, data, timestamp = rows[0]
            if to_back:
                moved.append(self._put_behind(number, data, timestamp))
            else:
                self._mark((number,), status, None)
                moved.append(number)
            self._more(
                (status < HELD) - (was < HELD),
                (status < ACKED) - (was < ACKED),
            )
        if status == ACKED:
            self._prune(len(moved))
        return moved

    def _mark(self, ids: Sequence[int], status: int, owner: str | None) -> int:
        """Give rows a status and an owner; returns how many there were."""
        return self._many(self._table.mark, [(status, owner, number) for number in ids]).rowcount

    def _put_behind(self, number: int, data: Any, timestamp: float) -> int:
        """Give a row the last place, ready; returns its new id."""
        if self._table.kind.newest_first:
            new: int = self._one(self._table.lowest_id) - 1
            self._mark((number,), READY, None)
            self._execute(self._table.to_the_front, (new, number))
            return new
        self._execute(self._table.delete, (number,))
        behind = self._execute(self._table.ready_insert, (data, timestamp)).lastrowid
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
        return max(self._execute(self._table.clear[failed_too], bounds).rowcount, 0)

    def _prune(self, acked: int) -> None:
        """Delete what is more than ``keep_acked``, when it is a tenth more."""
        if self._keep_acked is None:
            return
        self._unpruned += acked
        if self._unpruned * 10 >= self._keep_acked:
            self.clear(-1, self._keep_acked, failed_too=False)
            self._unpruned = 0

    # -- owners ---------------------------------------------------------------------

    def resume(self, *, mine_too: bool, living_too: bool = False) -> int:
        """Make ready what dead owners hold, and rows without an owner; returns how many.

        Args:
            mine_too: what this object holds as well.
            living_too: what other owners hold that are alive as well.
        """
        resumed = 0
        for owner in self._holders():
            mine = owner is not None and owner == self._owner.name
            if mine_too if mine else owner is None or living_too or self._owner.is_dead(owner):
                resumed += self._execute(self._table.resume, (owner,)).rowcount
        self._more(resumed, 0)
        return resumed

    def _holders(self) -> list[str | None]:
        return [owner for (owner,) in self._rows(self._table.owners)]

    def forget(self) -> None:
        super().forget()
        self._owner.forget()

    @staticmethod
    def status_of(row: Row) -> int:
        """Return a row's status."""
        status: int = row[3]
        return status
