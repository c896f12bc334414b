"""An engine that a queue has open: what it holds, by number, and what has become doubtful.

Records are numbered from 0 for the oldest that was there at opening.  An engine that has
raised is closed and opened again, the same object: the count that it returns then says what
came of the call.  If that says nothing clear, or a sync failed, ``failed`` says so, and the
next call opens it once more.  Records of a put that raised and are there all the same are
*disowned*: not handed out, and removed when they have become the oldest.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .._core.log import warn
from ..exceptions import EngineError, PersistQueueError
from ._lock import EngineLock, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .base import StorageEngine

_AS_THEY_ARE = (PersistQueueError, OSError, ImportError, MemoryError)
_inherited: list[StorageEngine] = []  # a parent process's, never to be closed here


class HeldEngine:
    """One engine, and the lock on its records.

    Args:
        path: the queue's; where the records are the engine says when it is made.
        make: returns the engine, not yet open.

    Attributes:
        name, where: what messages call it, and its path.
        tail, stored: the number of the oldest record, and the one behind the newest.
        disowned: numbers of records that are not handed out.
        failed: why it cannot be used before it is opened anew.
        in_doubt: whether it is not known what came of a call.
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
        self._lock = EngineLock()
        self._coming = 0  # records of an append that came to no good end
        self._going = 0  # number behind the last record of such a removal
        self._unsynced = False  # a sync failed: another one must not, before it is trusted
        self._known: tuple[int, bytes | None] = -1, None  # a record, to tell these from others

    @property
    def on_disk(self) -> bool:
        """Whether the records are in files."""
        return self._lock.on_disk

    # -- opening --------------------------------------------------------------------

    def open(self) -> bool | None:
        """Open the engine, or open it anew.

        Returns:
            whether numbers are what they were; None if another queue holds its records.
        """
        engine = self.engine or self._make()
        if not hasattr(engine, "path"):  # a subclass that has not called the base class
            engine.path = self._path
        self.name, self.where = name_of(engine), engine.path
        if not self._lock.acquire(engine):
            return None
        try:
            count = self._opened(engine)
            same = bool(self.failed) and self._goes_on(engine, count)
            if self._unsynced:
                self.ask(engine.sync)
        except BaseException:
            with contextlib.suppress(Exception):  # why it did not open is what matters
                self._close(engine)
            if not self.failed:
                self._lock.release()
            raise
        if not same:
            self.tail, self.stored, self.disowned = 0, count, set()
        self.engine, self.failed = engine, ""
        self._unsynced = self.in_doubt = False
        return same

    def _opened(self, engine: StorageEngine) -> int:
        count = self.ask(engine.open)
        if type(count) is not int or count < 0:
            raise EngineError(f"{self.where}: {self.name}.open returned {count!r}, not a count")
        return count

    def _goes_on(self, engine: StorageEngine, count: int) -> bool:
        """See which records are there by now; False: that cannot be known, or they are others."""
        more = count - (self.stored - self.tail)
        tail, stored = self.tail - min(more, 0), self.stored + max(more, 0)
        if (
            tail > max(self.tail, self._going)
            or more > self._coming
            or not self._knows(engine, tail)
        ):
            return False
        self.disowned.update(range(self.stored, stored))
        self.tail, self.stored = tail, stored
        return True

    def _knows(self, engine: StorageEngine, tail: int) -> bool:
        """Return whether the records are those from before, if ``tail`` is the oldest's number."""
        number, record = self._known
        if getattr(engine, "pickles_anew", False):
            return True  # byte by byte they never are
        return number < tail or list(self.ask(engine.read, number - tail, 1)) == [record]

    def recount(self) -> int:
        """Return how many records there are, by opening the engine again.

        If that fails, or they are others, how many there were, and ``failed`` says so.
        """
        engine, before = self.engine, self.stored - self.tail
        assert engine is not None
        try:
            self._close(engine)
            count = self._opened(engine)
            if self._knows(engine, self.tail + max(before - count, 0)):
                return count
            self.fail("it holds other records than before")
        except Exception as error:  # noqa: BLE001 - after any error it cannot be used now
            self.fail(str(error))
        return before

    def fail(self, reason: str) -> None:
        """Let every later call open it anew: it is not known what it holds.

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

    # -- what it is asked -----------------------------------------------------------

    def append(self, records: Sequence[bytes]) -> None:
        """Add records; ``appended`` notes that it is done."""
        assert self.engine is not None
        self._coming = len(records)
        self.ask(self.engine.append, records)

    def appended(self, count: int, last: bytes | None = None) -> None:
        """Note that so many records are there."""
        self.stored += count
        self._coming = 0
        if last is not None:
            self._known = self.stored - 1, last

    def remove(self, done: int) -> None:
        """Remove all records in front of a number; ``removed`` notes that it is done."""
        assert self.engine is not None
        self._going = done
        self.ask(self.engine.remove, done - self.tail)

    def removed(self, done: int) -> None:
        """Note that nothing is there in front of a number."""
        self.tail = done
        if self.disowned:
            self.disowned = {number for number in self.disowned if number >= done}

    def read(self, number: int, count: int) -> Sequence[bytes | None]:
        """Return so many records from a number on."""
        engine = self.engine
        assert engine is not None
        records: Sequence[bytes | None] = self.ask(engine.read, number - self.tail, count)
        if len(records) != count:
            raise EngineError(
                f"{self.where}: {self.name}.read returned {len(records)} records, not {count}"
            )
        if number >= self._known[0]:
            self._known = number, records[0]
        return records

    def sync(self) -> None:
        """Make everything safe against loss of power; if that fails, trust nothing."""
        if self.engine is None or self.failed:
            return
        try:
            self.ask(self.engine.sync)
        except Exception as error:
            self._unsynced = True
            self.fail(f"a sync: {error}")
            raise

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the engine; its errors become errors of this package or of the system."""
        try:
            return function(*arguments)
        except _AS_THEY_ARE:
            self.in_doubt = True
            raise
        except Exception as error:
            self.in_doubt = True
            says = f"{self.name}.{function.__name__} raised {type(error).__name__}: {error}"
            raise EngineError(f"{self.where}: {says}") from error
        except BaseException:  # Ctrl-C: who knows how far it came
            self.in_doubt = True
            raise

    # -- the end --------------------------------------------------------------------

    def abandon(self) -> None:
        """Stop waiting for the lock."""
        self._lock.abandon()

    def close(self) -> None:
        """Close the engine, and let go of the lock."""
        engine, self.engine = self.engine, None
        failed, self.failed = self.failed, ""
        try:
            if engine is not None and not failed:
                self.ask(engine.close)
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Let go of it and touch nothing: it is a parent process's."""
        if self.engine is not None:
            _inherited.append(self.engine)  # closing it would write to the parent's files
        self.engine, self.failed = None, ""
        self._lock.release()
