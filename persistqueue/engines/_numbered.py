"""An open engine whose records have numbers, and the lock that keeps other queues away from it.

Records are numbered from 0, the oldest that was there at opening; an engine itself counts
from the oldest that it has now.  An engine that raised or was interrupted is closed and opened
again, the same object: how many records it has then says what came of the call.  If that
says nothing clear, or a sync failed, ``failed`` says so, and the next call opens it once more.

Records of a put that raised may be there all the same.  They are *disowned*: never handed out,
and removed as soon as they are the oldest.

The lock file is beside the records, wherever the queue itself is said to be: two queues with
different paths must not both write to one file.  An engine object also knows which queue has
it, for engines that have no file, and for file systems without locks.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import TYPE_CHECKING, TypeVar

from .._core.deadline import monotonic
from .._core.folder import DirectoryLock, Folder
from .._core.log import warn
from ..exceptions import EngineError, PersistQueueError, QueueLocked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .base import StorageEngine

R = TypeVar("R")
_AS_THEY_ARE = (PersistQueueError, OSError, ImportError, MemoryError)
_CLOSING = 0.3  # s that a queue which was not closed may take to let go of its lock
_ENOUGH = 1 << 18  # bytes to read at once, and to keep of what was appended
_MOST = 1024  # records to read at once
_MARK = "_numbered_by"  # attribute of an engine: a weak reference to its ``NumberedEngine``
_inherited: list[StorageEngine] = []  # a parent process's, never to be closed here


class NumberedEngine:
    """One engine, and the lock on its records.

    Args:
        path: the queue's; the engine, once it is made, says where the records are.
        make: returns the engine, not yet open.

    Attributes:
        engine: None until it is opened for the first time.
        name, where: what messages call it, and its path.
        tail, stored: the number of the oldest record, and the one behind the newest.
        disowned: numbers of records that are not handed out.
        failed: why it cannot be used before it is opened anew.
        in_doubt: a call began and did not come to its end.
    """

    def __init__(self, path: str, make: Callable[[], StorageEngine]) -> None:
        self.name, self.where = "the engine", path
        self.tail = self.stored = 0
        self.disowned: set[int] = set()
        self.failed = ""
        self.in_doubt = False
        self.engine: StorageEngine | None = None
        self._path = path
        self._make = make
        self._lock: DirectoryLock | None = None
        self._locked_out = 0.0  # since when another object has had the lock
        self._coming = 0  # records of an append that did not come to its end
        self._going = 0  # number behind the last record of the last removal
        self._unsynced = False  # a sync failed: another one must not, before it is trusted
        self._known: tuple[int, bytes | None] = -1, None  # a record, to tell these from others

    @property
    def on_disk(self) -> bool:
        """Whether the records are in files."""
        return self._lock is not None

    # -- opening --------------------------------------------------------------------

    def open(self) -> bool | None:
        """Open the engine, or open it anew.

        Returns:
            whether numbers mean the same records as before; None if another queue has them.
        """
        engine = self.engine or self._make()
        if not hasattr(engine, "path"):  # a subclass that has not called the base class
            engine.path = self._path
        self.name, self.where = type(engine).__name__, engine.path
        if not self._acquire(engine):
            return None
        before = self.stored
        try:
            count = self._counted(engine)
            same = self.engine is not None and self._goes_on(engine, count)
            if self._unsynced:
                self._ask(engine.sync)
        except BaseException:
            with contextlib.suppress(Exception):  # why it did not open is what matters
                self._close(engine)
            if self.engine is None:
                self._release()
            raise
        if same:
            self.disowned.update(range(before, self.stored))
        else:
            self.tail, self.stored, self.disowned = 0, count, set()
        self.engine, self.failed = engine, ""
        self._unsynced = self.in_doubt = False
        return same

    def _counted(self, engine: StorageEngine) -> int:
        count = self._ask(engine.open)
        if type(count) is not int or count < 0:
            raise EngineError(f"{self.where}: {self.name}.open returned {count!r}, not a count")
        return count

    def _goes_on(self, engine: StorageEngine, count: int) -> bool:
        """See which records are there now; False: that cannot be known, or they are others."""
        more = count - (self.stored - self.tail)
        tail = self.tail + max(-more, 0)
        if tail > max(self.tail, self._going) or more > self._coming:
            return False
        number, record = self._known
        if number >= tail and not getattr(engine, "pickles_anew", False):
            found = self._ask(engine.read, number - tail, 1)
            if list(found) != [record]:
                return False
        self.tail, self.stored, self._coming = tail, self.stored + max(more, 0), 0
        return True

    def look_again(self) -> None:
        """Open the engine again, to see what came of a call; if that fails, note it."""
        engine = self.engine
        assert engine is not None
        try:
            self._close(engine)
            if self._goes_on(engine, self._counted(engine)):
                self.in_doubt = False
                return
            self.fail("it holds other records than before")
        except Exception as error:  # noqa: BLE001 - after any error it cannot be used now
            self.fail(str(error))

    def fail(self, reason: str) -> None:
        """Let the next call open the engine anew: it is not known what it holds.

        The lock is kept: it is still this queue's.
        """
        self.failed = f"{self.where}: {self.name} failed ({reason})"
        try:
            if self.engine is not None:
                self._close(self.engine)
        except Exception as error:  # noqa: BLE001 - it has failed already
            warn("%s: closing %s: %s", self.where, self.name, error)

    def _close(self, engine: StorageEngine) -> None:
        if engine.persistent:  # else nothing would be left
            engine.close()

    # -- records --------------------------------------------------------------------

    def append(self, records: Sequence[bytes]) -> None:
        """Add records behind the newest."""
        assert self.engine is not None
        self._coming = len(records)
        self._ask(self.engine.append, records)
        self._known = self.stored + len(records) - 1, records[-1]
        self.stored += len(records)
        self._coming = 0
        self.in_doubt = False

    def remove(self, done: int) -> None:
        """Remove all records in front of a number."""
        assert self.engine is not None
        self._going = done
        self._ask(self.engine.remove, done - self.tail)
        self.tail = done
        self.in_doubt = False
        if self.disowned:
            self.disowned = {number for number in self.disowned if number >= done}

    def read(self, number: int, count: int) -> Sequence[bytes | None]:
        """Return up to ``count`` records from a number on."""
        assert self.engine is not None
        records = self._ask(self.engine.read, number - self.tail, count)
        if len(records) != count:
            raise EngineError(
                f"{self.where}: {self.name}.read returned {len(records)} records, not {count}"
            )
        if number >= self._known[0]:
            self._known = number, records[0]
        self.in_doubt = False
        return records

    def sync(self) -> None:
        """Make everything safe against loss of power; if that fails, trust nothing."""
        if self.engine is None or self.failed:
            return
        try:
            self._ask(self.engine.sync)
        except Exception as error:
            self._unsynced = True
            self.fail(f"a sync: {error}")
            raise
        self.in_doubt = False

    def _ask(self, function: Callable[..., R], *arguments: object) -> R:
        """Call the engine; its errors become errors of this package or of the system.

        The caller says when it has noted the outcome: Ctrl-C may come in between.
        """
        self.in_doubt = True
        try:
            return function(*arguments)
        except _AS_THEY_ARE:
            raise
        except Exception as error:
            says = f"{self.name}.{function.__name__} raised {type(error).__name__}: {error}"
            raise EngineError(f"{self.where}: {says}") from error

    # -- the lock -------------------------------------------------------------------

    def _acquire(self, engine: StorageEngine) -> bool:
        """Take the engine's records; False while a queue that is being closed may have them.

        Raises:
            QueueLocked: another queue has them.
            OSError: there cannot be a lock file.
        """
        if engine.persistent and self._lock is None and not self._locked(engine.path):
            return False
        marked = vars(engine).get(_MARK)
        holder: NumberedEngine | None = marked() if marked is not None else None
        if holder is not None and holder is not self and holder.engine is engine:
            self._release()
            raise self._taken()
        vars(engine)[_MARK] = weakref.ref(self)
        return True

    def _locked(self, path: str) -> bool:
        """Lock the file beside the records, if it is free."""
        now = monotonic()
        directory, name = os.path.split(os.path.realpath(path))
        lock = DirectoryLock(Folder(directory, f"{name}.lock"))
        try:
            taken = lock.try_acquire(now)
        except BaseException:
            lock.close()
            raise
        if taken:
            if not lock.supported:
                warn("%s: no file locks here; only one process may use the queue", path)
            self._lock, self._locked_out = lock, 0.0
            return True
        lock.close()
        self._locked_out = self._locked_out or now
        if now - self._locked_out < _CLOSING:
            return False
        raise self._taken()

    def _taken(self) -> QueueLocked:
        return QueueLocked(
            f"{self.where} is open already, in this process or another, and {self.name} "
            "serves one queue at a time: close that one, or use the default engine"
        )

    def abandon(self) -> None:
        """Stop waiting for the lock."""
        self._locked_out = 0.0

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    # -- the end --------------------------------------------------------------------

    def close(self) -> None:
        """Close the engine, and let go of the lock."""
        engine, self.engine = self.engine, None
        failed, self.failed = self.failed, ""
        try:
            if engine is not None and not failed:
                self._ask(engine.close)
        finally:
            self._release()

    def forget(self) -> None:
        """Let go of the engine and touch nothing: it is a parent process's."""
        if self.engine is not None:
            _inherited.append(self.engine)  # closing it would write to the parent's files
        self.engine, self.failed = None, ""
        self._release()


class ReadAhead:
    """Records that come next, by number: read before they are asked for, or just appended.

    How many are read at once grows with what comes back: small records come by the hundreds,
    large ones one by one.

    Args:
        read: takes a number and a count; returns up to that many records from the number on.
    """

    def __init__(self, read: Callable[[int, int], Sequence[bytes | None]]) -> None:
        self._read = read
        self._kept: dict[int, bytes | None] = {}
        self._bytes = 0  # of what is kept
        self._count = 1  # records to read next time

    def take(self, number: int, stop: int) -> bytes | None:
        """Return a record and forget it; ``stop`` is the number behind the last that is stored."""
        if number not in self._kept:
            records = self._read(number, min(self._count, stop - number))
            self._kept = dict(enumerate(records, number))
            self._bytes = sum(len(record) for record in records if record is not None)
            if self._bytes < _ENOUGH // 2:
                self._count = min(2 * self._count, _MOST)
            elif self._bytes > _ENOUGH:
                self._count = max(self._count // 2, 1)
        record = self._kept.pop(number)
        if record is not None:
            self._bytes -= len(record)
        return record

    def keep(self, number: int, records: Sequence[bytes]) -> None:
        """Keep records that were appended from a number on, while there are few."""
        size = sum(map(len, records))
        if self._bytes + size <= _ENOUGH and len(self._kept) < _MOST:
            self._kept.update(enumerate(records, number))
            self._bytes += size
