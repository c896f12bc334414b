"""One timeout for a whole call, on the monotonic clock."""

from __future__ import annotations

import time

_FOREVER = float("inf")
_LEAST_PATIENCE = 1.0  # s


class Deadline:
    """The moment at which a call gives up; ``waits`` is false if that is at once.

    Args:
        block: false means that the moment is now.
        timeout: seconds from now; None for never.

    Raises:
        ValueError: the timeout is negative, whether or not ``block`` is true.
    """

    __slots__ = ("at", "waits")

    def __init__(self, block: bool = True, timeout: float | None = None) -> None:
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        self.waits = block and timeout != 0
        if not block:
            self.at = 0.0
        elif timeout is None:
            self.at = _FOREVER
        else:
            self.at = time.monotonic() + timeout

    @staticmethod
    def of(block: bool, timeout: float | None) -> Deadline:
        """Return the deadline of a call; most calls have none, and share one object."""
        return FOREVER if block and timeout is None else Deadline(block, timeout)

    @property
    def patience(self) -> float:
        """Seconds to wait for a store's lock: the time left, but never less than 1 s.

        Others hold it for milliseconds; a short timeout, or none at all, is about items
        and room, and shall not fail because somebody else is just committing.
        """
        return max(self.at - time.monotonic(), _LEAST_PATIENCE) if self.at != _FOREVER else self.at

    def remaining(self) -> float | None:
        """Return the seconds left, 0 when it is over, None when it never will be."""
        if self.at == _FOREVER:
            return None
        return max(self.at - time.monotonic(), 0.0)

    def expired(self) -> bool:
        """Return whether the moment has come."""
        return self.at != _FOREVER and time.monotonic() >= self.at


FOREVER = Deadline()
