"""Transactions on MySQL and MariaDB.

Nobody else is kept out: a transaction locks the rows it hands out (``mysqltable``), and
others pass them by.  What the server undid in favour of somebody else, and what was under
way when a connection was lost, is begun again: it is certain that nothing of it is stored.

A commit whose answer was lost
    may be stored or not, and neither guess would do: an item could be lost, or come twice.
    So each transaction writes its number beside the name of this *session*, in the same
    trip to the server as its commit.  Every connection of a session holds a named lock of
    that name.  A new connection that has got the lock knows that the old one is gone and
    its transaction over, and the number tells how it ended.

    When the server cannot be reached for that, the caller is told that it is not known;
    whoever uses the queue next finds out, and gives back what nobody got to see.

A server that is silent
    is lost as well: no answer within the patience with it.  ``_until`` is when that is over
    for the call that is under way; connecting anew has what is left, and a moment at least.

A server that only lets read
    was a master until a moment ago, and its address may lead to another one by now.  So that
    is an error on a connection that is new, and a reason to connect anew on any other.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from ..._core.deadline import monotonic
from ..._core.log import warn
from ..._core.store import Stale, Undone
from ...exceptions import QueueLocked, QueueUnreachable
from ..connection import Transactions
from .schema import LONGEST, prepare
from .server import (
    ERRORS,
    LEAST_SILENCE,
    READ_ONLY,
    discard,
    is_conflict,
    is_lost,
    length_in_text,
    number_of,
)
from .statements import COMMIT, COMMITTED, LEAVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..connection import Cursor
    from .server import Server
    from .statements import MysqlTable

_LOSSES = 3  # times in a row that a connection may be lost before a call fails
_LEAST_PATIENCE = 1.0  # s for the server to answer
_LEAST_CONNECT = 1.0  # s to connect anew when the patience is at its end
_GOODBYE = 1.5  # s for the server to take note that a queue is closed
_NAP = 0.05  # s between two tries to reach the server
_LEAST_GAP, _LONGEST_GAP = 0.005, 0.05  # s between two looks for what others put
_LOOK_SHARE = 10  # a look takes no more than a tenth of the time


class MysqlTransactions(Transactions):
    """A connection to one table, opened by the first transaction.

    Args:
        server: where it is.
        table: what is used of it; created when it is missing.
    """

    _table: MysqlTable

    def __init__(self, server: Server, table: MysqlTable) -> None:
        super().__init__(server, table)
        self._database: Server = server
        self._connection: Any = None
        self._rename_session()
        self._writes = False  # whether this transaction has written anything
        self._committing = False
        self._proven = False  # this connection has seen a transaction through
        self._patience = max(server.patience, _LEAST_PATIENCE)
        self._losses = 0
        self._until: float | None = None  # when the patience is over; a connection was lost
        # The last statement, this transaction, the last commit; on the monotonic clock.
        self._asked = self._began = self._committed = 0.0
        self._closed = False
        self._next_look = 0.0
        self._gap = _LEAST_GAP
        self.longest = 0  # bytes of the longest item that the table holds

    def _rename_session(self) -> None:
        self._session_name = uuid.uuid4().hex
        self._number = 0  # of its transactions that wrote something
        # The number of a transaction that may be stored or not.
        self._doubtful: int | None = None

    @property
    def database(self) -> Server:
        """Where it is."""
        return self._database

    @property
    def connection(self) -> Any:
        return self._connection

    def _found_stored(self) -> None:
        """A transaction whose caller was told that its outcome is unknown is stored."""

    # -- opening and closing --------------------------------------------------------

    def open(self) -> bool:
        if self._connection is not None:
            return True
        connection, until = None, self._until
        try:
            connection = self._database.connect(self._within())
            self._take_over(connection)
            self.longest = prepare(connection, self._table, self._database)
            self._connection, self._proven, self._closed = connection, False, False
            self._clear_doubt(connection)
            self._opened()
            connection.commit()
            self._suspended = False
        except BaseException as error:
            self._connection = None
            if connection is not None:
                discard(connection)
            # What went through ``_meaning`` has its cause behind it.
            cause = error.__cause__ if isinstance(error, (Stale, Undone)) else error
            if not isinstance(cause, ERRORS):
                raise
            if is_conflict(cause):
                return False
            ours = self._database.translate(cause, self._table.name)
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
        """Nobody tries to connect any more."""
        self._until = None

    def _take_over(self, connection: Any) -> None:
        """See that no older connection of this session is alive, and none of its work goes on."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT IS_USED_LOCK(%s)", (self._session_name,))
            (holder,) = cursor.fetchone()
            if holder is not None:
                try:
                    cursor.execute("KILL %s", (holder,))
                except ERRORS as error:  # it has just ended by itself
                    if is_lost(error):
                        raise
            cursor.execute("SELECT GET_LOCK(%s, %s)", (self._session_name, self._within() * 0.9))
            (locked,) = cursor.fetchone()
        if locked != 1:
            raise QueueLocked(
                f"{self._database.path}: a connection that was lost is still at work on the "
                "server; nothing was done"
            )

    def _clear_doubt(self, connection: Any) -> None:
        """Find out what became of a commit whose caller had to be told that nobody knows."""
        if self._doubtful is None:
            return
        number = self._last_stored(connection)
        if number < self._doubtful:
            self._undone()
        elif number == self._doubtful:
            self._number = number + 1  # what follows may be lost in its turn
            self._found_stored()
            self._send_commit(connection)
        warn("%s: a commit whose answer was lost is %sstored", self._database.path,
             "not " if number < self._doubtful else "")  # fmt: skip
        self._doubtful = None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._suspended, self._closed = False, True
        if connection is not None:
            connection.expect(_GOODBYE)
            try:
                with connection.cursor() as cursor:
                    if self._number:
                        cursor.execute(LEAVE, (self._session_name,))
                    connection.commit()
                    cursor.execute("SELECT RELEASE_LOCK(%s)", (self._session_name,))
                connection.close()
            except ERRORS as error:
                warn("closing a connection: %s", error)
                discard(connection)
        self._database.close()

    def forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            discard(connection)  # this process's half of it; the parent's stays open
        self._database.forget()
        self._rename_session()
        self._suspended = False
        self._forgotten()

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        if self._connection is None and not self.open():
            return False
        self._exclusive = exclusive
        self._writes = self._committing = False
        self._began = monotonic()
        if exclusive:
            self._begun()
        return True

    def commit(self) -> None:
        connection = self._connection
        assert connection is not None
        self._ending()
        if not (self._exclusive and self._writes):
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
        connection.query(COMMIT % (self._session_name, self._number, self._number))
        while connection._result.has_next:  # noqa: SLF001 - what its cursors look at
            connection.next_result()
        self._committed = self._asked

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
            QueueUnreachable: nobody can know now.
        """
        self._drop()
        self._until = end = self._asked + self._patience
        while True:
            try:
                return self._ask()
            except ERRORS as error:
                ours = self._database.translate(error, self._table.name)
                if monotonic() >= end or not (is_lost(error) or is_conflict(error)):
                    break
                time.sleep(_NAP)
        self._doubtful, self._committing, self._until = self._number, False, None
        raise QueueUnreachable(
            f"{self._database.path}: the server was lost in the middle of a commit "
            f"({ours}): whether this call is stored is not known",
            stored=None,
        ) from ours

    def _ask(self) -> bool:
        """Ask the server, on a new connection, whether the last commit is stored."""
        connection = self._database.connect(self._within())
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
            cursor.execute(COMMITTED, (self._session_name,))
            row = cursor.fetchone()
        return 0 if row is None else int(row[0])

    def rollback(self) -> bool:
        # Ctrl-C in the middle of a commit: if nobody can know, that goes before the interrupt.
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
            self._undone()
        return False

    def _drop(self) -> None:
        """Let go of a connection that is of no use any more."""
        connection, self._connection = self._connection, None
        self._suspended = True  # what was handed out stays so
        if connection is not None:
            discard(connection)

    # -- looking --------------------------------------------------------------------

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - whoever waits
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

    def shrink(self) -> None:
        self._rows_beside(self._table.optimize, endless=True)

    def upgrade(self) -> None:
        """Widen the columns of a table that persist-queue made; callable on any thread."""
        self._rows_beside(self._table.widen, endless=True)
        self.longest = LONGEST

    def sync(self) -> None:
        if not self._database.limits.power:
            self._rows_beside("FLUSH ENGINE LOGS")

    # -- statements -----------------------------------------------------------------

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor:
        self._writes = True
        done: Cursor = self._run(statement, values)
        return done

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return list(self._run(statement, values).fetchall())

    def _run(self, statement: str, values: Sequence[Any]) -> Any:
        """Return the driver's cursor, which has read the whole answer."""
        connection = self._connection
        if connection is None:
            raise Stale
        self._asked = monotonic()
        whole = statement in self._table.whole
        try:
            if whole:
                connection.expect(self._database.longest_silence)
            cursor = connection.cursor()
            cursor.execute(statement, tuple(values))
            return cursor
        except ERRORS as error:
            raise self._meaning(error) from error
        except BaseException:
            self._drop()  # Ctrl-C: the answer to this would be taken for the next one's
            raise
        finally:
            if whole:
                connection.expect(self._database.silence)

    def _in_one_trip(self, statements: str, values: Sequence[Any]) -> int:
        """Run statements with ; between them, and return how many rows they wrote together."""
        cursor: Any = self._execute(statements, values)
        written: int = cursor.rowcount
        try:
            while cursor.nextset():
                written += cursor.rowcount
        except ERRORS as error:
            raise self._meaning(error) from error
        except BaseException:
            self._drop()
            raise
        return written

    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        cursor: Any = None
        for row in rows:
            cursor = self._execute(statement, row)
        return cursor  # type: ignore[no-any-return]

    def _rows_beside(self, statement: str, **options: Any) -> list[Any]:
        return self._database.rows_beside(statement, self._table.name, **options)

    def _alone(self, function: Callable[[], Any]) -> None:
        assert self._connection is not None
        self._exclusive = True
        function()
        self._connection.commit()

    def _refresh(self) -> None:
        """Nothing in memory is trusted longer than a transaction."""

    def _meaning(self, error: Exception) -> Exception:
        if is_conflict(error):
            return Stale()
        if number_of(error) in READ_ONLY:
            proven = self._proven
            self._drop()
            return Stale() if proven else self._database.translate(error, self._table.name)
        if is_lost(error):
            self._drop()
            self._losses += 1
            if self._until is None:
                self._until = self._asked + self._patience
            if self._losses == 1 or (self._losses < _LOSSES and monotonic() < self._until):
                return Stale()
            self._losses, self._until = 0, None
            ours = self._database.translate(error, self._table.name)
            ours.__cause__ = error
            return Undone(ours)
        return self._database.translate(error, self._table.name)

    def _fits(self, data: Any) -> bool:
        """Return whether an item can be sent in one statement, and stored."""
        raw = data.encode() if isinstance(data, str) else data
        most = self._database.limits.statement
        if len(raw) > self.longest:
            return False
        return 2 * len(raw) <= most or length_in_text(self._connection, data) <= most
