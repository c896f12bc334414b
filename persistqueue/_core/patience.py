"""How long calls wait for their store's lock, or for a server that is away."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from ..exceptions import QueueUnreachable
from .deadline import monotonic
from .log import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .call import AnyCall
    from .store import Store


LOCK_PATIENCE = 10.0  # s; what SQLite users know as the busy timeout
LEAST_PATIENCE = 1.0  # s
PAUSE = 1.0  # s between two tries to open a failed store anew
_SHORTEST_NAP, _LONGEST_NAP = 0.000_05, 0.001  # s between two tries for the lock
_RECONNECT_NAP = 0.05  # s between two tries to reach a server


class Patience:
    """Opens one store, and begins its transactions; only here does anything wait for a lock.

    Args:
        most: seconds to wait for the lock, at the most; None for ``LOCK_PATIENCE``.
    """

    def __init__(self, store: Store, most: float | None) -> None:
        self._store = store
        self._most = most
        self._closing = False
        self._due = float("-inf")  # before that, a failed store is not opened anew

    def hurry(self) -> None:
        """Wait for a server as short as can be from now on: the queue is closed."""
        self._closing = True
        self._store.hurry()

    def open(self) -> None:
        """Open the store.

        Raises:
            QueueLocked: another object held the lock for too long.
            QueueUnreachable: the server could not be reached.
        """
        self._wait(self._store.open, (), monotonic(), None, lambda: 0.0)

    def begin(
        self,
        exclusive: bool,
        calls: Sequence[AnyCall],
        began: float,
        unreachable: QueueUnreachable | None,
    ) -> None:
        """Begin a transaction that could not begin at once; a failed store is opened anew first.

        Args:
            calls: those that wait for it.
            began: when the first try began.
            unreachable: the error of that try, if it is this one.
        """
        self._wait(
            partial(self._begun, exclusive), calls, began, unreachable, self._server_patience
        )

    def _server_patience(self) -> float:
        """Return for how many seconds a server that is away is like a lock; ``hurry`` cuts it."""
        return LEAST_PATIENCE if self._closing else LOCK_PATIENCE

    def _begun(self, exclusive: bool) -> bool:
        return (not self._store.failed or self._reopen()) and self._store.begin(exclusive)

    def _wait(
        self,
        attempt: Callable[[], bool],
        calls: Sequence[AnyCall],
        began: float,
        unreachable: QueueUnreachable | None,
        away: Callable[[], float],
    ) -> None:
        """Call ``attempt`` until it has the store's lock, with naps in between.

        It gives up when all ``calls`` are out of time or cancelled, but not before 1 s, and
        after ``most`` seconds in any case.  Others hold a lock for milliseconds: a short
        timeout, or none at all, is about items and room, and shall not fail because of that.

        Args:
            away: returns for how many seconds a server that is away is like a lock.
        """
        most = LOCK_PATIENCE if self._most is None else self._most
        nap = _SHORTEST_NAP
        try:
            while True:
                try:
                    if unreachable is None and attempt():
                        return
                except QueueUnreachable as error:
                    unreachable = error
                wanted = max((call.deadline.at - began for call in calls), default=most)
                allowed = min(max(wanted, LEAST_PATIENCE), most)
                if unreachable is not None:
                    nap, allowed = _RECONNECT_NAP, min(allowed, away())
                if monotonic() - began >= allowed:
                    raise unreachable or self._store.errors.locked(  # noqa: TRY301 - as an interrupt
                        f"another process has held the queue's lock for {allowed:.3g} s; "
                        "nothing was done: is it stopped in the middle of a call?"
                    )
                time.sleep(nap)
                nap, unreachable = min(nap * 1.1, _LONGEST_NAP), None
        except BaseException:
            self._store.abandon()
            raise

    def _reopen(self) -> bool:
        """Open a failed store anew.  False: another object holds its lock.

        Raises:
            QueueFailed: it could not be opened, now or less than a second ago.
        """
        store, why, now = self._store, self._store.failed, monotonic()
        if now < self._due and not self._closing:
            raise store.errors.failed(f"{why}; a later call reopens the queue, one a second tries")
        try:
            if not store.open():
                return False
        except Exception as error:
            self._due = now + PAUSE
            raise store.errors.failed(
                f"{why}; to reopen the queue failed, too ({error}); a later call tries again"
            ) from error
        self._due = now + PAUSE
        warn("%s; the queue was reopened", why)
        return True
