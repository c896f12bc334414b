"""Renews the leases of items that this process holds: each sixth of a lease.

Two daemon threads for the whole process: one for items on servers, over connections of its own,
one a server; one for items in databases beside files (``_sql/sqlite/owners``), which no server
holds up.  So a handler that blocks its event loop, or the queue's thread, loses nothing.  Items
that were taken since the last turn are left to the next one: a quick consumer costs nothing.
While no item is held there is no connection, and the threads sleep.
"""

from __future__ import annotations

import contextlib
import threading
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from .deadline import monotonic
from .forks import follow
from .log import warn

LEASE = 60.0  # s, unless a program says otherwise
SHARE = 6  # turns in a lease
PATIENCE = 2.0  # s to wait for one server, while others wait for their turn
_LONGEST_SLEEP = 3600.0  # s; the system does not take any number
_PAUSE = 0.5  # s, or a part of a lease, until a server that failed is tried again


class Line(Protocol):
    """A connection to a server; opened when it is needed, and again when it was lost."""

    def drop(self) -> None:
        """Close it."""

    def forget(self) -> None:
        """Close the descriptor of a parent process, which does not notice."""


class NoLine:
    """In place of a connection, for what is written to a file."""

    def drop(self) -> None:
        """Do nothing."""

    forget = drop


NO_LINE = NoLine()


class Holder(Protocol):
    """An object that holds something.

    Attributes:
        kept: it is renewed from time to time.
        interval: seconds between two turns.
        place: which server it is; objects with equal ones share a connection.
    """

    kept: bool

    @property
    def interval(self) -> float: ...

    @property
    def place(self) -> str: ...

    def line(self) -> Any:
        """Return a ``Line`` to the server."""

    def prolong(self, line: Any) -> bool:
        """Renew the items held at the last turn; returns whether any item is held now.

        Raises:
            Exception: it cannot be renewed; the next turn comes soon.
        """


class _Entry:
    """When an object's turn is.

    Attributes:
        due: on the monotonic clock.
        failed: a warning has been given.
    """

    __slots__ = ("due", "failed")

    def __init__(self, due: float) -> None:
        self.due = due
        self.failed = False


class Keeper:
    """Has a turn for each object that holds anything, until it holds nothing.

    Args:
        name: of its thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin()

    def _begin(self) -> None:
        self._mutex = threading.Lock()  # protects _entries, _started and _number
        self._entries: dict[Holder, _Entry] = {}
        self._started = False
        self._number = 0  # of the thread that was started last; see ``watcher``
        self._stir: SimpleQueue[None] = SimpleQueue()  # None: an object is new
        self._lines: dict[str, Line] = {}  # of the thread alone

    def add(self, holder: Holder) -> None:
        """Renew the leases of an object from now on; callable on any thread."""
        with self._mutex:
            if not self._started:
                self._number += 1
                threading.Thread(
                    target=self._run, args=(self._number,), name=self._name, daemon=True
                ).start()  # may raise, and then the next one tries again
                self._started = True
            holder.kept = True
            self._entries.setdefault(holder, _Entry(monotonic() + holder.interval))
        self._stir.put(None)

    def _run(self, number: int) -> None:
        while number == self._number:
            soonest = self._round()
            with contextlib.suppress(Empty):
                left = None if soonest is None else max(soonest - monotonic(), 0)
                self._stir.get(timeout=left and min(left, _LONGEST_SLEEP))
            while not self._stir.empty():
                self._stir.get()
        self._stir.put(None)  # which may have been for the other one

    def _round(self) -> float | None:
        """Renew the leases that are due; returns when the next turn is."""
        with self._mutex:
            entries = list(self._entries.items())
        away: set[str] = set()  # one try a round for a server that is away
        for holder, entry in entries:
            if entry.due <= monotonic():
                entry.due = monotonic() + holder.interval
                self._turn(holder, entry, away)
        with self._mutex:
            served = {holder.place for holder in self._entries}
            soonest = min((entry.due for entry in self._entries.values()), default=None)
        for place in [place for place in self._lines if place not in served]:
            self._lines.pop(place).drop()
        return soonest

    def _turn(self, holder: Holder, entry: _Entry, away: set[str]) -> None:
        holds, place = True, holder.place
        holder.kept = False  # an object that takes something from now on asks to be kept
        try:
            if place not in away:
                if place not in self._lines:
                    self._lines[place] = holder.line()
                holds = holder.prolong(self._lines[place])
        except Exception as error:  # noqa: BLE001 - none ends the thread, which is for all objects
            away.add(place)
            if not entry.failed:
                warn("the leases of what is held cannot be renewed: %s", error)
            entry.failed = True
        if place in away:
            entry.due = monotonic() + min(_PAUSE, holder.interval)
        else:
            entry.failed = False
        with self._mutex:
            if holds:
                holder.kept = True
            elif not holder.kept:
                del self._entries[holder]

    def after_fork(self) -> None:
        """Begin anew in a child process: close the connections that are the parent's."""
        for line in list(self._lines.values()):
            line.forget()
        self._begin()


_of_servers, _of_files = Keeper("persistqueue-leases"), Keeper("persistqueue-beats")


def keep(holder: Holder) -> None:
    """Renew the leases of an object on a server, until it holds nothing."""
    _add(_of_servers, holder)


def beat(holder: Holder) -> None:
    """Have an object give signs of life in a file, until it holds nothing."""
    _add(_of_files, holder)


def _add(keeper: Keeper, holder: Holder) -> None:
    try:
        keeper.add(holder)
    except RuntimeError as error:  # no more threads: the next one that takes something tries again
        warn("the leases of held items are not renewed: %s", error)


follow(_of_servers)
follow(_of_files)
