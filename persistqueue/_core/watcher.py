"""Notices the commits of other processes, while calls wait.

One daemon thread for the whole process looks at every store that has waiters: a
hundred idle queues cost a hundred small reads every 25 ms, not a hundred threads
that wake up.  A new waiter is looked after every millisecond at first.

A store whose server sends a notice gives a socket instead: it is looked at as soon as that
can be read.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from .deadline import monotonic
from .disk import read_at
from .forks import follow
from .log import warn

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORTEST, LONGEST = 0.001, 0.025  # s between two looks at one store


if sys.platform != "win32":
    _read = read_at

    def _readable(sockets: Iterable[int], seconds: float) -> list[int]:
        """Wait until a socket can be read; returns which can."""
        poll = select.poll()
        for number in sockets:
            poll.register(number, select.POLLIN)
        return [number for number, _ in poll.poll(seconds * 1000)]

else:

    def _read(_fd: int, _size: int, _offset: int) -> bytes:
        return b""  # there is no read at an offset

    def _readable(sockets: Iterable[int], seconds: float) -> list[int]:
        """Return which sockets can be read, where there is no poll."""
        return select.select(list(sockets), (), (), seconds)[0]


class Watched(Protocol):
    """A session with waiters."""

    def look(self) -> bool:
        """Wake waiting calls if the store changed.  False: none waits any more."""

    def due(self) -> float:
        """Return when it is to be looked at, though nothing has happened; on the monotonic clock.

        What the watcher does not know of yet is looked at up to ``LONGEST`` seconds later.
        """

    def probe(self) -> tuple[int, bytes] | int | None:
        """Return a descriptor, and the bytes at its start, which the next commit changes.

        Or the descriptor of a socket that can be read when it is time to look.
        """


class _Entry:
    """When a session is looked at, and how to see at a glance that nothing has happened.

    Attributes:
        told: it has had a socket, so that a look at once is worth something.
        rung: the socket could be read; until the next regular look it is not asked again.
    """

    __slots__ = ("due", "glances", "interval", "probe", "rung", "told")

    def __init__(self, due: float) -> None:
        self.interval, self.due = _SHORTEST, due
        self.probe: tuple[int, bytes] | int | None = None
        self.glances = 0
        self.told = self.rung = False

    def hasten(self) -> None:
        """Have it looked at now, and closely from now on."""
        self.interval, self.due = _SHORTEST, 0.0

    def is_quiet(self) -> bool:
        """Return whether a glance is enough: one small read, for a hundred idle queues.

        Every eighth time it is not: names are looked up, and whether any call still waits.
        """
        self.glances += 1
        if not isinstance(self.probe, tuple) or self.glances % 8 == 0:
            return False
        fd, seen = self.probe
        try:
            return _read(fd, len(seen), 0) == seen
        except OSError:  # closed, or another file by now
            return False


class Watcher:
    """Calls ``look`` of everything that was added until it returns False."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._mutex = threading.Lock()  # protects _entries, _started and _number
        self._entries: dict[Watched, _Entry] = {}
        self._started = False
        self._number = 0  # of the thread that was started last
        # None for each new entry.  No event: to set one is Python code, where a Ctrl-C leaves
        # its lock held for good.
        self._work: SimpleQueue[None] = SimpleQueue()
        # Two sockets that end a sleep; made when the first store gives a socket.
        self._alarm: tuple[socket.socket, socket.socket] | None = None

    def add(self, session: Watched) -> None:
        """Look after ``session`` from now on, closely at first."""
        entry = self._entries.get(session)
        if entry is not None:
            entry.interval = _SHORTEST
            if entry.told:
                entry.rung = False
                entry.hasten()
                self._stir()
            return
        with self._mutex:
            if not self._started:
                # Ctrl-C may come behind the start: then the next one starts another thread,
                # and this one ends, as its number is not the last one.
                self._number += 1
                threading.Thread(
                    target=self._run, args=(self._number,), name="persistqueue-watch", daemon=True
                ).start()
                self._started = True
            soon = 0.0 if self._alarm is not None else _SHORTEST
            self._entries[session] = _Entry(monotonic() + soon)
        self._work.put(None)
        self._stir()

    def _stir(self) -> None:
        """End the sleep that the thread may be in."""
        if self._alarm is not None:
            with contextlib.suppress(BlockingIOError):  # it has been told often enough
                self._alarm[1].send(b".")

    def _run(self, number: int) -> None:
        while True:
            while not (self._entries and self._work.empty()):
                self._work.get()
            if number != self._number:
                self._work.put(None)  # which may have been for the other one
                return
            soonest = self._round()
            if self._entries:
                self._sleep(max(soonest - monotonic(), _SHORTEST))

    def _sleep(self, seconds: float) -> None:
        """Sleep, but not while a socket can be read."""
        with self._mutex:
            entries = list(self._entries.values())
        sockets = {e.probe: e for e in entries if isinstance(e.probe, int) and not e.rung}
        if self._alarm is None:
            if not sockets:
                time.sleep(seconds)
                return
            self._alarm = socket.socketpair()
            for end in self._alarm:
                end.setblocking(False)
        alarm = self._alarm[0]
        for number in _readable([alarm.fileno(), *sockets], seconds):
            if number == alarm.fileno():
                with contextlib.suppress(BlockingIOError):  # nothing is there after all
                    alarm.recv(4096)
            else:
                sockets[number].rung = True
                sockets[number].hasten()

    def _round(self) -> float:
        """Look at all that are due, and return when the next one is.

        A method of its own: while the thread sleeps, no local keeps a session alive.
        """
        now = monotonic()
        with self._mutex:
            entries = list(self._entries.items())
        soonest = now + LONGEST
        for session, entry in entries:
            interval = entry.interval
            # Those that are due soon go along: one wake-up for all, not one for each.
            if entry.due <= now + interval / 2:
                entry.rung = entry.rung and not entry.due
                entry.due = min(now + interval, max(session.due(), now + _SHORTEST))
                if interval < LONGEST:
                    entry.interval = min(interval * 2, LONGEST)
                if not entry.is_quiet() or session.due() <= now:
                    self._look(session)
                    entry.probe = session.probe()
                    entry.told = entry.told or isinstance(entry.probe, int)
            soonest = min(soonest, entry.due)
        return soonest

    def after_fork(self) -> None:
        """Begin anew in a child process: close the parent's sockets."""
        for end in self._alarm or ():
            end.close()
        self._begin()

    def _look(self, session: Watched) -> None:
        try:
            if session.look():
                return
        except Exception:  # noqa: BLE001 - one queue's trouble must not stop the watch of all
            warn("watching a queue failed", traceback=True)
            return
        # A call that begins to wait between look() and here finds the entry still there and
        # does not add it: so ask once more after removing it.
        with self._mutex:
            self._entries.pop(session, None)
        if session.look():
            self.add(session)


_watcher = Watcher()


def watch(session: Watched) -> None:
    """Look after ``session`` until its ``look`` returns False."""
    try:
        _watcher.add(session)
    except RuntimeError as error:  # no more threads: the next one who waits tries again
        warn("the commits of other processes are not noticed: %s", error)


follow(_watcher)
