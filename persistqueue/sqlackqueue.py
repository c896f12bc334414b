"""``SQLiteAckQueue`` and its orders: what is taken is acked, or comes again; for threads."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from ._filequeue import NO_ITEM, T
from ._options import MAX_ITEM_BYTES, one_of, whole
from ._runtime.acks import AT_ACK
from ._runtime.deadline import Deadline
from ._runtime.threads import ThreadShell
from ._sqlqueue import AckFace
from ._storage.sqlacks import AckStore
from ._storage.table import (
    ACK_FIFO,
    ACK_FILO,
    ACK_UNIQUE,
    ACKED,
    FAILED,
    HELD,
    READY,
)
from .exceptions import Empty, Full
from .serializers import pickle
from .sqlbase import SQLiteBase

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = [
    "AckStatus",
    "Empty",
    "FIFOSQLiteAckQueue",
    "FILOSQLiteAckQueue",
    "Full",
    "SQLiteAckQueue",
    "UniqueAckQ",
]


class AckStatus:
    """What the column ``status`` holds."""

    inited = "0"
    ready = "1"
    unack = "2"
    acked = "5"
    ack_failed = "9"


class SQLiteAckQueue(AckFace, SQLiteBase[T]):
    """A first-in first-out queue whose items stay stored until they are acked, and after.

    ``get`` hands an item out; ``ack`` says that it is done, ``nack`` puts it back,
    ``ack_failed`` puts it away.  What a worker held when it died is handed out again:
    delivery is at least once.  Any number of workers may share a queue: each item is held
    by one of them.

    What survives what: when ``put``, ``ack``, ``nack`` or ``ack_failed`` has returned, it
    survives loss of power (``durability="power"``) or death of the process (``"process"``).

    What is not among the arguments here is as of ``SQLiteQueue``.

    Args:
        auto_resume: make ready, now, what dead workers held.  What an object holds that is
            alive, in this process or another, is left to it.
        auto_commit: accepted for persist-queue's sake; always true.
        keep_acked: how many acked items stay stored, about; None for all of them, until
            ``clear_acked_data``.

    Raises:
        Everything that ``SQLiteQueue`` raises.
    """

    _KIND = ACK_FIFO
    _store: AckStore

    def __init__(
        self,
        path: str | os.PathLike[str],
        auto_resume: bool = True,
        name: str = "default",
        multithreading: bool = False,
        timeout: float = 10.0,
        auto_commit: bool = True,
        serializer: Any = pickle,
        db_file_name: str | None = None,
        *,
        maxsize: int = 0,
        durability: str = "power",
        on_corrupt: str = "raise",
        max_item_bytes: int = MAX_ITEM_BYTES,
        keep_acked: int | None = None,
    ) -> None:
        if not auto_commit:
            warnings.warn("an ack queue always has auto_commit=True", stacklevel=2)
        self.auto_resume = bool(auto_resume)
        self.keep_acked = None if keep_acked is None else whole("keep_acked", keep_acked, 0)
        super().__init__(
            path,
            name,
            multithreading,
            timeout,
            True,
            serializer,
            db_file_name,
            maxsize=maxsize,
            durability=durability,
            on_corrupt=on_corrupt,
            max_item_bytes=max_item_bytes,
        )

    def _open(self, database: Any, table: Any) -> None:
        self._store = AckStore(
            database,
            table,
            self._codec,
            skip_corrupt=self._skips,
            keep_acked=self.keep_acked,
            resumes=self.auto_resume,
        )
        self._shell = ThreadShell(self._store, self.maxsize, AT_ACK, self.timeout)

    # -- put ------------------------------------------------------------------------

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> int | None:
        """Store an item; as ``SQLiteQueue.put``."""
        return self._put(self._row(item), block, timeout)

    def put_nowait(self, item: T) -> int | None:
        """Store an item if there is room now: ``put(item, block=False)``."""
        return self.put(item, False)

    def put_many(
        self, items: Iterable[T], block: bool = True, timeout: float | None = None
    ) -> list[int | None]:
        """Store items in their order with one commit; as ``SQLiteQueue.put_many``."""
        return self._put_rows(map(self._row, items), block, timeout)

    # -- get ------------------------------------------------------------------------

    def get(  # type: ignore[override]  # persist-queue has next_in_order before raw
        self,
        block: bool = True,
        timeout: float | None = None,
        id: Any = None,  # noqa: A002 - persist-queue's name for it
        next_in_order: bool = False,
        raw: bool = False,
    ) -> Any:
        """Take the next item; it is this object's until it is acked in one way or another.

        Args:
            block: wait for an item if there is none.
            timeout: seconds to wait for one; None for as long as it takes.
            id: take the item with this id instead, if it waits; never waits for it.
            next_in_order: with ``id``: take the one behind it; behind the last, the first.
            raw: return a dict of ``pqid`` (the row's id), ``data`` and ``timestamp``.

        Raises:
            Empty: there was none in time, or none with this id waits.
            ValueError: the timeout is negative; ``next_in_order`` without ``id``.
            Everything that ``SQLiteQueue.get`` raises.
        """
        act = self._following(next_in_order, id)
        if act is None:
            return super().get(block, timeout, id, raw)
        taken = self._shell.take(1, Deadline.of(block, timeout), act=act)
        return self._shown(taken[0], raw)

    # -- finish ---------------------------------------------------------------------

    def ack(self, item: Any = NO_ITEM, id: Any = None) -> int | None:  # noqa: A002
        """Say that an item is done.

        Args:
            item: what ``get`` returned; if that very object is not known, an equal one.
            id: the row's, instead of ``item``; also of an item that nobody holds.

        Returns:
            the row's id; None if it was acked before, or is not known, and nothing changed.

        Raises:
            ValueError: both or neither are given.
        """
        return self._finish(ACKED, item, id)

    def ack_failed(self, item: Any = NO_ITEM, id: Any = None) -> int | None:  # noqa: A002
        """Put an item away as failed; it stays stored.  Else as ``ack``."""
        return self._finish(FAILED, item, id)

    def nack(self, item: Any = NO_ITEM, id: Any = None, *, to: str = "front") -> int | None:  # noqa: A002
        """Put an item back: somebody shall take it again.  Else as ``ack``.

        Args:
            item: as of ``ack``.
            id: as of ``ack``; also of an item that failed.
            to: ``"front"``, its own place; or ``"back"``, the last one in the queue's order,
                which gives the row a new id.

        Returns:
            the row's id, the new one if it has one; None if nothing changed.
        """
        back = one_of("to", to, ("front", "back")) == "back"
        return self._finish(READY, item, id, back)

    def _finish(self, status: int, item: Any, id: Any, to_back: bool = False) -> int | None:  # noqa: A002
        moved: list[int] = self._shell.finish(*self._finishing(status, item, id, to_back))
        return moved[0] if moved else None

    def task_done(self, count: int | None = None, *, item: Any = NO_ITEM) -> None:  # noqa: ARG002
        """``task_done(item=...)`` is ``ack(item)``; without an item nothing happens.

        Programs for persist-queue call it behind ``ack``, ``nack`` or ``ack_failed``.
        """
        if item is not NO_ITEM:
            self._finish(ACKED, item, None)

    def resume_unack_tasks(self) -> None:
        """Make ready what this object holds, what dead workers held, and what has no owner.

        What other objects hold that are alive is left to them.
        """
        self._shell.finish(*self._resuming())

    def clear_acked_data(
        self, max_delete: int = 1000, keep_latest: int = 1000, clear_ack_failed: bool = False
    ) -> int:
        """Delete acked items, the newest ``keep_latest`` apart.

        Args:
            max_delete: how many at the most; 0 for no bound.
            keep_latest: how many stay.
            clear_ack_failed: delete failed ones as well.

        Returns:
            how many were deleted.
        """
        deleted: int = self._write(self._clearing(max_delete, keep_latest, clear_ack_failed))
        return deleted

    # -- look -----------------------------------------------------------------------

    def unack_count(self) -> int:
        """Return how many items are handed out, by any worker."""
        return self._count_of(HELD)

    def acked_count(self) -> int:
        """Return how many acked items are still stored."""
        return self._count_of(ACKED)

    def ready_count(self) -> int:
        """Return how many items wait that were handed out before."""
        return self._count_of(READY)

    def ack_failed_count(self) -> int:
        """Return how many items have failed."""
        return self._count_of(FAILED)

    def active_size(self) -> int:
        """Return how many items wait or are handed out."""
        return self.unfinished_tasks

    def queue(self) -> list[dict[str, Any]]:
        """Return everything that is stored, acked items too, in order of id.

        Returns:
            dicts of ``id``, ``data``, ``timestamp`` and ``status``.
        """
        return super().queue()

    def _count_of(self, status: int) -> int:
        count: int = self._shell.request(partial(self._store.count_status, status), writes=False)
        return count


FIFOSQLiteAckQueue = SQLiteAckQueue


class FILOSQLiteAckQueue(SQLiteAckQueue[T]):
    """A last-in first-out ack queue; else as ``SQLiteAckQueue``."""

    _KIND = ACK_FILO


class UniqueAckQ(SQLiteAckQueue[T]):
    """An ack queue that holds no two equal items, acked ones included; see ``UniqueQ``."""

    _KIND = ACK_UNIQUE
