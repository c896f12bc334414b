"""Queues in SQLite and MySQL databases as ends of a move."""

from __future__ import annotations

import os
import time
from contextlib import closing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeAlias

from .._broker.statements import HELD as HELD_BY_BROKERS
from .._broker.statements import QUEUES
from .._core import call
from .._core.codec import RowCodec
from .._core.inflight import AT_TAKE
from .._core.leases import LEASE
from .._core.threads import ThreadSession
from .._sql import statements as sql
from .._sql.acks import AckStore
from .._sql.finishing import DeletingStore
from .._sql.schema import columns, folded
from .._sql.sqlite import look
from .._sql.sqlite.connection import SqliteConnection
from .._sql.sqlite.database import Database
from .._sql.sqlite.errors import SQLITE_ERRORS
from ..serializers import pickle
from .ends import Batch, Carried, End, OneQueue, Source, Target, bounded
from .places import LONGEST, queue_table, usable, written_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._sql.rowstore import Row
    from .._sql.statements import Kind, Table
    from ..serializers import Serializer
    from .places import Found, Name

    TableStore: TypeAlias = AckStore | DeletingStore

PATIENCE = 10.0  # s to wait for locks, and for a server
_OF_BROKERS = f"FROM {HELD_BY_BROKERS} AS h JOIN {QUEUES} AS q ON q.id = h.queue"


def codec_of(kind: Kind, serializer: Serializer) -> RowCodec:
    """Return the codec of a table's rows."""
    return RowCodec(serializer, ordered=kind.unique, longest=LONGEST)


class SqlEnd(End):
    """A queue's table.

    Args:
        store: of the table; opened if there is no snapshot.
        snapshot: a driver's connection, for reading.
    """

    def __init__(
        self,
        name: Name,
        store: TableStore,
        serializer: Serializer,
        snapshot: Any = None,
    ) -> None:
        super().__init__(name, store.table.kind, serializer)
        self._store, self.table, self._snapshot = store, store.table, snapshot
        self._codec = codec_of(self.kind, serializer)
        if snapshot is None:
            self._session = ThreadSession(store, 0, AT_TAKE, PATIENCE)

    def close(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
        super().close()


class SqlSource(SqlEnd, Source):
    """A table that is read on; of a copy, in one snapshot."""

    _errors: Any = SQLITE_ERRORS

    @cached_property
    def beside(self) -> str:
        """Selects further rows that are to be copied; empty if there are none."""
        return ""

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of a query."""
        store = self._store
        if self._snapshot is None:
            return self._run(call.look(partial(store.conn.rows, statement, values)))
        try:
            with closing(self._snapshot.cursor()) as cursor:
                cursor.execute(statement, tuple(values))
                return list(cursor.fetchall())
        except self._errors as error:
            raise store.conn.database.translate(error, self.table.name) from error

    def count(self) -> int:
        copied = self.staying().get("held", 0) if self._snapshot is not None else 0
        return int(self.rows(self.table.count)[0][0]) + copied

    def staying(self) -> dict[str, int]:
        if not self.kind.ack:
            return {}
        return {
            "held": self.rows(self.table.count_held)[0][0],
            "delayed": self.rows(self.table.count_delayed)[0][0],
            "failed": self.rows(self.table.count_over, (sql.FAILED,))[0][0],
        }

    def read(self, most: int, behind: Batch | None) -> Batch | None:
        page = partial(
            self.table.onward,
            by_age=self.by_age,
            behind=behind is not None,
            held_too=self._snapshot is not None,
            beside=self.beside,
        )
        values = self._end_of(behind.place[-1]) if behind else []
        sizes = self.rows(page("COALESCE(LENGTH(data), 0), 1"), [*values, most])
        count = len(bounded(sizes, most))
        rows = self.rows(page(self.table.read), [*values, count]) if count else []
        items = [
            Carried(item, row[2], row[3] if self.kind.priority else None)
            for row, item in self._store.decoded_rows(rows)
        ]
        return Batch(items, rows) if rows else None

    def _end_of(self, row: Row) -> list[Any]:
        """Return the columns by which the rows behind this one are found."""
        return [row[3], row[0]] if self.kind.priority and not self.by_age else [row[0]]

    def finish(self, batch: Batch) -> int:
        ids = [row[0] for row in batch.place]
        return len(ids) - self._do(partial(self._store.remove, ids))


class SqlTarget(SqlEnd, Target["Row"]):
    """A table that items are put into."""

    def encode(self, carried: Carried) -> Row:
        timestamp = carried.timestamp
        if not isinstance(timestamp, (int, float)):
            timestamp = time.time()
        data = self._codec.encode(carried.item)
        if self.kind.unique:
            return data, timestamp, self._codec.sum_of(data)
        return (data, timestamp, carried.priority or 0) if self.kind.priority else (data, timestamp)

    def decode(self, stored: Row) -> Any:
        return self._codec.decode(stored[0])  # nothing can be wrong with it yet


# -- SQLite -------------------------------------------------------------------------------


class SqliteSource(SqlSource):
    """A table in SQLite; items that a broker holds are copied, too."""

    @cached_property
    def beside(self) -> str:
        held = self._snapshot is not None and not self.kind.ack and self.staying().get("held")
        return f"SELECT h._id, h.data, h.timestamp {self._of_brokers()}" if held else ""

    def staying(self) -> dict[str, int]:
        there = "SELECT COUNT(*) FROM sqlite_master WHERE name IN (?, ?)"
        if self.kind is not sql.FIFO or self.rows(there, (HELD_BY_BROKERS, QUEUES))[0][0] < 2:
            return super().staying()
        return {"held": self.rows(f"SELECT COUNT(*) {self._of_brokers()}")[0][0]}

    def _of_brokers(self) -> str:
        queue = self.table.name.removeprefix("queue_").replace("'", "''")
        return f"{_OF_BROKERS} WHERE q.name = '{queue}'"


def sqlite_source(name: Name, found: Found, *, moves: bool) -> SqliteSource:
    """Return a queue in a database."""
    serializer = name.serializer or _seen(name, found) or pickle
    snapshot = None if moves else look.snapshot(found.path)
    source = SqliteSource(name, _store(found, serializer), serializer, snapshot)
    source.identity = _identity(found.path, source.table)
    return source


def sqlite_target(name: Name, found: Found, source: Source) -> SqlTarget:
    """Return a queue in a database, both made if need be.

    Raises:
        OneQueue: it is the source; found out before the file is opened by another name.
    """
    if os.path.isfile(found.path) and _identity(found.path, queue_table(found)) == source.identity:
        raise OneQueue(source, name)
    serializer = name.serializer or _seen(name, found) or usable(name.shown, source.default)
    store = _store(found, serializer)
    target = SqlTarget(name, store, serializer)
    target.identity = _identity(store.conn.database.path, target.table)
    return target


def _store(found: Found, serializer: Serializer) -> TableStore:
    path, table = found.path, queue_table(found)
    directory = not os.path.splitext(path)[1]
    database = Database(path, makes_directory=directory, power=True, patience=PATIENCE)
    conn, codec = SqliteConnection(database, table), codec_of(table.kind, serializer)
    if table.kind.ack:
        return AckStore(
            conn, table, codec, skip_corrupt=False, keep_acked=None, resumes=True, lease=LEASE
        )
    return DeletingStore(conn, table, codec, skip_corrupt=False)


def _identity(path: str, table: Table) -> object:
    """Return a value that is equal for two names of one table, also for hard links."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, folded(table.name)


def _seen(name: Name, found: Found) -> Serializer | None:
    """Return the serializer of a table's rows; None if it is empty, or not there."""
    table = queue_table(found)
    if not os.path.isfile(found.path):
        return None
    with look.opened(found.path) as connection:
        if not columns(connection, table.name) or not look.count(connection, table.quoted):
            return None
        return usable(name.shown, written_by(connection, table))
