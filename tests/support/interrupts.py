"""Ctrl-C at a chosen moment of a call.

CPython handles a signal when a Python function is entered and when a C function has
returned; a profile function is called at the same moments and may raise there.
"""

from __future__ import annotations

import gc
import inspect
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import persistqueue

_PACKAGE = str(Path(persistqueue.__file__).parent)


class Interrupt:
    """Raises KeyboardInterrupt at the k-th moment at which a signal could be handled.

    Args:
        where: the folders of the code whose moments count.
        again: seconds until a signal raises it once more; 0: none does.
    """

    def __init__(self, k: int, *where: str, again: float = 0) -> None:
        self._left = k
        self._where = where
        self._again = again

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code.co_name == "__del__":
            return  # Python would swallow it there
        if event == "call" and frame.f_lasti >= 0 and sys.version_info < (3, 11):
            return  # a generator goes on: what a profiler raises then passes its own handlers
        if code.co_flags & inspect.CO_GENERATOR and sys.exc_info()[0] is not None:
            return  # it is thrown into: no signal is handled then
        if event in ("call", "c_return") and code.co_filename.startswith(self._where):
            self._left -= 1
            if self._left == 0:
                sys.setprofile(None)
                if self._again:
                    signal.setitimer(signal.ITIMER_REAL, self._again)
                raise KeyboardInterrupt


def interrupted(k: int, call: Callable[[], Any], *where: str, again: float = 0) -> tuple[bool, Any]:
    """Run ``call`` and interrupt it at moment ``k``: whether it was, and what it returned."""
    gc.collect()
    gc.disable()  # an interrupt inside somebody's __del__ would be swallowed
    sys.setprofile(Interrupt(k, _PACKAGE, *where, again=again))
    try:
        return False, call()
    except KeyboardInterrupt:
        return True, None
    finally:
        sys.setprofile(None)
        gc.enable()
