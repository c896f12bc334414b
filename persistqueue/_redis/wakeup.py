"""Notices that an item has come to a list in Redis, while a get waits for it.

``BLMOVE`` waits at the server until any program puts an item, and shows it to the consumer that has
waited longest: the item goes to the list ``-front``, where any take finds it next.  So a put wakes
one consumer of all.  A consumer that needs nothing any more puts the item back, which wakes the
next.  One that dies in between leaves the item in ``-front``: waiting gets look there every few
seconds.

Nothing is polled over the network: the watcher looks at the socket.  Room in a full queue, and the
end of all unfinished items, leave no such trace: calls that wait for these look now and then.
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
        rings: how often a get was told to look.
        seen: how many of these a take has answered.
    """

    def __init__(self, settings: Settings, keys: Keys, suspect: Callable[[], None]) -> None:
        # Protects all but ``seen``: the watcher's thread looks while another thread closes.
        self._mutex = threading.Lock()
        self._link = Link(settings, _PATIENCE)
        self._suspect = suspect
        # An item that came while the connection was silent is found within the time of an answer.
        self._wait = min((settings.patience + 0.5) / 2, _LONGEST_WAIT)
        self._ring: Command = ("BLMOVE", keys.base, keys.front, "RIGHT", "LEFT", str(self._wait))
        self._pass_on: Command = ("LMOVE", keys.front, keys.base, "LEFT", "RIGHT")
        self._asked: Command | None = None  # the command that is not answered yet
        self._answer_by = 0.0
        self.rings = self.seen = 0
        self._blocked_until = 0.0
        self._pause = _SHORTEST_PAUSE

    @property
    def connected(self) -> bool:
        """Whether the server is there, as far as is known."""
        return self._link.connected

    def fileno(self) -> int | None:
        """Return the descriptor of the socket that can be read when it rings; None: no socket."""
        with self._mutex:
            return self._link.fileno() if self._asked is not None else None

    def touched(self, getting: bool) -> bool:
        """Return whether a waiting get should look again; never wait for an answer.

        Args:
            getting: a get waits.
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
        """Return whether an answer has come, and note it."""
        if not self._link.readable():
            if monotonic() < self._answer_by:
                return False
            self._suspect()
            raise QueueUnreachable("the server says nothing any more; it is tried again")
        asked, answer = self._asked, self._link.read()
        self._asked = None
        self._pause = _SHORTEST_PAUSE
        # Without an item, too: a consumer that died may have left one.
        if asked is self._ring and (getting or answer is not None):
            self.rings += 1
        return True

    def _go_on(self, getting: bool) -> bool:
        """Let a get look, or pass the item on that it was shown; then ask again."""
        if self.rings > self.seen:
            if getting:
                self._link.connect()  # raises where the server is away
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
        """Close the connection; returns commands to send over another one.

        They pass on an item that this connection was shown: other consumers wait for it.
        """
        with self._mutex:
            asked, self._asked = self._asked, None
            self._link.drop()
            if asked is None and self.rings == self.seen:
                return []
            self.seen = self.rings
            return [*self._link.take_ends(), self._pass_on]

    def forget(self) -> None:
        """Close a parent process's connection."""
        self._mutex = threading.Lock()
        self._link.forget()
        self._asked = None
        self.rings = self.seen = 0
