"""A connection to MySQL or MariaDB, and its transactions.

No other consumer is kept out: a transaction locks the rows that it hands out (``statements``),
and others pass them by.  A transaction that the server undid in favour of another one, and one
that was under way when its connection was lost, is begun again: nothing of it is stored.

A commit whose answer was lost
    may be stored or not, and neither guess would do: an item could be lost, or come twice.
    So each transaction writes its number beside the name of this *session*, in the same
    trip to the server as its commit.  Every connection of a session holds a named lock of
    that name.  A new connection that has got the lock knows that the old one is gone and
    its transaction over, and the number tells how it ended.

    When the server cannot be reached for that, the caller is told that the outcome is not
    known.  The next call finds it out, and gives back what no caller got to see.

A server that is silent
    is lost as well: no answer within the patience with it.  ``_until`` is when that is over for
    the call that is under way.  Connecting anew has the rest of that time, and a moment at least.

A server that only lets read
    was a master until a moment ago, and its address may lead to another one by now.  So that
    is an error on a connection that is new, and a reason to connect anew on any other.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from ..._core.deadline import monotonic
from ..._core.log import warn
from ..._core.store import Errors, Stale, Undone
from ...exceptions import ItemTooLarge, QueueLocked, QueueUnreachable
from .owners import SessionOwner
from .schema import prepare
from .server import (
    DUPLICATE,
    ERRORS,
    LEAST_SILENCE,
    READ_ONLY,
    discard,
    is_conflict,
    is_lost,
    number_of,
)
from .statements import COMMIT, COMMITTED, LEAVE, SIGNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence, Sized

    from ..connection import Cursor, Listener
    from ..statements import Table
    from .server import Server
    from .statements import MysqlTable

R = TypeVar("R")
_LONGEST_STATEMENT = 2**20  # bytes of items that are inserted together
_MOST_ROWS = 500  # rows in one statement, or in one trip to the server
_LOSSES = 3  # times in a row that a connection may be lost before a call fails
_LEAST_PATIENCE = 1.0  # s for the server to answer
_LEAST_CONNECT = 1.0  # s to connect anew when the patience is at its end
_GOODBYE = 1.5  # s for the server to take note that a queue is closed
_NAP = 0.05  # s between two tries to reach the server
_LEAST_GAP, _LONGEST_GAP = 0.005, 0.05  # s between two looks for what others put
_LOOK_SHARE = 10  # a look takes no more than a tenth of the time


class MysqlConnection:
    """A connection to a MySQL or MariaDB database; see ``SqlConnection``.

    Args:
        server: where it is.
        table: the one that is used; created when it is missing.

    Attributes:
        session: the name of which its connections hold a lock.
        closed: the session is over.
        committed: when it last stored anything, on the monotonic clock.
    """

    errors = Errors()
    failed = ""  # a connection that is lost is replaced
    counts = False  # nothing tells of others' commits

    def __init__(self, server: Server, table: MysqlTable) -> None:
        self.database = server
        self._table = table
        self.exclusive = self.suspended = self.closed = False
        self._connection: Any = None
        self._rename_session()
        self._writes = False  # whether this transaction has written anything
        self._committing = False
        self._proven = False  # this connection has seen a transaction through
        self._patience = max(server.patience, _LEAST_PATIENCE)
        self._losses = 0
        self._until: float | None = None  # when the patience is over; a connection was lost
        # The last statement, this transaction, the last commit; on the monotonic clock.
        self._asked = self._began = self.committed = 0.0
        self._next_look = 0.0
        self._gap = _LEAST_GAP

    def _rename_session(self) -> None:
        self.session = uuid.uuid4().hex + SIGNS
        self._number = 0  # of its transactions that wrote something
        # The number of a transaction that may be stored or not.
        self._doubtful: int | None = None

    @property
    def driver(self) -> Any:
        return self._connection

    # -- opening and closing --------------------------------------------------------

    def open(self, listener: Listener) -> bool:
        if self._connection is not None:
            return True
        connection, until = None, self._until
        try:
            connection = self.database.connect(self._within())
            self._take_over(connection)
            prepare(connection, self._table, self.database)
            self._connection, self._proven, self.closed = connection, False, False
            self._clear_doubt(connection, listener)
            listener.opened()
            connection.commit()
            self.suspended = False
        except BaseException as error:
            self._connection = None
            if connection is not None:
                discard(connection)
            # An error that went through ``_meaning`` has its cause behind it.
            cause = error.__cause__ if isinstance(error, (Stale, Undone)) else error
            if not isinstance(cause, ERRORS):
                raise
            if is_conflict(cause):
                return False
            ours = self.database.translate(cause, self._table.name)
            if is_lost(cause) and until is not None and monotonic() >= until:
                self._until = None
                raise Undone(ours) from cause  # there is no time for another try
            raise ours from cause
        return True

    def _within(self) -> float:
        """Return how many seconds to wait for the server when connecting to it."""
        if self._until is None:
            return max(self._patience, LEAST_SILENCE)
        return max(self._until - monotonic(), _LEAST_CONNECT)

    def abandon(self) -> None:
        """Try to connect no more."""
        self._until = None

    def _take_over(self, connection: Any) -> None:
        """See that no older connection of this session is alive, and none of its work goes on."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT IS_USED_LOCK(%s)", (self.session,))
            (holder,) = cursor.fetchone()
            if holder is not None:
                try:
                    cursor.execute("KILL %s", (holder,))
                except ERRORS as error:  # it has just ended by itself
                    if is_lost(error):
                        raise
            cursor.execute("SELECT GET_LOCK(%s, %s)", (self.session, self._within() * 0.9))
            (locked,) = cursor.fetchone()
        if locked != 1:
            raise QueueLocked(
                f"{self.database.path}: a connection that was lost is still at work on the "
                "server; nothing was done"
            )

    def _clear_doubt(self, connection: Any, listener: Listener) -> None:
        """Find out what became of a commit whose caller was told that it is not known."""
        if self._doubtful is None:
            return
        number = self._last_stored(connection)
        if number < self._doubtful:
            listener.undone()
        elif number == self._doubtful:
            self._number = number + 1  # what follows may be lost in its turn
            listener.found_stored()
            self._send_commit(connection)
        warn("%s: a commit whose answer was lost is %sstored", self.database.path,
             "not " if number < self._doubtful else "")  # fmt: skip
        self._doubtful = None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self.suspended, self.closed = False, True
        if connection is not None:
            connection.expect(_GOODBYE)
            try:
                with connection.cursor() as cursor:
                    if self._number:
                        cursor.execute(LEAVE, (self.session,))
                    connection.commit()
                    cursor.execute("SELECT RELEASE_LOCK(%s)", (self.session,))
                connection.close()
            except ERRORS as error:
                warn("closing a connection: %s", error)
                discard(connection)
        self.database.close()

    def forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            discard(connection)  # this process's half of it; the parent's stays open
        self.database.forget()
        self._rename_session()
        self.suspended = False

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool, listener: Listener) -> bool:
        if self._connection is None and not self.open(listener):
            return False
        self.exclusive = exclusive
        self._writes = self._committing = False
        self._began = monotonic()
        return True

    def commit(self) -> None:
        connection = self._connection
        assert connection is not None
        if not (self.exclusive and self._writes):
            self._end_look(connection)
            return
        self._committing = True
        self._number += 1
        try:
            self._send_commit(connection)
        except ERRORS as error:
            self._after_failed_commit(error)
        self._looked(quiet=False)
        self._committing = False  # at the very end: until then Ctrl-C makes ``rollback`` ask

    def _send_commit(self, connection: Any) -> None:
        self._asked = monotonic()
        connection.query(COMMIT % (self.session, self._number, self._number))
        while connection._result.has_next:  # noqa: SLF001 - what its cursors look at
            connection.next_result()
        self.committed = self._asked

    def _end_look(self, connection: Any) -> None:
        """End a transaction that stores nothing: others may alter the table now."""
        try:
            connection.commit()
        except BaseException as error:
            self._drop()
            if isinstance(error, ERRORS):
                return
            raise
        self._looked(quiet=True)

    def _after_failed_commit(self, error: Exception) -> None:
        """Return if it is stored all the same."""
        if not is_lost(error):
            self._committing = False
            raise self._meaning(error) from error
        if not self._resolve():
            self._committing = False
            raise Stale  # it is certain that nothing is stored: once more

    def _resolve(self) -> bool:
        """Return whether the last commit, whose answer was lost, is stored.

        Raises:
            QueueUnreachable: it cannot be known now.
        """
        self._drop()
        self._until = end = self._asked + self._patience
        while True:
            try:
                return self._ask()
            except ERRORS as error:
                ours = self.database.translate(error, self._table.name)
                if monotonic() >= end or not (is_lost(error) or is_conflict(error)):
                    break
                time.sleep(_NAP)
        self._doubtful, self._committing, self._until = self._number, False, None
        raise QueueUnreachable(
            f"{self.database.path}: the server was lost in the middle of a commit "
            f"({ours}): whether this call is stored is not known",
            stored=None,
        ) from ours

    def _ask(self) -> bool:
        """Ask the server, on a new connection, whether the last commit is stored."""
        connection = self.database.connect(self._within())
        try:
            self._take_over(connection)
            stored = self._last_stored(connection) >= self._number
            connection.commit()
        except BaseException:
            discard(connection)
            raise
        self._connection = connection
        return stored

    def _last_stored(self, connection: Any) -> int:
        """Return the number of the last transaction of this session that is stored."""
        with connection.cursor() as cursor:
            cursor.execute(COMMITTED, (self.session,))
            row = cursor.fetchone()
        return 0 if row is None else int(row[0])

    def rollback(self, listener: Listener) -> bool:
        # Ctrl-C in the middle of a commit: an unknown outcome goes before the interrupt.
        if self._committing and self._resolve():
            return True
        self._committing = False
        if self._connection is not None:
            try:
                self._connection.rollback()
            except BaseException as error:
                self._drop()
                if not isinstance(error, ERRORS):
                    raise
        if self._doubtful is None:
            listener.undone()
        return False

    def _drop(self) -> None:
        """Let go of a connection that is of no use any more."""
        connection, self._connection = self._connection, None
        self.suspended = True  # rows that were handed out stay so
        if connection is not None:
            discard(connection)

    # -- looking --------------------------------------------------------------------

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - whichever call waits
        now = monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + self._gap
        return True

    def _looked(self, *, quiet: bool) -> None:
        """A transaction is over.  Plan the next look for what others put: nothing tells of it."""
        now = monotonic()
        self._losses, self._until, self._proven = 0, None, True
        self._gap = min(2 * self._gap, _LONGEST_GAP) if quiet else _LEAST_GAP
        self._next_look = now + max(self._gap, _LOOK_SHARE * (now - self._began))

    def hurry(self) -> None:
        self._patience = _LEAST_PATIENCE

    def probe(self) -> None:
        """Return nothing: a look is cheap enough."""

    def shrink(self) -> None:
        self._endlessly(self._table.optimize)

    def upgrade(self) -> None:
        """Widen the columns of a table that persist-queue made; callable on any thread."""
        self._endlessly(self._table.widen)

    def _endlessly(self, statement: str) -> None:
        """Run a statement that takes as long as it takes; callable on any thread."""
        self.database.rows_beside(statement, self._table.name, endless=True)

    def sync(self) -> None:
        if not self.database.limits.power:
            self.rows_beside("FLUSH ENGINE LOGS")

    # -- statements -----------------------------------------------------------------

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor:
        self._writes = True
        done: Cursor = self._run(statement, values)
        return done

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return list(self._run(statement, values).fetchall())

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self.rows(statement, values)[0][0]

    def _run(self, statement: str, values: Sequence[Any]) -> Any:
        """Return the driver's cursor, which has read the whole answer."""
        connection = self._connection
        if connection is None:
            raise Stale
        self._asked = monotonic()
        whole = statement in self._table.whole
        try:
            if whole:
                connection.expect(self.database.longest_silence)
            cursor = connection.cursor()
            text = cursor.mogrify(statement, tuple(values))
            self._check_length(text)
            cursor.execute(text)
            return cursor
        except ERRORS as error:
            raise self._meaning(error) from error
        except ItemTooLarge:
            raise
        except BaseException:
            self._drop()  # Ctrl-C: the answer to this would be taken for the next one's
            raise
        finally:
            if whole:
                connection.expect(self.database.silence)

    def _check_length(self, text: str) -> None:
        """Raise if the server would take a statement for an attack, and cut the connection."""
        most = self.database.limits.statement
        if 4 * len(text) > most and len(text.encode("utf-8", "surrogateescape")) > most:
            raise ItemTooLarge(
                f"{self.database.path}: {self._table.name}: one statement cannot carry what takes "
                f"{len(text)} characters; nothing was stored (raise the server's "
                "max_allowed_packet)"
            )

    def many(self, statement: str, rows: Iterable[Sequence[Any]]) -> int:
        left, written = list(rows), 0
        while left:  # many statements in one trip to the server, with ; between them
            chunk, left = left[:_MOST_ROWS], left[_MOST_ROWS:]
            statements = "; ".join([statement] * len(chunk))
            cursor: Any = self.execute(statements, [value for row in chunk for value in row])
            written += cursor.rowcount
            try:
                while cursor.nextset():
                    written += cursor.rowcount
            except ERRORS as error:
                raise self._meaning(error) from error
            except BaseException:
                self._drop()
                raise
        return written

    def insert_many(self, table: Table, rows: Sequence[Sequence[Any]]) -> Sequence[int]:
        ids: list[int] = []
        step = self.database.limits.step
        while len(ids) < len(rows):
            chunk = self._chunk(rows, len(ids))
            values = [value for row in chunk for value in row]
            first = self.execute(table.insert_several(len(chunk)), values).lastrowid
            assert first is not None
            # The ids of one statement that says how many rows it has follow each other.
            ids += range(first, first + step * len(chunk), step)
        return ids

    def _chunk(self, rows: Sequence[Sequence[Any]], start: int) -> Sequence[Sequence[Any]]:
        """Return the rows from ``start`` on that go in one statement."""
        left = min(_LONGEST_STATEMENT, self.database.limits.statement)
        end = start
        for row in rows[start : start + _MOST_ROWS]:
            left -= 2 * len(row[0]) + 64  # escaped, and the text around it
            if left < 0 and end > start:
                break
            end += 1
        return rows[start:end]

    def put_back(self, table: Table, row: Sequence[Any]) -> bool:
        try:
            self.execute(table.put_back, row)
        except Exception as error:
            if number_of(error.__cause__) == DUPLICATE:
                return False
            raise
        return True

    def create(self, statement: str) -> None:
        self.rows_beside(statement)  # here it would commit the transaction

    def rows_beside(self, statement: str) -> list[Any]:
        return self.database.rows_beside(statement, self._table.name)

    def alone(self, function: Callable[[], object]) -> None:
        assert self._connection is not None
        self.exclusive = True
        function()
        self._connection.commit()

    def refresh(self, listener: Listener) -> None:
        """Do nothing: memory is not trusted longer than a transaction."""

    def at_once(self, function: Callable[[], R]) -> R:
        return function()

    def glimpse(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Return nothing: another thread may be using the connection."""

    def new_owner(self, held: Sized, lease: float | None) -> SessionOwner:  # noqa: ARG002
        return SessionOwner(self)

    def _meaning(self, error: Exception) -> Exception:
        if is_conflict(error):
            return Stale()
        if number_of(error) in READ_ONLY:
            proven = self._proven
            self._drop()
            return Stale() if proven else self.database.translate(error, self._table.name)
        if is_lost(error):
            self._drop()
            self._losses += 1
            if self._until is None:
                self._until = self._asked + self._patience
            if self._losses == 1 or (self._losses < _LOSSES and monotonic() < self._until):
                return Stale()
            self._losses, self._until = 0, None
            ours = self.database.translate(error, self._table.name)
            ours.__cause__ = error
            return Undone(ours)
        return self.database.translate(error, self._table.name)
