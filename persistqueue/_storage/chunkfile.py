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
    A transaction that cannot write is undone.  After a failed sync the object is
    poisoned: the kernel may have dropped the pages, a second sync would lie.
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING, NoReturn

from .._clock import monotonic
from .._log import warn
from ..exceptions import ItemTooLarge, QueueCorrupt, QueueFailed, SerializationError
from .base import TWO_CONSUMERS, Errors, Record, Stale
from .block import Damaged, reason_of
from .chunkstate import Position, State
from .cursor import Cursor
from .directory import ChunkDirectory
from .files import DirectoryLock, Disk, File, SyncError, Window
from .infofile import RECHECK, BadInfo, InfoFile
from .reader import ChunkReader
from .recovery import Recovery
from .writer import ChunkWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .framing import Framing


class ChunkFileStore:
    """A ``Store`` (see ``base``) over chunk files.

    Args:
        path: an absolute path; ``open`` creates the directory.
        chunksize: records in a chunk, for a new queue.
        autosave: taken is settled.
        power: commits survive loss of power, not only death of the process.
        skip_corrupt: set damaged records aside and go on, instead of raising.
        longest: bound on an encoded item, in bytes, checked before loading it.
        tempdir: where the temporary ``info`` is written; None for inside ``path``.
    """

    errors = Errors()  # these two: see ``base.Store``
    failed = ""

    def __init__(
        self,
        path: str,
        framing: Framing,
        *,
        chunksize: int,
        autosave: bool,
        power: bool,
        skip_corrupt: bool,
        longest: int,
        tempdir: str | None,
        disk: Disk | None = None,
    ) -> None:
        self.path = path
        self.skipped = 0
        self.state = State(chunksize)  # what info held at the last transaction
        self._disk = disk or Disk()
        self._framing = framing
        self._autosave = autosave
        self._power = power
        self._skip_corrupt = skip_corrupt
        self._chunks = ChunkDirectory(self._disk, path)
        self._recovery = Recovery(self._disk, self._chunks, framing)
        self._info = InfoFile(self._disk, path, framing, tempdir)
        self._writer = ChunkWriter(
            self._disk, path, self._chunks.chunk_path, ahead=power and framing.native
        )
        self._reader = ChunkReader(self._disk, self._chunks.chunk_path, framing, longest)
        self._cursor = Cursor(self.state, autosave, self._chunks.is_there)
        self._lock: DirectoryLock | None = None
        self._opened = False
        self._has_company = False  # another object consumes, too; it has been said
        self._new_names: list[str] = []  # directories that hold names not synced yet
        self._looked = float("-inf")  # when the names were last looked up
        self._looks = 0
        self._failed: str | None = None
        self._seen: bytes | None = None  # the bytes of info that state was decoded from
        self._unsynced = 0  # lowest chunk that may not be on stable storage
        # The transaction under way.
        self._exclusive = False  # whether it holds the lock
        self._head = self.state.head
        self._moved: str | None = None  # what info is to say of a move, if that changes
        self._intended: bytes | None = None  # what info holds once it is stored

    @property
    def headf(self) -> File | None:
        """The chunk that is written to."""
        return self._writer.file

    @property
    def tailf(self) -> File | None:
        """The chunk that is being read."""
        return self._reader.file

    # -- opening --------------------------------------------------------------------

    def make_directory(self) -> None:
        """Create the directory, with its parents, unless it is there."""
        self._new_names += self._disk.make_directory(self.path)

    def open(self) -> bool:
        if self._opened:
            return True
        if self._failed is not None:
            raise QueueFailed(self._failed)
        if self._lock is None:
            self.make_directory()
            self._lock = DirectoryLock(os.path.join(self.path, ".lock"), self.path)
        try:
            if not self._lock.try_acquire(monotonic()):
                return False
            self._recover()
        except BaseException:
            self._lock.drop()
            raise
        self._lock.release()
        self._opened = True
        if not self._lock.supported:
            warn("%s: no file locks here; only one process may use the queue", self.path)
        return True

    def _recover(self) -> None:
        """See what is there, and have it mended."""
        while self._power and self._new_names:
            self._disk.sync_directory(self._new_names[-1])
            self._new_names.pop()
        raw, state = self._recovery.mend(self._info, self.state.chunksize, sync=self._power)
        self._seen, self.state, self._unsynced = raw, state, state.tail.chunk
        self._cursor = Cursor(state, self._autosave, self._chunks.is_there)
        self._writer.open(state.head)
        with contextlib.suppress(FileNotFoundError):  # a hole in the middle: take says so
            self._reader.load(state.tail.chunk)
        self._reset()

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        if not self._opened and not self.open():
            return False
        lock, now = self._lock, monotonic()
        assert lock is not None
        if now - self._looked >= RECHECK:
            self._look_around(now)
        if not exclusive and self._info.read(now) == self._seen:
            self._reset()
            return True
        try:
            if not lock.try_acquire(now):
                return False
            self._reset()
            self._exclusive = True
            raw = self._info.read(now)
            if raw != self._seen:
                self._refresh(raw)
        except BaseException:  # Ctrl-C, too: it may come right behind the lock
            lock.drop()
            self._exclusive = False
            raise
        return True

    def _look_around(self, now: float) -> None:
        """See whether the directory is still the one that was opened."""
        self._looked = now
        if self._lock is None or not self._lock.is_current():
            self._fail("its directory was removed or replaced while it was open")

    def _reset(self) -> None:
        """Forget the last transaction."""
        self._exclusive = False
        self._head = self.state.head
        self._intended = self._moved = None
        if self._writer.written:
            self._writer.begin()
        self._cursor.begin()

    def _end(self) -> None:
        if self._exclusive and self._lock is not None:
            self._lock.release()
            self._exclusive = False

    def abandon(self) -> None:
        if self._lock is not None:
            self._lock.stand_back()

    def hurry(self) -> None:
        """What is waited for is a lock of somebody who is at work."""

    def _refresh(self, raw: bytes | None) -> None:
        """Move to what others committed since this object looked last."""
        if raw is None:
            self._fail("its info was removed while it was open")
        try:
            state = self._info.decode(raw)
        except BadInfo as bad:
            raise QueueCorrupt(
                self.path, "info", reason=str(bad), advice="reopen the queue to rebuild it"
            ) from bad
        self._look_around(monotonic())
        old, self.state, self._seen = self.state, state, raw
        self._head = state.head
        self._cursor.follow(old, state)
        if self._cursor.overtaken and not self._has_company:
            self._has_company = True
            warn(TWO_CONSUMERS, self.path, "autosave=True or a SQLiteAckQueue")

    def _fail(self, what: str) -> NoReturn:
        self._opened, self._failed = False, f"{self.path}: {what}; reopen the queue"
        raise QueueFailed(self._failed)

    # -- verbs ----------------------------------------------------------------------

    def append(self, records: Sequence[bytes]) -> None:
        if self._seen is None and (self._framing.native or len(records) > 1):
            self._write_first_info()
        self._head = self._writer.append(records, self.state, self._head)

    def _write_first_info(self) -> None:
        """Write ``info`` before the first record, so that a torn one is not taken for whole.

        A foreign serializer's first record comes without: persist-queue's users count on
        one ``dump`` for an item and one for ``info``, and only ``load`` can read it anyway.
        """
        raw = self._info.encode(self.state)
        try:
            self._info.write(raw, sync=self._power)
        except SyncError as error:
            self._distrust(error)
            raise
        self._seen = raw

    def take(self, most: int) -> list[Record]:
        taken: list[Record] = []
        try:
            while len(taken) < most and (record := self._next()) is not None:
                taken.append(record)
        except Exception as error:
            if not taken or isinstance(error, Stale):  # else it comes with the next take
                raise
        return taken

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
                return Record(start, end, item)

    def _skip(self, start: Position, reason: str) -> None:
        """Step over damage, or say where it is."""
        if not self._exclusive:
            raise Stale
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
        loaded = cursor.front is not None or cursor.homeless is not None
        if loaded or chunk > last or (chunk == last and records >= count):
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
        self._cursor.untake(records)

    def settle(self, records: Sequence[Record]) -> None:
        self._cursor.settle(records)

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
        try:
            sync = self._power and bool(self._writer.written)
            if sync:
                self._writer.sync()
            self._intended = raw
            self._info.write(raw, sync=sync)
            if consumed:
                self._info.sync()
        except OSError as error:
            self._take_back(error)
            raise
        self._landed(raw, new)
        for chunk in consumed:
            self._chunks.remove(chunk)

    def _landed(self, raw: bytes, new: State) -> None:
        """The transaction is stored: let memory follow."""
        self._seen, self.state = raw, new
        self._cursor.landed(new)
        self._writer.landed()

    def _take_back(self, error: OSError) -> None:
        """Put the old ``info`` back; where that cannot be vouched for, trust nothing."""
        restored = self._intended is None or self._info.restore(self._seen)
        if isinstance(error, SyncError) or not restored:
            self._distrust(error)
        self._intended = None

    def _distrust(self, error: OSError) -> None:
        """Poison this object: it does not know what is on the disk."""
        self._opened = False  # begin asks open, which refuses
        self._failed = f"{self.path}: it could not be written ({error}); reopen the queue"

    def rollback(self) -> bool:
        try:
            if self._intended is not None and self._info.holds(self._intended):
                self._landed(self._intended, self._info.decode(self._intended))
                return True
            self._writer.undo(self.state.head)
            self._reader.forget()
            self._cursor.undo()
            self._head = self.state.head
            return False
        finally:
            self._end()

    # -- the rest -------------------------------------------------------------------

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - whoever waits
        self._looks += 1
        by_name, lock = self._looks % 8 == 0 or self.probe() is not None, self._lock
        if by_name and lock is not None and not lock.is_current():
            return True
        return self._info.differs(self._seen, by_name)

    def probe(self) -> tuple[int, bytes] | None:
        return self._info.probe(self._seen)

    def sync(self) -> None:
        head = self.state.head.chunk
        try:
            self._chunks.sync(max(self._unsynced, self.state.tail.chunk), head + 1)
            self._info.sync()
        except SyncError as error:
            self._distrust(error)
            raise
        self._unsynced = head

    def close(self) -> None:
        try:
            with contextlib.suppress(OSError):
                self._give_reserve_back()
        finally:
            self.forget()

    def _give_reserve_back(self) -> None:
        """Cut reserved zeros off, if that takes no waiting; opening cuts them, too."""
        if self._lock is None or not self._opened:
            return
        now = monotonic()
        if self._lock.try_acquire(now) and self._info.read(now) == self._seen:
            self._writer.cut(self.state.head)

    def forget(self) -> None:
        self._writer.close()
        self._reader.close()
        self._info.close()
        if self._lock is not None:
            self._lock.close()
        self._lock, self._opened = None, False
