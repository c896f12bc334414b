"""Operations on a queue in Redis as a whole: recovery, deletion, flushing.

The server does nothing else during a script, and nor does this object.  So whatever may be much
work is done in slices.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from .._core.deadline import monotonic
from ..exceptions import ServerRefused
from .scripts import DELETE, DROP, LISTS, MOST, OVERDUE, RECLAIM, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .connection import Link
    from .resp import Word
    from .scripts import Keys
    from .settings import Replicas

_AOF_PATIENCE = 5000  # ms
_SLICE = 0.005  # s that a get spends on overdue items before it takes

Stamped = tuple[bytes, bytes]


class Sweep:
    """The lists of all consumers of a queue."""

    def __init__(self, link: Link, keys: Keys, replicas: Replicas) -> None:
        self._link = link
        self._keys = keys
        self._replicas = replicas

    # -- items that were taken and never finished -----------------------------------

    def collect(self) -> tuple[float, list[bytes]]:
        """Put some overdue items back, the newest first, so that the oldest is next.

        Returns:
            in how many seconds there may be more, and the names of their lists.
        """
        end, done = monotonic() + _SLICE, list[bytes]()
        keys = self._keys
        while True:
            ((wait, *lists),) = self._link.script(OVERDUE, (keys.due,), (LISTS,), again=True)
            if lists:
                done += self.reclaim([(name, b"due") for name in lists])
            if len(lists) < LISTS:
                return (float(wait) if wait else inf), done
            if monotonic() > end:
                return 0.0, done

    def reclaim(self, lists: Sequence[Stamped]) -> list[bytes]:
        """Put the items of lists back; returns the names of the lists.

        Args:
            lists: their names, the newest first, each with the time at which it was taken: a
                list whose time has changed is left alone.  No time: at any time; ``due``: if
                its lease is over.
        """
        keys = self._keys
        through = 0
        while through < len(lists):
            part = lists[through : through + LISTS]
            names, stamps = [name for name, _ in part], [stamp for _, stamp in part]
            (done,) = self._link.script(
                RECLAIM,
                (keys.base, keys.timeouts, keys.due, *names, *keys.set),
                (MOST, len(part), *stamps),
                again=True,
            )
            through += done
        return [name for name, _ in lists]

    def drop(self, lists: Sequence[Stamped]) -> list[bytes]:
        """Delete the items of lists; arguments and result are those of ``reclaim``."""
        keys = self._keys
        for part in parts_of(lists, LISTS):
            names, stamps = [name for name, _ in part], [stamp for _, stamp in part]
            self._link.script(DROP, (keys.timeouts, keys.due, *names), stamps, again=True)
        return [name for name, _ in lists]

    def lists(self, older: float | None) -> list[Stamped]:
        """Return the lists of all consumers, and when each was taken, the newest first.

        Args:
            older: seconds; only lists that were taken longer ago; None for all.
        """
        ((seconds, micros),) = self._link.ask(("TIME",), again=True)
        now = int(seconds) + int(micros) / 1e6
        stamps = dict(self._stamps())  # HSCAN may give one twice
        found = [(_seconds(stamp), name, stamp) for name, stamp in stamps.items()]
        if older is not None:
            found = [one for one in found if one[0] + older <= now]
        found.sort(reverse=True)
        return [(name, stamp) for _, name, stamp in found]

    def _stamps(self) -> Iterator[Stamped]:
        cursor: Word = 0
        while cursor != b"0":
            ((cursor, flat),) = self._link.ask(
                ("HSCAN", self._keys.timeouts, cursor, "COUNT", MOST), again=True
            )
            yield from zip(flat[::2], flat[1::2], strict=True)

    def confirm(self) -> None:
        """Wait until enough replicas have confirmed everything so far.

        Raises:
            NotEnoughReplicas: too few have.
        """
        if self._replicas.count:
            self._replicas.check(self._link.ask(*self._replicas.behind, again=True))

    # -- items by their value -------------------------------------------------------

    def delete(self, values: Sequence[bytes], count: int) -> int:
        """Delete waiting items.

        Args:
            count: of each value, from the newest on; negative: from the oldest on; 0 for all.
        """
        keys = (self._keys.base, self._keys.front, *self._keys.set)
        deleted, confirmed = 0, []
        for part in parts_of(values):
            answers = self._link.script(
                DELETE, keys, (count, *part), *self._replicas.behind, again=count == 0
            )
            deleted += answers[0]
            confirmed.append(answers)
        self._replicas.check(*confirmed)
        return deleted

    # -- loss of power --------------------------------------------------------------

    def sync(self) -> None:
        """Wait until everything so far is in the server's append-only file, flushed.

        Raises:
            ServerRefused: it has none, or cannot tell.
        """
        try:
            confirmed = self._link.ask(("WAITAOF", 1, 0, _AOF_PATIENCE), again=True)[0][0]
        except ServerRefused as error:
            if not self._always_flushed():
                raise ServerRefused(
                    f"{error}: sync needs a server with appendonly yes, and Redis 7.2 or newer "
                    "(WAITAOF) or appendfsync always"
                ) from error
            return
        if not confirmed:
            raise ServerRefused("the server has not flushed its file in time; it may later")

    def _always_flushed(self) -> bool:
        try:
            found = self._link.ask(
                ("CONFIG", "GET", "appendonly"), ("CONFIG", "GET", "appendfsync"), again=True
            )
        except ServerRefused:  # this user may not ask
            return False
        return [answer[1:] for answer in found] == [[b"yes"], [b"always"]]


def _seconds(stamp: bytes) -> float:
    """Return when a list was taken; long ago if that is no number."""
    try:
        return float(stamp)
    except ValueError:
        return 0.0
