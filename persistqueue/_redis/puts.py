"""How values are added to a queue in Redis, each of them once.

Every put has a number, and the server notes the number of an object's last put.  When the answer
to a put is lost, the next connection ends the old one at the server.  Then the noted number says
whether the put was done; if it was not, it is sent again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .._core.deadline import monotonic
from ..exceptions import Full, PersistQueueError, QueueUnreachable
from .connection import ONCE_MORE
from .scripts import KEPT, PUSH, PUT, parts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .connection import Link
    from .held import Held
    from .resp import Command
    from .scripts import Keys
    from .settings import Replicas

_LONG = 65_536  # bytes; a longer value does not go through Lua
_NAP = 0.02  # s between two tries to find out


class Puts:
    """The puts of one object.

    Args:
        held: keeps the count of waiting items.
        maxsize: items that may wait; 0 for no bound.

    Attributes:
        evicted: the server may have removed the noted number, so its absence says nothing.
    """

    def __init__(
        self, link: Link, keys: Keys, held: Held, maxsize: int, replicas: Replicas
    ) -> None:
        self._link = link
        self._keys = keys
        self._held = held
        self._maxsize = max(maxsize, 0)
        self._replicas = replicas
        self._number = 0
        self._name = b""  # the number as it is sent
        self._sent = 0.0
        self.evicted = False

    def append(self, values: Sequence[bytes]) -> list[int] | None:
        """Add values, all or none.

        Returns:
            None, or of a unique queue 1 or 0 for each: whether it was stored.

        Raises:
            Full: another process took the room that there was.
            QueueUnreachable: with ``stored`` None, if that cannot be known.
        """
        self._number += 1
        self._name = b"%d" % self._number
        self._sent = time.time()
        self._link.survived = False
        try:
            return self._put(values)
        except QueueUnreachable as error:
            if error.stored is False:
                raise
            return self._put_again(values, error)

    def _put_again(self, values: Sequence[bytes], lost: QueueUnreachable) -> list[int] | None:
        """Find out whether a put whose answer was lost was done; if not, put again."""
        end = monotonic() + ONCE_MORE
        with self._link.within(ONCE_MORE):
            while True:
                known = self._what_is_known()
                if known is not None and known[0]:
                    return known[1]
                if known is not None:
                    try:
                        return self._put(values)
                    except QueueUnreachable as error:
                        lost = error
                if monotonic() + _NAP > end:
                    raise lost
                time.sleep(_NAP)

    def _what_is_known(self) -> tuple[bool, list[int] | None] | None:
        """Return whether the last put is stored, and what it returns; None if that is not known.

        Raises:
            NotEnoughReplicas: it is stored, but too few have confirmed it.
        """
        try:
            answers = self._link.ask(("GET", self._keys.put), *self._replicas.behind)
        except PersistQueueError:
            return None
        number, _, flags = (answers[0] or b"").partition(b":")
        if number == self._name:
            self._replicas.check(answers)
            return True, [flag - ord("0") for flag in flags] if self._keys.set else None
        # It is not stored, unless it is still on its way, or its number has expired.
        fresh = 0 <= time.time() - self._sent < KEPT / 2
        absent = fresh and not (self.evicted or self._link.survived)
        return (False, None) if absent else None

    def _put(self, values: Sequence[bytes]) -> list[int] | None:
        """Send a put, whose answer may be lost."""
        keys, behind = self._keys, self._replicas.behind
        if self._keys.set or self._maxsize:
            return self._put_looking(values)
        if len(values) == 1 and len(values[0]) < _LONG:
            # One answer is read in 3 us, the four of a transaction in 9.
            answers = self._link.script(PUSH, (keys.base, keys.put), (self._name, *values), *behind)
        else:
            parts = parts_of(values)
            commands: list[Command] = [("LPUSH", keys.base, *part) for part in parts]
            commands.append(("SET", keys.put, self._name, "EX", KEPT))
            answers = self._link.transaction(commands, *behind)[len(parts) - 1 :]
        self._held.waiting = answers[0]
        self._replicas.check(answers)
        return None

    def _put_looking(self, values: Sequence[bytes]) -> list[int] | None:
        """Send a put that looks for room and for equal values."""
        keys, behind = self._keys, self._replicas.behind
        names = (keys.base, keys.front, keys.put, *keys.set)
        parts = parts_of(values)
        if len(parts) == 1:
            room = self._maxsize
            answers = self._link.script(PUT, names, (self._name, room, *values), *behind)
        else:
            # The caller has looked for room for all: the script would look for a part's.
            commands: list[Command] = [
                ("EVAL", PUT[0], len(names), *names, "" if at else self._name, 0, *part)
                for at, part in enumerate(parts)
            ]
            answers = self._link.transaction(commands, *behind)
        done: list[list[int]] = answers[: len(parts)]
        if done[0][0] < 0:
            raise Full
        self._held.waiting = done[-1][0]
        self._replicas.check(answers)
        return [flag for answer in done for flag in answer[1:]] if keys.set else None

    def needs(self, values: Sequence[bytes], ahead: Sequence[bytes]) -> int:
        """Return how much room values take, behind others that come first."""
        if not self._keys.set:
            return len(values)
        new = set(values) - set(ahead)
        if not new:
            return 0
        keys = self._keys
        waiting, shown, known = self._link.ask(
            ("LLEN", keys.base), ("LLEN", keys.front), ("SMISMEMBER", *keys.set, *new), again=True
        )
        return len(new) - (sum(known) if waiting + shown else 0)

    def farewell(self) -> list[Command]:
        """Return the command that removes the noted number; it is not needed any more."""
        return [("UNLINK", self._keys.put)] if self._number else []

    def forget(self) -> None:
        """Begin anew: the noted number is a parent process's."""
        self._number = 0
