"""Queues in SQLite and MySQL databases as ends of a move."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from .._broker.statements import HELD as HELD_BY_BROKERS
from .._broker.statements import QUEUES
from .._core import call
from .._core.codec import RowCodec
from .._core.inflight import AT_TAKE
from .._core.threads import ThreadShell
from .._sql import statements as sql
from .._sql.schema import folded
from .._sql.sqlite.connection import Database
from .._sql.sqlite.errors import SQLITE_ERRORS
from .._sql.sqlite.stores import SqliteAckStore, SqliteDeletingStore
from .._sql.statements import FAILED, Kind
from ..serializers import pickle
from . import choice, databases
from .ends import LONGEST, Batch, Carried, End, Mover, Source, Target, digest, within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._sql.statements import Table

    Rows = Callable[[str, Sequence[Any]], list[Any]]

_PATIENCE = 10.0  # s to wait for a lock
_OF_BROKERS = f"FROM {HELD_BY_BROKERS} AS h JOIN {QUEUES} AS q ON q.id = h.queue"


class SqlEnd(End):
    """A queue's table.

    Args:
        store: of the table, not open yet.
        serializer: of its rows.
    """

    def __init__(self, shown: str, store: Any, serializer: Any) -> None:
        super().__init__(shown)
        self.serializer, self.store = serializer, store
        self._table: Table = store.table
        self.kind: Kind = self._table.kind
        self._shell: ThreadShell | None = None

    def open(self) -> None:
        """Open the store, which completes its table."""
        self._shell = ThreadShell(self.store, 0, AT_TAKE, _PATIENCE)

    def _do(self, act: Callable[[], Any]) -> Any:
        assert self._shell is not None
        return self._shell.run(call.write(partial(self.store.guard, act)))

    def close(self) -> None:
        if self._shell is not None:
            self._shell.close()


class SqlSource(SqlEnd, Source):
    """A table that is read on.

    Attributes:
        beside: what selects further rows that are to be copied: those that brokers hold.
    """

    beside = ""
    _snapshot: Rows | None = None

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a query."""
        if self._snapshot is not None:
            return self._snapshot(statement, values)
        assert self._shell is not None
        rows = partial(self.store._rows, statement, values)  # noqa: SLF001 - a look of its own
        return self._shell.run(call.look(rows))

    def look(self, rows: Rows) -> None:
        """Read a snapshot, and write nothing."""
        self._snapshot = rows

    def count(self) -> int:
        waiting: int = self.rows(self._table.count)[0][0]
        copied = self.staying().get("held", 0) if self._snapshot is not None else 0
        return waiting + copied

    def staying(self) -> dict[str, int]:
        staying = {}
        if self.kind.ack:
            staying["held"] = self.rows(self._table.count_held)[0][0]
            staying["failed"] = self.rows(self._table.count_over, (FAILED,))[0][0]
        elif held := self._held_by_brokers():
            staying["held"] = held
        return staying

    def _held_by_brokers(self) -> int:
        """Return how many items a broker's streams and process blocks hold."""
        return 0

    def read(self, most: int, behind: Any) -> Batch | None:
        page = partial(
            self._table.onward,
            by_age=self.by_age,
            behind=behind is not None,
            held_too=self._snapshot is not None,
            beside=self.beside,
        )
        values = list(behind["end"]) if behind else []
        sizes = self.rows(page("COALESCE(LENGTH(data), 0)"), [*values, most])
        count = within(size for (size,) in sizes)
        rows = self.rows(page(", ".join(self.kind.columns)), [*values, count]) if count else []
        if not rows:
            return None
        items = [
            Carried(item, row[2], row[3] if self.kind.priority else None)
            for row, item in self.store.decoded_rows(rows)
        ]
        last = rows[-1]
        return Batch(items, {
            "end": [last[3], last[0]] if self.kind.priority and not self.by_age else [last[0]],
            "ids": [row[0] for row in rows],
            "digests": [digest(row[1]) for row in rows],
        })  # fmt: skip

    def finish(self, place: Any, mover: Mover, *, resumed: bool) -> int:  # noqa: ARG002
        ids: list[int] = place["ids"]

        def act() -> int:
            wanted = self._same(ids, place["digests"]) if resumed else ids
            removed: int = self.store.remove(wanted)
            return len(wanted) - removed

        gone: int = self._do(act)
        return gone

    def _same(self, ids: list[int], digests: list[str]) -> list[int]:
        """Return those ids under which the items are that were moved."""
        rows = (self.store._rows(self._table.by_id, (number,)) for number in ids)  # noqa: SLF001
        return [
            number
            for number, found, known in zip(ids, rows, digests, strict=True)
            if found and digest(found[0][1]) == known
        ]


class SqlTarget(SqlEnd, Target):
    """A table that items are put into; beside it stands which batch of a move it has."""

    def encode(self, carried: Carried) -> tuple[Any, ...]:
        timestamp = carried.timestamp
        if not isinstance(timestamp, (int, float)):
            timestamp = time.time()
        row = (self.store._codec.encode(carried.item), timestamp)  # noqa: SLF001 - the same rows
        return (*row, carried.priority or 0) if self.kind.priority else row

    def decode(self, stored: tuple[Any, ...]) -> Any:
        return self.store._codec.decode(stored[0])  # noqa: SLF001 - the same rows

    def put(self, stored: Sequence[Any], mover: Mover) -> int:
        def act() -> int:
            ids = self.store.append(stored)
            self._mark(mover)
            return list(ids).count(None)

        known: int = self._do(act)
        return known

    def has(self, mover: Mover, note: Any) -> bool:  # noqa: ARG002 - as a target's
        last: int = self._do(partial(self._last, mover.run))
        return last >= mover.number

    def forget(self, run: str) -> None:
        self._do(partial(self._clear, run))

    # -- what a dialect says --------------------------------------------------------

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        self.store._execute(statement, values)  # noqa: SLF001 - in the store's transaction

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        rows: list[Any] = self.store._rows(statement, values)  # noqa: SLF001 - the same
        return rows

    def _mark(self, mover: Mover) -> None:
        self._execute(sql.CREATE_MOVES)
        self._execute(sql.MOVED, mover)

    def _last(self, run: str) -> int:
        self._execute(sql.CREATE_MOVES)
        rows = self._rows(sql.LAST_MOVED, (run,))
        return rows[0][0] if rows else 0

    def _clear(self, run: str) -> None:
        self._execute(sql.CREATE_MOVES)
        self._execute(sql.FORGET_MOVE, (run,))
        if not self._rows(f"SELECT 1 FROM {sql.MOVES} LIMIT 1"):  # noqa: S608 - a constant
            self._execute(f"DROP TABLE {sql.MOVES}")


# -- SQLite -------------------------------------------------------------------------------


class SqliteSource(SqlSource):
    """A table in SQLite; of a copy, in one snapshot."""

    _connection: sqlite3.Connection | None = None

    def look_into(self, path: str) -> None:
        """Read a snapshot of the database, and write nothing."""
        self._connection = databases.snapshot(path)

        def rows(statement: str, values: Sequence[Any]) -> list[Any]:
            assert self._connection is not None
            try:
                return self._connection.execute(statement, values).fetchall()
            except SQLITE_ERRORS as error:
                table = self._table.name
                raise self.store._database.translate(error, table) from error  # noqa: SLF001

        self.look(rows)
        if self._held_by_brokers():
            name = self._table.name.removeprefix("queue_").replace("'", "''")
            self.beside = f"SELECT h._id, h.data, h.timestamp {_OF_BROKERS} WHERE q.name = '{name}'"

    def _held_by_brokers(self) -> int:
        there = "SELECT COUNT(*) FROM sqlite_master WHERE name IN (?, ?)"
        if self.kind is not sql.FIFO or self.rows(there, (HELD_BY_BROKERS, QUEUES))[0][0] < 2:
            return 0
        name = self._table.name.removeprefix("queue_")
        held: int = self.rows(f"SELECT COUNT(*) {_OF_BROKERS} WHERE q.name = ?", (name,))[0][0]
        return held

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        super().close()


def _sqlite_store(path: str, table: Table, serializer: Any) -> Any:
    directory = not os.path.splitext(path)[1]
    database = Database(path, makes_directory=directory, power=True, patience=_PATIENCE)
    codec = RowCodec(serializer, ordered=table.kind.unique, longest=LONGEST)
    if table.kind.ack:
        return SqliteAckStore(
            database, table, codec, skip_corrupt=False, keep_acked=None, resumes=True
        )
    return SqliteDeletingStore(database, table, codec, skip_corrupt=False)


def _located(end: Any) -> Any:
    """Return an end that knows where its table is."""
    path = os.path.realpath(end.store._database.path)  # noqa: SLF001 - where it was found
    found, table = os.stat(path), folded(end.store.table.name)
    end.identity, end.key = (found.st_dev, found.st_ino, table), f"{path} {table}"
    end.directory = os.path.dirname(path)
    return end


def sqlite_source(shown: str, path: str, table: Table, serializer: Any, *, moves: bool) -> Source:
    """Return a queue in a database."""
    serializer = serializer or _seen(shown, path, table) or pickle
    source = SqliteSource(shown, _sqlite_store(path, table, serializer), serializer)
    if moves:
        source.open()
    else:
        source.look_into(path)
    return _located(source)  # type: ignore[no-any-return]


def sqlite_target(shown: str, path: str, table: Table, serializer: Any, default: Any) -> Target:
    """Return a queue in a database, both made if need be.

    Args:
        serializer: that the user has named, if any.
        default: of a queue without items.
    """
    serializer = serializer or _seen(shown, path, table) or default
    target = SqlTarget(shown, _sqlite_store(path, table, serializer), serializer)
    target.open()
    return _located(target)  # type: ignore[no-any-return]


def _seen(shown: str, path: str, table: Table) -> Any:
    """Return the serializer of what is in a table; None if it is empty, or not there."""
    if not os.path.isfile(path):
        return None
    try:
        with closing(databases.opened(path)) as connection:
            there = "SELECT 1 FROM sqlite_master WHERE name = ? COLLATE NOCASE"
            if not connection.execute(there, (table.name,)).fetchall():
                return None
            statement = f"SELECT data FROM {table.quoted} ORDER BY _id LIMIT {choice.SAMPLE}"  # noqa: S608 - quoted
            return recognised(shown, connection.execute(statement).fetchall())
    except sqlite3.Error as error:
        raise Database(path, power=True, patience=0).translate(error, table.name) from error


def recognised(shown: str, rows: Sequence[Any]) -> Any:
    """Return the serializer that rows were written with; None if there are none.

    Raises:
        ValueError: it cannot be seen, or needs a key.
    """
    if not rows:
        return None
    found = choice.recognise_rows([data for (data,) in rows])
    if found is None or found == "signed":
        what = "it is signed" if found else "it cannot be seen which serializer wrote it"
        raise ValueError(f"{shown}: {what}: say ?serializer=module:object")
    return found
