"""How long a batch waits for its store's lock, or for a server that is away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..exceptions import QueueLocked, QueueUnreachable
from .deadline import monotonic
from .log import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .call import AnyCall
    from .store import Store


LOCK_PATIENCE = 10.0  # s; what SQLite users know as the busy timeout
LEAST_PATIENCE = 1.0  # s
_SHORTEST_NAP, _LONGEST_NAP = 0.000_05, 0.001  # s between two tries for the lock
_RECONNECT_NAP = 0.05  # s between two tries to reach a server


def begin(
    attempt: Callable[[], bool],
    abandon: Callable[[], None],
    calls: Sequence[AnyCall] = (),
    patience: float | None = None,
    away: Callable[[], float] | None = None,
    locked: type[QueueLocked] = QueueLocked,
    began: float | None = None,
    unreachable: QueueUnreachable | None = None,
) -> None:
    """Call ``attempt`` until it has the store's lock, with naps in between.

    It gives up when all ``calls`` are out of time or cancelled, but not before 1 s, and
    after ``patience`` seconds (None for ``LOCK_PATIENCE``) in any case.  Others hold a lock
    for milliseconds: a short timeout, or none at all, is about items and room, and shall
    not fail because somebody is just committing.

    Args:
        away: returns for how many seconds, at the most, a server that cannot be reached is like
            a lock: it may be back in a moment.  None: it is not waited for.
        began: when the first try began, if that was before this call.
        unreachable: what came of that.

    Raises:
        QueueLocked: somebody else held the lock for so long.
        QueueUnreachable: the server could not be reached.
    """
    most = LOCK_PATIENCE if patience is None else patience
    began, nap = monotonic() if began is None else began, _SHORTEST_NAP
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
                nap = _RECONNECT_NAP
                allowed = min(allowed, away()) if away is not None else 0.0
            if monotonic() - began >= allowed:
                raise unreachable or locked(  # noqa: TRY301 - an interrupt ends it as well
                    f"another process has held the queue's lock for {allowed:.3g} s; "
                    "nothing was done: is it stopped in the middle of a call?"
                )
            time.sleep(nap)
            nap, unreachable = min(nap * 1.1, _LONGEST_NAP), None
    except BaseException:
        abandon()
        raise


def how_long_away(closing: bool) -> float:
    """Return for how many seconds a server may be away.

    Args:
        closing: somebody closes the queue.
    """
    return LEAST_PATIENCE if closing else LOCK_PATIENCE


PAUSE = 1.0  # s between two tries


class Reopening:
    """Opens one store anew.

    Args:
        store: ``open`` of a failed one opens it anew, and clears ``failed``.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due = float("-inf")  # before that, nothing is tried

    def reopen(self, hasty: bool) -> bool:
        """Open the store anew.  False: somebody else holds its lock.

        Args:
            hasty: do not wait for the pause to be over; it is the last chance.

        Raises:
            QueueFailed: it could not be opened, now or less than a second ago.
        """
        why, now = self._store.failed, monotonic()
        if now < self._due and not hasty:
            raise self._store.errors.failed(
                f"{why}; a later call reopens the queue, one a second tries"
            )
        try:
            if not self._store.open():
                return False
        except Exception as error:
            self._due = now + PAUSE
            raise self._store.errors.failed(
                f"{why}; to reopen the queue failed, too ({error}); a later call tries again"
            ) from error
        self._due = now + PAUSE
        warn("%s; the queue was reopened", why)
        return True
