"""One timeout for a whole call, on the monotonic clock."""

from __future__ import annotations

import sys
import time
from _thread import TIMEOUT_MAX
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


#: Seconds since some moment.
monotonic: Callable[[], float]
if sys.platform != "win32" and hasattr(time, "clock_gettime"):
    monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
else:  # inside a partial it is not found, unless it was replaced before this import
    monotonic = partial(time.monotonic)


_FOREVER = float("inf")
_AGES = 0.9 * TIMEOUT_MAX  # s; a longer timeout is as good, and no lock takes it


class Deadline:
    """The moment at which a call gives up; ``waits`` is false if that is at once.

    Args:
        block: false means that the moment is now.
        timeout: seconds from now; None for never.

    Raises:
        ValueError: the timeout is negative, whether or not ``block`` is true.
        TypeError: it is no number.
    """

    __slots__ = ("at", "waits")

    def __init__(self, block: bool = True, timeout: float | None = None) -> None:
        seconds = _FOREVER if timeout is None else checked_timeout(timeout)
        self.waits = block and timeout != 0
        if not block:
            self.at = 0.0
        elif timeout is None:
            self.at = _FOREVER
        else:
            self.at = monotonic() + seconds

    @staticmethod
    def of(block: bool, timeout: float | None) -> Deadline:
        """Return the deadline of a call; most calls have none, and share one object."""
        return FOREVER if block and timeout is None else Deadline(block, timeout)

    def remaining(self) -> float | None:
        """Return the seconds left, 0 when it is over, None when it never will be."""
        if self.at == _FOREVER:
            return None
        return max(self.at - monotonic(), 0.0)


def checked_timeout(timeout: float, name: str = "timeout") -> float:
    """Return a timeout in seconds; one that is longer than a lifetime is cut.

    Args:
        name: of the argument, for messages.

    Raises:
        ValueError: it is negative.
        TypeError: it is no number.
    """
    try:
        if timeout >= 0:  # NaN is not
            return float(min(timeout, _AGES))
    except TypeError:
        kind = type(timeout).__name__
        raise TypeError(f"'{name}' must be a number of seconds, not {kind}") from None
    raise ValueError(f"'{name}' must be a non-negative number")


FOREVER = Deadline()
NOW = Deadline(block=False)


def checked_lease(lease: float | None) -> float | None:
    """Return a lease in seconds; None for never."""
    seconds = None if lease is None else checked_timeout(lease, "lease")
    if seconds == 0:
        raise ValueError("'lease' must be a positive number of seconds, or None")
    return seconds
