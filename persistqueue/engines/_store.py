"""A ``Store`` over any storage engine: everything about items that an engine is spared.

``HeldEngine`` numbers the records.  ``Cursor`` knows which are handed out and which are
settled, as it does for chunk files; numbers take the place of its positions.  What is
appended waits in memory for the commit, which appends, syncs (if power is to be survived) and
removes what was settled, up to the oldest that is not.

An engine that has raised, or was interrupted, is closed and opened again: what it then holds
says what came of the call.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged, reason_of
from .._core.cursor import MOST_RECORDS, Cursor, Cursored, Position, State
from .._core.log import warn
from .._core.store import Errors, Record
from ..exceptions import FormatError, ItemTooLarge, QueueCorrupt, SerializationError
from ._held import HeldEngine
from ._readahead import ReadAhead
from ._seal import Seal
from .base import ChunkFileEngine, maker_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.framing import Framing
    from .base import Engine, StorageEngine


class EngineStore(Cursored):
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
    errors = Errors()  # see ``base.Store``

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
        self._held = HeldEngine(path, make)
        self._autosave = autosave
        self._power = power
        self._skip_corrupt = skip_corrupt
        self._opened = False
        self._era = 0  # how often the records became others
        self._new: list[bytes] = []  # what the transaction under way appends
        self._appended = False  # whether it has done so
        self._taken: list[Record] = []  # by the transaction under way, with autosave
        self._before = 0  # number behind the newest record before that
        self._unflushed = False  # whether that must be made safe yet
        self._began = 0  # number of the oldest record when it began
        self._ahead = ReadAhead(self._held.read)
        self._cursor = Cursor(self.state, autosave, lambda _: False)

    @property
    def failed(self) -> str:
        """Why it cannot be used before it is opened anew; see ``base.Store``."""
        return self._held.failed

    @property
    def state(self) -> State:
        """The two ends as the chunk files' ``info`` would hold them."""
        return State(MOST_RECORDS, _place(self._held.tail), _place(self._held.stored))

    def next_place(self) -> None:
        """Return None: there is no file that could be read."""

    # -- opening --------------------------------------------------------------------

    def open(self) -> bool:
        held, old = self._held, self.state
        if self._opened and not held.failed:
            return True
        same = held.open()
        if same is None:
            return False
        self._ahead = ReadAhead(held.read)
        if same:
            self._cursor.follow(old, self.state)
            gone = [record for record in self._taken if record.start.records < held.tail]
            self._cursor.untake(gone, self._era + 1)  # removed, and not delivered
        else:
            self._era += self._opened
            self._cursor = Cursor(self.state, self._autosave, lambda _: False, self._cursor)
        self._opened = True
        self._reset()
        return True

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:  # noqa: ARG002 - no other object can write
        if not self._opened and not self.open():
            return False
        self._reset()
        return True

    def _reset(self) -> None:
        """Forget the last transaction."""
        if self._new or self._taken:
            self._new, self._taken = [], []
        self._appended = self._unflushed = self._held.in_doubt = False
        self._began = self._held.tail
        self._cursor.begin()

    def append(self, records: Sequence[bytes]) -> None:
        self._new += map(self._seal.put, records)

    def take(self, most: int) -> list[Record]:
        taken = super().take(most)
        if self._autosave:
            self._taken += taken
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
        while (number := self._next_number()) < self._held.stored + len(self._new):
            start, end = cursor.read, _place(number + 1)
            record = self._record(number)
            try:
                item = self._decoded(number, record)
            except Damaged as damage:
                self._skip(start, end, record, str(damage))
            else:
                cursor.read = end
                return Record(start, end, item, self._era)
        return None

    def _next_number(self) -> int:
        """Return the number of the next record to read that is not disowned."""
        cursor, disowned = self._cursor, self._held.disowned
        while disowned and cursor.read.records in disowned:
            cursor.skip(cursor.read, _place(cursor.read.records + 1))
        return cursor.read.records

    def untake(self, records: Sequence[Record]) -> None:
        self._cursor.untake(records, self._era)

    def settle(self, records: Sequence[Record]) -> None:
        self._cursor.settle(records, self._era)

    def flush(self) -> None:
        self.append([self._framing.encode(record.item) for record in self._cursor.flush()])

    def unsaved(self) -> bool:
        return self._cursor.homeless is not None

    def counts(self, exact: bool = True) -> tuple[int, int]:  # noqa: ARG002 - it is free here
        waiting, unsettled = self._cursor.counts(_place(self._held.stored + len(self._new)))
        if self._held.disowned:
            ahead = sum(number >= self._cursor.read.records for number in self._held.disowned)
            return waiting - ahead, unsettled - ahead
        return waiting, unsettled

    def room(self, maxsize: int, wanted: int) -> int:  # noqa: ARG002 - exact is free here
        return maxsize - self.counts()[0]

    def needs(self, records: Sequence[bytes], ahead: Sequence[bytes]) -> int:  # noqa: ARG002
        return len(records)

    def first(self) -> bytes | None:
        """Return the oldest record, undecoded."""
        return self._record(self._held.tail) if self._held.tail < self._held.stored else None

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
        if self._new:
            self._held.in_doubt = True  # until it is noted: Ctrl-C may come in between
            self._held.append(self._new)
            self._landed()
            self._held.in_doubt = False
            if self._power:
                self._sync_new()
        self._remove()

    def _sync_new(self) -> None:
        """Make the appended records safe; if that fails, they are disowned."""
        self._unflushed = True
        try:
            self._held.sync()
        except Exception:
            self._held.disowned.update(range(self._before, self._held.stored))
            raise
        self._unflushed = False

    def _remove(self) -> None:
        """Remove what is settled, up to the oldest that is not."""
        done = self._cursor.done().records
        if not self._held.failed and done > self._held.tail:
            self._held.in_doubt = True
            self._held.remove(done)
            self._removed(done)
            self._held.in_doubt = False

    def _removed(self, done: int) -> None:
        self._held.removed(done)
        self._ahead.drop(done)
        self._cursor.landed(self.state)

    def _landed(self) -> None:
        """The engine holds what is new."""
        self._appended, self._before = True, self._held.stored
        self._ahead.extend(self._held.stored, self._new)
        self._held.appended(len(self._new), self._new[-1])
        self._new = []

    def rollback(self) -> bool:
        held = self._held
        if self._unflushed and not held.failed:  # Ctrl-C came before it was safe
            with contextlib.suppress(Exception):
                self._sync_new()
        if held.failed:  # a sync
            self._cursor.undo()
            return False
        self._ahead = ReadAhead(held.read)  # Ctrl-C may have come in the middle of it
        new, self._new = len(self._new), []
        wanted = held.stored - held.tail
        count = held.recount() if held.in_doubt else wanted
        if new and count == wanted + new:
            self._appended = True
            held.appended(new)
        done = self._cursor.done().records
        if (self._appended or not new) and done > held.tail and count == held.stored - done:
            self._removed(done)
            return True
        if self._appended or held.tail > self._began:
            self._cursor.landed(self.state)
            try:
                self._remove()  # once more: what was handed out must not come again
            except Exception:  # noqa: BLE001 - the first failure was logged
                held.fail("what is new is stored, what is finished could not be removed")
            return True
        if count != wanted and not held.failed:
            held.fail(f"it holds {count} records where there were {wanted}")
        self._cursor.undo()
        return False

    # -- records --------------------------------------------------------------------

    def _record(self, number: int) -> bytes | None:
        if number >= self._held.stored:
            return self._new[number - self._held.stored]
        return self._ahead.get(number, self._held.stored)

    def _decoded(self, number: int, record: bytes | None) -> Any:
        """Return a record's item; an error that is no damage says where it is."""
        try:
            return self._seal.decode(record)
        except (SerializationError, ItemTooLarge, FormatError) as error:
            place = f"{self._held.where}, record {number - self._held.tail}"
            raise type(error)(f"{place}: {error}") from error.__cause__

    def _skip(self, start: Position, end: Position, record: bytes | None, reason: str) -> None:
        """Step over damage, or say where it is."""
        if not self._skip_corrupt:
            raise self._damage(start.records, reason)
        self._step_over(start, end, record, reason)

    def set_aside(self) -> bool:
        """Set the next item aside if it cannot be loaded; returns whether it was."""
        cursor, number = self._cursor, self._next_number()
        if cursor.has_known(self.skip) or number >= self._held.stored + len(self._new):
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
        if record is not None and self._held.on_disk:
            name = f"{self._held.where}.corrupt-{time.time_ns()}"
            with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(record)
            kept = f"kept as {name}"
        warn("%s: a record cannot be decoded (%s); %s", self._held.where, reason, kept)
        self.skipped += 1
        self._cursor.skip(start, end)

    def _damage(self, number: int, reason: str) -> QueueCorrupt:
        return QueueCorrupt(
            os.path.dirname(self._held.where),
            os.path.basename(self._held.where),
            index=number - self._held.tail,
            reason=f"the record cannot be decoded ({reason})",
            advice='open the queue with on_corrupt="skip" to set it aside and go on',
        )

    # -- the rest -------------------------------------------------------------------

    def abandon(self) -> None:
        """Stop waiting for the lock."""
        self._held.abandon()

    def hurry(self) -> None:
        """Do nothing: the lock belongs to another process, which is at work."""

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - all that wait are told
        return False

    def probe(self) -> tuple[int, bytes] | None:
        return None

    def sync(self) -> None:
        self._held.sync()

    def close(self) -> None:
        self._ahead.drop(self._held.stored)
        self._opened = False
        self._held.close()

    def forget(self) -> None:
        self._ahead.drop(self._held.stored)
        self._opened = False
        self._held.forget()


def _place(number: int) -> Position:
    return Position(0, number, 0)


def store_of(
    path: str,
    engine: Engine | None,
    framing: Framing,
    *,
    autosave: bool,
    power: bool,
    skip_corrupt: bool,
    longest: int,
) -> EngineStore | None:
    """Return the store of a queue's argument ``engine``; None: the items are in chunk files.

    Raises:
        TypeError: it is neither a class, nor a callable, nor an engine.
    """
    if engine is None or engine is ChunkFileEngine:
        return None
    return EngineStore(
        path,
        framing,
        maker_of(engine, path),
        autosave=autosave,
        power=power,
        skip_corrupt=skip_corrupt,
        longest=longest,
    )
