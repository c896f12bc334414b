"""All queues of a database as one store, so that calls on any of them share a commit.

A record is taken in one of two ways.  ``take`` deletes its row.  ``hold`` moves the row to
a table of its own, with its owner: then no other consumer gets it, also when this
process dies.  Then the next broker that looks puts it back in its place.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .._core.deadline import monotonic
from .._core.leases import LEASE
from .._core.log import warn
from .._core.store import Record
from .._sql.rowstore import SILENT
from .._sql.schema import folded
from .._sql.sqlite.owners import FileOwner
from . import statements as sql
from .queues import BrokerQueues, R

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from .._core.codec import RowCodec
    from .._sql.rowstore import Row
    from .._sql.sqlite.database import Database
    from .statements import BrokerTable

_NOWHERE = -1  # in place of the place of a held item that is not there any more
_MOST_GIVEN_BACK = 250  # pages in one go: about a millisecond


class Held(Record):
    """A record whose row is held; ``start`` is its place among those that are.

    Attributes:
        done: whether its taker is through with it: it is finished, not given back.
    """

    __slots__ = ("done",)

    def __init__(self, start: int, end: Any, item: Any) -> None:
        super().__init__(start, end, item)
        self.done = False

    @property
    def key(self) -> Any:
        return self.end[:2]  # its queue and its id


class Seen(Record):
    """A record that is still in its queue: it was only looked at."""

    __slots__ = ()


class BrokerStore(BrokerQueues):
    """The queues of one database.

    Args:
        database: where it is.
        codec: decodes rows.
        skip_corrupt: set aside what cannot be decoded, instead of raising.
        upkeep: after how many writes it is seen whether space can be given back, and the
            percentage of unused space from which on it is; None for never.
        lease: seconds without a sign of life after which an owner is gone; None for never.
    """

    def __init__(
        self,
        database: Database,
        codec: RowCodec,
        *,
        skip_corrupt: bool,
        upkeep: tuple[int, float] | None = None,
        lease: float | None = LEASE,
    ) -> None:
        super().__init__(database, codec, skip_corrupt=skip_corrupt)
        self._upkeep = upkeep
        self._written = 0  # rows, since space was last looked after
        self._out: dict[int, Held] = {}  # held and not finished, by place
        self._owner = FileOwner(database, sql.HELD, "vacuum(force=True)", self._out, lease)
        # What this transaction added there, and removed.
        self._before: tuple[list[int], list[Held]] = ([], [])
        self._bereft: list[str] = []  # dead owners from which this transaction took all rows

    # -- transactions ---------------------------------------------------------------

    def opened(self) -> None:
        super().opened()
        self.conn.alone(self._sweep)

    def _sweep(self) -> None:
        """Remove what dead owners left."""
        self._owner.sweep([owner for (owner,) in self.conn.rows(sql.OWNERS, (None,))])

    def _first_look(self) -> None:
        super()._first_look()
        self._void_strangers()
        self._recover(None)
        self.recover()
        self._before_commit()

    def _void_strangers(self) -> None:
        """Forget held items whose rows are gone: another item may be in their place."""
        for number, held in list(self._out.items()):
            rows = self.conn.rows(sql.HELD_ROW, (number, self._owner.name))
            if [(row[1], row[3]) for row in rows] != [(held.end[1], held.end[3])]:
                del self._out[number]
                held.start = _NOWHERE

    def begin(self, exclusive: bool) -> bool:
        if not super().begin(exclusive):
            return False
        self._before = ([], [])
        return True

    def undone(self) -> None:
        super().undone()
        added, removed = self._before
        for number in added:
            self._out.pop(number, None)
        self._out.update((held.start, held) for held in removed)
        self._before, self._bereft = ([], []), []

    def _before_commit(self) -> None:
        super()._before_commit()
        if self.conn.exclusive and self._upkeep and self._written >= self._upkeep[0]:
            self._written = 0
            self._give_space_back(self._upkeep[1])

    def counts(self, exact: bool = True) -> tuple[int, int]:  # noqa: ARG002 - see ``ready``
        """No call waits for all queues together; ``ready`` knows each."""
        return 0, 0

    def changed(self, getting: bool) -> bool:
        if super().changed(getting):
            return True
        return monotonic() >= self.due(getting) and bool(
            self._owner.gone(lambda: self._others(self.conn.glimpse(sql.HOLDERS)))
        )

    def due(self, getting: bool) -> float:  # noqa: ARG002 - gets alone wait
        return self._owner.due()

    def overtaken(self) -> None:
        super().overtaken()
        self._owner.overtaken()

    def unsaved(self) -> bool:
        return bool(self._out)

    def holds(self, record: Record) -> bool:
        """Return whether a record is held still; callable on any thread."""
        return record.start in self._out

    def commit(self) -> None:
        super().commit()
        self._before = ([], [])
        if self._bereft:
            self._owner.remove(self._bereft)
            self._bereft = []

    def flush(self) -> None:
        """Give back all held items: no call can finish them any more."""
        self.untake(list(self._out.values()))

    def close(self) -> None:
        holds = bool(self._out)
        super().close()
        self._owner.disappear(holds=holds)

    def forget(self) -> None:
        super().forget()
        self._owner.forget()
        self._out.clear()
        self._before, self._bereft = ([], []), []

    # -- verbs ----------------------------------------------------------------------

    def append(self, records: Sequence[tuple[str, Any, float]]) -> list[int]:
        """Insert rows, each a queue's name, data and time; returns their ids."""
        self._written += len(records)
        if len(records) == 1:
            name, *row = records[0]
            return list(self._insert_new(self.made(name), [(row[0], row[1])]))
        places: dict[str, list[int]] = {}
        for place, (name, _, _) in enumerate(records):
            places.setdefault(name, []).append(place)
        ids = [0] * len(records)
        for name, own in places.items():
            new = self._insert_new(self.made(name), [records[place][1:] for place in own])
            for place, number in zip(own, new, strict=True):
                ids[place] = number
        return ids

    def take(self, name: str, most: int, since: float | None = None) -> list[Record]:
        """Take items out; with ``since``, only those that were put then or later."""
        table, records = self._head(name, most, Record, since)
        if table is None or not records:
            return []
        if len(records) == 1:
            self._delete_one(table, records[0].start)
        else:  # all or none: an error here is the caller's own, and the batch goes on
            ranges = self._ranges(records, together=since is None)
            self.guard(partial(self._delete_ranges, table, ranges, len(records)))
        return records

    def _delete_one(self, table: BrokerTable, number: int) -> None:
        """Delete a row that was just read; raise if it is not found, or it would come for ever."""
        if not self.conn.execute(table.delete, (number,)).rowcount:
            self.ready.unknown(folded(table.queue))
            raise self._unfindable(table, number)

    def _delete_ranges(
        self, table: BrokerTable, ranges: Sequence[tuple[int, int]], count: int
    ) -> None:
        """Do this with ``count`` rows, inside ``guard``."""
        deleted = sum(self.conn.execute(table.delete_range, ids).rowcount for ids in ranges)
        if deleted != count:
            raise self._unfindable(table, ranges[0][0])

    def _ranges(
        self, records: Sequence[Record], *, together: bool = True
    ) -> Sequence[tuple[int, int]]:
        """Return the ranges of ids that hold these next rows and no others."""
        if together and not self.skip:
            return ((records[0].start, records[-1].start),)
        return [(record.start, record.start) for record in records]

    def take_id(self, name: str, number: int) -> list[Record]:
        """Take the item with this id out, if it waits."""
        table = self.find(name)
        if table is None:
            return []
        records = self._records(table, self.conn.rows(table.by_id, (number,)), Record)
        if records:
            self._delete_one(table, number)
            self.ready.unknown(folded(name))
        return records

    def hold(self, name: str, most: int, done: Sequence[Held] = ()) -> list[Held]:
        """Hold items until they are finished or given back; called inside ``guard``.

        Args:
            done: what its taker is through with, one behind the other: it is finished.
        """
        table, held = self._head(name, most, Held)
        starts = self._hold_rows(table, held) if table is not None and held else range(0)
        self.finish(done)  # nothing above has raised: it stays finished
        for one, start in zip(held, starts, strict=True):
            one.start = start
        self._before[0].extend(starts)  # noted first: an interrupt may come
        self._out.update(zip(starts, held, strict=True))
        if held:
            self._owner.stay()
        return held

    def _hold_rows(self, table: BrokerTable, held: Sequence[Held]) -> range:
        """Move rows to those that are held; returns their places there."""
        owner, ranges = self._owner.appear(), self._ranges(held)
        moved, last = 0, None
        for ids in ranges:
            cursor = self.conn.execute(table.hold_range, (table.number, owner, *ids))
            moved, last = moved + cursor.rowcount, cursor.lastrowid
        if moved != len(held):
            raise self._unfindable(table, held[0].start)
        self._delete_ranges(table, ranges, len(held))
        assert last is not None
        return range(last - len(held) + 1, last + 1)

    def see(self, name: str, after: int, most: int) -> list[Seen]:
        """Return the items behind an id, and leave them there."""
        if (table := self.find(name)) is None:
            return []
        return self._records(table, self.conn.rows(table.after, (after, most)), Seen)

    def finish(self, held: Sequence[Held]) -> None:
        """Finish what was held together, one behind the other."""
        held = [one for one in held if one.start in self._out]
        if held:
            owner = self._owner.name
            ended = self.conn.execute(sql.FINISH, (held[0].start, held[-1].start, owner)).rowcount
            self._say_lost(held, ended)
            self._let_go(held)

    def settle(self, records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, Held):
                self.finish((record,))

    def untake(self, records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, Seen):
                continue
            if not isinstance(record, Held):
                name, *row = record.end
                self._put_back(self.made(name), row)
            elif record.done:
                self.finish((record,))
            else:
                back = self._give_back(record.start, self._owner.name)
                self._say_lost((record,), back)
                self._let_go((record,))

    def _say_lost(self, held: Sequence[Held], ended: int) -> None:
        """Warn if fewer rows were there than this object held."""
        if ended < len(held):
            warn(
                "%s: %d of %d items from the id %d on were taken over from this object, or their "
                "queue was deleted; nothing changed for them",
                self.conn.database.path, len(held) - ended, len(held), held[0].end[1],
            )  # fmt: skip

    def _let_go(self, held: Iterable[Held]) -> None:
        for one in held:
            if one.start in self._out:
                self._before[1].append(one)  # noted first: an interrupt may come
                del self._out[one.start]

    def _put_back(self, table: BrokerTable, row: Sequence[Any]) -> int:
        """Insert a row under its id, or a new one if that is taken; returns the id."""
        if self.conn.execute(table.put_back, row).rowcount > 0:
            self.ready.more(folded(table.queue), 1)
            self._ranked.discard(table.name)  # it may be a higher id than any before
            return int(row[0])
        return self._insert_new(table, [(row[1], row[2])])[0]

    # -- across queues --------------------------------------------------------------

    def move(
        self, source: str, to: str, ids: Sequence[int] | None = None, most: int = 1
    ) -> list[int]:
        """Move items; returns their ids, new ones where the old one was taken.

        Args:
            ids: which; those that are not there are left out.
            most: without ``ids``, how many of the oldest.
        """
        table = self.find(source)
        if table is None:
            return []
        if ids is None:
            rows = self.conn.rows(table.first, (most,))
        else:
            rows = [row for number in ids for row in self.conn.rows(table.by_id, (number,))]
        if not rows:
            return []
        return self.guard(partial(self._move_rows, table, self.made(to), rows))

    def _move_rows(self, table: BrokerTable, other: BrokerTable, rows: Sequence[Any]) -> list[int]:
        moved = [self._put_back(other, row) for row in rows]
        if self.conn.many(table.delete, [row[:1] for row in rows]) != len(rows):
            raise self._unfindable(table, rows[0][0])
        self.ready.unknown(folded(table.queue))
        return moved

    def delete(self, name: str, ids: Sequence[int]) -> int:
        """Delete items that wait; returns how many there were."""
        table = self.find(name)
        if table is None or not ids:
            return 0
        count = self.conn.many(table.delete, [(number,) for number in ids])
        self.ready.unknown(folded(name))
        return count

    def purge(self, name: str) -> int:
        """Delete everything that waits in a queue; returns how many items."""
        table = self.find(name)
        if table is None:
            return 0
        count = max(self.conn.execute(table.clear_all).rowcount, 0)
        self.ready.unknown(folded(name))
        return count

    def waiting(self, name: str) -> int:
        """Return how many items wait in a queue."""
        return 0 if self.find(name) is None else int(self.conn.one(sql.WAITING, (name,)))

    # -- upkeep ---------------------------------------------------------------------

    def recover(self, *, living_too: bool = False) -> int:
        """Give back what dead owners hold; returns how many items.

        Args:
            living_too: what other owners hold that are alive as well.
        """
        recovered = 0
        for (owner,) in self.conn.rows(sql.OWNERS, (self._owner.name,)):
            if owner is not None and (living_too or self._owner.is_dead(owner)):
                recovered += self._recover(owner)
        return recovered

    def _others(self, rows: Sequence[Row] | None) -> list[str] | None:
        """Return the names in these rows, without this object's."""
        return None if rows is None else [name for (name,) in rows if name != self._owner.name]

    def _take_over(self) -> None:
        """Give back what owners hold that are gone, if it is time to look at them."""
        if self.conn.exclusive and monotonic() >= self._owner.due():
            gone = self._owner.gone(lambda: self._others(self.conn.rows(sql.HOLDERS)))
            for name, dead in gone.items():
                count = self.guard(partial(self._recover, name))
                self._owner.took_from(name)
                if dead:
                    self._bereft.append(name)
                else:
                    warn(SILENT, self.conn.database.path, name, count)

    def _recover(self, owner: str | None) -> int:
        found = self.conn.rows(sql.HELD_BY, (owner,))
        for (hold,) in found:
            self._give_back(hold, owner)
        return len(found)

    def _give_back(self, hold: int, owner: str | None) -> int:
        """Put a held row back into its queue, also if that was renamed; returns how many it was."""
        found = self.conn.rows(sql.HELD_ROW, (hold, owner))
        for number, *row in found:
            for (name,) in self.conn.rows(sql.FIND_NUMBER, (number,)):
                self._put_back(self.made(name), row)
            self.conn.execute(sql.FINISH, (hold, hold, owner))
        return len(found)

    def _give_space_back(self, threshold: float) -> None:
        unused = self.conn.one("PRAGMA freelist_count")
        if unused * 100 >= threshold * self.conn.one("PRAGMA page_count"):
            for _ in range(min(unused, _MOST_GIVEN_BACK)):  # a page each: see _tidy_up
                self.conn.execute("PRAGMA incremental_vacuum")

    def tidy(self, *, living_too: bool) -> None:
        """Give back what dead owners hold (or, with ``living_too``, all others)."""
        self._sweep()
        self.recover(living_too=living_too)

    def trim(self) -> None:
        """Give back all unused space that can be given back; callable on any thread."""
        if not self.conn.database.memory:
            self.conn.beside(_tidy_up)

    # -- reading --------------------------------------------------------------------

    def _head(
        self, name: str, most: int, kind: type[R], since: float | None = None
    ) -> tuple[BrokerTable | None, list[R]]:
        """Return the next items of a queue, decoded; now and then, first see who is gone."""
        self._take_over()
        table = self.find(name)
        return table, [] if table is None else self._next_of(table, most, kind, since)

    def _next_of(
        self, table: BrokerTable, most: int, kind: type[R], since: float | None
    ) -> list[R]:
        """Return the next items, and note how many are left."""
        some = most + len(self.skip)
        statement, values = (
            (table.first, (some,)) if since is None else (table.since, (since, some))
        )
        while True:
            rows = self._unskipped(self.conn.rows(statement, values), most, table.queue)
            records = self._records(table, rows, kind)
            if records or not rows:
                break
        if self.skip:
            self.ready.passed(folded(table.queue), len(records))
        elif since is None and len(records) == len(rows):
            self.ready.taken(folded(table.queue), len(records), most)
        else:
            self.ready.unknown(folded(table.queue))
        return records


def _tidy_up(connection: sqlite3.Connection) -> None:
    # A step of this pragma frees one page, and execute() takes one step.
    connection.executescript("PRAGMA incremental_vacuum")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
