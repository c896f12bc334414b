"""A ``Store`` over any storage engine: everything about items that an engine is spared.

Records are numbered from 0 for the oldest that was there at opening.  ``Cursor`` knows which
are handed out and which are settled, as it does for chunk files; numbers take the place of
its positions.  What is appended waits in memory for the commit, which appends, syncs (if
power is to be survived) and removes what was settled, up to the oldest that is not.

An engine that has raised, or was interrupted, is closed and opened again: what it then holds
says what came of the call.  If that is neither all nor nothing, the queue is poisoned.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from .._log import warn
from ..exceptions import (
    EngineError,
    FormatError,
    ItemTooLarge,
    PersistQueueError,
    QueueCorrupt,
    QueueFailed,
    SerializationError,
)
from .base import Errors, Record
from .block import Damaged, reason_of
from .chunkstate import MOST_RECORDS, Position, State
from .cursor import Cursor
from .enginelock import EngineLock, name_of
from .readahead import ReadAhead
from .seal import Seal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..engines.base import StorageEngine
    from .framing import Framing

_AS_THEY_ARE = (PersistQueueError, OSError, ImportError, MemoryError)
_inherited: list[StorageEngine] = []  # a parent process's, never to be closed here


class EngineStore:
    """A ``Store`` (see ``base``) over a storage engine.

    Args:
        path: the queue's; where the records are the engine says when it is made.
        make: returns the engine, not yet open.
        autosave: taken is settled.
        power: commits survive loss of power, not only death of the process.
        skip_corrupt: set damaged records aside and go on, instead of raising.
        longest: bound on an encoded item, in bytes, checked before loading it.
    """

    headf = tailf = None  # chunk files: there are none
    errors = Errors()  # these two: see ``base.Store``
    failed = ""

    def __init__(
        self,
        path: str,
        framing: Framing,
        make: Callable[[], StorageEngine],
        *,
        autosave: bool,
        power: bool,
        skip_corrupt: bool,
        longest: int,
    ) -> None:
        self.path = path
        self.skipped = 0
        self._framing = framing
        self._seal = Seal(framing, longest)
        self._make = make
        self._autosave = autosave
        self._power = power
        self._skip_corrupt = skip_corrupt
        self._engine: StorageEngine | None = None
        self._name = "the engine"
        self._where = path  # the engine's path
        self._lock = EngineLock()
        self._failed: str | None = None
        self._tail = 0  # number of the oldest record that the engine holds
        self._stored = 0  # number behind the newest
        self._new: list[bytes] = []  # what the transaction under way appends
        self._appended = False  # whether it has done so
        self._in_doubt = False  # whether it is not known what came of a call of the engine
        self._began = 0  # number of the oldest record when it began
        self._ahead = ReadAhead(self._read)
        self._cursor = self._new_cursor()

    @property
    def state(self) -> State:
        """The two ends as the chunk files' ``info`` would hold them."""
        return State(MOST_RECORDS, _place(self._tail), _place(self._stored))

    def next_place(self) -> None:
        """Return None: there is no file that could be read."""

    def _new_cursor(self) -> Cursor:
        return Cursor(self.state, self._autosave, lambda _: False)

    # -- opening --------------------------------------------------------------------

    def open(self) -> bool:
        if self._engine is not None:
            return True
        if self._failed is not None:
            raise QueueFailed(self._failed)
        engine = self._make()
        if not hasattr(engine, "path"):  # a subclass that has not called the base class
            engine.path = self.path
        self._name, self._where = name_of(engine), engine.path
        if not self._lock.acquire(engine):
            return False
        try:
            self._tail, self._stored = 0, self._opened(engine)
        except BaseException:
            with contextlib.suppress(Exception):  # why it did not open is what matters
                engine.close()
            self._lock.release()
            raise
        self._engine = engine
        self._cursor = self._new_cursor()
        self._reset()
        return True

    def _opened(self, engine: StorageEngine) -> int:
        count = self._ask(engine.open)
        if type(count) is not int or count < 0:
            raise EngineError(f"{self._where}: {self._name}.open returned {count!r}, not a count")
        return count

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:  # noqa: ARG002 - nobody else can write
        if self._engine is None and not self.open():
            return False
        self._reset()
        return True

    def _reset(self) -> None:
        """Forget the last transaction."""
        if self._new:
            self._new = []
        self._appended = self._in_doubt = False
        self._began = self._tail
        self._cursor.begin()

    def append(self, records: Sequence[bytes]) -> None:
        self._new += map(self._seal.put, records)

    def take(self, most: int) -> list[Record]:
        taken: list[Record] = []
        try:
            while len(taken) < most and (record := self._next()) is not None:
                taken.append(record)
        except Exception:
            if not taken:  # else it comes with the next take
                raise
        return taken

    def peek(self) -> Record | None:
        record = self._next()
        if record is not None:
            self._cursor.put_back(record)
        return record

    def _next(self) -> Record | None:
        cursor = self._cursor
        if cursor.front is not None or cursor.homeless is not None:
            return cursor.known()
        while (number := cursor.read.records) < self._stored + len(self._new):
            start, end = cursor.read, _place(number + 1)
            record = self._record(number)
            try:
                item = self._decoded(number, record)
            except Damaged as damage:
                self._skip(start, end, record, str(damage))
            else:
                cursor.read = end
                return Record(start, end, item)
        return None

    def untake(self, records: Sequence[Record]) -> None:
        self._cursor.untake(records)

    def settle(self, records: Sequence[Record]) -> None:
        self._cursor.settle(records)

    def flush(self) -> None:
        self.append([self._framing.encode(record.item) for record in self._cursor.flush()])

    def unsaved(self) -> bool:
        return self._cursor.homeless is not None

    def counts(self, exact: bool = True) -> tuple[int, int]:  # noqa: ARG002 - it is free here
        return self._cursor.counts(_place(self._stored + len(self._new)))

    def room(self, maxsize: int, wanted: int) -> int:  # noqa: ARG002 - exact is free here
        return maxsize - self.counts()[0]

    def needs(self, records: Sequence[bytes], ahead: Sequence[bytes]) -> int:  # noqa: ARG002
        return len(records)

    def first(self) -> bytes | None:
        """Return the oldest record, undecoded."""
        return self._record(self._tail) if self._tail < self._stored else None

    def at(self, number: int) -> tuple[bytes, Any]:
        """Return the record with this number, and its item."""
        record = self._record(number)
        try:
            item = self._seal.decode(record)
        except Damaged as damage:
            raise self._damage(number, str(damage)) from damage
        assert record is not None
        return record, item

    def finish_until(self, end: Position) -> None:
        """Finish all items in front of a place; only for an object that has handed out none."""
        self._cursor.finish_until(end)

    # -- ending a transaction -------------------------------------------------------

    def commit(self) -> None:
        engine = self._engine
        assert engine is not None
        if self._new:
            self._in_doubt = True  # until it is noted: Ctrl-C may come in between
            self._ask(engine.append, self._new)
            self._landed()
            self._in_doubt = False
            if self._power:
                self._synced(engine)
        self._remove()

    def _remove(self) -> None:
        """Remove what is settled, up to the oldest that is not."""
        done = self._cursor.done().records
        if self._engine is not None and done > self._tail:
            self._in_doubt = True
            self._ask(self._engine.remove, done - self._tail)
            self._removed(done)
            self._in_doubt = False

    def _removed(self, done: int) -> None:
        self._tail = done
        self._ahead.drop(done)
        self._cursor.landed(self.state)

    def _landed(self) -> None:
        """The engine holds what is new."""
        self._appended = True
        self._ahead.extend(self._stored, self._new)
        self._stored, self._new = self._stored + len(self._new), []

    def rollback(self) -> bool:
        if self._failed is not None:
            return False
        self._ahead = ReadAhead(self._read)  # Ctrl-C may have come in the middle of it
        new, self._new = len(self._new), []
        wanted = self._stored - self._tail
        held = self._count_again() if self._in_doubt else wanted
        if new and held == wanted + new:
            self._appended, self._stored = True, self._stored + new
        done = self._cursor.done().records
        if (self._appended or not new) and done > self._tail and held == self._stored - done:
            self._removed(done)
            return True
        if self._appended or self._tail > self._began:
            self._cursor.landed(self.state)
            try:
                self._remove()  # once more: what was handed out must not come again
            except Exception:  # noqa: BLE001 - the first failure was logged
                self._poison("what is new is stored, what is finished could not be removed")
            return True
        if held != wanted and self._failed is None:
            self._poison(f"it holds {held} records where there were {wanted}")
        self._cursor.undo()
        return False

    def _count_again(self) -> int:
        """Return how many records the engine holds, by opening it again."""
        engine = self._engine
        assert engine is not None
        try:
            if engine.persistent:  # else nothing would be left
                engine.close()
            return self._opened(engine)
        except Exception as error:  # noqa: BLE001 - whatever it is, it cannot be used any more
            self._poison(str(error))
            return self._stored - self._tail

    def _poison(self, reason: str) -> None:
        """Refuse every later call: it is not known what the engine holds."""
        self._failed = f"{self._where}: {self._name} failed ({reason}); reopen the queue"
        engine, self._engine = self._engine, None
        if engine is not None:
            try:
                engine.close()
            except Exception as error:  # noqa: BLE001 - it has failed already
                warn("%s: closing %s: %s", self._where, self._name, error)
        self._lock.release()

    def _synced(self, engine: StorageEngine) -> None:
        try:
            self._ask(engine.sync)
        except Exception as error:
            self._poison(f"a sync: {error}")
            raise

    # -- records --------------------------------------------------------------------

    def _record(self, number: int) -> bytes | None:
        if number >= self._stored:
            return self._new[number - self._stored]
        return self._ahead.get(number, self._stored)

    def _decoded(self, number: int, record: bytes | None) -> Any:
        """Return a record's item; an error that is no damage says where it is."""
        try:
            return self._seal.decode(record)
        except (SerializationError, ItemTooLarge, FormatError) as error:
            place = f"{self._where}, record {number - self._tail}"
            raise type(error)(f"{place}: {error}") from error.__cause__

    def _read(self, number: int, count: int) -> Sequence[bytes | None]:
        engine = self._engine
        assert engine is not None
        records: Sequence[bytes | None] = self._ask(engine.read, number - self._tail, count)
        if len(records) != count:
            raise EngineError(
                f"{self._where}: {self._name}.read returned {len(records)} records, not {count}"
            )
        return records

    def _skip(self, start: Position, end: Position, record: bytes | None, reason: str) -> None:
        """Step over damage, or say where it is."""
        if not self._skip_corrupt:
            raise self._damage(start.records, reason)
        self._step_over(start, end, record, reason)

    def set_aside(self) -> bool:
        """Set the next item aside if it cannot be loaded; returns whether it was."""
        cursor, number = self._cursor, self._cursor.read.records
        loaded = cursor.front is not None or cursor.homeless is not None
        if loaded or number >= self._stored + len(self._new):
            return False
        record = self._record(number)
        try:
            self._decoded(number, record)
        except (Damaged, SerializationError, ItemTooLarge, SystemExit) as error:
            self._step_over(cursor.read, _place(number + 1), record, reason_of(error))
            return True
        return False

    def _step_over(self, start: Position, end: Position, record: bytes | None, reason: str) -> None:
        """Keep a record that cannot be decoded in a file of its own, and go on behind it."""
        kept = "there is nothing to keep"
        if record is not None and self._lock.on_disk:
            name = f"{self._where}.corrupt-{time.time_ns()}"
            with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(record)
            kept = f"kept as {name}"
        warn("%s: a record cannot be decoded (%s); %s", self._where, reason, kept)
        self.skipped += 1
        self._cursor.skip(start, end)

    def _damage(self, number: int, reason: str) -> QueueCorrupt:
        return QueueCorrupt(
            os.path.dirname(self._where),
            os.path.basename(self._where),
            index=number - self._tail,
            reason=f"the record cannot be decoded ({reason})",
            advice='open the queue with on_corrupt="skip" to set it aside and go on',
        )

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the engine; whatever it raises is an error of ours or the system's."""
        try:
            return function(*arguments)
        except _AS_THEY_ARE:
            self._in_doubt = True
            raise
        except Exception as error:
            self._in_doubt = True
            says = f"{self._name}.{function.__name__} raised {type(error).__name__}: {error}"
            raise EngineError(f"{self._where}: {says}") from error
        except BaseException:  # Ctrl-C: who knows how far it came
            self._in_doubt = True
            raise

    # -- the rest -------------------------------------------------------------------

    def abandon(self) -> None:
        """Stop waiting for the lock."""
        self._lock.abandon()

    def hurry(self) -> None:
        """What is waited for is a lock of somebody who is at work."""

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - whoever waits
        return False

    def probe(self) -> tuple[int, bytes] | None:
        return None

    def sync(self) -> None:
        if self._engine is not None:
            self._synced(self._engine)

    def close(self) -> None:
        engine, self._engine = self._engine, None
        self._ahead.drop(self._stored)
        try:
            if engine is not None:
                self._ask(engine.close)
        finally:
            self._lock.release()

    def forget(self) -> None:
        if self._engine is not None:
            _inherited.append(self._engine)  # closing it would write to the parent's files
        self._engine = None
        self._ahead.drop(self._stored)
        self._lock.release()


def _place(number: int) -> Position:
    return Position(0, number, 0)
