"""Names of persist-queue 1.1.0's file queues that its documentation does not show.

Programs use them; nothing in the package does.  Locks and conditions are made when a program
first asks for one: a thread that waits for a condition looks at the queue by itself, so that
puts and gets need not know of it.
"""

from __future__ import annotations

import io
import os
import threading
import weakref
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from .._core import call
from .._core.deadline import monotonic
from .._core.hooks import refuse_replaced, tell_of_replaced
from ..exceptions import PersistQueueError, QueueClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.async_queue import AsyncOpened
    from .._core.disk import File
    from .._core.queue import Opened, QueueBase

_LOOK = 0.02  # s between two looks of a thread that waits for a condition

_FILES = "Pass serializer= or engine=, which say how items are stored."
_INFO = "Each commit stores info by itself, as persist-queue reads it."
HOOKS = {
    "_put": "Override put and put_many.",
    "_get": "Override get and get_many.",
    "_qsize": "Override qsize.",
    "_task_done": "Override task_done.",
    "_openchunk": _FILES,
    "_loadinfo": _INFO,
    "_saveinfo": _INFO,
    "_clear_tail_file": "The commit that finishes a chunk's last item removes the chunk.",
    "_gettempfile": "Pass tempdir=.",
    "_qfile": "Pass path=, or engine=.",
    "_infopath": "Pass path=, or engine=.",
}
ASYNC_HOOKS = {
    **HOOKS,
    "_async_init": "Override __aenter__, and call it: it opens the queue.",
    "_openchunk_async": _FILES,
    "_gettempfile_async": "Pass tempdir=.",
}


class _Standing(NamedTuple):
    """How many items were ever put, how many of those are taken, how many are unfinished."""

    put: int
    taken: int
    unfinished: int


def _standing(queue: QueueBase[Any]) -> _Standing:
    """Return the queue's numbers after its last call."""
    state, session = queue._store.state, queue._session
    put = state.ordinal(state.head)
    return _Standing(put, put - session.ready, session.unfinished)


def _came(before: _Standing, now: _Standing) -> bool:
    """Return whether something was put, or given back."""
    return now.put > now.taken and (now.put > before.put or now.taken < before.taken)


def _went(before: _Standing, now: _Standing) -> bool:
    """Return whether something was taken."""
    return now.taken > before.taken


def _finished(before: _Standing, now: _Standing) -> bool:
    """Return whether the last item was finished."""
    return now.unfinished == 0 and before.unfinished > 0


def new_mutex(_queue: object) -> threading.Lock:
    """Return a lock that keeps other programs' threads out, not the queue's own calls."""
    return threading.Lock()


class _Condition(threading.Condition):
    """A condition on ``mutex`` that also other threads' and processes' calls notify.

    Args:
        moved: tells from the queue's numbers then and now whether it is notified.
    """

    def __init__(self, queue: Any, moved: Callable[[_Standing, _Standing], bool]) -> None:
        super().__init__(queue.mutex)
        self._queue = weakref.ref(queue)  # else a queue that is dropped would not be closed
        self._moved = moved
        self._seen = _standing(queue)  # when a thread that waits, or will, got the mutex

    def __enter__(self) -> bool:
        entered = super().__enter__()
        self._note()
        return entered

    def _note(self) -> None:
        if (queue := self._queue()) is not None:
            self._seen = _standing(queue)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; returns False when that did not happen in time."""
        before = self._seen
        end = float("inf") if timeout is None else monotonic() + timeout
        while not self._has_moved(before):
            left = end - monotonic()
            if left <= 0:
                return False
            if super().wait(min(left, _LOOK)):
                break
        self._note()  # with the mutex: for the next wait
        return True

    def _has_moved(self, before: _Standing) -> bool:
        queue = self._queue()
        if queue is None:
            return False
        try:
            queue._session.run(call.count())  # sees what other processes did
        except (PersistQueueError, OSError):  # the waiting thread's next call says so
            return True
        return self._moved(before, _standing(queue))


def not_empty(queue: Any) -> threading.Condition:
    """Return a condition that puts and items given back notify."""
    return _Condition(queue, _came)


def not_full(queue: Any) -> threading.Condition:
    """Return a condition that gets notify."""
    return _Condition(queue, _went)


def all_tasks_done(queue: Any) -> threading.Condition:
    """Return a condition that finishing the last item notifies."""
    return _Condition(queue, _finished)


def _tailf(queue: QueueBase[Any]) -> Any:
    """The chunk file that is read from, at the next item; reading there takes nothing."""
    try:
        found = queue._session.run(call.look(queue._store.next_place))
    except QueueClosed:
        found = None
    if found is None:
        return queue._store.tailf
    stream, offset = found
    reader: IO[bytes] = io.BufferedReader(stream)
    reader.seek(offset)
    return reader


tailf = property(_tailf)


def if_open(file: File | None) -> File | None:
    """Return a file unless it is closed."""
    return None if file is None or file.closed else file


def check_hooks(cls: type[Opened | AsyncOpened]) -> None:
    """Tell of replaced hooks, and refuse a class with other names of files.

    Raises:
        TypeError: it has.
    """
    tell_of_replaced(cls, cls._HOOKS)
    unseen = "items in the files that it names would not be seen; pass path= or engine="
    refuse_replaced(cls, ("_qfile", "_infopath"), unseen)


def atomic_rename(src: str, dst: str) -> None:
    """Rename a file; ``dst`` is replaced."""
    os.replace(src, dst)
