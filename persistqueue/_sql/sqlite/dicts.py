"""A dict's table: keys as text, values as a serializer's bytes.

Keys are stored as persist-queue stores them: a number becomes the text that SQLite makes
of it, so ``1`` and ``"1"`` are one key.  A column that persist-queue does not know keeps
what the key was, for iteration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._core.block import Damaged
from ..._core.store import Record
from ...exceptions import QueueCorrupt, SerializationError
from ..rowstore import RowStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..._core.codec import RowCodec
    from ..statements import DictTable
    from .connection import SqliteConnection

Stored = tuple[Any, str | None]  # a key as SQLite is given it, and what it was
MISSING: Any = object()


def stored_key(key: Any) -> Stored:
    """Return a key as it is stored, and its type.

    Of a subclass (an enum's members, say) it is the value, also where its methods show another
    one: SQLite stores that for persist-queue, and ``==`` goes by it.

    Raises:
        TypeError: it is none of str, bytes, int, float, bool.
        ValueError: it is not a number, or half a character.
    """
    if isinstance(key, str):
        text = str.__str__(key)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"a key cannot hold half a character: {text!a}") from error
        return text, None
    if isinstance(key, bytes):
        return b"".join((key,)), None
    if isinstance(key, int):
        return int.__repr__(int.__int__(key)), "bool" if isinstance(key, bool) else "int"
    if isinstance(key, float):
        number = float.__float__(key)
        if number != number:  # noqa: PLR0124 - that is what makes it nan
            raise ValueError("nan cannot be a key: it does not equal itself")
        return number, f"float {number!r}"
    raise TypeError(f"a key must be a str, bytes, int, float or bool, not {type(key).__name__}")


def shown_key(text: Any, was: Any) -> Any:
    """Return a stored key as what it was."""
    try:
        if was == "bool":
            return bool(int(text))
        if was == "int":
            return int(text)
        if isinstance(was, str) and was.startswith("float "):
            return float(was[6:])
    except (TypeError, ValueError):
        pass  # another program changed the key: it is its text
    return text


class DictStore(RowStore):
    """The table of one dict.

    Args:
        conn: to its database.
        table: its statements.
        codec: encodes and decodes values.
    """

    conn: SqliteConnection

    def __init__(self, conn: SqliteConnection, table: DictTable, codec: RowCodec) -> None:
        super().__init__(conn, codec, skips=False)
        self.table = table

    def counts(self, exact: bool = True) -> tuple[int, int]:  # noqa: ARG002 - no call waits here
        """No call can wait for a key."""
        return 0, 0

    def opened(self) -> None:
        self._check_writer(self.table)

    def get(self, key: Stored) -> Any:
        """Return the value of a key, or ``MISSING``."""
        rows = self.conn.rows(self.table.get, key[:1])
        return self._value(key[0], rows[0][0]) if rows else MISSING

    def has(self, key: Stored) -> bool:
        """Return whether the key is there."""
        return bool(self.conn.rows(self.table.get, key[:1]))

    def size(self) -> int:
        """Return how many keys there are."""
        count: int = self.conn.one(self.table.count)
        return count

    def newest(self) -> int | None:
        """Return the number of the row that came last; None if there is none."""
        newest: int | None = self.conn.one(self.table.newest)
        return newest

    def keys(self) -> list[Any]:
        """Return the keys in the order in which they came."""
        return [shown_key(*row) for row in self.conn.rows(self.table.keys)]

    def items(self) -> list[tuple[Any, Any]]:
        """Return keys and values in the order in which the keys came."""
        return [
            (shown_key(text, was), self._value(text, data))
            for text, was, data in self.conn.rows(self.table.items)
        ]

    def put(self, pairs: Iterable[tuple[Stored, Any]]) -> None:
        """Set keys to encoded values."""
        self.conn.many(self.table.set, [(text, data, was) for (text, was), data in pairs])

    def set_default(self, key: Stored, data: Any) -> Any:
        """Return the value of a key, or ``MISSING`` when it is set to ``data`` now."""
        found = self.get(key)
        if found is MISSING:
            self.put([(key, data)])
        return found

    def pop(self, key: Stored) -> list[Record]:
        """Take a key out; the list has its record, if it is there."""
        rows = self.conn.rows(self.table.get, key[:1])
        return self._take_out([(*key, data) for (data,) in rows])

    def discard(self, key: Stored) -> bool:
        """Take a key out without decoding its value; returns whether it was there."""
        return self.conn.execute(self.table.delete, key[:1]).rowcount > 0

    def pop_last(self) -> list[Record]:
        """Take out the key that came last; the list has a record of the pair, if there is one."""
        records = self._take_out(self.conn.rows(self.table.last))
        for record in records:
            record.item = shown_key(*record.start), record.item
        return records

    def _take_out(self, rows: Iterable[tuple[Any, str | None, Any]]) -> list[Record]:
        records = []
        for text, was, data in rows:
            records.append(Record((text, was), data, self._value(text, data)))
            if not self.conn.execute(self.table.delete, (text,)).rowcount:
                raise QueueCorrupt(
                    self.conn.database.path,
                    self.table.name,
                    reason=f"the key {text!r} is not found where it was read: the database is "
                    "damaged",
                    advice="repair it with the command .recover of the program sqlite3",
                )
        return records

    def untake(self, records: Sequence[Record]) -> None:
        """Set keys again that no caller received, unless they are set meanwhile."""
        self.put((record.start, record.end) for record in records if not self.has(record.start))

    def clear(self) -> None:
        """Take everything out."""
        self.conn.execute(self.table.clear)

    def _value(self, text: Any, data: Any) -> Any:
        try:
            return self._codec.decode(data)
        except Damaged as error:
            self._refuse_others(self.table, skips=False)
            corrupt = QueueCorrupt(
                self.conn.database.path,
                self.table.name,
                reason=f"the value of {text!r} cannot be decoded ({error})",
                advice="set or delete the key to go on",
            )
            raise self._codec.bad_row(corrupt, error.__cause__) from error
        except SerializationError as error:
            raise type(error)(f"{self.table.name}, {text!r}: {error}") from error.__cause__
