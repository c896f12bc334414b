"""Names of persist-queue 1.1.0's SQL queues that its documentation does not show.

Programs use them; nothing in the package does.  A lock, an event or a second connection is
made when a program first asks for it, and costs nothing before.
"""

from __future__ import annotations

import threading
import weakref
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar

from .._core import call
from .._core.deadline import monotonic
from .._core.hooks import Hooked, Lazy, refuse_replaced
from ..exceptions import PersistQueueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.store import Record
    from .._core.tasks import TaskSession
    from .._core.threads import ThreadSession
    from .statements import Kind

TICK_FOR_WAIT = 10  # s; persist-queue looks again so often, and a waiting get here at once
_LOOK = 0.02  # s between two looks of those who wait for an event

_STATEMENT = "The statements are this package's own: override the public method that runs them."
_COLUMNS = "The columns are fixed: keep what else you need in the item, or in a table of your own."
_ACKS = "Override ack, nack and ack_failed."
_GET = "Override get and get_many."
_HOOKS = {
    "_KEY_COLUMN": _COLUMNS,
    "_SQL_CREATE": _COLUMNS,
    "_SQL_INSERT": _STATEMENT,
    "_SQL_SELECT": _STATEMENT,
    "_SQL_SELECT_ID": _STATEMENT,
    "_SQL_SELECT_WHERE": _STATEMENT,
    "_SQL_UPDATE": _STATEMENT,
    "_SQL_DELETE": _STATEMENT,
    "_SQL_MARK_ACK_UPDATE": _STATEMENT,
    "_MAX_ACKED_LENGTH": "Call clear_acked_data(keep_latest=...), or pass keep_acked=.",
    "_table_name": "Set _TABLE_NAME, or pass name=.",
    "_key_column": _COLUMNS,
    "_sql_create": _COLUMNS,
    "_sql_insert": _STATEMENT,
    "_sql_select": _STATEMENT,
    "_sql_select_id": _STATEMENT,
    "_sql_select_where": _STATEMENT,
    "_sql_update": _STATEMENT,
    "_sql_mark_ack_status": _STATEMENT,
    "_sql_queue": "Override queue.",
    "_start_key": "Choose the class that has the order you need.",
    "_select": _GET,
    "_pop": _GET,
    "_insert_into": "Override put and put_many.",
    "_update": "Override update.",
    "_delete": "Override get, or task_done.",
    "_task_done": "Override task_done.",
    "_count": "Override qsize.",
    "_mark_ack_status": _ACKS,
    "_find_item_id": _ACKS,
    "_check_id": _ACKS,
    "_unack_cache": "What is handed out is in the table: unack_count() and queue() tell of it.",
    "_ack_count_via_status": "Override unack_count, acked_count, ready_count, ack_failed_count.",
}

_STATEMENTS = [name for name in _HOOKS if name.startswith("_SQL_")]


class AckStatus:
    """The values of the column ``status``."""

    inited = "0"
    ready = "1"
    unack = "2"
    acked = "5"
    ack_failed = "9"


class _PutEvent(threading.Event):
    """Set when something was put since it was cleared, by whomever.

    Args:
        queue: looked at while it is there; what is in it now was put.
    """

    def __init__(self, queue: SqlQueueNames) -> None:
        super().__init__()
        self._queue = weakref.ref(queue)  # else a queue that is dropped would not be closed
        self._seen = self._look(0)
        if queue.qsize() > 0:
            self.set()

    def _look(self, otherwise: int) -> int:
        """Return a number that is higher behind each put."""
        queue = self._queue()
        try:
            return otherwise if queue is None else queue._newest()
        except (PersistQueueError, OSError):  # closed, or locked for too long
            return otherwise

    def is_set(self) -> bool:
        """Return whether something was put."""
        if not super().is_set() and self._look(self._seen) > self._seen:
            self.set()
        return super().is_set()

    def clear(self) -> None:
        """Wait for the next put from now on."""
        self._seen = self._look(self._seen)
        super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until something was put; returns whether that is so."""
        end = float("inf") if timeout is None else monotonic() + timeout
        while not self.is_set() and (left := end - monotonic()) > 0:
            super().wait(min(left, _LOOK))
        return super().is_set()


class SqlNames(Hooked):
    """Names that every object on a queue's table has, for threads and for asyncio."""

    _HOOKS: ClassVar = _HOOKS
    _TABLE_NAME: str  # in front of the queue's name; a subclass may have its own
    _KEY_COLUMN = "_id"
    _MEMORY = ":memory:"
    _KIND: Kind
    _store: Any

    name: str

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_KIND" in vars(cls):  # each of these has a table of its own, other than its base
            cls._TABLE_NAME = cls._KIND.prefix

    @property
    def _key_column(self) -> str:
        return self._KEY_COLUMN

    def _named_kind(self) -> Kind:
        """Return the kind of the queue, with the table's name that the class gives it."""
        return self._KIND._replace(prefix=self._TABLE_NAME)

    def _check_hooks(self) -> None:
        """See what the class has that persist-queue would use.

        Raises:
            TypeError: statements on another table, or another name for it.
        """
        self._notice_hooks()
        refuse_foreign_tables(type(self))


class AsyncSqlQueueNames(SqlNames):
    """Names of persist-queue's async classes."""

    _HOOKS: ClassVar = {
        **_HOOKS,
        "_init": "Override __aenter__, and call it: it opens the queue.",
        "_new_db_connection": "Pass db_file_name=.",
    }
    cursor = 0
    _session: TaskSession

    if TYPE_CHECKING:

        async def qsize(self) -> int: ...

    @property
    def size(self) -> int:
        """How many items could be taken, as of the last call; ``qsize`` asks anew."""
        count: int = self._store.counts(exact=False)[0]
        return count

    @property
    def unfinished_tasks(self) -> int:
        """Items that are stored and not finished, as of the last call."""
        return self._session.unfinished

    @property
    def total(self) -> int:
        """Alias of ``size``; what a program sets is ignored."""
        return self.size

    @total.setter
    def total(self, value: int) -> None:
        """Ignore it: the rows are counted."""

    async def _count(self) -> int:
        return await self.qsize()


class SqlQueueNames(SqlNames):
    """Names of persist-queue's classes for threads."""

    auto_commit: bool
    _session: ThreadSession

    if TYPE_CHECKING:

        def qsize(self) -> int: ...

    tran_lock = Lazy(lambda _: threading.RLock())
    action_lock = Lazy(lambda _: threading.RLock())
    put_event = Lazy(_PutEvent)

    def _init(self) -> None:
        """Called at the end of ``__init__``, for subclasses."""

    @property
    def size(self) -> int:
        """How many items could be taken now."""
        return self.qsize()

    @property
    def unfinished_tasks(self) -> int:
        """Items that are stored and not finished."""
        left: int = self._session.run(call.look(lambda: self._store.counts()[1]))
        return left

    def _count(self) -> int:
        return self.qsize()

    @property
    def total(self) -> int:
        """Alias of ``size``; what a program sets is ignored."""
        return self.qsize()

    @total.setter
    def total(self, value: int) -> None:
        """Ignore it: the rows are counted."""

    @property
    def cursor(self) -> int:
        """With ``auto_commit=False`` the highest id that is handed out and not finished, or 0.

        Set it to give back what this object was handed with a higher id.
        """
        return max((record.start for record in self._handed_out()), default=0)

    @cursor.setter
    def cursor(self, value: int) -> None:
        given_back = [record for record in self._handed_out() if record.start > value]
        if given_back:
            self._session.give_back(given_back)

    def _handed_out(self) -> list[Record]:
        taken: list[Record] = [] if self.auto_commit else self._session.taken()
        return taken

    def _newest(self) -> int:
        """Return the highest id of all rows, or 0."""
        newest = self._session.run(call.look(self._store.newest))
        return newest or 0


def refuse_foreign_tables(cls: type[Hooked]) -> None:
    """Refuse a class whose rows would be in another table than ours.

    Raises:
        TypeError: that.
    """
    unseen = "rows in the table that it names would not be seen; set _TABLE_NAME, or pass name="
    refuse_replaced(cls, ("_table_name",), unseen)
    for name in _STATEMENTS:
        statement = getattr(cls, name, None)
        if isinstance(statement, str) and "{table_name}" not in statement:
            raise TypeError(f"{cls.__name__}.{name} is never used, so {unseen}")


# -- functions of persistqueue.sqlbase ----------------------------------------------------


def with_conditional_transaction(func: Callable[..., tuple[str, Any]]) -> Callable[..., Any]:
    """Make a method that runs the statement which ``func`` returns, and commits it.

    ``func`` returns a statement and its values; the method returns the last row's id.
    """

    @wraps(func)
    def execute(queue: Any, *args: Any, **kwargs: Any) -> Any:
        pooled = getattr(queue, "get_pooled_conn", None)
        with queue.tran_lock:
            connection = queue._putter if pooled is None else pooled()
            try:
                cursor = connection.cursor()
                cursor.execute(*func(queue, *args, **kwargs))
                connection.commit()
                return cursor.lastrowid
            except BaseException:
                connection.rollback()
                raise
            finally:
                if pooled is not None:
                    connection.close()  # back to the pool

    return execute


def commit_ignore_error(conn: Any) -> None:
    """Commit; that nothing is there to be committed is no error."""
    try:
        conn.commit()
    except Exception as error:
        if "no transaction is active" not in str(error):
            raise
