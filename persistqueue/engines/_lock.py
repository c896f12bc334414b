"""One queue at a time has an engine's records: the lock beside them, and a mark on the engine.

The lock is where the records are, wherever the queue itself is said to be: two queues with
different paths must not both write to one file.  The mark is for what no lock file tells
apart: one engine object given to two queues where nothing is persistent, or nothing locks.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from .._core.deadline import monotonic
from .._core.folder import DirectoryLock, Folder
from .._core.log import warn
from ..exceptions import QueueLocked

if TYPE_CHECKING:
    from .base import StorageEngine

_CLOSING = 0.3  # s that an object which was not closed may take to let go of its lock
_MARK = "_held_by"  # attribute of an engine: a weak reference to the lock of its queue


class EngineLock:
    """The lock that a queue holds from before its engine is opened until it is closed."""

    def __init__(self) -> None:
        self._lock: DirectoryLock | None = None
        self._engine: StorageEngine | None = None
        self._locked_out = 0.0  # since when another object has had the lock

    @property
    def on_disk(self) -> bool:
        """Whether there is a lock file, that is: whether the records are in files."""
        return self._lock is not None

    def acquire(self, engine: StorageEngine) -> bool:
        """Hold the engine's records until ``release``.

        Returns:
            False while an object that is just being closed may still have them.

        Raises:
            QueueLocked: another object has them.
            OSError: there cannot be a lock file.
        """
        if engine.persistent and self._lock is None and not self._acquired(engine):
            return False
        marked = vars(engine).get(_MARK)
        holder: EngineLock | None = marked() if marked is not None else None
        if holder is not None and holder is not self and holder._engine is engine:  # noqa: SLF001
            self.release()
            raise _taken(engine)
        vars(engine)[_MARK] = weakref.ref(self)
        self._engine = engine
        return True

    def _acquired(self, engine: StorageEngine) -> bool:
        now, path = monotonic(), os.path.realpath(engine.path)
        directory, name = os.path.split(path)
        lock = DirectoryLock(Folder(directory, f"{name}.lock"))
        try:
            taken = lock.try_acquire(now)
        except BaseException:
            lock.close()
            raise
        if taken:
            if not lock.supported:
                warn("%s: no file locks here; only one process may use the queue", engine.path)
            self._lock, self._locked_out = lock, 0.0
            return True
        lock.close()
        self._locked_out = self._locked_out or now
        if now - self._locked_out < _CLOSING:
            return False
        raise _taken(engine)

    def abandon(self) -> None:
        """Stop waiting for the lock."""
        self._locked_out = 0.0

    def release(self) -> None:
        """Let go of it; harmless when it is not held."""
        lock, self._lock, self._engine = self._lock, None, None
        if lock is not None:
            lock.close()


def name_of(engine: StorageEngine) -> str:
    """Return what messages call an engine: its class, or the class that an adapter adapts."""
    return str(vars(engine).get("_shown_as", type(engine).__name__))


def _taken(engine: StorageEngine) -> QueueLocked:
    return QueueLocked(
        f"{engine.path} is open already, in this process or another, and {name_of(engine)} "
        "serves one queue at a time: close that one, or use the default engine"
    )
