"""A queue as a directory of chunk files: the store behind ``Queue``.

Commit
    Data is written at the known head (never appended to whatever is there) and
    synced; then ``info`` is overwritten in place and synced.  What stands behind
    the head belongs to nobody.  Settling only moves the tail in ``info``: no sync,
    because a power cut may then redeliver, never lose.  Before a consumed chunk is
    removed, ``info`` is synced at either durability level.

Sharing
    Each transaction holds the directory's lock, compares the bytes of ``info`` with
    those last seen and moves to what others committed.  A take that stores nothing
    reads without the lock and begins again with it when anything looks odd.

Failure
    A transaction that cannot write is undone: first ``info``, then the chunks, so that
    no ``info`` tells of items that are not there.  Where ``info`` cannot be put back, a
    sync failed, or the path leads elsewhere by now, the object says so in ``failed``
    and cuts nothing.  Then ``open`` begins anew: it puts ``info`` back, writes again
    what the sync may have lost, cuts what is behind the head, and flushes that.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

from .._core.block import Damaged, reason_of
from .._core.cursor import Cursored
from .._core.deadline import monotonic
from .._core.disk import SyncError, Window
from .._core.folder import EXCHANGED
from .._core.log import warn
from .._core.store import TWO_CONSUMERS, Record, Stale, Store
from ..exceptions import ItemTooLarge, QueueCorrupt, QueueFailed, SerializationError
from .info import RECHECK, BadInfo
from .openqueue import QueueFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.cursor import Position, State
    from .._core.disk import File


class FileStore(Store, Protocol):
    """What a file queue shows of its store, be the items in chunk files or in an engine."""

    skipped: int

    @property
    def state(self) -> State:
        """The two ends of the queue."""

    @property
    def headf(self) -> File | None:
        """The chunk file that is written to, if there is one."""

    @property
    def tailf(self) -> File | None:
        """The chunk file that is read from, if there is one."""

    def next_place(self) -> tuple[io.RawIOBase | io.BytesIO, int] | None:
        """Return a file, and where in it the next item begins; None if there is none."""


class ChunkFileStore(Cursored, QueueFiles):
    """A ``Store`` (see ``base``) over chunk files; its arguments are those of ``QueueFiles``."""

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        if not self._opened and not self.open():
            return False
        lock, now = self._lock, monotonic()
        assert lock is not None
        if self._stored:
            self._intended = None
        self._stored = False
        if now - self._looked >= RECHECK:
            self._look_around(now)
        if not exclusive and self._info.read(now) == self._seen:
            self._reset()
            if lock.in_turnstile:
                lock.stand_back()
            return True
        if not lock.try_acquire(now):
            return False
        self._reset()
        raw = self._info.read(now)
        if raw != self._seen:
            self._refresh(raw)
        self._exclusive = True
        return True

    def _end(self) -> None:
        if self._exclusive and self._lock is not None:
            self._lock.release()
            self._exclusive = False

    def abandon(self) -> None:
        self._exclusive = False
        if self._lock is not None:
            self._lock.drop()

    def hurry(self) -> None:
        """What is waited for is a lock of somebody who is at work."""

    def _refresh(self, raw: bytes | None) -> None:
        """Move to what others committed since this object looked last."""
        if raw is None:
            self._fail("its info was removed while it was open")
        try:
            state = self._info.decode(raw)
        except BadInfo as bad:
            self._opened, self.failed = False, f"{self.path}: its info is damaged ({bad})"
            raise QueueCorrupt(
                self.path, "info", reason=str(bad), advice="the next call reopens the queue"
            ) from bad
        self._look_around(monotonic())
        old, self.state, self._seen = self.state, state, raw
        self._head = state.head
        self._cursor.follow(old, state)
        if self._cursor.overtaken and not self._has_company:
            self._has_company = True
            warn(TWO_CONSUMERS, self.path, "autosave=True or a SQLiteAckQueue")

    # -- verbs ----------------------------------------------------------------------

    def append(self, records: Sequence[bytes]) -> None:
        try:
            if self._seen is None:
                self._flushed.sync_itself()
                if self._framing.native or len(records) > 1:
                    self._write_first_info()
            self._head = self._writer.append(records, self.state, self._head)
        except SyncError as error:
            self._distrust(error)
            raise

    def _write_first_info(self) -> None:
        """Write ``info`` before the first record, so that a torn one is not taken for whole.

        A foreign serializer's first record comes without: persist-queue's users count on
        one ``dump`` for an item and one for ``info``, and only ``load`` can read it anyway.
        """
        raw = self._info.encode(self.state)
        self._info.write(raw, sync=self._power)
        self._seen = raw

    def peek(self) -> Record | None:
        record = self._next()
        if record is not None:
            self._cursor.put_back(record)
        return record

    def next_place(self) -> tuple[io.RawIOBase | io.BytesIO, int]:
        """Return the chunk of the next item as a stream, as far as it holds items, and where."""
        chunk, _, offset = self._cursor.place()
        last, _, limit = self._head
        try:
            file = self._reader.load(chunk)
        except FileNotFoundError:  # it comes with the next put; or it is lost, as the get will say
            return io.BytesIO(), 0
        end = limit if chunk == last else self._disk.size(file)
        return Window(self._disk, file, 0, end), offset

    def _next(self) -> Record | None:
        cursor = self._cursor
        if cursor.front is not None or cursor.homeless is not None:
            return cursor.known()
        while True:
            start = cursor.read
            chunk, records, offset = start
            last, count, limit = self._head
            if chunk >= last and (chunk > last or records >= count):
                return None
            try:
                item, offset = self._reader.decode(chunk, offset, limit if chunk == last else None)
            except FileNotFoundError:
                self._skip(start, "the chunk is missing")
            except Damaged as damage:
                self._skip(start, str(damage))
            except (SerializationError, ItemTooLarge) as error:
                place = self._recovery.place(start)
                raise type(error)(f"{place}: {error}") from error.__cause__
            else:
                cursor.read = end = self.state.after(start, offset)
                return Record(start, end, item, self._era)

    def _skip(self, start: Position, reason: str) -> None:
        """Step over damage, or say where it is."""
        if not self._exclusive:
            raise Stale
        self._look_around(monotonic())
        if not self._skip_corrupt:
            raise self._recovery.damage(start, reason)
        self._step_over(start, None, reason)

    def _step_over(self, start: Position, end: Position | None, reason: str) -> None:
        """Set aside what stands there; ``end`` is that of ``Recovery.skip``."""
        end = self._recovery.skip(start, self._head, self.state.chunksize, reason, end)
        self.skipped += self.state.ordinal(end) - self.state.ordinal(start)
        self._cursor.skip(start, end)

    def set_aside(self, *, whatever: bool = False) -> bool:
        """Set the next item aside if it cannot be loaded; returns whether it was.

        Args:
            whatever: also one that can; none is loaded.
        """
        cursor, (last, count, limit) = self._cursor, self._head
        chunk, records, offset = start = cursor.read
        if cursor.has_known(self.skip) or chunk > last or (chunk == last and records >= count):
            return False
        reason, end = "it was to be set aside", None
        try:
            if not whatever:
                self._reader.decode(chunk, offset, limit if chunk == last else None)
                return False
            end = self._recovery.end_of(start, self.state)
        except FileNotFoundError:
            reason = "the chunk is missing"
        except Damaged as damage:
            reason = str(damage)
        except (SerializationError, ItemTooLarge, SystemExit) as error:
            reason, end = reason_of(error), self._recovery.end_of(start, self.state)
            if end is None:
                end = self._recovery.resume(start, self._head, self.state.chunksize)
                self._refuse_more(start, end, reason)
        self._step_over(start, end, reason)
        return True

    def _refuse_more(self, start: Position, end: Position, reason: str) -> None:
        """Raise where only its own ``load`` knows where an item ends: others would go with it."""
        if self.state.ordinal(end) - self.state.ordinal(start) > 1:
            raise SerializationError(
                f"{self._recovery.place(start)}: {reason}. It cannot be set aside: where it ends, "
                f"only the load of {self._framing.name} could tell"
            )

    def untake(self, records: Sequence[Record]) -> None:
        self._cursor.untake(records, self._era)

    def settle(self, records: Sequence[Record]) -> None:
        self._cursor.settle(records, self._era)

    def flush(self) -> None:
        self.append([self._framing.encode(record.item) for record in self._cursor.flush()])

    def unsaved(self) -> bool:
        return self._cursor.homeless is not None

    def counts(self, exact: bool = True) -> tuple[int, int]:  # noqa: ARG002 - counting is free here
        return self._cursor.counts(self._head)

    def room(self, maxsize: int, wanted: int) -> int:  # noqa: ARG002 - exact is free here
        return maxsize - self.counts()[0]

    def needs(self, records: Sequence[bytes], ahead: Sequence[bytes]) -> int:  # noqa: ARG002
        return len(records)

    def mark_moved(self, moved: str) -> None:
        """Have ``info`` say, with this commit, which batch of a move is stored."""
        self._moved = moved

    def finish_until(self, end: Position) -> None:
        """Finish all items in front of a place; only for an object that has handed out none."""
        self._cursor.finish_until(end)

    # -- ending a transaction -------------------------------------------------------

    def commit(self) -> None:
        if self._exclusive:
            _, tail, old, moved = state = self.state
            done, head = self._cursor.done(), self._head
            if self._moved is not None:
                moved = self._moved
            if head is not old or done != tail or moved is not state.moved:
                self._store(state.with_ends(done, head, moved))
            self._end()

    def _store(self, new: State) -> None:
        raw = self._info.encode(new)
        tail, done = self.state.tail.chunk, new.tail.chunk
        consumed = self._chunks.between(tail, done) if done != tail else ()
        writer = self._writer
        try:
            sync = self._power and writer.first is not None
            if sync:
                writer.sync()
                self._flushed.sync_names(writer.chunk)
            self._intended, self._unflushed = raw, sync
            self._info.write(raw, sync=sync)
            if consumed:
                self._info.sync()
            if sync:
                self._vouch()
        except (OSError, QueueFailed) as error:
            self._take_back(error)
            raise
        self._landed(raw, new)
        for chunk in consumed:
            self._chunks.remove(chunk)

    def _vouch(self) -> None:
        """What was flushed is where the path leads, or is not acknowledged."""
        if not self._info.is_current():
            self._fail("its info was removed or replaced while it was written")
        self._folder.look()

    def _landed(self, raw: bytes, new: State) -> None:
        """The transaction is stored: let memory follow."""
        self._seen, self.state = raw, new
        self._cursor.landed(new)
        self._writer.landed()
        if self._unflushed:
            self._flushed.landed(new.head)
            self._unflushed = False
        self._stored = True

    def _take_back(self, error: BaseException | None) -> None:
        """Put the old ``info`` back; where that cannot be vouched for, trust nothing.

        Args:
            error: what went wrong; None for an interrupt.
        """
        if self._intended is not None and self._info.restore(self._seen, sync=self._power):
            self._intended = None
        if self._intended is not None or isinstance(error, SyncError):
            self._distrust(error)

    def rollback(self) -> bool:
        try:
            if self._stored or (self._intended is not None and self._is_stored(self._intended)):
                return True
            if self._intended is not None and not self.failed:
                self._take_back(None)
            self._undo()
            return False
        finally:
            self._end()

    def _is_stored(self, intended: bytes) -> bool:
        """Return whether the transaction came to its end before it was interrupted."""
        if self.failed or not self._info.holds(intended):
            return False
        try:
            if self._unflushed:
                self._info.sync()
                self._vouch()
        except (OSError, QueueFailed) as error:
            self._take_back(error)
            return False
        self._landed(intended, self._info.decode(intended))
        return True

    def _undo(self) -> None:
        """Be as before the transaction."""
        if self._exclusive and not self.failed and not self._folder.is_current():
            self._opened, self.failed = False, f"{self.path}: {EXCHANGED}"
        if self._writer.first is not None and not self.failed:  # else opening anew sees to it
            self._writer.undo(self.state.head)
            self._flushed.undone()
        self._reader.forget()
        self._cursor.undo()
        self._head = self.state.head

    # -- the rest -------------------------------------------------------------------

    def sync(self) -> None:
        try:
            self._flushed.sync(self.state)
        except SyncError as error:
            self._distrust(error)
            raise
        self._vouch()
