"""The object that a function gets which runs inside one transaction (``transact``)."""

from __future__ import annotations

import sqlite3
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from .._core.arguments import whole
from .._sql.jobcalls import row_of
from .._sql.jobs import insert_job
from .._sql.jobstatements import JobTable
from .._sql.schema import complete, missing
from .._sql.statements import JOBS
from ..exceptions import PersistQueueError
from ..jobs import Put
from .statements import message_ids, queue_name, which_to_move

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from .._core.codec import RowCodec
    from ..jobs import JobOptions
    from .store import BrokerStore

# What would begin or end the transaction, or open another database.
_REFUSED = frozenset(
    {
        sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
    }
)  # fmt: skip
# PRAGMAs that look; any other may be a setting, of the connection that all calls share.
_LOOKS = frozenset(
    {
        "foreign_key_check", "foreign_key_list", "index_info", "index_list", "index_xinfo",
        "table_info", "table_list", "table_xinfo",
    }
)  # fmt: skip


class Exited(Exception):
    """A function left a transaction by ``SystemExit``, say: the error of its caller alone."""


class Transaction:
    """The queues of a broker, and the tables beside them, inside one transaction.

    It is committed when the function returns, and undone when it raises.
    """

    def __init__(self, store: BrokerStore, codec: RowCodec) -> None:
        self._store = store
        self._codec = codec
        self._over = False

    def queue(self, name: str) -> TransactionQueue:
        """Return a queue, which exists from its first item on."""
        self._usable()
        return TransactionQueue(self, name)

    def jobs(self, name: str) -> TransactionJobs:
        """Return a job queue of the same database, to put jobs: an outbox."""
        self._usable()
        return TransactionJobs(self, name)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run an SQL statement on the broker's database.

        Args:
            statement: one statement, with ``?`` where values go.
            values: one for each.

        Returns:
            every row that it gives.

        Raises:
            ValueError: it would begin or end a transaction, or change a setting.
            PersistQueueError, OSError: SQLite refuses it; says why.
        """
        return self._usable().rows_of_others(partial(_run_guest, statement, values))

    def _usable(self) -> BrokerStore:
        if self._over:
            raise RuntimeError("the transaction is over: use it inside the function only")
        return self._store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        if error is not None and not isinstance(error, (Exception, KeyboardInterrupt)):
            raise Exited(error) from None


class TransactionQueue:
    """One queue, inside a transaction."""

    def __init__(self, tx: Transaction, name: str) -> None:
        self._tx = tx  # its store is asked for each time: it ends with the function
        self.name = queue_name(name)

    def write(self, item: Any) -> int:
        """Store an item and return its id."""
        return self.write_many([item])[0]

    def write_many(self, items: Iterable[Any]) -> list[int]:
        """Store items and return their ids."""
        encode, now = self._tx._codec.encode, time.time()
        records = [(self.name, encode(item), now) for item in items]
        return self._tx._usable().append(records) if records else []

    def read(self) -> Any:
        """Take the next item; None if there is none."""
        records = self._tx._usable().take(self.name, 1)
        return records[0].item if records else None

    def read_many(self, limit: int) -> list[Any]:
        """Take up to ``limit`` items."""
        most = whole("limit", limit, 1)
        return [record.item for record in self._tx._usable().take(self.name, most)]

    def move_to(self, to: str, id: int | None = None, limit: int | None = None) -> list[int]:  # noqa: A002
        """Move one item, or the ``limit`` oldest; returns their ids there."""
        ids, most = which_to_move(self.name, to, id, limit)
        return self._tx._usable().move(self.name, to, ids, most)

    def delete(self, ids: int | Iterable[int]) -> int:
        """Delete items that wait; returns how many there were."""
        return self._tx._usable().delete(self.name, message_ids(ids))

    def purge(self) -> int:
        """Delete everything that waits; returns how many items."""
        return self._tx._usable().purge(self.name)

    def size(self) -> int:
        """Return how many items wait."""
        return self._tx._usable().waiting(self.name)


class TransactionJobs:
    """One job queue, inside a transaction: a job is there if and when the transaction is."""

    def __init__(self, tx: Transaction, name: str) -> None:
        self._tx = tx
        self.name = name
        self._table = JobTable(JOBS, name)

    def put(self, item: Any, **how: Unpack[JobOptions]) -> int | None:
        """Store a job, and return its id; None if an unfinished job has the key.

        Arguments and errors: see ``AsyncJobQueue.put``.
        """
        return self.put_many([Put(item, **how)])[0]

    def put_many(self, items: Iterable[Any]) -> list[int | None]:
        """Store jobs, each an item or a ``Put``, and return their ids."""
        store, now = self._tx._usable(), time.time()
        puts = [item if isinstance(item, Put) else Put(item) for item in items]
        rows = [row_of(self._tx._codec, put, now) for put in puts]
        path = store.conn.database.path
        if missing(store.conn.usable(), self._table, path):
            store.rows_of_others(partial(self._make, path))
        return [insert_job(store.conn, self._table, row) for row in rows]

    def _make(self, path: str, connection: sqlite3.Connection) -> list[Any]:
        complete(connection, self._table, path)
        return []


def _run_guest(
    statement: str, values: Sequence[Any], connection: sqlite3.Connection
) -> list[tuple[Any, ...]]:
    """Run a user's statement, if it has a place in a transaction that others share."""
    connection.set_authorizer(_judge)
    try:
        return connection.execute(statement, values).fetchall()
    except sqlite3.Warning as error:  # before Python 3.12
        raise ValueError(f"execute() takes one statement: {error}") from error
    except sqlite3.Error as error:
        if str(error) == "not authorized":
            raise ValueError(
                "execute() inside transact(): the transaction begins before the function and ends "
                "behind it, and the connection is shared: a statement can change neither; "
                f"PRAGMAs that look at tables are {', '.join(sorted(_LOOKS))}"
            ) from error
        if connection.in_transaction and not isinstance(error, sqlite3.DatabaseError):
            raise ValueError(f"execute(): {error}") from error
        if str(error).startswith("no such"):
            raise PersistQueueError(f"SQLite says: {error}") from error
        raise
    finally:
        # Python 3.10 cannot take one away.
        connection.set_authorizer(None if sys.version_info >= (3, 11) else _allow)


def _judge(action: int, what: str | None, *_: object) -> int:
    refused = action in _REFUSED or (
        action == sqlite3.SQLITE_PRAGMA and str(what).lower() not in _LOOKS
    )
    return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK


def _allow(*_: object) -> int:
    return sqlite3.SQLITE_OK
