"""Names of persist-queue 1.1.0's SQL queues that its documentation does not show.

Programs use them; nothing in the package does.  A lock or an event is made when a program
first asks for it, and costs nothing before.
"""

from __future__ import annotations

import threading
import weakref
from functools import wraps
from typing import TYPE_CHECKING, Any

from .._core import call
from .._core.deadline import monotonic
from .._core.hooks import refuse_replaced, tell_of_replaced
from ..exceptions import PersistQueueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.async_queue import AsyncOpened
    from .._core.queue import Opened
    from .._core.store import Record
    from .queue import SQLBase

TICK_FOR_WAIT = 10  # s; persist-queue looks again so often, and a waiting get here at once
_LOOK = 0.02  # s between two looks of those who wait for an event

_STATEMENT = "The statements are this package's own: override the public method that runs them."
_STATEMENTS = (  # with names of tables in them
    "_SQL_CREATE", "_SQL_INSERT", "_SQL_SELECT", "_SQL_SELECT_ID", "_SQL_SELECT_WHERE",
    "_SQL_UPDATE", "_SQL_DELETE", "_SQL_MARK_ACK_UPDATE",
)  # fmt: skip
_METHODS = (
    "_sql_insert", "_sql_select", "_sql_select_id", "_sql_select_where", "_sql_update",
    "_sql_mark_ack_status",
)  # fmt: skip
_COLUMNS = "The columns are fixed: keep what else you need in the item, or in a table of your own."
HOOKS = {
    **dict.fromkeys((*_STATEMENTS, *_METHODS), _STATEMENT),
    **dict.fromkeys(("_KEY_COLUMN", "_SQL_CREATE", "_key_column", "_sql_create"), _COLUMNS),
    **dict.fromkeys(
        ("_mark_ack_status", "_find_item_id", "_check_id"), "Override ack, nack and ack_failed."
    ),
    **dict.fromkeys(("_select", "_pop"), "Override get and get_many."),
    "_MAX_ACKED_LENGTH": "Call clear_acked_data(keep_latest=...), or pass keep_acked=.",
    "_table_name": "Set _TABLE_NAME, or pass name=.",
    "_sql_queue": "Override queue.",
    "_start_key": "Choose the class that has the order you need.",
    "_insert_into": "Override put and put_many.",
    "_update": "Override update.",
    "_delete": "Override get, or task_done.",
    "_task_done": "Override task_done.",
    "_count": "Override qsize.",
    "_unack_cache": "Items that are handed out are in the table: call unack_count() or queue().",
    "_ack_count_via_status": "Override unack_count, acked_count, ready_count, ack_failed_count.",
}
ASYNC_HOOKS = {
    **HOOKS,
    "_init": "Override __aenter__, and call it: it opens the queue.",
    "_new_db_connection": "Pass db_file_name=.",
}


class AckStatus:
    """The values of the column ``status``."""

    inited = "0"
    ready = "1"
    unack = "2"
    acked = "5"
    ack_failed = "9"


class PutEvent(threading.Event):
    """Set when anything was put since it was cleared, by any object in any process.

    Args:
        queue: looked at while it is there; items that wait in it now were put.
    """

    def __init__(self, queue: SQLBase[Any]) -> None:
        super().__init__()
        self._queue = weakref.ref(queue)  # else a queue that is dropped would not be closed
        self._seen = self._newest(0)
        if queue.qsize() > 0:
            self.set()

    def _newest(self, otherwise: int) -> int:
        """Return the highest id of all rows: each put makes a higher one."""
        queue = self._queue()
        try:
            if queue is None:
                return otherwise
            return queue._session.run(call.look(queue._store.newest)) or 0
        except (PersistQueueError, OSError):  # closed, or locked for too long
            return otherwise

    def is_set(self) -> bool:
        """Return whether anything was put."""
        if not super().is_set() and self._newest(self._seen) > self._seen:
            self.set()
        return super().is_set()

    def clear(self) -> None:
        """Wait for the next put from now on."""
        self._seen = self._newest(self._seen)
        super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until anything was put; returns whether it was."""
        end = float("inf") if timeout is None else monotonic() + timeout
        while not self.is_set() and (left := end - monotonic()) > 0:
            super().wait(min(left, _LOOK))
        return super().is_set()


def new_lock(_queue: object) -> threading.RLock:
    """Return a lock that keeps other holders out, not the queue's own calls."""
    return threading.RLock()


def _get_cursor(queue: SQLBase[Any]) -> int:
    return max((record.start for record in _handed_out(queue)), default=0)


def _set_cursor(queue: SQLBase[Any], value: int) -> None:
    given_back = [record for record in _handed_out(queue) if record.start > value]
    if given_back:
        queue._session.give_back(given_back)


def _handed_out(queue: SQLBase[Any]) -> list[Record]:
    return [] if queue.auto_commit else queue._session.taken()


cursor = property(
    _get_cursor,
    _set_cursor,
    doc="""With ``auto_commit=False`` the highest id that is handed out and not finished, or 0.

    Set it to give back what this object was handed with a higher id.""",
)


def check_hooks(cls: type[Opened | AsyncOpened]) -> None:
    """Tell of replaced hooks, and refuse a class whose rows would be in another table than ours.

    Raises:
        TypeError: statements on another table, or another name for it.
    """
    tell_of_replaced(cls, cls._HOOKS)
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
    """Commit a transaction, if there is one."""
    try:
        conn.commit()
    except Exception as error:
        if "no transaction is active" not in str(error):
            raise
