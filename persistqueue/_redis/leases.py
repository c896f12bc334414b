"""Renews the leases of what this process holds in Redis: each sixth of a lease.

One daemon thread for the whole process, over connections of its own, one a server: so a handler
that blocks its event loop, or the queue's thread, loses nothing.  What was taken since the last
turn is left to the next one: a consumer that is quick costs nothing.  Where nothing is held there
is no connection, and the thread sleeps.
"""

from __future__ import annotations

import contextlib
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from .._core.deadline import monotonic
from .._core.forks import follow
from .._core.log import warn
from ..exceptions import PersistQueueError
from .connection import Link

if TYPE_CHECKING:
    from .held import Held

_SHARE = 6  # turns in a lease
_PATIENCE = 2.0  # s to wait for one server, while others wait for their turn
_PAUSE = 0.5  # s, or a part of a lease, until a server that failed is tried again


class _Entry:
    """When an object's turn is, and what it had taken at the last one.

    Attributes:
        due: on the monotonic clock.
        upto: the number of the last list that was there.
        failed: a warning has been given.
    """

    __slots__ = ("due", "failed", "upto")

    def __init__(self, due: float, upto: int) -> None:
        self.due = due
        self.upto = upto
        self.failed = False


class Keeper:
    """Has a turn for each object that holds anything, until it holds nothing."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._mutex = threading.Lock()  # protects _entries and _thread
        self._entries: dict[Held, _Entry] = {}
        self._thread: threading.Thread | None = None
        self._stir: SimpleQueue[None] = SimpleQueue()  # None: an object is new
        self._links: dict[str, Link] = {}  # of the thread alone

    def add(self, held: Held) -> None:
        """Renew what an object holds from now on; on any thread."""
        with self._mutex:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="persistqueue-leases", daemon=True)
                thread.start()  # may raise, and then the next one tries again
                self._thread = thread
            held.kept = True
            self._entries[held] = _Entry(monotonic() + _interval(held), held.number)
        self._stir.put(None)

    def _run(self) -> None:
        while True:
            soonest = self._round()
            with contextlib.suppress(Empty):
                self._stir.get(timeout=None if soonest is None else max(soonest - monotonic(), 0))
            while not self._stir.empty():
                self._stir.get()

    def _round(self) -> float | None:
        """Renew what is due; returns when the next turn is."""
        with self._mutex:
            entries = list(self._entries.items())
        away: set[str] = set()  # one try a round for a server that is away
        for held, entry in entries:
            if entry.due <= monotonic():
                entry.due = monotonic() + _interval(held)
                self._turn(held, entry, away)
        with self._mutex:
            served = {held.settings.identity for held in self._entries}
            soonest = min((entry.due for entry in self._entries.values()), default=None)
        for identity in [identity for identity in self._links if identity not in served]:
            self._links.pop(identity).drop()
        return soonest

    def _turn(self, held: Held, entry: _Entry, away: set[str]) -> None:
        if not held.lists:
            self._let_go(held)
            return
        ripe = [number for number in list(held.lists) if number <= entry.upto]
        identity = held.settings.identity
        try:
            if ripe and identity not in away:
                held.missed.extend(held.renew(self._link(held), ripe))
        except PersistQueueError as error:
            away.add(identity)
            if not entry.failed:
                warn("the leases of what is held cannot be renewed: %s", error)
            entry.failed = True
        if identity in away:
            entry.due = monotonic() + min(_PAUSE, _interval(held))
        else:
            entry.upto, entry.failed = held.number, False

    def _link(self, held: Held) -> Link:
        identity = held.settings.identity
        if identity not in self._links:
            self._links[identity] = Link(held.settings, _PATIENCE)
        return self._links[identity]

    def _let_go(self, held: Held) -> None:
        """Forget an object that holds nothing; one that takes something just now comes again."""
        with self._mutex:
            held.kept = False  # before the look: ``Held.took`` looks at it behind its own
            if held.lists:
                held.kept = True
            else:
                self._entries.pop(held, None)

    def after_fork(self) -> None:
        """Begin anew in a child process: close the connections that are the parent's."""
        for link in list(self._links.values()):
            link.forget()
        self._begin()


def _interval(held: Held) -> float:
    assert held.lease is not None
    return held.lease / _SHARE


_keeper = Keeper()


def keep(held: Held) -> None:
    """Renew the leases of what an object holds, until it holds nothing."""
    try:
        _keeper.add(held)
    except RuntimeError as error:  # no more threads: the next one that takes something tries again
        warn("the leases of held items are not renewed: %s", error)


follow(_keeper)
