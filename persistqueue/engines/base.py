"""``StorageEngine``: what a queue asks of the place where its records are kept.

An engine keeps byte strings in order.  It never sees an item, a waiting caller, a task or a
thread of its own: a queue encodes and checks records, batches the calls of its callers, and
calls its engine from one thread at a time.  Records are added at the end and removed at the
beginning; in between they are read by their place, 0 for the oldest that is stored.

What a queue makes of that (cancellation, items finished out of order, redelivery after a
crash, ``join``, ``maxsize``, damage) is the same for every engine.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ..exceptions import QueueFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class StorageEngine(ABC):
    """A place that keeps byte strings in order: the base class of every engine.

    ``Queue(path, engine=MyEngine)`` calls ``MyEngine(path)`` when it opens.  Any callable that
    takes a path and returns an engine will do, for one that has more arguments.

    A queue holds a lock on ``<path>.lock`` while an engine is open (where ``path`` is a link:
    beside the file it leads to), so an engine has its files to itself: a second queue, in this
    process or another, raises ``QueueLocked``.  It is the engine's path that counts, if that
    is not the queue's.

    Methods raise ``OSError`` or an error of ``persistqueue.exceptions``; any other error that they
    raise arrives at the queue's caller as ``EngineError``.

    Args:
        path: where the records are.

    Attributes:
        path: the same, as an absolute path.
        persistent: False for an engine whose records are gone when it is closed.  Then the
            queue writes no lock file beside ``path``, and when a call has raised it
            calls ``open`` without ``close``, to count: nothing may be forgotten then.
    """

    persistent: ClassVar[bool] = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fsdecode(path))

    @abstractmethod
    def open(self) -> int:
        """Open what is there, or create it, and mend what a crash left.

        Called before any other method, and again after ``close`` (see ``persistent``).

        Returns:
            how many records are stored.

        Raises:
            FormatError: what is there was not written by this engine; nothing was touched.
            QueueCorrupt: it is damaged as a whole; nothing was deleted.
        """

    @abstractmethod
    def append(self, records: Sequence[bytes]) -> None:
        """Add records behind the last one, in order, all or none.

        When it has returned they survive the death of the process; when it has raised,
        none of them is stored.

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
        """Remove the ``count`` oldest records, all or none; so many are stored.

        When it has returned they stay gone if the process dies.
        """

    @abstractmethod
    def sync(self) -> None:
        """Make everything so far safe against loss of power.

        With ``durability="power"`` a queue calls it behind every ``append``.  When it raises,
        the queue calls ``close``, ``open`` and ``sync`` again before it goes on.  The system may
        have dropped what it could not write, and report success the second time: what is not
        written again is not safe then.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files and memory; ``open`` may follow.  A second call does nothing."""


def beside(path: str) -> str:
    """Return where a file is written that will replace the one at ``path``.

    What a crash left there is thrown away, so it is no name for a queue.
    """
    return f"{path}.persistqueue-new"


class Recipe:
    """An engine class with more arguments than the path, for ``engine=``.

    No ``functools.partial``: as an attribute of a class that becomes a method.

    Args:
        engine_class: called with the path and ``arguments``.
    """

    def __init__(self, engine_class: Callable[..., StorageEngine], /, **arguments: Any) -> None:
        self._engine_class = engine_class
        self._arguments = arguments

    def __call__(self, path: str) -> StorageEngine:
        return self._engine_class(path, **self._arguments)


def maker_of(engine: Engine, path: str) -> Callable[[], StorageEngine]:
    """Return what makes the engine when the queue is opened.

    Raises:
        TypeError: it is neither a class, nor a callable, nor an engine.
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

    It needs no ``StorageEngine`` in between: any number of objects and processes share it.
    """


if TYPE_CHECKING:
    #: What ``engine=`` takes: a class or any callable that makes one, or an engine.
    Engine = type[ChunkFileEngine] | Callable[[str], StorageEngine] | StorageEngine
