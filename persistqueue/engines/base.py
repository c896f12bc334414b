"""``StorageEngine``: where a queue keeps its records, and ``MemoryEngine``, which keeps no files.

An engine keeps byte strings in order.  It never sees an item, a waiting caller or a task: a
queue encodes and checks records, batches the calls of its callers, and calls its engine from
one thread at a time.  Records are added at the end and removed at the beginning; in between
they are read by their place, 0 for the oldest that is stored.

The rest of a queue (cancellation, items finished out of order, redelivery after a crash,
``join``, ``maxsize``, damage) is the same for every engine.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from itertools import islice, repeat, starmap
from typing import TYPE_CHECKING, ClassVar

from ..exceptions import QueueFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


NEW = ".persistqueue-new"  # behind the name of a file: the one that will replace it


class StorageEngine(ABC):
    """A place that keeps byte strings in order: the base class of every engine.

    ``Queue(path, engine=MyEngine)`` calls ``MyEngine(path)`` when it opens.  Any callable that
    takes a path and returns an engine will do, for one that has more arguments.

    A queue holds a lock on ``<path>.lock`` while an engine is open (where ``path`` is a link:
    beside the file to which it leads), so an engine has its files to itself: a second queue, in
    this process or another, raises ``QueueLocked``.  The engine's path counts, where the queue
    has another one.

    Methods raise ``OSError`` or an error of ``persistqueue.exceptions``; any other error that they
    raise arrives at the queue's caller as ``EngineError``.

    Args:
        path: where the records are.

    Attributes:
        path: the argument, as an absolute path.
        persistent: False for an engine whose records are gone when it is closed.  The queue
            then writes no lock file beside ``path``, and when a call has raised it
            calls ``open`` without ``close``, to count: nothing may be forgotten then.
    """

    persistent: ClassVar[bool] = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fsdecode(path))

    @abstractmethod
    def open(self) -> int:
        """Open the files or create them, repair a half-finished change, and count the records.

        Called before any other method, and again after ``close`` (see ``persistent``).

        Returns:
            how many records are stored.

        Raises:
            FormatError: the files were not written by this engine; nothing was touched.
            QueueCorrupt: they are damaged as a whole; nothing was deleted.
        """

    @abstractmethod
    def append(self, records: Sequence[bytes]) -> None:
        """Add records behind the last one, in order, all or none.

        Once this has returned they survive the death of the process; if it has raised, none
        of them is stored.

        Args:
            records: one or more; each any bytes, of any length.
        """

    @abstractmethod
    def read(self, start: int, count: int) -> Sequence[bytes | None]:
        """Return records by their place.

        Args:
            start: place of the first, 0 for the oldest that is stored.
            count: how many, 1 or more; all of them are stored.

        Returns:
            ``count`` records; None for one that is lost.
        """

    @abstractmethod
    def remove(self, count: int) -> None:
        """Remove the ``count`` oldest records, all or none; at least ``count`` are stored.

        Once this has returned they stay gone if the process dies.
        """

    @abstractmethod
    def sync(self) -> None:
        """Make all changes so far safe against loss of power.

        With ``durability="power"`` a queue calls this after every ``append``.  If it raises,
        the queue calls ``close``, ``open`` and ``sync`` again before it goes on.  The system may
        have dropped the bytes that it could not write, and report success the second time: only
        bytes that are written again are safe then.
        """

    @abstractmethod
    def close(self) -> None:
        """Release files and memory; ``open`` may follow.  A second call does nothing."""


class MemoryEngine(StorageEngine):
    """Keeps records in memory: they are gone when the queue is closed or its process ends.

    For tests, and for programs that want a queue's methods without its files.  The path is a
    name only.
    """

    persistent = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._records: deque[bytes] = deque()

    def open(self) -> int:
        return len(self._records)

    def append(self, records: Sequence[bytes]) -> None:
        self._records.extend(records)

    def read(self, start: int, count: int) -> Sequence[bytes]:
        if 2 * start <= len(self._records):
            return list(islice(self._records, start, start + count))
        behind = len(self._records) - start - count  # a deque is walked from its nearer end
        return list(islice(reversed(self._records), behind, behind + count))[::-1]

    def remove(self, count: int) -> None:
        # No loop in Python: Ctrl-C would come in the middle of it.
        deque(starmap(self._records.popleft, repeat((), count)), maxlen=0)

    def sync(self) -> None:
        """Nothing is made safe: there is no file."""

    def close(self) -> None:
        self._records.clear()


def maker_of(engine: Engine, path: str) -> Callable[[], StorageEngine]:
    """Return the function that makes the engine when the queue is opened.

    Raises:
        TypeError: ``engine`` is neither a class, nor a callable, nor an engine.
    """
    if isinstance(engine, StorageEngine):
        return _only_here(engine)
    if not callable(engine):
        raise TypeError(
            "engine must be a subclass of StorageEngine, a function that takes a path and returns "
            f"one, or an engine, not {type(engine).__name__}"
        )
    factory: Callable[[str], object] = engine

    def make() -> StorageEngine:
        made = factory(path)
        if not isinstance(made, StorageEngine):
            raise TypeError(f"engine returned {type(made).__name__}, which is no StorageEngine")
        return made

    return make


def _only_here(engine: StorageEngine) -> Callable[[], StorageEngine]:
    home = os.getpid()

    def make() -> StorageEngine:
        if os.getpid() != home:
            raise QueueFailed(
                "the queue's engine object belongs to the process that this one was forked from: "
                "give engine= a class, of which each process makes its own"
            )
        return engine

    return make


class ChunkFileEngine:
    """The directory of chunk files that a queue has without ``engine=``.

    This is a name for ``engine=`` and no ``StorageEngine``: any number of objects and
    processes may share the directory.
    """


if TYPE_CHECKING:
    #: The argument ``engine``: a class, any callable that makes an engine, or an engine.
    Engine = type[ChunkFileEngine] | Callable[[str], StorageEngine] | StorageEngine
