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
from typing import IO, TYPE_CHECKING, Any, ClassVar, NamedTuple

from .._core import call
from .._core.deadline import monotonic
from .._core.hooks import Lazy, notice_class, refuse_replaced, tell_of_replaced
from ..exceptions import PersistQueueError, QueueClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from .._core.disk import File
    from .._core.session import Session
    from .._core.tasks import TaskSession
    from .._core.threads import ThreadSession
    from .options import FileStore

_LOOK = 0.02  # s between two looks of a thread that waits for a condition

_FILES = "Pass serializer= or engine=, which say how items are stored."
_INFO = "Each commit stores info by itself, as persist-queue reads it."
_HOOKS = {
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


class _Standing(NamedTuple):
    """How many items were ever put, how many of those are taken, how many are unfinished."""

    put: int
    taken: int
    unfinished: int


def _came(before: _Standing, now: _Standing) -> bool:
    """Return whether something was put, or given back."""
    return now.put > now.taken and (now.put > before.put or now.taken < before.taken)


def _went(before: _Standing, now: _Standing) -> bool:
    """Return whether something was taken."""
    return now.taken > before.taken


def _finished(before: _Standing, now: _Standing) -> bool:
    """Return whether the last item was finished."""
    return now.unfinished == 0 and before.unfinished > 0


class _Mutex:
    """``mutex``: it keeps other programs' threads out, not the queue's own calls.

    Attributes:
        seen: how the queue stood when it was taken.
    """

    def __init__(self, queue: QueueNames) -> None:
        self._lock = threading.Lock()
        self._queue = weakref.ref(queue)  # else a queue that is dropped would not be closed
        self.seen = queue._standing()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it."""
        taken = self._lock.acquire(blocking, timeout)
        queue = self._queue() if taken else None
        if queue is not None:
            self.seen = queue._standing()
        return taken

    def has(self, moved: Callable[[_Standing, _Standing], bool], before: _Standing) -> bool:
        """Return whether the queue has moved, in this way, from how it stood before."""
        queue = self._queue()
        if queue is None:
            return False
        try:
            queue._session.run(call.count())  # sees what other processes did
        except (PersistQueueError, OSError):  # the waiting thread's next call says so
            return True
        return moved(before, queue._standing())

    def release(self) -> None:
        """Let go of it."""
        self._lock.release()

    def locked(self) -> bool:
        """Return whether a thread has it."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class _Condition(threading.Condition):
    """A condition on ``mutex`` that also other threads' and processes' calls notify.

    Args:
        mutex: the queue's.
        moved: tells from how the queue stood, and stands, whether that is so.
    """

    def __init__(self, mutex: Any, moved: Callable[[_Standing, _Standing], bool]) -> None:
        super().__init__(mutex)
        self._mutex = mutex
        self._moved = moved

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; returns False when that did not happen in time."""
        mutex = self._mutex
        if not mutex.locked():
            raise RuntimeError("cannot wait on un-acquired lock")
        before = mutex.seen
        end = float("inf") if timeout is None else monotonic() + timeout
        while not mutex.has(self._moved, before):
            left = end - monotonic()
            if left <= 0:
                return False
            if super().wait(min(left, _LOOK)):
                break
        return True


class FileNames:
    """Names that every file queue has, for threads and for asyncio."""

    _HOOKS: ClassVar[Mapping[str, str]] = _HOOKS
    update_info = True  # whether something is to be stored yet: a program may say so

    _session: Session
    _store: FileStore
    path: str

    def _init(self, maxsize: int) -> None:
        """Called before the queue is opened, for subclasses."""

    def _infopath(self) -> str:
        return os.path.join(self.path, "info")

    def _check_hooks(self) -> None:
        """See what the class has that persist-queue would use.

        Raises:
            TypeError: other names of files.
        """
        tell_of_replaced(type(self), self._HOOKS)
        unseen = "items in the files that it names would not be seen; pass path= or engine="
        refuse_replaced(type(self), ("_qfile", "_infopath"), unseen)


class AsyncQueueNames(FileNames):
    """The same for asyncio."""

    _session: TaskSession

    _HOOKS: ClassVar[Mapping[str, str]] = {
        **_HOOKS,
        "_async_init": "Override __aenter__, and call it: it opens the queue.",
        "_openchunk_async": _FILES,
        "_gettempfile_async": "Pass tempdir=.",
    }

    @property
    def headf(self) -> File | None:
        """The chunk file that is written to; None while the queue is not open."""
        return _if_open(self._store.headf)

    @property
    def tailf(self) -> File | None:
        """The chunk file that is read from; None while the queue is not open."""
        return _if_open(self._store.tailf)

    def _qsize(self) -> int:
        """Return how many items could be taken, as of the last call."""
        return self._session.ready

    async def _loadinfo(self) -> dict[str, Any]:
        await self._session.run(call.count())
        return self._store.state.mapping()


class QueueNames(FileNames):
    """The same for threads."""

    _session: ThreadSession

    mutex = Lazy(_Mutex)
    not_empty = Lazy(lambda queue: _Condition(queue.mutex, _came))
    not_full = Lazy(lambda queue: _Condition(queue.mutex, _went))
    all_tasks_done = Lazy(lambda queue: _Condition(queue.mutex, _finished))

    @property
    def tailf(self) -> Any:
        """The chunk file that is read from, at the next item; reading there takes nothing."""
        try:
            found = self._session.run(call.look(self._store.next_place))
        except QueueClosed:
            found = None
        return self._store.tailf if found is None else _reader(*found)

    def _qsize(self) -> int:
        size: int = self._session.run(call.count())
        return size

    def _loadinfo(self) -> dict[str, Any]:
        self._session.run(call.count())
        return self._store.state.mapping()

    def _standing(self) -> _Standing:
        """Return how the queue stands, as of the last call."""
        state, ready = self._store.state, self._session.ready
        put = state.ordinal(state.head)
        return _Standing(put, put - ready, self._session.unfinished)


notice_class(FileNames, {})
notice_class(AsyncQueueNames, {})
notice_class(QueueNames, {})


def _if_open(file: File | None) -> File | None:
    return None if file is None or file.closed else file


def _reader(stream: Any, offset: int) -> IO[bytes]:
    reader: IO[bytes] = io.BufferedReader(stream)
    reader.seek(offset)
    return reader


def atomic_rename(src: str, dst: str) -> None:
    """Rename a file; what ``dst`` was is gone."""
    os.replace(src, dst)
