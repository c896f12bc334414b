"""What a store asks of its connection to a database.

A connection knows its transaction, and nothing of queues.  What becomes of that transaction it
tells its store, the listener, which keeps in memory what the database holds.  The listener comes
with each call and is not kept: without a circle, a queue that is dropped is closed at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence, Sized

    from .._core.store import Errors
    from .statements import Table

R = TypeVar("R")


class Place(Protocol):
    """Where a database is."""

    @property
    def path(self) -> str:
        """Its name, for messages."""

    def translate(self, error: Any, table: str) -> Exception:
        """Return what an error of the driver is called here."""


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int: ...

    @property
    def lastrowid(self) -> int | None: ...


class Owner(Protocol):
    """One object's name among those that hold rows of a database.

    Attributes:
        leaves_files: a dead owner leaves a file, which is to be swept.
    """

    @property
    def leaves_files(self) -> bool: ...

    @property
    def name(self) -> str | None:
        """The name in rows that this object holds; None where rows cannot have an owner."""

    def appear(self) -> str | None:
        """Take a name, and count as alive from now on."""

    def stay(self) -> None:
        """Go on with signs of life: something was handed out."""

    def is_dead(self, name: str) -> bool:
        """Return whether the owner of that name is gone."""

    def overtaken(self) -> None:
        """Note that others have committed: they may hold more, or less."""

    def due(self) -> float:
        """Return when to look next at the others that hold rows; on the monotonic clock."""

    def gone(self, read: Callable[[], Sequence[str] | None]) -> dict[str, bool]:
        """Return which of the others are gone, and of each whether it is dead, not only silent.

        Args:
            read: returns the names of those that hold rows; None if that cannot be read now.
        """

    def took_from(self, name: str) -> None:
        """Note that the rows of an owner that is gone were given back."""

    def sweep(self, holders: Container[str | None]) -> None:
        """Remove what dead owners left that are not among the holders of rows."""

    def remove(self, names: list[str]) -> None:
        """Remove what dead owners left whose rows were given back, and that is stored."""

    def disappear(self, *, holds: bool) -> None:
        """Let go of the name; ``holds`` says whether rows may still carry it."""

    def forget(self) -> None:
        """Forget the name after a fork: it is the parent process's."""


class Listener(Protocol):
    """A connection's store, as the connection sees it."""

    def opened(self) -> None:
        """Look at the database: the connection has just been opened."""

    def overtaken(self) -> None:
        """Trust nothing in memory: others have committed, or a part of this was undone."""

    def undone(self) -> None:
        """Take back what the last transaction did in memory: nothing of it is stored."""

    def found_stored(self) -> None:
        """Give back what the last transaction handed out: it is stored, and no caller saw it.

        The caller was told that the outcome is not known.
        """


class SqlConnection(Protocol):
    """A connection to a database, opened by the first transaction.

    Attributes:
        errors, failed: as of ``Store``.
        counts: others' commits are noticed, so that it pays to keep exact counts.
        exclusive: the transaction writes.
        suspended: it was closed for a moment (by a fork), to go on where it was.
    """

    errors: Errors
    failed: str
    counts: bool
    exclusive: bool
    suspended: bool

    @property
    def database(self) -> Place: ...

    @property
    def driver(self) -> Any:
        """The driver's own connection, for a program's statements; None when it is closed."""

    # -- as of ``Store`` ------------------------------------------------------------

    def open(self, listener: Listener) -> bool: ...
    def begin(self, exclusive: bool, listener: Listener) -> bool: ...
    def commit(self) -> None: ...
    def rollback(self, listener: Listener) -> bool: ...
    def abandon(self) -> None: ...
    def hurry(self) -> None: ...
    def changed(self, getting: bool) -> bool: ...
    def probe(self) -> tuple[int, bytes] | None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...
    def forget(self) -> None: ...

    # -- statements -----------------------------------------------------------------

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor:
        """Run one statement, which may write."""

    def many(self, statement: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one statement for each of ``rows``; returns how many rows were written."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return every row at once: a half-read statement would hold on to a snapshot."""

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of the only row."""

    def insert_many(self, table: Table, rows: Sequence[Sequence[Any]]) -> Sequence[int]:
        """Insert rows and return their ids."""

    def put_back(self, table: Table, row: Sequence[Any]) -> bool:
        """Insert a row under its id; False if that is taken, or an equal row is there."""

    def create(self, statement: str) -> None:
        """Create a table if it is missing, without an end to the transaction."""

    def rows_beside(self, statement: str) -> list[Any]:
        """Return the rows beside the transaction that is under way; callable on any thread."""

    def shrink(self) -> None:
        """Give the space of deleted rows back; callable on any thread."""

    def alone(self, function: Callable[[], object]) -> None:
        """Call ``function`` in a transaction of its own, while the connection is being opened."""

    def refresh(self, listener: Listener) -> None:
        """See whether others have committed, where no transaction keeps them out."""

    def at_once(self, function: Callable[[], R]) -> R:
        """Call ``function``, whose statements read what was there at one moment."""

    def glimpse(self, statement: str, values: Sequence[Any] = ()) -> list[Any] | None:
        """Return rows beside the store's work, on any thread; None if they cannot be read now."""

    def new_owner(self, held: Sized, lease: float | None) -> Owner:
        """Return a name for what a store hands out.

        Args:
            held: what it has handed out and not finished.
            lease: seconds without a sign of life after which it counts as gone; None for never.
        """
