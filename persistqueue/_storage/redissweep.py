"""What is done to a queue in Redis as a whole: recovery, deletion, and the retry window."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..exceptions import ServerRefused
from .redisscripts import DELETE, DROP, MOST, RECLAIM, REFRESH, TRIED, is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .redislink import Link, Replicas, Word
    from .redisscripts import Keys

_AOF_PATIENCE = 5000  # ms


class Sweep:
    """The lists of all consumers of a queue.

    Args:
        unique: the key of the set of what waits, if there is one.
    """

    def __init__(
        self, link: Link, keys: Keys, unique: tuple[Word, ...], replicas: Replicas
    ) -> None:
        self._link = link
        self._keys = keys
        self._unique = unique
        self._replicas = replicas

    # -- what was taken and never finished ------------------------------------------

    def re_enqueue(self, older: float | None, *, ours_only: bool = False) -> list[bytes]:
        """Put back what was taken, the newest first, so that the oldest is next.

        Args:
            older: only what was taken more than so many seconds ago; None for everything.
            ours_only: leave the lists of aio-py-rq's consumers alone.

        Returns:
            the names of the lists.
        """
        lists = self._lists(older, ours_only)
        for name, stamp in lists:
            self.reclaim(name, stamp)
        if lists and not ours_only:
            self._confirm()
        return [name for name, _ in lists]

    def reclaim(self, name: Word, stamp: Word = "") -> None:
        """Put back what is in a list, unless it was taken at another time than ``stamp``."""
        keys = (self._keys.base, self._keys.timeouts, name, *self._unique)
        while self._link.script(RECLAIM, keys, (MOST, stamp), again=True)[0]:
            pass

    def recover(self, consumer: str) -> int:
        """Put back what is in the lists of one consumer; returns how many lists it were."""
        prefix = consumer.encode()
        lists = self._lists(None, ours_only=True)
        mine = [one for one in lists if prefix and one[0].startswith(prefix)]
        for name, stamp in mine:
            self.reclaim(name, stamp)
        return len(mine)

    def drop(self, older: float | None) -> list[bytes]:
        """Delete what was taken; arguments and result are those of ``re_enqueue``."""
        lists = self._lists(older, ours_only=False)
        for name, stamp in lists:
            self._link.script(DROP, (self._keys.timeouts, name), (stamp,), again=True)
        if lists:
            self._confirm()
        return [name for name, _ in lists]

    def refresh(self, names: Sequence[str]) -> int:
        """Let the lease of lists begin now, those that are still there; returns how many."""
        alive = 0
        for at in range(0, len(names), MOST):
            keys = (self._keys.timeouts, *names[at : at + MOST])
            alive += self._link.script(REFRESH, keys, (), again=True)[0]
        return alive

    def _lists(self, older: float | None, ours_only: bool) -> list[tuple[bytes, bytes]]:
        """Return the lists of taken items and when each was taken, the newest first."""
        ((seconds, micros),) = self._link.ask(("TIME",), again=True)
        now = int(seconds) + int(micros) / 1e6
        found = []
        for name, stamp in self._stamps():
            taken = _seconds(stamp)
            if older is not None and taken + older > now:
                continue
            if is_ours(name) or not ours_only:
                found.append((taken, name, stamp))
        found.sort(reverse=True)
        return [(name, stamp) for _, name, stamp in found]

    def _stamps(self) -> Iterator[tuple[bytes, bytes]]:
        cursor: Word = 0
        while cursor != b"0":
            ((cursor, flat),) = self._link.ask(
                ("HSCAN", self._keys.timeouts, cursor, "COUNT", MOST), again=True
            )
            yield from zip(flat[::2], flat[1::2], strict=True)

    def _confirm(self) -> None:
        if self._replicas.count:
            self._replicas.check(self._link.ask(*self._replicas.behind, again=True))

    # -- items by their value -------------------------------------------------------

    def delete(self, values: Sequence[bytes], count: int) -> int:
        """Delete waiting items.

        Args:
            count: of each value: so many from the newest on; negative: from the oldest on; 0
                for all.  A unique queue has one at the most.
        """
        keys = (self._keys.base, *self._unique)
        deleted, confirmed = 0, []
        for at in range(0, len(values), MOST):
            part = values[at : at + MOST]
            answers = self._link.script(
                DELETE, keys, (count, *part), *self._replicas.behind, again=count == 0
            )
            deleted += answers[0]
            confirmed.append(answers)
        self._replicas.check(*confirmed)
        return deleted

    def tried(self, value: bytes) -> tuple[int, int]:
        """Count one more try of an item.

        Returns:
            how many it are, and for how many minutes.
        """
        minute = int(time.time() / 60)
        keys = (self._keys.retry_count, self._keys.retry_timeout)
        ((count, since),) = self._link.script(TRIED, keys, (value, minute))
        return count, minute - since

    def forget_tries(self, value: bytes) -> None:
        """Begin to count the tries of an item anew."""
        self._link.ask(
            ("HDEL", self._keys.retry_count, value),
            ("HDEL", self._keys.retry_timeout, value),
            again=True,
        )

    # -- loss of power --------------------------------------------------------------

    def sync(self) -> None:
        """See that everything so far is in the server's append-only file, flushed.

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
    """Return when a list was taken; what is no number was long ago."""
    try:
        return float(stamp)
    except ValueError:
        return 0.0
