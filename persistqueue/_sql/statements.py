"""Tables of a database, as SQL: kinds of queues and their statements.

Pure: nothing here opens or runs anything.  A kind is one line; every statement of every
kind is built once, when a queue is opened.  Rules:

- Tables and their columns are persist-queue's.  Additions (a column that may be null, behind the
  others; an index; a table) leave them readable by persist-queue.
- A name is quoted as an identifier.  Values are bound, never pasted.
- A condition is written exactly as in the partial index that serves it, or SQLite does
  not use that index.
- Nothing needs an SQLite newer than 3.34; no RETURNING.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from .._core.codec import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LONGEST = 16 * 1024  # bytes of a row that tell which serializer wrote it

# What `status` says in the ack queues.
NEW, READY, HELD, DELAYED, ACKED, FAILED = 0, 1, 2, 3, 5, 9
_HELD = f"status = {HELD}"
OVER = f"status >= {ACKED}"

MOST_COUNTED = 64  # rows that an inexact count looks at
ID_RANGE = range(-(2**63), 2**63)  # of SQLite's integers

SUM = "checksum"  # a column of unique queues: of a row's bytes
# Columns of the ack queues: how often a row was handed out (never lowered, so that it tells one
# hand-out from the next); how many of these count (see ``max_attempts``); why the item failed.
FENCE = {
    "takes": "INTEGER NOT NULL DEFAULT 0",
    "attempts": "INTEGER NOT NULL DEFAULT 0",
    "note": "TEXT",
}
# Columns of the job queues, behind those: the order; when a row is ready, and until when; how often
# it is handed out, at the most; what no other unfinished row has; texts beside the item.
JOB = {
    "priority": "INTEGER NOT NULL DEFAULT 0",
    "due": "FLOAT",
    "expires": "FLOAT",
    "most": "INTEGER",
    "key": "TEXT",
    "headers": "BLOB",
}
_ABSENT = (("takes", "0"), ("attempts", "0"), ("note", "NULL"))  # where a table has not got them

# Tables of persist-queue's async classes, which have no suffix.
OLD_ASYNC = frozenset({"queue", "filo_queue", "unique_queue"})


class Kind(NamedTuple):
    """A kind of queue.

    Attributes:
        prefix: of its table's name.
        newest_first: the last one in is the first one out.
        unique: no two rows hold the same bytes.
        priority: rows have one; the lowest goes first, among equals the oldest.
        ack: rows stay, and have a status.
        jobs: rows have what a job queue knows of them.
    """

    prefix: str
    newest_first: bool = False
    unique: bool = False
    priority: bool = False
    ack: bool = False
    jobs: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that persist-queue knows, in their order."""
        extra = ("priority",) if self.priority else ("status",) if self.ack else ()
        return ("_id", "data", "timestamp", *extra)

    @property
    def added(self) -> dict[str, str]:
        """The columns behind those, and their types."""
        added = {"owner": "TEXT"} if self.ack else {}
        if self.unique:
            added[SUM] = "INTEGER"
        if self.ack:
            added |= FENCE
        return added | JOB if self.jobs else added

    @property
    def in_order_of_id(self) -> bool:
        """Whether a new row always comes behind all others."""
        return not (self.newest_first or self.priority or self.jobs)


FIFO = Kind("queue")
FILO = Kind("filo_queue", newest_first=True)
UNIQUE = Kind("unique_queue", unique=True)
PRIORITY = Kind("priority_queue", priority=True)
ACK_FIFO = Kind("ack_queue", ack=True)
ACK_FILO = Kind("ack_filo_queue", newest_first=True, ack=True)
ACK_UNIQUE = Kind("ack_unique_queue", unique=True, ack=True)
JOBS = ACK_FIFO._replace(jobs=True)  # the same table
KINDS = (FIFO, FILO, UNIQUE, PRIORITY, ACK_FIFO, ACK_FILO, ACK_UNIQUE)


def identifier(name: str) -> str:
    """Quote a name for SQL.

    Raises:
        ValueError: it cannot be one: it holds a NUL or half a surrogate pair.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"a table's name cannot hold half a character: {name!a}") from error
    if "\0" in name:
        raise ValueError(f"a table's name cannot hold a NUL character: {name!r}")
    return '"' + name.replace('"', '""') + '"'


class Layout:
    """A table, and all that has to be there before it can be used.

    Attributes:
        name, quoted: the table's.
        columns: those that persist-queue knows, in their order.
        added: those behind them, and their types.
        indexes: their names, and the statements that create them (or a trigger).
        optional: columns and triggers that reading can do without.
        create: the statement that creates the table.
        old: the name of the table that is to be adopted if it is there, or nothing.
    """

    name: str
    quoted: str
    columns: tuple[str, ...]
    added: Mapping[str, str] = MappingProxyType({})
    indexes: Mapping[str, str] = MappingProxyType({})
    optional: tuple[str, ...] = ()
    create: str
    old = ""

    def choose(self, lacks: Collection[str]) -> None:
        """Write the statements without what a table lacks that is optional: to read only."""


class Table(Layout):
    """One queue's table, and every statement on it, as SQLite wants it.

    Args:
        kind: of the queue.
        name: the queue's; any text.
        adopts: rows of a table without the queue's name belong here, under any name.
        whole_name: the name is the table's, without what the kind puts before it.
        lacks: optional columns that the table has not: another program made it.

    Raises:
        ValueError: no table can have such a name.
    """

    _MARK = "?"  # where a value is bound
    _OR_IGNORE = "OR IGNORE "
    _BY_ID = ""  # has rows found by their ids, where the server may decide otherwise
    _LIVE = f"status < {HELD}"
    _ANY_OWNER = "owner IS ?"

    def __init__(
        self,
        kind: Kind,
        name: str,
        *,
        adopts: bool = False,
        whole_name: bool = False,
        lacks: Collection[str] = (),
    ) -> None:
        self.kind = kind
        self.columns, self.added = kind.columns, kind.added
        adopts = adopts and not (kind.ack or kind.priority)  # persist-queue has no such async class
        adopts = (adopts or kind.prefix in OLD_ASYNC) and not whole_name
        self.old = kind.prefix if adopts else ""
        self.name = name if whole_name else f"{kind.prefix}_{name}"
        self._lacks = frozenset(lacks)
        self._write()
        readable = (kind.ack or kind.unique) and not kind.jobs
        self.optional = (*self.added, *self.indexes) if readable else ()

    def choose(self, lacks: Collection[str]) -> None:
        if self._lacks != lacks:
            self._lacks = frozenset(lacks)
            self._write()

    def _write(self) -> None:
        """Write every statement."""
        self.quoted = self._quoted(self.name)
        table, mark = self._in_text(self.quoted), self._MARK
        kind, live_rows = self.kind, self._LIVE
        all_columns = ", ".join(kind.columns)
        self.sums = kind.unique and SUM not in self._lacks
        fence = [column if column not in self._lacks else absent for column, absent in _ABSENT]
        more = (*(fence if kind.ack else ()), *(JOB if kind.jobs else ()))
        self.read = ", ".join((*kind.columns, *more, *((SUM,) if self.sums else ())))
        order = "_id DESC" if kind.newest_first else "_id"
        order = "priority, _id" if kind.priority or kind.jobs else order
        behind = "<" if kind.newest_first else ">"
        live = f" WHERE {live_rows}" if kind.ack else ""
        also = " AND " if live else " WHERE "
        select = f"SELECT {self.read} FROM {table}"
        aside = self._in_text(self._quoted(self.aside))

        self.create = self._create(table)
        self.indexes = self._indexes(table)
        self.insert, self.put_back = self._inserts(table, mark)
        self.first = f"{select}{live} ORDER BY {order} LIMIT {mark}"
        self.after = f"{select}{live}{also}_id {behind} {mark} ORDER BY {order} LIMIT {mark}"
        self.by_id = f"{select}{live}{also}_id = {mark}"
        self.stamp = f"SELECT timestamp FROM {table} WHERE _id = {mark}"
        self.by_data = f"SELECT 1 FROM {table} WHERE data = {mark}"
        # The same for rows that are about to be handed out, as they will be then.
        self.take_first, self.take_after, self.take_by_id = map(
            self._as_taken, (self.first, self.after, self.by_id)
        )
        self.ids_after = f"SELECT _id FROM {table} WHERE _id > {mark} ORDER BY _id LIMIT {mark}"
        place = "_id, priority" if kind.priority else "_id"
        self.places = f"SELECT {place} FROM {table} ORDER BY {order} LIMIT {mark}"
        self.all_rows = f"{select} ORDER BY _id"
        summed = f", {SUM} = {mark}" if kind.unique else ""
        self.update = f"UPDATE {table} SET data = {mark}{summed} WHERE _id = {mark}"
        self.delete = f"DELETE FROM {table} WHERE _id = {mark}"
        self.delete_waiting = self.delete + (f" AND {live_rows}" if kind.ack else "")
        self.count = f"SELECT COUNT(*) FROM {table}{live}"
        self.newest = f"SELECT MAX(_id) FROM {table}"
        # No more rows than this can be there; found at once, however many there are.
        self.span = (
            f"SELECT (SELECT MAX(_id) FROM {table}{live})"
            f" - (SELECT MIN(_id) FROM {table}{live}) + 1"
        )
        self.count_some = (
            f"SELECT COUNT(*) FROM (SELECT 1 FROM {table}{live} LIMIT {MOST_COUNTED}) AS few"
        )
        # Rows that come next, for telling who wrote them; long ones are left out.
        self.sample = (
            f"SELECT data FROM (SELECT data FROM {table}{live} ORDER BY {order} LIMIT {SAMPLE})"
            f" AS few WHERE LENGTH(data) <= {LONGEST}"
        )
        self.create_aside = f"CREATE TABLE IF NOT EXISTS {aside} AS SELECT * FROM {table} LIMIT 0"
        self.set_aside = (
            f"INSERT INTO {aside} ({all_columns})"
            f" SELECT {all_columns} FROM {table} WHERE _id = {mark}"
        )
        self._write_acks(table, mark)

    def _as_taken(self, select: str) -> str:
        """Return a statement that reads rows as one that reads them as if they were handed out."""
        taken = self.read.replace("takes, attempts", "takes + 1, attempts + 1")
        return select.replace(self.read, taken, 1)

    def _write_acks(self, table: str, mark: str) -> None:
        """Write the statements that only the ack queues have."""
        live_rows = self._LIVE
        content = f"data, timestamp, {SUM}" if self.kind.unique else "data, timestamp"
        values = ", ".join([mark] * (content.count(",") + 3))
        self.state = (
            f"SELECT status, owner, takes, attempts, {content} FROM {table} WHERE _id = {mark}"
        )
        self.mark = f"UPDATE {table} SET status = {mark}, owner = NULL WHERE _id = {mark}"
        self.revive = (
            f"UPDATE {table} SET status = {READY}, owner = NULL, attempts = 0, note = NULL"
            f" WHERE _id = {mark}"
        )
        # The row itself says whether it waits: an index that is damaged may name one that does not.
        self._hand_out_these = (
            f"UPDATE {table}{self._BY_ID} SET status = {HELD}, owner = {mark},"
            f" takes = takes + 1, attempts = attempts + 1 WHERE status < {HELD} AND "
        )
        self.hand_out = f"{self._hand_out_these}_id = {mark}"
        self.fail_any = (
            f"UPDATE {table} SET status = {FAILED}, owner = NULL, note = {mark} WHERE _id = {mark}"
        )
        # Of a row that waits, and was handed out too often.
        self.wear_out = f"{self.fail_any} AND status < {HELD}"
        # What one hand-out may change, unless another object has taken the row from it.
        fence = f"WHERE _id = {mark} AND {_HELD} AND {self._ANY_OWNER} AND takes = {mark}"
        finish = f"UPDATE {table} SET status = {mark}, owner = NULL"
        self.finish = f"{finish} {fence}"
        self.fail = f"{finish}, note = {mark} {fence}"
        self.give_back = f"{finish}, attempts = attempts - 1 {fence}"
        self.count_held = f"SELECT COUNT(*) FROM {table} WHERE {_HELD}"
        self.count_delayed = f"SELECT COUNT(*) FROM {table} WHERE status = {DELAYED}"
        self.held_some = (
            f"SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {_HELD} LIMIT 1) AS few"
        )
        # Two counts of one moment: between two statements others may commit.
        self.count_both = f"SELECT ({self.count}), ({self.count_held})"
        self.both_some = f"SELECT ({self.count_some}), ({self.held_some})"
        self.count_live = f"SELECT COUNT(*) FROM {table} WHERE {live_rows} AND status = {mark}"
        self.count_over = f"SELECT COUNT(*) FROM {table} WHERE {OVER} AND status = {mark}"
        self.owners = f"SELECT DISTINCT owner FROM {table} WHERE {_HELD}"
        # The owners again, without those that have none.  It reads a row of each, where
        # DISTINCT reads all rows that are held.
        next_one = f"SELECT MIN(owner) FROM {table} WHERE {_HELD}"
        self.holders = (
            f"WITH RECURSIVE some (owner) AS ({next_one} UNION ALL"
            f" SELECT ({next_one} AND owner > some.owner) FROM some WHERE some.owner IS NOT NULL)"
            " SELECT owner FROM some WHERE owner IS NOT NULL"
        )
        self.resume = (
            f"UPDATE {table} SET status = {READY}, owner = NULL WHERE {_HELD} AND {self._ANY_OWNER}"
        )
        self.to_the_front = f"UPDATE {table} SET _id = {mark} WHERE _id = {mark}"
        self.lowest_id = f"SELECT MIN(_id) FROM {table}"
        self.ready_insert = (
            f"INSERT INTO {table} (takes, attempts, {content}, status) VALUES ({values}, {READY})"
        )
        self.clear = self._clear(table, mark)

    @property
    def aside(self) -> str:
        """The table for rows that cannot be decoded."""
        return f"corrupt:{self.name}"

    @staticmethod
    def _quoted(name: str) -> str:
        """Return a name as an identifier."""
        return identifier(name)

    @staticmethod
    def _in_text(quoted: str) -> str:
        """Return an identifier as it stands in the text of a statement with values."""
        return quoted

    def onward(
        self, what: str, *, by_age: bool, behind: bool, held_too: bool, beside: str = ""
    ) -> str:
        """Return the statement that reads on in the order of the queue.

        Args:
            what: the columns.
            by_age: read in the order of the puts instead.
            behind: the first values are a place to read on from: the priority if that is part
                of the order, then the id.
            held_too: read rows that are handed out as well.
            beside: what selects further rows, of another table.
        """
        kind, conditions = self.kind, []
        order, places, ahead = "_id", self._MARK, ">"
        if not by_age and kind.newest_first:
            order, ahead = "_id DESC", "<"
        columns = "_id"
        if not by_age and kind.priority:
            order = columns = "priority, _id"
            places = f"{self._MARK}, {self._MARK}"
        if kind.ack:
            conditions.append(f"status <= {HELD}" if held_too else self._LIVE)
        if behind:
            conditions.append(f"({columns}) {ahead} ({places})")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        table = self._in_text(self.quoted)
        if beside:
            table = f"(SELECT {', '.join(kind.columns)} FROM {table} UNION ALL {beside})"
        return f"SELECT {what} FROM {table}{where} ORDER BY {order} LIMIT {self._MARK}"

    def in_list(self, count: int) -> str:
        """Return the statement that finds which of ``count`` ids are there."""
        return f"SELECT _id FROM {self._in_text(self.quoted)} WHERE {self._among(count)}"

    def insert_several(self, count: int) -> str:
        """Return the statement that inserts ``count`` rows at once."""
        head, values = self.insert.split(" VALUES ")
        return f"{head} VALUES {', '.join([values] * count)}"

    def hand_out_these(self, count: int) -> str:
        """Return the statement that hands out ``count`` rows by their ids."""
        return self._hand_out_these + self._among(count)

    def _among(self, count: int) -> str:
        """Return the condition that an id is one of ``count``."""
        return f"_id IN ({', '.join([self._MARK] * count)})"

    def _create(self, table: str) -> str:
        types = {"priority": "INTEGER", "status": "INTEGER"}
        columns = ["_id INTEGER PRIMARY KEY AUTOINCREMENT", "data BLOB", "timestamp FLOAT"]
        columns += [f"{column} {types[column]}" for column in self.kind.columns[3:]]
        columns += [f"{column} {kind}" for column, kind in self.kind.added.items()]
        columns += ["UNIQUE (data)"] if self.kind.unique else []
        return f"CREATE TABLE {table} ({', '.join(columns)})"

    def _indexes(self, table: str) -> dict[str, str]:
        """Return the indexes: what keeps a get as quick at a million rows as at a thousand.

        Triggers are among them, for what programs write that do not know the added columns.
        """
        wanted: dict[str, str] = {}
        if self.kind.priority:
            wanted["priority"] = "(priority, _id)"
        if self.kind.ack:
            wanted["live"] = f"(_id, status) WHERE {self._LIVE}"
            wanted["held"] = f"(owner) WHERE {_HELD}"
            wanted["over"] = f"(status, _id) WHERE {OVER}"
        names = {f"index_{what}:{self.name}": what for what in wanted}
        indexes = {
            name: f"CREATE INDEX {identifier(name)} ON {table} {wanted[what]}"
            for name, what in names.items()
        }
        if self.kind.unique:  # a program that does not know the checksum changes the data only
            name = f"{SUM}:{self.name}"
            indexes[name] = (
                f"CREATE TRIGGER {identifier(name)} AFTER UPDATE OF data ON {table}"
                f" WHEN NEW.{SUM} IS OLD.{SUM} AND NEW.data IS NOT OLD.data"
                f" BEGIN UPDATE {table} SET {SUM} = NULL WHERE _id = NEW._id; END"
            )
        if self.kind.ack:  # nor owners.  Short: SQLite runs it with each update, 2,000 instructions
            name = f"owner:{self.name}"
            indexes[name] = (
                f"CREATE TRIGGER {identifier(name)} AFTER UPDATE OF status ON {table}"
                f" WHEN NEW.status < {HELD} AND NEW.owner IS NOT NULL"
                f" BEGIN UPDATE {table} SET owner = NULL WHERE _id = NEW._id; END"
            )
        return indexes

    def _inserts(self, table: str, mark: str) -> tuple[str, str]:
        """Return the statements for a put, and for putting a row back under its id."""
        columns = list(self.kind.columns[1:])
        values = [mark] * len(columns)
        if self.kind.ack:
            values[-1] = str(NEW)
        if self.kind.unique:
            columns.append(SUM)
            values.append(mark)
        ignore = self._OR_IGNORE if self.kind.unique else ""
        names, marks = ", ".join(columns), ", ".join(values)
        return (
            f"INSERT {ignore}INTO {table} ({names}) VALUES ({marks})",
            f"INSERT {self._OR_IGNORE}INTO {table} (_id, {names}) VALUES ({mark}, {marks})",
        )

    def _clear(self, table: str, mark: str) -> dict[bool, str]:
        """Return the statements that delete old acked rows: without failed ones, and with."""
        which = {False: f"{OVER} AND status = {ACKED}", True: OVER}
        return {
            failed_too: (
                f"DELETE FROM {table} WHERE _id IN (SELECT _id FROM {table}"
                f" WHERE {condition} ORDER BY _id DESC LIMIT {mark} OFFSET {mark})"
            )
            for failed_too, condition in which.items()
        }


class DictTable(Layout):
    """One PDict's table, and every statement on it.

    Args:
        name: the dict's; any text.
        prefix: of the table's name.
    """

    kind = None  # of a queue
    columns = ("key", "data")
    added = MappingProxyType({"type": "TEXT"})

    def __init__(self, name: str, prefix: str = "dict") -> None:
        self.name = f"{prefix}_{name}"
        self.quoted = table = identifier(self.name)
        self.create = f"CREATE TABLE {table} (key TEXT PRIMARY KEY, data BLOB, type TEXT)"
        self.get = f"SELECT data FROM {table} WHERE key = ?"
        self.set = (
            f"INSERT INTO {table} (key, data, type) VALUES (?, ?, ?) ON CONFLICT (key)"
            " DO UPDATE SET data = excluded.data, type = excluded.type"
        )
        self.delete = f"DELETE FROM {table} WHERE key = ?"
        self.clear = f"DELETE FROM {table}"
        self.count = f"SELECT COUNT(*) FROM {table}"
        self.newest = f"SELECT MAX(rowid) FROM {table}"
        self.keys = f"SELECT key, type FROM {table} ORDER BY rowid"
        self.sample = (
            f"SELECT data FROM (SELECT data FROM {table} ORDER BY rowid LIMIT {SAMPLE})"
            f" AS few WHERE LENGTH(data) <= {LONGEST}"
        )
        self.items = f"SELECT key, type, data FROM {table} ORDER BY rowid"
        self.aside = f"corrupt:{self.name}"
        self.create_aside = (
            f"CREATE TABLE IF NOT EXISTS {identifier(self.aside)} AS SELECT * FROM {table} LIMIT 0"
        )
        self.set_aside = (
            f"INSERT INTO {identifier(self.aside)} (key, data, type)"
            f" SELECT key, data, type FROM {table} WHERE rowid = ?"
        )
        self.delete_row = f"DELETE FROM {table} WHERE rowid = ?"
        self.last = f"SELECT key, type, data FROM {table} ORDER BY rowid DESC LIMIT 1"
