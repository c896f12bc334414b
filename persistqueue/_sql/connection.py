"""The connection beneath a queue's table: the half that is the same for all dialects.

``sqlitetransactions`` and ``mysqltransactions`` are the other halves.  A store is made of
three parts: how items are finished (``sqlways``, ``sqlacks``), what all of those share
(``sqlstore``), and one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .._core.store import Errors, Stale, StoreBase, Undone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .statements import Layout

R = TypeVar("R")


class Place(Protocol):
    """A database: where it is, for messages."""

    @property
    def path(self) -> str: ...


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int: ...

    @property
    def lastrowid(self) -> int | None: ...


class Transactions(StoreBase):
    """A connection to one table, opened by the first transaction.

    Args:
        database: where it is.
        table: what is used of it; created when it is missing.
    """

    errors = Errors()  # these two: see ``base.Store``
    failed = ""

    def __init__(self, database: Any, table: Layout) -> None:
        self._database = database
        self._table = table
        self._exclusive = False
        self._suspended = False  # closed for a moment (by a fork), to go on where it was

    # -- what a subclass adds -------------------------------------------------------

    def _opened(self) -> None:
        """See what is there; in a transaction of its own."""

    def _begun(self) -> None:
        """A transaction that writes has begun."""

    def _overtaken(self) -> None:
        """Others have committed: nothing in memory can be trusted."""

    def _ending(self) -> None:
        """The transaction is about to be committed."""

    def _undone(self) -> None:
        """The transaction came to nothing."""

    def _forgotten(self) -> None:
        """This is the child of a fork: what was handed out is the parent's."""

    # -- what a dialect adds --------------------------------------------------------

    @property
    def connection(self) -> Any:
        """The connection, for those who know what they do; None when it is closed."""
        raise NotImplementedError

    def begin(self, exclusive: bool) -> bool:
        """Start a transaction (see ``base.Store``)."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the connection."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of the connection and touch nothing: it is a parent process's."""
        raise NotImplementedError

    def shrink(self) -> None:
        """Give the space of deleted rows back; callable on any thread."""
        raise NotImplementedError

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor:
        """Run one statement; every one of a store's goes through here or the next two."""
        raise NotImplementedError

    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        """Run one statement for each of ``rows``."""
        raise NotImplementedError

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return every row at once: a half-read statement would hold on to a snapshot."""
        raise NotImplementedError

    def _rows_beside(self, statement: str) -> list[Any]:
        """Return the rows beside the transaction that is under way; callable on any thread."""
        raise NotImplementedError

    def _alone(self, function: Callable[[], Any]) -> None:
        """Call ``function`` in a transaction of its own, while the store is being opened."""
        raise NotImplementedError

    def _refresh(self) -> None:
        """Outside a transaction: see whether others have committed."""
        raise NotImplementedError

    def _at_once(self, function: Callable[[], R]) -> R:
        """Call ``function``, whose statements read what was there at one moment."""
        return function()

    # -- both dialects --------------------------------------------------------------

    def guard(self, function: Callable[[], R]) -> R:
        """Call ``function``; if it raises, what it wrote in this transaction is undone."""
        if not self._exclusive:
            return function()
        self._execute("SAVEPOINT one_call")
        try:
            result = function()
        except (Stale, Undone):  # nothing of the transaction stays
            raise
        except Exception as error:
            self._take_back(error)
            raise
        self._execute("RELEASE SAVEPOINT one_call")
        return result

    def _take_back(self, error: Exception) -> None:
        """Undo what was written since the savepoint; if that is impossible, nothing stays."""
        try:
            self._execute("ROLLBACK TO SAVEPOINT one_call")
            self._execute("RELEASE SAVEPOINT one_call")
        except Exception as second:
            raise Undone(error) from second
        self._overtaken()

    def _one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of the only row."""
        return self._rows(statement, values)[0][0]

    # -- the rest of a store --------------------------------------------------------

    def abandon(self) -> None:
        """Do nothing: there is no queue for the lock."""
