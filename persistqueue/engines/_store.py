"""A ``Store`` over any storage engine: everything about items that an engine is spared.

``NumberedEngine`` numbers the records.  ``Cursor`` knows which are handed out and which are
settled, as it does for chunk files; numbers take the place of its positions.  What is
appended waits in memory for the commit, which appends, syncs (at ``durability="power"``) and
removes what was settled, up to the oldest record that is not.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from .._core.block import Damaged, reason_of
from .._core.cursor import MOST_RECORDS, Cursor, Cursored, Position, State
from .._core.log import warn
from .._core.store import Record
from ..exceptions import FormatError, ItemTooLarge, QueueCorrupt, SerializationError
from ._numbered import NumberedEngine, ReadAhead
from ._seal import Seal
from .base import ChunkFileEngine, maker_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._core.framing import Framing
    from .base import Engine, StorageEngine


class EngineStore(Cursored):
    """A ``Store`` over a storage engine.

    Args:
        path: the queue's; the engine, once it is made, says where the records are.
        make: returns the engine, not yet open.
        autosave: an item is settled when it is taken.
        power: commits survive loss of power, not only death of the process.
        skip_corrupt: set damaged records aside and go on, instead of raising.
        longest: bound on an encoded item, in bytes, checked before loading it.
    """

    headf = tailf = None  # names of the chunk files: there are none

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
        self._engine = NumberedEngine(path, make)
        self._autosave = autosave
        self._power = power
        self._skip_corrupt = skip_corrupt
        self._opened = False
        self._era = 0  # how often the records became others
        # Of the transaction under way:
        self._new: list[bytes] = []  # to append; empty as soon as all is stored
        self._appended = False  # whether it has stored any
        self._taken: list[Record] = []  # with autosave
        self._first_new = 0  # the number of the first in ``_new``
        self._began = 0  # the number of the oldest record when it began
        self._settles = False  # whether it finishes an item
        self._ahead = ReadAhead(self._engine.read)
        self._cursor = Cursor(self.state, autosave, lambda _: False)

    @property
    def failed(self) -> str:
        return self._engine.failed

    @property
    def state(self) -> State:
        """The two ends as the chunk files' ``info`` would hold them."""
        return State(MOST_RECORDS, _place(self._engine.tail), _place(self._engine.stored))

    def next_place(self) -> None:
        """Return None: there is no file that could be read."""

    # -- opening --------------------------------------------------------------------

    def open(self) -> bool:
        engine, old = self._engine, self.state
        if self._opened and not engine.failed:
            return True
        same = engine.open()
        if same is None:
            return False
        self._ahead = ReadAhead(engine.read)
        if same:
            self._cursor.follow(old, self.state)
            gone = [record for record in self._taken if record.start.records < engine.tail]
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
        self._appended = self._settles = self._engine.in_doubt = False
        self._began, self._first_new = self._engine.tail, self._engine.stored
        self._cursor.begin()

    def append(self, records: Sequence[bytes]) -> None:
        self._new += map(self._seal.put, records)

    def take(self, most: int) -> list[Record]:
        taken = super().take(most)
        if self._autosave and taken:
            self._taken += taken
            self._settles = True
        return taken

    def _next(self) -> Record | None:
        cursor = self._cursor
        if cursor.front is not None or cursor.homeless is not None:
            return cursor.known()
        while (number := self._next_number()) < self._engine.stored + len(self._new):
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
        cursor, disowned = self._cursor, self._engine.disowned
        while disowned and cursor.read.records in disowned:
            cursor.skip(cursor.read, _place(cursor.read.records + 1), certain=True)
        return cursor.read.records

    def settle(self, records: Sequence[Record]) -> None:
        self._settles = True
        super().settle(records)

    def counts(self, exact: bool = True) -> tuple[int, int]:  # noqa: ARG002 - it is free here
        waiting, unsettled = self._cursor.counts(_place(self._engine.stored + len(self._new)))
        if self._engine.disowned:
            ahead = sum(number >= self._cursor.read.records for number in self._engine.disowned)
            return waiting - ahead, unsettled - ahead
        return waiting, unsettled

    def first(self) -> bytes | None:
        """Return the oldest record, undecoded."""
        return self._record(self._engine.tail) if self._engine.tail < self._engine.stored else None

    def at(self, number: int) -> tuple[bytes, Any]:
        """Return the record with this number, and its item."""
        record = self._record(number)
        try:
            item = self._seal.decode(record)
        except Damaged as damage:
            raise self._damage(number, str(damage)) from damage
        assert record is not None
        return record, item

    # -- ending a transaction -------------------------------------------------------

    def commit(self) -> None:
        if self._new:
            self._engine.append(self._new)
            self._finish_append()
        if self._settles:
            self._remove()
        else:
            self._remove_rest()

    def _finish_append(self) -> None:
        """Make safe what the engine has of this transaction."""
        if self._power:
            self._engine.sync()
        self._ahead.keep(self._first_new, self._new)
        self._appended = True
        self._new = []

    def _remove(self) -> None:
        """Remove what is settled, up to the oldest that is not."""
        done = self._cursor.done().records
        if not self._engine.failed and done > self._engine.tail:
            self._engine.remove(done)
            self._cursor.landed(self.state)

    def _remove_rest(self) -> None:
        """Remove what an earlier failure has left; if this fails, a later commit tries again."""
        try:
            self._remove()
        except Exception as error:  # noqa: BLE001 - no caller waits for it
            warn("%s: finished items are removed later: %s", self._engine.where, error)
            self._engine.look_again()

    def rollback(self) -> bool:
        engine = self._engine
        self._ahead = ReadAhead(engine.read)  # Ctrl-C may have come in the middle of it
        if engine.in_doubt and not engine.failed:
            engine.look_again()
        if self._new and not self._stored_whole():
            engine.disowned.update(range(self._first_new, engine.stored))
            self._new = []
            self._cursor.undo()
            return False
        if not self._appended and engine.tail == self._began:
            self._cursor.undo()
            return False
        self._cursor.landed(self.state)
        self._remove_rest()
        return True

    def _stored_whole(self) -> bool:
        """Return whether all of an append that was cut off is stored, and make it safe."""
        if self._engine.failed or self._engine.stored != self._first_new + len(self._new):
            return False
        with contextlib.suppress(Exception):
            self._finish_append()
        return self._appended

    # -- records --------------------------------------------------------------------

    def _record(self, number: int) -> bytes | None:
        if number >= self._engine.stored:
            return self._new[number - self._engine.stored]
        return self._ahead.take(number, self._engine.stored)

    def _decoded(self, number: int, record: bytes | None) -> Any:
        """Return a record's item; errors other than damage name the record."""
        try:
            return self._seal.decode(record)
        except (SerializationError, ItemTooLarge, FormatError) as error:
            place = f"{self._engine.where}, record {number - self._engine.tail}"
            raise type(error)(f"{place}: {error}") from error.__cause__

    def _skip(self, start: Position, end: Position, record: bytes | None, reason: str) -> None:
        """Step over a damaged record, or raise."""
        if not self._skip_corrupt:
            raise self._damage(start.records, reason)
        self._step_over(start, end, record, reason)

    def set_aside(self) -> bool:
        """Set the next item aside if it cannot be loaded; return whether it was."""
        cursor, number = self._cursor, self._next_number()
        if cursor.has_known(self.skip) or number >= self._engine.stored + len(self._new):
            return False
        record = self._record(number)
        try:
            self._decoded(number, record)
        except (Damaged, SerializationError, ItemTooLarge, SystemExit) as error:
            self._step_over(cursor.read, _place(number + 1), record, reason_of(error))
            return True
        return False

    def _step_over(self, start: Position, end: Position, record: bytes | None, reason: str) -> None:
        """Copy a record that cannot be decoded into a file of its own, and go on behind it."""
        kept = "there is nothing to keep"
        if record is not None and self._engine.on_disk:
            name = f"{self._engine.where}.corrupt-{time.time_ns()}"
            with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(record)
            kept = f"kept as {name}"
        warn("%s: a record cannot be decoded (%s); %s", self._engine.where, reason, kept)
        self.skipped += 1
        self._cursor.skip(start, end, certain=True)

    def _damage(self, number: int, reason: str) -> QueueCorrupt:
        return QueueCorrupt(
            os.path.dirname(self._engine.where),
            os.path.basename(self._engine.where),
            index=number - self._engine.tail,
            reason=f"the record cannot be decoded ({reason})",
            advice='open the queue with on_corrupt="skip" to set it aside and go on',
        )

    # -- the rest -------------------------------------------------------------------

    def abandon(self) -> None:
        """Stop waiting for the lock."""
        self._engine.abandon()

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - no other object can write
        return False

    def sync(self) -> None:
        self._engine.sync()

    def close(self) -> None:
        self._ahead = ReadAhead(self._engine.read)
        self._opened = False
        self._engine.close()

    def forget(self) -> None:
        self._ahead = ReadAhead(self._engine.read)
        self._opened = False
        self._engine.forget()


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
    """Return the store for a queue's argument ``engine``; None stands for chunk files.

    Raises:
        TypeError: ``engine`` is neither a class, nor a callable, nor an engine.
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
