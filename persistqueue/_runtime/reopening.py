"""A store that has failed is opened anew by the next call: once a second, at the most.

A store says in ``failed`` that it cannot vouch for what it holds any more: a flush failed,
the file was replaced, an error left it in the middle.  Then the runner has it opened anew
from what is stored, before the next transaction.  While that fails, every call raises
``QueueFailed``, and only one call a second tries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._clock import monotonic
from .._log import warn

if TYPE_CHECKING:
    from .._storage.base import Store

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
