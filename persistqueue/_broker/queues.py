"""Which queues a broker's database holds, the ids that their items get, and rows as items.

Knowledge of a queue's table is kept while the schema stays the same; ids are counted in
memory while no other process commits.  SQLite's ``data_version`` tells when to look again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .._core.store import Record
from .._sql.rowstore import RowStore
from .._sql.schema import folded
from .._sql.sqlite.connection import SqliteConnection
from .._sql.sqlite.errors import SQLITE_ERRORS
from .._sql.statements import FIFO
from ..exceptions import FormatError, NoSuchQueue, PersistQueueError, QueueCorrupt
from . import statements as sql
from .statements import BrokerLayout, BrokerTable
from .waiters import Ready, WaitersByQueue

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from .._core.codec import RowCodec
    from .._sql.rowstore import Row
    from .._sql.sqlite.database import Database
    from .._sql.statements import Table

R = TypeVar("R", bound=Record)
_HIGHEST = 2**62  # id that a row may have, so that there are some above it
_MOST_ABSENT = 10_000  # names that are remembered as not there


class BrokerQueues(RowStore):
    """The queues of one database.

    Attributes:
        ready: which of them may have something for those who wait.
        adopted: the schema in which every queue's table is known here.
    """

    conn: SqliteConnection

    _ADVICE = 'open the broker with on_corrupt="skip" to set it aside and go on, or delete it'

    def __init__(self, database: Database, codec: RowCodec, *, skip_corrupt: bool) -> None:
        super().__init__(SqliteConnection(database, BrokerLayout()), codec, skips=skip_corrupt)
        self.ready = Ready()
        self.adopted = -1
        self._complete = False  # whether that is the schema of now, except for tables made here
        self._schema = -1  # of now; -1 when this transaction has changed it
        self._forget_queues()
        self._last = 0  # the highest id given so far; it never goes back
        self._stored = 0  # what the database says of that
        self._last_known = False  # whether no other process can have given a higher one

    def _forget_queues(self) -> None:
        self._found: dict[str, BrokerTable | None] = {}
        self._ranked: set[str] = set()  # queues that hold no id above the last

    # -- memory follows the database ------------------------------------------------

    def opened(self) -> None:
        self._forget_queues()
        self._last_known = False
        self.conn.alone(self._first_look)

    def _first_look(self) -> None:
        """Look at the database when it was opened; in a transaction of its own."""
        self.adopt()

    def waiters(self, maxsize: int) -> WaitersByQueue:  # noqa: ARG002 - a broker has no bound
        return WaitersByQueue(self.ready, self.errors.closed)

    def overtaken(self) -> None:
        self._last_known = False
        self._ranked.clear()
        self.ready.forget()
        if self._schema != self._read_schema():
            self._forget_queues()
            self._complete = False

    def undone(self) -> None:
        self._forget_queues()
        self.adopted = -1
        self._last_known = False
        self._stored = self._last  # until the next id is given there is nothing to store
        self.ready.forget()

    def forget(self) -> None:
        super().forget()
        self.undone()

    def commit(self) -> None:
        self._before_commit()
        super().commit()

    def _before_commit(self) -> None:
        """Write down what only this object knows."""
        if self.conn.exclusive and self._last != self._stored:
            self.conn.execute(sql.SET_LAST_ID, (self._last,))
            self._stored = self._last
        if self.conn.exclusive and self._schema < 0:
            self._read_schema()
            if self._complete:
                self.adopted = self._schema

    def _read_schema(self) -> int:
        self._schema = int(self.conn.one("PRAGMA schema_version"))
        return self._schema

    # -- queues ---------------------------------------------------------------------

    def adopt(self) -> None:
        """Know every queue's table, whichever program made it; forget those that were dropped."""
        found = [table for (table,) in self.conn.rows(sql.TABLES) if isinstance(table, str)]
        tables = {folded(table): table for table in found}  # others are damaged names
        counted = {folded(table) for (table,) in self.conn.rows(sql.COUNTED)}
        for number, name in self.conn.rows(sql.NUMBERS):
            if not isinstance(name, str):
                raise QueueCorrupt(
                    self.conn.database.path,
                    sql.QUEUES,
                    index=number,
                    reason="the name of a queue is damaged",
                    advice="repair it with the command .recover of the program sqlite3",
                )
            key = folded(sql.PREFIX + name)
            if tables.pop(key, None) is None:
                self.conn.execute(sql.DROP, (number,))
                self._forget_queues()
            elif key not in counted:  # another program dropped the table and made it anew
                self._count(BrokerTable(name, number))
        for table in tables.values():
            if self._is_queue(table):
                self._add(table[len(sql.PREFIX) :])
        self.adopted, self._complete = self._read_schema(), True

    def find(self, name: str) -> BrokerTable | None:
        """Return a queue's table, if it is there."""
        key = folded(name)
        try:
            return self._found[key]
        except KeyError:
            pass
        if rows := self.conn.rows(sql.FIND, (name,)):
            table = BrokerTable(rows[0][1], rows[0][0])
        elif (rows := self.conn.rows(sql.TABLE_NAMED, (sql.PREFIX + name,))) and self._is_queue(
            rows[0][0]
        ):
            table = self._add(rows[0][0][len(sql.PREFIX) :])
        else:
            if len(self._found) >= _MOST_ABSENT:
                self._forget_queues()
            self._found[key] = None
            return None
        self._found[key] = table
        return table

    def existing(self, name: str) -> BrokerTable:
        """Return a queue's table; raises ``NoSuchQueue`` if there is none."""
        table = self.find(name)
        if table is None:
            raise NoSuchQueue(f"{self.conn.database.path}: there is no queue named {name!r}")
        return table

    def made(self, name: str) -> BrokerTable:
        """Return a queue's table, which is created when it is missing."""
        table = self.find(name)
        if table is None:
            table = BrokerTable(name, 0)
            if self.conn.rows(sql.TABLE_NAMED, (table.name,)):
                raise FormatError(
                    f"{self.conn.database.path}: the table {table.name} is not a queue's; "
                    "nothing was changed"
                )
            self.conn.execute(table.create)
            table = self._found[folded(name)] = self._add(name)
        return table

    def _is_queue(self, table: str) -> bool:
        found = [column for (column,) in self.conn.rows(sql.COLUMNS, (table,))]
        return found[: len(FIFO.columns)] == list(FIFO.columns)

    def _add(self, name: str) -> BrokerTable:
        """Give a table a number, and count its rows."""
        number = self.conn.execute(sql.ADD, (name,)).lastrowid
        assert number is not None
        return self._count(BrokerTable(name, number))

    def _count(self, table: BrokerTable) -> BrokerTable:
        """Count a table's rows, from now on with triggers."""
        waiting, oldest = self.conn.rows(table.measure)[0]
        self.conn.execute(sql.MEASURED, (waiting, oldest, table.number))
        for statement in (*table.drop_triggers(), *table.triggers()):
            self.conn.execute(statement)
        self._schema = -1  # of this transaction's own making
        return table

    def rename(self, name: str, new: str) -> None:
        """Give a queue another name; raises ``NoSuchQueue`` or ``ValueError``."""
        table = self.existing(name)
        other = self.find(new)
        if other is not None and other.number != table.number:
            raise ValueError(
                f"there is a queue named {new!r} already; move its items, or delete it"
            )
        for statement in table.drop_triggers():
            self.conn.execute(statement)
        renamed = BrokerTable(new, table.number)
        if folded(name) != folded(new):
            self.conn.execute(table.rename_to(renamed))
        self.conn.execute(sql.RENAME, (new, table.number))
        for statement in renamed.triggers():
            self.conn.execute(statement)
        self._schema = -1
        self._forget_queues()
        self.ready.unknown(folded(new))

    def drop(self, name: str) -> int:
        """Remove a queue with all that is in it; returns how many items waited."""
        table = self.find(name)
        if table is None:
            return 0
        waiting = int(self.conn.one(sql.WAITING, (name,)))
        self.conn.execute(table.drop)
        self.conn.execute(sql.DROP, (table.number,))
        self.conn.execute(sql.DROP_HELD, (table.number,))
        self._schema = -1
        self._forget_queues()
        self.ready.unknown(folded(name))
        return waiting

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return every row of a statement (see ``readers.Ask``)."""
        return self.conn.rows(statement, values)

    def rows_of_others(self, run: Callable[[sqlite3.Connection], list[Any]]) -> list[Any]:
        """Run a user's own statement; nothing is taken for known after it."""
        try:
            return run(self.conn.usable())
        except SQLITE_ERRORS as error:
            raise self.conn.meaning(error) from error
        finally:
            self._forget_queues()
            self._schema, self._complete = -1, False
            self.ready.forget()

    def names(self) -> list[str]:
        """Return the names of all queues."""
        if self.adopted != self._read_schema():
            self.adopt()
        return [name for name, _, _ in self.conn.rows(sql.LIST)]

    # -- ids ------------------------------------------------------------------------

    def _insert_new(self, table: BrokerTable, rows: Sequence[tuple[Any, float]]) -> range:
        """Insert rows behind all others; returns their ids."""
        new = self._rank(table)
        first = self._last + 1
        self._last += len(rows)
        ids = range(first, self._last + 1)
        numbered = [(number, *row) for number, row in zip(ids, rows, strict=True)]
        for start in range(0, len(numbered), sql.MOST_ROWS):
            some = numbered[start : start + sql.MOST_ROWS]
            values = [value for row in some for value in row]
            self.conn.execute(table.insert_rows(len(some)), values)
        if new:  # now it has a row there
            self.conn.execute(sql.TO_THE_FRONT, (table.name,))
        self.ready.more(folded(table.queue), len(rows))
        return ids

    def _rank(self, table: BrokerTable) -> bool:
        """See that the next id is above all that are known, of this queue and of others.

        Returns:
            whether the queue had to be looked at.
        """
        if not self._last_known:
            rows = self.conn.rows(sql.LAST_ID)
            self._stored = rows[0][0] if rows else 0
            self._last, self._last_known = max(self._last, self._stored), True
        if table.name in self._ranked:
            return False
        highest = self.conn.one(table.highest) or 0
        if highest > _HIGHEST:  # with it as the last, no queue could ever be written to again
            raise PersistQueueError(
                f"{self.conn.database.path}: {table.name} has a row with the id {highest}, which "
                "leaves none for others; nothing was stored: delete that row, or read it"
            )
        self._last = max(self._last, highest)
        self._ranked.add(table.name)
        return True

    # -- rows -----------------------------------------------------------------------

    def _records(self, table: BrokerTable, rows: Sequence[Row], kind: type[R]) -> list[R]:
        return self._decoded(table, rows, lambda row, item: kind(row[0], (table.queue, *row), item))

    def set_aside(self, name: str) -> bool:
        """Set a queue's next row aside if it cannot be loaded; returns whether it was."""
        if (table := self.find(name)) is None:
            return False
        some = self.conn.rows(table.first, (1 + len(self.skip),))
        aside = self._set_first_aside(table, self._unskipped(some, 1, table.queue))
        if aside:
            self.ready.unknown(folded(name))
        return aside

    def _move_aside(self, table: Table, number: int) -> None:
        super()._move_aside(table, number)
        self._schema = -1  # there is a table for damaged rows now
