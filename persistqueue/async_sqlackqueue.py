"""``AsyncSQLiteAckQueue`` and its other orders: items are redelivered until acked; for asyncio."""

from __future__ import annotations

# threads only: import warnings
from typing import TYPE_CHECKING, Any

from ._core.arguments import T, whole
from ._core.deadline import checked_lease
from ._core.inflight import AT_ACK
from ._core.leases import LEASE
from ._core.tasks import TaskSession
from ._sql.ackcalls import AckCalls
from ._sql.acks import AckStore

# threads only: from ._sql.names import TICK_FOR_WAIT, AckStatus
from ._sql.async_ackqueue import AsyncAckBase
from ._sql.sqlite.async_queue import AsyncSQLiteBase
from ._sql.sqlite.connection import SqliteConnection
from ._sql.statements import ACK_FIFO, ACK_FILO, ACK_UNIQUE
from .exceptions import Empty, Full
from .serializers import pickle

if TYPE_CHECKING:
    import os

    from typing_extensions import Unpack

    from ._sql.sqlite.async_queue import SqliteOptions
    from ._sql.sqlite.database import Database
    from ._sql.statements import Table

__all__ = [
    "AsyncFIFOSQLiteAckQueue",
    "AsyncFILOSQLiteAckQueue",
    "AsyncSQLiteAckQueue",
    "AsyncUniqueAckQ",
    # threads only: "AckStatus",
    # threads only: "TICK_FOR_WAIT",
    "Empty",
    "Full",
]


class AsyncSQLiteAckQueue(AsyncAckBase[T], AsyncSQLiteBase[T]):
    """A first-in first-out queue whose items stay stored until they are acked, and after.

    ``get`` hands an item out; ``ack`` finishes it, ``nack`` puts it back,
    ``ack_failed`` puts it away.  Items that a worker held when it died are redelivered:
    delivery is at least once.  Any number of workers may share a queue: each item is held
    by one of them.

    What survives what: when ``put``, ``ack``, ``nack`` or ``ack_failed`` has returned, it
    survives loss of power (``durability="power"``) or death of the process (``"process"``).

    Other arguments: see ``AsyncSQLiteQueue``.

    Args:
        auto_resume: make ready the items of workers that are gone: when it is opened, and from
            then on within a tenth of a second while this object takes or waits for items.  An
            object that is alive, in this process or another, keeps what it holds.
        keep_acked: how many acked items stay stored, about; None for all of them, until
            ``clear_acked_data``.
        lease: seconds after which other workers get what this object holds, if its process
            gives no sign of life (it was stopped); None for never.  A thread gives the signs,
            so a handler may take as long as it likes.  Death is noticed at once.
        max_attempts: an item that was handed out so often and comes back has failed, as by
            ``ack_failed``, and ``queue`` says why in its ``note``; None for no bound.

    Raises:
        Everything that ``AsyncSQLiteQueue`` raises.
    """

    _KIND = ACK_FIFO
    _store: AckStore

    def __init__(
        self,
        path: str | os.PathLike[str],
        # threads only: auto_resume: bool = True,
        name: str = "default",
        # threads only: multithreading: bool = False,
        # threads only: timeout: float = 10.0,
        # threads only: auto_commit: bool = True,
        serializer: Any = pickle,
        auto_resume: bool = True,  # async only
        # threads only: db_file_name: str | None = None,
        *,
        keep_acked: int | None = None,
        lease: float | None = LEASE,
        max_attempts: int | None = None,
        **options: Unpack[SqliteOptions],
    ) -> None:
        # threads only: if not auto_commit:
        # threads only:     warnings.warn("an ack queue always has auto_commit=True", stacklevel=2)
        self.auto_resume = bool(auto_resume)
        self.keep_acked = None if keep_acked is None else whole("keep_acked", keep_acked, 0)
        self.lease = checked_lease(lease)
        self.max_attempts = None if max_attempts is None else whole("max_attempts", max_attempts, 1)
        super().__init__(path, name, serializer, **options)  # async only
        # threads only: super().__init__(
        # threads only:     path,
        # threads only:     name,
        # threads only:     multithreading,
        # threads only:     timeout,
        # threads only:     True,
        # threads only:     serializer,
        # threads only:     db_file_name,
        # threads only:     **options,
        # threads only: )

    def _open(self, database: Database, table: Table) -> None:
        self._connection = SqliteConnection(database, table)
        self._store = AckStore(
            self._connection,
            table,
            self._rows.codec,
            skip_corrupt=self._skips,
            keep_acked=self.keep_acked,
            resumes=self.auto_resume,
            lease=self.lease,
            max_attempts=self.max_attempts,
        )
        self._calls = AckCalls(self._store, f"{self.path}, {self.name}")
        self._session = TaskSession(
            self._store, self.maxsize, AT_ACK, self.timeout, worker=self._worker
        )


AsyncFIFOSQLiteAckQueue = AsyncSQLiteAckQueue


class AsyncFILOSQLiteAckQueue(AsyncSQLiteAckQueue[T]):
    """A last-in first-out ack queue.  For the rest see ``AsyncSQLiteAckQueue``."""

    _KIND = ACK_FILO


class AsyncUniqueAckQ(AsyncSQLiteAckQueue[T]):
    """An ack queue that holds no two equal items, acked ones included; see ``AsyncUniqueQ``.

    An acked item is still stored: ``put`` of an equal item stores nothing and returns None
    until ``clear_acked_data`` or ``keep_acked`` has deleted the acked row.  So is one that failed,
    also by ``max_attempts``: until ``clear_acked_data(clear_ack_failed=True)``, or ``nack(id=)``.
    """

    _KIND = ACK_UNIQUE
