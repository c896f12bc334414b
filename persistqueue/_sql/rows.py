"""Rows of a queue's table as users see them, and how users name a row."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .._core.arguments import whole
from .statements import ID_RANGE

if TYPE_CHECKING:
    from typing import TypeAlias

    from .._core.codec import RowCodec
    from .._core.store import Record
    from .statements import Kind
    from .store import SqlStore

    #: A row's number, its digits, or what ``get(raw=True)`` returned.
    RowId: TypeAlias = int | str | dict[str, Any]


class Rows:
    """Makes rows of items, and shows rows as dicts.

    Args:
        kind: of the queue: its rows may have a priority, or a status.
    """

    def __init__(self, codec: RowCodec, kind: Kind) -> None:
        self.codec = codec
        self._kind = kind

    def of(self, item: object) -> tuple[object, ...]:
        """Return the row of an item that is put now.

        Raises:
            SerializationError, ItemTooLarge: it cannot be stored.
        """
        data = self.codec.encode(item)
        if self._kind.unique:
            return data, time.time(), self.codec.sum_of(data)
        return data, time.time()

    def shown(self, record: Record) -> dict[str, Any]:
        """Return what ``get(raw=True)`` returns for a record."""
        return self._as_dict(record.end, record.item, "pqid")

    def listed(self, store: SqlStore) -> list[dict[str, Any]]:
        """Return what ``queue()`` returns: all rows that are stored."""
        rows = store.decoded_rows(store.all_rows())
        return [self._as_dict(row, item, "id") for row, item in rows]

    def _as_dict(self, row: tuple[Any, ...], item: object, key: str) -> dict[str, Any]:
        shown = {key: row[0], "data": item, "timestamp": row[2]}
        if self._kind.priority:
            shown["priority"] = row[3]
        elif self._kind.ack:
            taken = {"takes": row[4], "attempts": row[5]}
            shown |= taken if key == "pqid" else {"status": row[3], **taken, "note": row[6]}
        return shown


def checked_priority(priority: object) -> int:
    """Return a priority, or raise an error if it is none."""
    return whole("priority", priority, ID_RANGE.start, ID_RANGE.stop - 1)


def no_row(number: int) -> str:
    """Return what to say of an id that nothing can be taken by."""
    return f"there is no row with the id {number} that could be taken"


def row_id(given: object) -> int:
    """Return the id that was given: a number, its digits, or what ``get(raw=True)`` returned.

    Raises:
        TypeError: it is something else.
        ValueError: it is text but no number.
    """
    if isinstance(given, dict):
        if "pqid" not in given:
            raise ValueError("the dict has no 'pqid': pass what get(raw=True) returned, or an id")
        given = given["pqid"]
    if isinstance(given, str):
        try:
            given = int(given)
        except ValueError:
            raise ValueError(f"{given!r} is not the id of a row") from None
    return whole("id", given)


def is_raw(item: object) -> bool:
    """Return whether an item is what ``get(raw=True)`` returned, or its id alone.

    An item of one's own may be a dict with such a key, too.
    """
    return isinstance(item, dict) and (item.keys() >= _RAW or item.keys() == _ID_ALONE)


_RAW = {"pqid", "data", "timestamp"}
_ID_ALONE = {"pqid"}


def in_range(number: int) -> bool:
    """Return whether any row can have this id."""
    return number in ID_RANGE


def to_update(item: Any, given: RowId | None) -> tuple[int, object]:
    """Return the id and the new item of an ``update`` call.

    Raises:
        ValueError: there is no id.
    """
    if given is None:
        if not (isinstance(item, dict) and item.get("pqid") is not None and "data" in item):
            raise ValueError("update needs an id, or what get(raw=True) returned")
        given, item = item["pqid"], item["data"]
    return row_id(given), item
