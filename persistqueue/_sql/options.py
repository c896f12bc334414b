"""What the SQLite classes of both families have in common: arguments, encoding, showing.

The faces differ by ``await``, and their shells by how they wait.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from .._core.arguments import DURABILITIES, NO_ITEM, ON_CORRUPT, T, absolute, one_of, whole
from .._core.deadline import checked_timeout
from .._core.log import warn
from .names import SqlNames
from .sqlite.connection import MEMORY, Database
from .sqlite.errors import SqliteRowCodec
from .statements import FIFO, ID_RANGE, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.codec import RowCodec
    from .._core.inflight_acks import Unacked
    from .._core.store import Record
    from .acks import AckStore
    from .statements import Kind
    from .store import SqlStore

    Finishing = tuple[Callable[[Sequence[Record]], list[int]], Callable[[list[Record]], None]]


class SqlFace(SqlNames, Generic[T]):
    """One object on a queue's table."""

    _KIND: Kind = FIFO
    _store: SqlStore

    _codec: RowCodec

    path: str
    maxsize: int

    @property
    def skipped(self) -> int:
        """Damaged rows that this object set aside (``on_corrupt="skip"``)."""
        return self._store.skipped

    def __contains__(self, item: object) -> bool:
        raise TypeError("'in' would have to take every item out; queue() lists what is there")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} in {self.path!r}>"

    # -- names that persist-queue's users look at -----------------------------------

    @property
    def _table_name(self) -> str:
        return self._store.table.quoted

    # -- for the methods ------------------------------------------------------------

    def _row(self, item: T) -> tuple[Any, ...]:
        return self._codec.encode(item), time.time()

    def _check_room(self, count: int) -> None:
        if 0 < self.maxsize < count:
            raise ValueError(f"{count} items never fit in a queue of maxsize {self.maxsize}")

    def _shown(self, record: Record, raw: bool) -> Any:
        return self._raw(record.end, record.item, "pqid") if raw else record.item

    def _raw(self, row: tuple[Any, ...], item: Any, key: str) -> dict[str, Any]:
        """Return a row as users see it."""
        shown = {key: row[0], "data": item, "timestamp": row[2]}
        if self._KIND.priority:
            shown["priority"] = row[3]
        return shown

    def _listed(self, rows: list[Any]) -> list[dict[str, Any]]:
        """Return what ``queue()`` shows of all rows."""
        return [self._raw(row, item, "id") for row, item in self._store.decoded_rows(rows)]


class SqliteFace(SqlFace[T]):
    """One object on a queue's table in an SQLite database."""

    def _set_up(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        timeout: float,
        auto_commit: bool,
        serializer: Any,
        db_file_name: str | None,
        maxsize: int,
        durability: str,
        on_corrupt: str,
        max_item_bytes: int,
        makes_directory: bool,
    ) -> tuple[Database, Table]:
        """Check the arguments; nothing is created or opened."""
        self._check_hooks()
        table = Table(self._named_kind(), str(name), adopts=not makes_directory)
        self.maxsize = whole("maxsize", maxsize)
        self.name = name
        self.timeout = checked_timeout(timeout)
        self.auto_commit = bool(auto_commit)
        self.durability = one_of("durability", durability, DURABILITIES)
        self._skips = one_of("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
        self._serializer = serializer
        self._codec = SqliteRowCodec(
            serializer,
            ordered=self._KIND.unique,
            longest=whole("max_item_bytes", max_item_bytes, 1),
        )
        self.memory_sql = os.fspath(path) == MEMORY
        self.path = MEMORY if self.memory_sql else absolute(path)
        self.db_file_name = db_file_name or "data.db"
        database = Database(
            self.path,
            self.db_file_name,
            makes_directory=makes_directory,
            power=durability == "power",
            patience=self.timeout,
        )
        return database, table


class AckFace:
    """One object on an ack queue's table: what becomes of what it handed out.

    A way to finish is a pair, for the shell: what finds the record, and what the store does.
    """

    path: str
    name: str
    _store: AckStore
    _shell: Any

    def _finishing(
        self,
        status: int,
        item: Any,
        id: Any,  # noqa: A002
        to_back: bool = False,
        guarded: bool = True,
    ) -> Finishing:
        """Give what is named by the item or by its id a status.

        An object that was handed out is known by identity, whatever is in it; then a raw
        dict says which row it is; then an equal object is looked for.

        Args:
            guarded: an error is to undo this, and nothing else of the transaction.
        """
        by_id = id is not None
        if by_id == (item is not NO_ITEM) and not (by_id and item is None):
            raise ValueError("give the item or its id, one of the two")
        owner, book = self._shell.caller(), self._unacked
        number = row_id(id) if by_id else None
        known = False  # whether the object itself says which record it is

        def pick(into: list[Record]) -> None:
            nonlocal known, number
            before = len(into)
            if not by_id:
                book.pick_same(item, owner, into)
                if len(into) == before and is_raw(item):
                    number = row_id(item)
                elif len(into) == before:
                    book.pick_alike(item, owner, into)
            known = len(into) > before
            if number is not None:
                book.pick_place(number, into)

        def act(records: Sequence[Record]) -> list[int]:
            if known:
                return self._store.finish(records, status, to_back=to_back, guarded=guarded)
            if number is None or not in_range(number):
                return []
            return self._store.move(
                number, status, held=not by_id, to_back=to_back, guarded=guarded
            )

        return act, pick

    def _finishing_many(
        self, status: int, items: Any, ids: Any, to_back: bool = False
    ) -> Finishing | None:
        """Give several a status: all of them or, if it raises, none; None for no item at all.

        What the store's half returns has a place for each: the id, or None.
        """
        if (items is NO_ITEM) == (ids is None):
            raise ValueError("give the items or their ids, one of the two")
        if ids is None:
            each = [self._finishing(status, item, None, to_back, False) for item in items]
        else:
            each = [self._finishing(status, NO_ITEM, one, to_back, False) for one in ids]
        places: list[slice] = []

        def pick(into: list[Record]) -> None:
            for _, pick_one in each:
                before = len(into)
                pick_one(into)
                places.append(slice(before, len(into)))

        def act(records: Sequence[Record]) -> list[Any]:
            moved = (one(records[at]) for (one, _), at in zip(each, places, strict=True))
            return [found[0] if found else None for found in moved]

        return ((lambda records: self._store.guard(partial(act, records))), pick) if each else None

    def _say_unknown(self, moved: Sequence[int | None], item: Any, id: Any) -> None:  # noqa: A002
        """Log that something was not finished: it may be a mistake."""
        unknown = moved.count(None)
        if unknown:
            what = f"an object of type {type(item).__name__}" if id is None else f"the id {id!r}"
            what = what if len(moved) == 1 else f"{unknown} of {len(moved)} items"
            several = isinstance(item, (list, tuple, set)) and len(moved) == 1
            warn(
                "%s, %s: nothing changed for %s: it is finished already, or not handed out by this "
                "queue object%s",
                self.path,
                self.name,
                what,
                "; ack_many and nack_many take several items" if several else "",
            )

    def _resuming(self, force: bool) -> Finishing:
        """Make ready what nobody alive but this object holds; with ``force`` everything."""
        resume = partial(self._store.resume, mine_too=True, living_too=force)
        return (lambda _: [self._store.guard(resume)]), self._unacked.pick_every

    def _clearing(self, most: int, keep: int, failed_too: bool) -> Callable[[], int]:
        """Delete old acked rows."""
        most = most if most and most > 0 else -1
        return partial(self._store.clear, most, max(keep or 0, 0), bool(failed_too))

    def _following(self, next_in_order: bool, id: Any) -> Callable[[], Any] | None:  # noqa: A002
        """Take the row behind this one; None for an ordinary get.

        Raises:
            ValueError: there is no id to go on from.
        """
        if not isinstance(next_in_order, bool):
            raise ValueError("'next_in_order' must be True or False")  # noqa: TRY004 - as upstream
        if not next_in_order:
            return None
        if id is None:
            raise ValueError("'next_in_order' needs the 'id' of the item before it")
        number = min(max(row_id(id), ID_RANGE[0]), ID_RANGE[-1])
        return partial(self._store.guard, partial(self._store.take_next, number))

    def _raw(self, row: tuple[Any, ...], item: Any, key: str) -> dict[str, Any]:
        shown: dict[str, Any] = super()._raw(row, item, key)  # type: ignore[misc]  # SqlFace's
        if key == "id":
            shown["status"] = row[3]
        return shown

    @property
    def _unacked(self) -> Unacked:
        book: Unacked = self._shell.takes  # AT_ACK's
        return book


def checked_priority(priority: Any) -> int:
    """Return a priority, or raise what is wrong with it."""
    return whole("priority", priority, ID_RANGE.start, ID_RANGE.stop - 1)


def no_row(number: int) -> str:
    """Return what to say of an id that nothing can be taken by."""
    return f"there is no row with the id {number} that could be taken"


def row_id(given: Any) -> int:
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


def is_raw(item: Any) -> bool:
    """Return whether an item is what ``get(raw=True)`` returned, or its id alone.

    An item of one's own may be a dict with such a key, too.
    """
    return isinstance(item, dict) and (item.keys() >= _RAW or item.keys() == _ID_ALONE)


_RAW = {"pqid", "data", "timestamp"}
_ID_ALONE = {"pqid"}


def in_range(number: int) -> bool:
    """Return whether any row can have this id."""
    return number in ID_RANGE


def to_update(item: Any, given: Any) -> tuple[int, Any]:
    """Return the id and the new item of an ``update`` call.

    Raises:
        ValueError: there is no id.
    """
    if given is None:
        if not (isinstance(item, dict) and item.get("pqid") is not None and "data" in item):
            raise ValueError("update needs an id, or what get(raw=True) returned")
        given, item = item["pqid"], item["data"]
    return row_id(given), item
