"""One timeout for a whole call, on the monotonic clock."""

from __future__ import annotations

import time

_FOREVER = float("inf")
_AGES = 1e10  # s; a longer timeout is as good, and may be no float


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
        if timeout is not None and not timeout >= 0:  # NaN is no number, either
            raise ValueError("'timeout' must be a non-negative number")
        self.waits = block and timeout != 0
        if not block:
            self.at = 0.0
        elif timeout is None:
            self.at = _FOREVER
        else:
            self.at = time.monotonic() + min(timeout, _AGES)

    @staticmethod
    def of(block: bool, timeout: float | None) -> Deadline:
        """Return the deadline of a call; most calls have none, and share one object."""
        return FOREVER if block and timeout is None else Deadline(block, timeout)

    def remaining(self) -> float | None:
        """Return the seconds left, 0 when it is over, None when it never will be."""
        if self.at == _FOREVER:
            return None
        return max(self.at - time.monotonic(), 0.0)

    def expired(self) -> bool:
        """Return whether the moment has come."""
        return self.at != _FOREVER and time.monotonic() >= self.at


FOREVER = Deadline()
NOW = Deadline(block=False)
