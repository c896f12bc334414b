"""The clock by which everything here waits, which tests of a user's program cannot stop.

``freezegun`` and its like put a function that stands still in the place of
``time.monotonic``, and its value jumps by fifty years when they begin and when they end: a
timeout would never be over, or at once.  They look for that function in the modules that
are loaded, and leave ``clock_gettime`` alone.
"""

from __future__ import annotations

import sys
import time
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
