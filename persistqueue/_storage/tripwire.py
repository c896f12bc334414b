"""Notices that something has come to a list in Redis, while nobody has anything to do.

``BLMOVE list list RIGHT RIGHT`` waits at the server until the list holds something, and then
moves its last item to where it is: it takes nothing, whoever put it, with this package or
another.  So nothing is polled over the network; what is looked at is the socket, which costs
a system call.  Room in a full queue and the last finished item leave no such trace: whoever
waits for these is let look again now and then.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .._clock import monotonic
from .._log import warn
from ..exceptions import PersistQueueError
from .redislink import Link

if TYPE_CHECKING:
    from .redissettings import Settings

_PATIENCE = 1.0  # s to connect: all queues of the process wait meanwhile
_LONGEST_PAUSE = 2.0  # s between two tries to connect
_OFTEN, _SELDOM = 0.02, 5.0  # s between two looks of those who wait for something else


class Tripwire:
    """Watches one list, over a connection of its own.

    Attributes:
        restless: somebody waits for what a list does not tell.
    """

    def __init__(self, settings: Settings, key: str) -> None:
        # Protects everything: the watcher's thread looks while another one closes.
        self._mutex = threading.Lock()
        self._link = Link(settings, _PATIENCE)
        self._key = key
        self.restless = False
        self._set = False  # a BLMOVE is under way
        self._at_once = False  # nobody has looked since it was sent
        self._told = 0.0  # when something was last reported
        self._blocked_until = 0.0
        self._pause = _OFTEN

    @property
    def connected(self) -> bool:
        """Whether the server is there, as far as is known."""
        return self._link.connected

    def touched(self) -> bool:
        """Return whether somebody who waits may look again; never waits for an answer."""
        with self._mutex:
            if monotonic() < self._blocked_until:
                return False
            try:
                touched = self._look()
            except PersistQueueError as error:
                self._lost(error)
                return False
            self._pause = _OFTEN
            return touched

    def _look(self) -> bool:
        if not (self._set and self._link.connected):
            seconds = str(_OFTEN if self.restless else _SELDOM)
            self._link.send(("BLMOVE", self._key, self._key, "RIGHT", "RIGHT", seconds))
            self._set = self._at_once = True
            return False
        if not self._link.readable():
            self._at_once = False
            return False
        now = monotonic()
        if self._at_once and now < self._told + _OFTEN:
            return False  # it held something all the time: that is not what they wait for
        answer = self._link.read()
        self._set = False
        if answer is None and not self.restless:
            return False
        self._told = now
        return True

    def _lost(self, error: PersistQueueError) -> None:
        """Try again later; whoever waits goes on waiting."""
        if self._pause == _OFTEN:
            warn("waiting for a queue's server: %s", error)
        self._blocked_until = monotonic() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._set = False

    def close(self) -> None:
        """Let go of the connection."""
        with self._mutex:
            self._link.drop()
            self._set = False

    def forget(self) -> None:
        """Let go of what is a parent process's."""
        self._mutex = threading.Lock()
        self.close()
