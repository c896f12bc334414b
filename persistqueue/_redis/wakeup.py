"""Notices that something has come to a list in Redis, while a get waits for it.

``BLMOVE`` waits at the server until something is put, by whomever, with this package or another,
and shows it to the one that has waited longest: the item goes to the list ``-front``, from where
any take has it next.  So a put wakes one consumer of all.  When that one needs nothing any more,
it puts the item back, which wakes the next.  One that dies in between leaves the item there: who
waits looks for that every few seconds.

Nothing is polled over the network; what is looked at is the socket.  Room in a full queue and the
last finished item leave no such trace: calls that wait for these look again now and then.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .._core.deadline import monotonic
from .._core.log import warn
from ..exceptions import PersistQueueError, QueueUnreachable
from .connection import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from .resp import Command
    from .scripts import Keys
    from .settings import Settings

_PATIENCE = 1.0  # s to connect: all queues of the process wait meanwhile
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 2.0  # s between two tries to connect
_LONGEST_WAIT = 5.0  # s of one BLMOVE


class Tripwire:
    """Watches the lists of one queue, over a connection of its own.

    Args:
        suspect: called when the server was silent: other connections to it may be dead, too.

    Attributes:
        rings: how often there was something to look at.
        seen: how many of these a take has looked at.
    """

    def __init__(self, settings: Settings, keys: Keys, suspect: Callable[[], None]) -> None:
        # Protects everything but ``seen``: the watcher's thread looks while another one closes.
        self._mutex = threading.Lock()
        self._link = Link(settings, _PATIENCE)
        self._suspect = suspect
        # What was put while a connection was silent is found in as long as any answer may take.
        self._wait = min((settings.patience + 0.5) / 2, _LONGEST_WAIT)
        self._ring: Command = ("BLMOVE", keys.base, keys.front, "RIGHT", "LEFT", str(self._wait))
        self._pass_on: Command = ("LMOVE", keys.front, keys.base, "LEFT", "RIGHT")
        self._asked: Command | None = None  # what the server has to answer
        self._answer_by = 0.0
        self.rings = self.seen = 0
        self._blocked_until = 0.0
        self._pause = _SHORTEST_PAUSE

    @property
    def connected(self) -> bool:
        """Whether the server is there, as far as is known."""
        return self._link.connected

    def fileno(self) -> int | None:
        """Return the descriptor of what can be read when it rings; None while it cannot."""
        with self._mutex:
            return self._link.fileno() if self._asked is not None else None

    def touched(self, getting: bool) -> bool:
        """Return whether a get that waits may look again; never waits for an answer.

        Args:
            getting: one waits.
        """
        with self._mutex:
            if monotonic() < self._blocked_until:
                return False
            try:
                if self._asked is not None and not self._answered(getting):
                    return False
                return self._go_on(getting)
            except PersistQueueError as error:
                self._lost(error)
                return False

    def _answered(self, getting: bool) -> bool:
        """Return whether an answer has come, and note what it says."""
        if not self._link.readable():
            if monotonic() < self._answer_by:
                return False
            self._suspect()
            raise QueueUnreachable("the server says nothing any more; it is tried again")
        asked, answer = self._asked, self._link.read()
        self._asked = None
        self._pause = _SHORTEST_PAUSE
        # Without an item, too: one that died may have left some.
        if asked is self._ring and (getting or answer is not None):
            self.rings += 1
        return True

    def _go_on(self, getting: bool) -> bool:
        """Let a get look, or else pass on what it was to have; then ask for more."""
        if self.rings > self.seen:
            if getting:
                self._link.connect()  # first: where the server is away, there is nothing to look at
                return True
            self.seen = self.rings
            self._ask(self._pass_on)
        elif getting:
            self._ask(self._ring)
        return False

    def _ask(self, command: Command) -> None:
        self._link.send(command)
        self._asked = command
        self._answer_by = monotonic() + 2 * self._wait

    def _lost(self, error: PersistQueueError) -> None:
        """Try again later; calls that wait go on waiting."""
        if self._asked is not None:
            self.rings += 1  # the answer may have been on its way
        self._asked = None
        self._link.drop()
        if self._pause == _SHORTEST_PAUSE:
            warn("waiting for a queue's server: %s", error)
        self._blocked_until = monotonic() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def close(self) -> list[Command]:
        """Let go of the connection; returns what has to be done over another one.

        It sees to it that no other connection waits for what this one was shown.
        """
        with self._mutex:
            asked, self._asked = self._asked, None
            self._link.drop()
            if asked is None and self.rings == self.seen:
                return []
            self.seen = self.rings
            return [*self._link.take_ends(), self._pass_on]

    def forget(self) -> None:
        """Let go of what is a parent process's."""
        self._mutex = threading.Lock()
        self._link.forget()
        self._asked = None
        self.rings = self.seen = 0
