"""Where SQLite databases and forks meet: no file of one may be open in a fork.

SQLite keeps its locks in the process's memory, where a child would take them for its own.
So the gate holds a fork up until no call is under way, closes every connection, and lets
no call begin before the fork is over.  Both sides open again at their next call.  A database
that was in the middle of a call all the same (of the thread that forks, or of one that takes
too long) is refused to the child for good.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ..._core.deadline import monotonic
from ..._core.forks import at_fork
from ..._core.log import warn
from .errors import SQLiteFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .database import Database

_FORK_PATIENCE = 3.0  # s that a fork waits for calls of other threads
_NAP = 0.001  # s between two looks whether a fork may begin, or is over


class Suspended(Protocol):
    """A store that has connections open."""

    @property
    def database(self) -> Database:
        """The database that they are open on."""

    def suspend(self) -> None:
        """Close the connections that are not in use."""


class Gate:
    """Where stores and forks meet: a fork begins when no store is at work."""

    def __init__(self) -> None:
        # Protects the three below.  An RLock: finalisers come in the middle of anything.  No
        # condition: entering one is Python code, where a Ctrl-C leaves the lock held for good.
        self._mutex = threading.RLock()
        self._stores: weakref.WeakSet[Suspended] = weakref.WeakSet()
        self._at_work: dict[
            object, tuple[int, Database]
        ] = {}  # the thread and the database of each store
        self._forking: set[int] = set()  # threads
        self._refused: set[tuple[int, int]] = set()  # files that this process must not open
        self.creating = threading.Lock()  # held while a new file is open beside SQLite

    def add(self, store: Suspended) -> None:
        """Close this store's connection before a fork."""
        with self._mutex:
            self._stores.add(store)

    def enter(self, who: object, database: Database) -> None:
        """Hold forks up from now on; wait while one is under way."""
        me = threading.get_ident()
        while True:
            with self._mutex:
                if not self._forking or me in self._forking or self._is_at_work(me):
                    self._at_work[who] = me, database
                    return
            time.sleep(_NAP)

    def _is_at_work(self, thread: int) -> bool:
        return any(thread == at for at, _ in self._at_work.values())

    def leave(self, who: object) -> None:
        """Hold forks up no more; to do it twice is harmless."""
        with self._mutex:
            self._at_work.pop(who, None)

    @contextmanager
    def inside(self, database: Database) -> Iterator[None]:
        """Hold forks up meanwhile."""
        who = object()
        self.enter(who, database)
        try:
            self.refuse(database)
            yield
        finally:
            self.leave(who)

    def refuse(self, database: Database) -> None:
        """Raise if this process must not open a database."""
        if self._refused and _identity(database) in self._refused:
            raise SQLiteFailed(
                f"{database.path}: this process was forked in the middle of a call, and must not "
                "use the database: fork when no call is under way, or start it by itself"
            )

    def make_way(self, who: object, database: Database) -> bool:
        """Close connections of this process to a database whose files are gone; False: in use.

        SQLite shares what it knows of a log among all connections of a process.  One that is
        opened beside another whose log is gone would write where no other process reads.
        """

        def is_gone(other: Database) -> bool:
            return other.path == database.path and bool(other.astray())

        with self._mutex:
            for key, (_, used) in self._at_work.items():
                if key is not who and is_gone(used):
                    return False
            gone = [store for store in self._stores if store is not who and is_gone(store.database)]
            for store in gone:
                store.suspend()
        return True

    def before_fork(self) -> None:
        """Wait until no call is under way, and close the connections."""
        me, end = threading.get_ident(), monotonic() + _FORK_PATIENCE
        with self._mutex:
            self._forking.add(me)
        while not self._made_way(me, late=monotonic() >= end):
            time.sleep(_NAP)

    def _made_way(self, me: int, *, late: bool) -> bool:
        """Close all connections, unless another thread is at work and may take longer."""
        with self._mutex:
            if any(at != me and at not in self._forking for at, _ in self._at_work.values()):
                if not late:
                    return False
                warn("a fork in the middle of a call: the child cannot use its database")
            for store in list(self._stores):
                if store not in self._at_work:
                    store.suspend()
        return True

    def after_fork_in_parent(self) -> None:
        """End the fork for calls that wait for it."""
        with self._mutex:
            self._forking.discard(threading.get_ident())

    def after_fork_in_child(self) -> None:
        """Refuse databases that were not closed; begin anew."""
        self._mutex = threading.RLock()
        self.creating = threading.Lock()
        for _, database in self._at_work.values():
            self.forbid(database)
        self._at_work.clear()
        self._forking.clear()

    def forbid(self, database: Database) -> None:
        """Refuse a database from now on: its file is the parent's as well."""
        identity = None if database.memory else _identity(database)
        if identity is not None:
            self._refused.add(identity)


def _identity(database: Database) -> tuple[int, int] | None:
    try:
        found = os.stat(database.path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


gate = Gate()
at_fork(gate.before_fork, gate.after_fork_in_parent, gate.after_fork_in_child)
