"""The tables that a broker adds to a database, as SQL; and checks of names, ids and times.

Pure: nothing here opens or runs anything.  Each queue is the table that ``SQLiteQueue`` uses
(``_sql/statements.FIFO``).  All other programs can go on reading and writing it.  A broker adds:

- ``persistqueue_broker``: which queues there are, and how many items wait in each.  Two
  triggers on each queue's table keep it right, whichever program writes there.
- ``persistqueue_ids``: the last id that a broker gave to an item of any queue.
- ``persistqueue_held``: items that a stream or a ``process`` block holds, and its owner.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .._core.arguments import whole
from .._sql.schema import folded
from .._sql.statements import FIFO, ID_RANGE, Layout, Table, identifier

if TYPE_CHECKING:
    from collections.abc import Iterable

QUEUES, IDS, HELD = "persistqueue_broker", "persistqueue_ids", "persistqueue_held"
PREFIX = f"{FIFO.prefix}_"
_FOREVER = 10**15  # s, in both directions
MOST_ROWS = 64  # in one INSERT; SQLite takes 999 values at least


class BrokerLayout(Layout):
    """The tables beside the queues: what has to be there before a broker works."""

    name = QUEUES
    quoted = QUEUES
    columns = ("id", "name", "waiting", "oldest")
    # Names are compared as SQLite compares the names of tables.
    create = (
        f"CREATE TABLE {QUEUES} (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " name TEXT NOT NULL UNIQUE COLLATE NOCASE, waiting INTEGER NOT NULL, oldest FLOAT)"
    )
    # All else that is to be there, by its name.
    indexes = MappingProxyType({
        IDS: f"CREATE TABLE {IDS} (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL)",
        HELD: (
            f"CREATE TABLE {HELD} (hold INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL,"
            " _id INTEGER NOT NULL, data BLOB, timestamp FLOAT, owner TEXT)"
        ),
        f"{HELD}_owner": f"CREATE INDEX {HELD}_owner ON {HELD} (owner)",
    })  # fmt: skip


# Which queues there are.
FIND = f"SELECT id, name FROM {QUEUES} WHERE name = ?"
FIND_NUMBER = f"SELECT name FROM {QUEUES} WHERE id = ?"
LIST = f"SELECT name, waiting, oldest FROM {QUEUES} ORDER BY name"
WAITING = f"SELECT waiting FROM {QUEUES} WHERE name = ?"
ADD = f"INSERT INTO {QUEUES} (name, waiting) VALUES (?, 0)"
MEASURED = f"UPDATE {QUEUES} SET waiting = ?, oldest = ? WHERE id = ?"
DROP = f"DELETE FROM {QUEUES} WHERE id = ?"
RENAME = f"UPDATE {QUEUES} SET name = ? WHERE id = ?"
NUMBERS = f"SELECT id, name FROM {QUEUES}"
TABLE_NAMED = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE"
TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table'"
    f" AND substr(name, 1, {len(PREFIX)}) = '{PREFIX}' COLLATE NOCASE"
)
COUNTED = (  # tables that have both triggers
    "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'"
    " AND substr(name, 1, 13) = 'persistqueue_' GROUP BY tbl_name HAVING COUNT(*) >= 2"
)
COLUMNS = "SELECT name FROM pragma_table_info(?)"

# Ids.
LAST_ID = f"SELECT last FROM {IDS}"
SET_LAST_ID = (
    f"INSERT INTO {IDS} (one, last) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET last ="
    " max(last, excluded.last)"
)
# SQLite looks for a table's row from the first to the last at each INSERT: with a thousand
# queues that is 90 us, unless the row of one that is in use stands at the front.
TO_THE_FRONT = (
    "UPDATE sqlite_sequence SET rowid = (SELECT min(rowid) FROM sqlite_sequence) - 1"
    " WHERE name = ? AND rowid > (SELECT min(rowid) FROM sqlite_sequence) + 16"
)

# Held items.
OWNERS = f"SELECT DISTINCT owner FROM {HELD} WHERE owner IS NOT ?"
# Those again, each found by one look at the index.
_NEXT_ONE = f"SELECT MIN(owner) FROM {HELD}"
HOLDERS = (
    f"WITH RECURSIVE some (owner) AS ({_NEXT_ONE} UNION ALL"
    f" SELECT ({_NEXT_ONE} WHERE owner > some.owner) FROM some WHERE some.owner IS NOT NULL)"
    " SELECT owner FROM some WHERE owner IS NOT NULL"
)
HELD_BY = f"SELECT hold FROM {HELD} WHERE owner IS ? ORDER BY hold"
HELD_ROW = f"SELECT queue, _id, data, timestamp FROM {HELD} WHERE hold = ? AND owner IS ?"
HELD_COUNTS = (
    f"SELECT q.name, COUNT(*) FROM {HELD} AS h JOIN {QUEUES} AS q ON q.id = h.queue GROUP BY q.id"
)
FINISH = f"DELETE FROM {HELD} WHERE hold BETWEEN ? AND ? AND owner IS ?"
DROP_HELD = f"DELETE FROM {HELD} WHERE queue = ?"


def page(name: str) -> str:
    """Return the statement for a page of a queue's rows.

    Its values are two ids, each of two times twice (NULL for no bound), and how many rows.
    """
    return (
        f"SELECT _id, data, timestamp FROM {identifier(PREFIX + name)} WHERE _id > ? AND _id < ?"
        " AND (? IS NULL OR timestamp >= ?) AND (? IS NULL OR timestamp < ?) ORDER BY _id LIMIT ?"
    )


class BrokerTable(Table):
    """One queue's table, and the statements that a broker adds.

    Args:
        name: the queue's.
        number: its id among the queues.
    """

    def __init__(self, name: str, number: int) -> None:
        super().__init__(FIFO, name)
        self.queue, self.number = name, number
        table = self.quoted
        select = f"SELECT _id, data, timestamp FROM {table}"
        self._oldest = f"(SELECT timestamp FROM {table} ORDER BY _id LIMIT 1)"
        self.highest = f"SELECT MAX(_id) FROM {table}"
        self.insert_one = f"INSERT INTO {table} (_id, data, timestamp) VALUES (?, ?, ?)"
        self.since = f"{select} WHERE timestamp >= ? ORDER BY _id LIMIT ?"
        self.by_id = f"{select} WHERE _id = ?"
        self.delete_range = f"DELETE FROM {table} WHERE _id BETWEEN ? AND ?"
        self.hold_range = (
            f"INSERT INTO {HELD} (queue, _id, data, timestamp, owner)"
            f" SELECT ?, _id, data, timestamp, ? FROM {table}"
            " WHERE _id BETWEEN ? AND ? ORDER BY _id"
        )
        self.clear_all = f"DELETE FROM {table}"
        self.drop = f"DROP TABLE {table}"
        self.measure = f"SELECT COUNT(*), {self._oldest} FROM {table}"
        self.trigger_names = tuple(f"persistqueue_{what}:{self.name}" for what in ("in", "out"))

    def insert_rows(self, count: int) -> str:
        """Return the statement that inserts ``count`` rows with their ids."""
        return self.insert_one + ", (?, ?, ?)" * (count - 1)

    def triggers(self) -> tuple[str, ...]:
        """Return the statements that make the triggers: they count what waits."""
        return tuple(
            f"CREATE TRIGGER {identifier(name)} AFTER {event} ON {self.quoted} BEGIN"
            f" UPDATE {QUEUES} SET waiting = waiting {step} 1, oldest = {self._oldest}"
            f" WHERE id = {self.number}; END"
            for name, (event, step) in zip(
                self.trigger_names, (("INSERT", "+"), ("DELETE", "-")), strict=True
            )
        )

    def drop_triggers(self) -> tuple[str, ...]:
        """Return the statements that remove them."""
        return tuple(f"DROP TRIGGER IF EXISTS {identifier(name)}" for name in self.trigger_names)

    def rename_to(self, other: BrokerTable) -> str:
        """Return the statement that makes this another queue's table."""
        return f"ALTER TABLE {self.quoted} RENAME TO {other.quoted}"


# -- what a caller gives ------------------------------------------------------------------


def queue_name(name: str) -> str:
    """Return a queue's name, if a table can have it.

    Raises:
        TypeError, ValueError: it cannot.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a queue is a str, not {type(name).__name__}")
    identifier(name)
    return name


def message_id(given: Any) -> int:
    """Return the id of an item, if it is one."""
    return min(max(whole("id", given), ID_RANGE[0]), ID_RANGE[-1])


def a_time(name: str, given: Any) -> float | None:
    """Return a time in seconds since 1970, if it is one, or None."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise TypeError(f"{name} must be seconds since 1970, not {type(given).__name__}")
    if given != given:  # noqa: PLR0124 - not a number, and there are ints that no float holds
        raise ValueError(f"{name} must be seconds since 1970, not {given}")
    return float(min(max(given, -_FOREVER), _FOREVER))


def message_ids(given: int | Iterable[int]) -> list[int]:
    """Return one id or several as a list."""
    if isinstance(given, int):
        return [message_id(given)]
    return [message_id(one) for one in given]


def which_to_move(source: str, to: str, number: Any, limit: int | None) -> tuple[Any, int]:
    """Return the ids of the items to move, or None, and how many of the oldest.

    Raises:
        TypeError, ValueError: it makes no sense.
    """
    if folded(queue_name(source)) == folded(queue_name(to)):
        raise ValueError(f"{source!r} and {to!r} are one queue; name another to move to")
    if number is not None and limit is not None:
        raise ValueError("give the id of an item or a limit, one of the two")
    ids = None if number is None else [message_id(number)]
    return ids, 1 if limit is None else whole("limit", limit, 1)
