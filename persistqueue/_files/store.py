"""A queue as a directory of chunk files: the store behind ``Queue``.

Commit
    Data is written at the known head (not at the end of the file) and
    flushed; then ``info`` is overwritten in place and flushed.  Bytes behind the head are
    no items.  Settling only changes ``info`` (the tail, and which items behind it are
    finished), without a flush, because a power cut may then redeliver, never lose.  Before a
    consumed chunk is removed, ``info`` is flushed at either durability.

Sharing
    Each transaction holds the directory's lock, compares the bytes of ``info`` with
    those last seen and moves to what others committed.  A take that stores nothing
    reads without the lock and begins again with it when anything is odd.

Failure
    A transaction that cannot write is undone: first ``info``, then the chunks, so that
    no ``info`` tells of items that are not there.  Where ``info`` cannot be put back, a
    flush failed, or the path leads elsewhere by now (see ``folder``), the object says so in
    ``failed`` and cuts nothing.  Then ``open`` begins anew.  It puts ``info`` back to what was
    stored before, unless others went on from it; writes again what a failed flush may have
    lost; cuts what is behind the head; and flushes that.

    Items that are handed out then have their places still, where the directory and its
    ``info`` are the same and nothing was cut in front of the head.  Else they belong to an
    *era* that is over: settling them does nothing, and what is stored of them is handed out
    again.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NoReturn

from .._core.arguments import absolute
from .._core.block import Damaged, reason_of
from .._core.cursor import NONE_MISSING, Cursor, Cursored, Position, State
from .._core.deadline import monotonic
from .._core.disk import Disk, File, SyncError
from .._core.folder import EXCHANGED, DirectoryLock, Folder
from .._core.log import warn
from .._core.store import TWO_CONSUMERS, Record, Stale
from ..exceptions import (
    ItemTooLarge,
    PersistQueueError,
    QueueCorrupt,
    QueueFailed,
    SerializationError,
)
from .chunks import ChunkDirectory, ChunkReader
from .info import RECHECK, BadInfo, InfoFile
from .recovery import Recovery
from .writer import ChunkWriter

if TYPE_CHECKING:
    import io
    from collections.abc import Collection, Iterator, Sequence

    from .._core.framing import Framing


class ChunkFileStore(Cursored):
    """A ``Store`` over chunk files; nothing is created or opened before ``open``.

    Args:
        path: an absolute path; ``open`` creates the directory.
        chunksize: records in a chunk, for a new queue.
        autosave: taken is settled.
        power: commits survive loss of power, not only death of the process.
        skip_corrupt: set damaged records aside and go on, instead of raising.
        longest: bound on an encoded item, in bytes, checked before loading it.
        tempdir: where the temporary ``info`` is written; None for inside ``path``.
        disk: None for the real one.
    """

    def __init__(
        self,
        path: str,
        framing: Framing,
        *,
        longest: int,
        chunksize: int = 100,
        autosave: bool = False,
        power: bool = True,
        skip_corrupt: bool = False,
        tempdir: str | None = None,
        disk: Disk | None = None,
    ) -> None:
        disk = disk or Disk()
        self.path = path
        self.skipped = 0
        self.failed = ""
        self.state = State(chunksize)  # what info held at the last transaction
        self._disk = disk
        self._framing = framing
        self._autosave = autosave
        self._power = power
        self._skip_corrupt = skip_corrupt
        self._folder = Folder(path, refuse=self._exchanged)
        self._chunks = ChunkDirectory(disk, self._folder)
        self._recovery = Recovery(disk, self._chunks, framing)
        self._info = InfoFile(disk, self._folder, framing, tempdir)
        ahead = power and framing.native
        self._writer = ChunkWriter(disk, self._chunks, self._info, power=power, ahead=ahead)
        self._reader = ChunkReader(disk, self._chunks, framing, longest)
        self._cursor = Cursor(self.state, autosave, self._chunks.is_there)
        self._flushed = False  # whether the chunk of the state's head was flushed up to the head
        self._known: Collection[tuple[int, int]] = ()  # finished ranges that ``info`` held last
        self._lock: DirectoryLock | None = None
        self._opened = False
        self._stuck: Position | None = None  # a tail from which no end of finished items is found
        self._has_company = False  # another object consumes, too; it has been said
        self._path_checked = float("-inf")  # when the path was last looked up
        self._looks = 0  # how often ``changed`` was called
        self._seen: bytes | None = None  # the bytes of info that state was decoded from
        # Handed out items have their places in the files that were open when they were read.
        self._placed = False  # whether those are open, or were until something failed
        self._era = 0  # how often other files took their place
        # The transaction under way.
        self._exclusive = False  # whether it holds the lock
        self._head = self.state.head
        self._synced = False  # whether the state's head was flushed in it
        self._intended: bytes | None = None  # what info holds once it is stored
        self._unflushed = False  # whether that must be flushed yet
        self._stored = False  # whether it has come to its end

    @property
    def headf(self) -> File | None:
        """The chunk that is written to."""
        return self._writer.file

    @property
    def tailf(self) -> File | None:
        """The chunk that is being read."""
        return self._reader.file

    # -- opening, and opening anew --------------------------------------------------

    def open(self) -> bool:
        if self._opened:
            return True
        lock = self._held_lock()
        try:
            if not lock.try_acquire(monotonic()):
                return False
            self._recover()
        except BaseException as error:
            lock.drop()
            if isinstance(error, SyncError):
                self._distrust(error)
            raise
        lock.release()
        self._opened, self.failed = True, ""
        if not lock.supported:
            warn("%s: no file locks here; only one process may use the queue", self.path)
        return True

    def _held_lock(self) -> DirectoryLock:
        """Hold the directory that the path leads to now; create it unless it was removed."""
        if self._lock is not None and not self._folder.is_current():
            if not self._folder.is_same():
                self._placed, self._era = False, self._era + self._placed
                self._info.close()
            self._lock.close()
            self._lock = None
        if self._lock is None:
            if not self.failed:
                self._writer.made(self._disk.make_directory(self.path))
            self._lock = DirectoryLock(self._folder)
        return self._lock

    def _recover(self) -> None:
        """Read the directory, and have it mended."""
        self._stuck = None
        now, old = monotonic(), self.state
        self._writer.sync_above()
        self._info.look_up()
        # Whether info is the one that this object has read and written.
        known = self._info.is_current() or self._info.read(now) in (self._seen, self._intended)
        goes_on = self._placed and known
        if goes_on:
            self._finish_undoing(now)
        raw, state = self._recovery.mend(self._info, old.chunksize, sync=self._power)
        same = goes_on and not _is_other(state, old)
        if same and state.tail < old.tail:  # info was rebuilt; this object knows what is finished
            state = state.with_ends(old.tail, state.head)
            raw = self._info.encode(state, self._cursor.finished)
            self._info.write(raw, sync=self._power)
        self._writer.open(raw, state)
        self._flushed, finished = self._info.supplement(raw, state)
        self._known = frozenset(finished)
        if same:
            self._cursor.follow(old, state, finished)
        else:
            self._begin_anew(state, finished)
        self._placed = True
        self._seen, self.state = raw, state
        self._hear(old)
        self._reader.close()
        with contextlib.suppress(FileNotFoundError):  # a hole in the middle: take says so
            self._reader.load(state.tail.chunk)
        self._reset()

    def _begin_anew(self, state: State, finished: Sequence[tuple[int, int]]) -> None:
        """Forget the places of items that are handed out: other items may have them by now."""
        self._era += self._placed
        is_there = self._chunks.is_there
        self._cursor = Cursor(state, self._autosave, is_there, self._cursor, finished)

    def _hear(self, old: State) -> None:
        """Count items that are missing, unless they are known; a get will say so."""
        self._missing = self.state.missing
        self.skipped += max(self._missing.items - old.missing.items, 0)

    def _say_missing(self, record: Record | None, taken: Sequence[Record] | None) -> None:
        place: Position = self._cursor.place() if record is None else record.start
        count, before = self._missing
        if self.state.ordinal(place) < before or (self._skip_corrupt and taken is None):
            return
        error = self._recovery.missing(count, place)
        says = taken is not None and (self._skip_corrupt or not taken)
        if says and not self._exclusive:
            raise Stale
        if says:
            self._missing = NONE_MISSING  # so says info with this commit
        if self._skip_corrupt:
            warn("%s", error)
            return
        if record is not None:
            self._cursor.put_back(record)
        raise error

    def _finish_undoing(self, now: float) -> None:
        """Undo what failed, ``info`` first, unless others went on from it."""
        raw = self._info.read(now)
        if self._intended is not None and (raw == self._intended or not self._info.is_whole(raw)):
            self._info.put(self._seen, sync=self._power)
            raw = self._seen
        if raw == self._seen:
            self._writer.undo(self.state.head)

    def _check_path(self, now: float) -> None:
        """Refuse to go on if the path leads to another directory by now."""
        self._path_checked = now
        self._folder.check()

    def _exchanged(self) -> NoReturn:
        self._fail(EXCHANGED)

    def _fail(self, what: str) -> NoReturn:
        self._opened, self.failed = False, f"{self.path}: {what}"
        raise QueueFailed(f"{self.failed}; the next call reopens the queue")

    def _distrust(self, error: BaseException | None) -> None:
        """Have the store opened anew before the next call: what is on the disk is not known."""
        self._opened = False
        self._writer.doubt(self.state.head.chunk)
        if isinstance(error, SyncError):
            with contextlib.suppress(OSError, QueueFailed):
                self._writer.write_again(self.state, flush=False)
        self.failed = self.failed or f"{self.path}: it could not be written ({error})"

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        if not self._opened and not self.open():
            return False
        lock, now = self._lock, monotonic()
        assert lock is not None
        if now - self._path_checked >= RECHECK:
            self._check_path(now)
        if not exclusive and self._info.read(now) == self._seen:
            self._reset()
            if lock.is_next:
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

    def _reset(self) -> None:
        """Forget the last transaction."""
        self._exclusive = self._stored = self._synced = False
        self._head = self.state.head
        self._intended = None
        self._missing = self.state.missing
        self._cursor.begin()

    def _refresh(self, raw: bytes | None) -> None:
        """Move to what others committed since this object read it."""
        if raw is None:
            self._fail("its info was removed while it was open")
        try:
            state = self._info.decode(raw)
        except BadInfo as bad:
            self._opened, self.failed = False, f"{self.path}: its info is damaged ({bad})"
            advice = "the next call reopens the queue"
            raise QueueCorrupt(self.path, "info", reason=str(bad), advice=advice) from bad
        self._check_path(monotonic())
        flushed, finished = self._info.supplement(raw, state)
        old, self.state, self._seen = self.state, state, raw
        self._head, self._flushed = state.head, flushed
        self._hear(old)
        if _is_other(state, old):  # it was mended meanwhile
            self._reader.forget()
            self._begin_anew(state, finished)
        else:
            self._cursor.follow(old, state, [new for new in finished if new not in self._known])
        self._known = frozenset(finished)
        if self._cursor.overtaken and not self._has_company:
            self._has_company = True
            warn(TWO_CONSUMERS, self.path, "autosave=True or a SQLiteAckQueue")

    def append(self, records: Sequence[bytes]) -> None:
        try:
            if self._seen is None:
                self._writer.sync_itself()
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

    def counts(self, exact: bool = True) -> tuple[int, int]:  # noqa: ARG002 - counting is free here
        return self._cursor.counts(self._head)

    # -- reading --------------------------------------------------------------------

    def next_place(self) -> tuple[io.RawIOBase | io.BytesIO, int]:
        """Return the chunk of the next item as a stream, as far as it holds items, and where."""
        chunk, _, offset = self._cursor.place()
        last, _, limit = self._head
        return self._reader.window(chunk, limit if chunk == last else None), offset

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
                if cursor.until and (end := cursor.end_of(start)):
                    self._step_over_finished(start, end)
                    continue
                item, offset = self._reader.decode(chunk, offset, limit if chunk == last else None)
            except FileNotFoundError:
                self._skip(cursor.read, "the chunk is missing")
            except Damaged as damage:
                self._skip(cursor.read, str(damage))
            except (SerializationError, ItemTooLarge) as error:
                place = self._recovery.place(cursor.read)
                raise type(error)(f"{place}: {error}") from error.__cause__
            else:
                cursor.read = after = self.state.after(start, offset)
                return Record(start, after, item, self._era)

    def _step_over_finished(self, start: Position, end: int) -> None:
        """Go on reading behind finished items, those in the chunk of ``start`` only.

        Args:
            end: the ordinal behind the last of them.
        """
        at = start
        try:
            for place in self._places(start, end):
                at = place
        finally:
            self._cursor.step_over(at)

    def _places(self, start: Position, end: int) -> Iterator[Position]:
        """Yield the places behind records, up to an ordinal, or to the end of the chunk."""
        state, (last, _, limit) = self.state, self._head
        chunk = start.chunk
        if end >= (chunk + 1) * state.chunksize:
            yield Position(chunk + 1, 0, 0)
            return
        most = limit if chunk == last else None
        for _ in range(end - state.ordinal(start)):
            start = state.after(start, self._reader.boundary(chunk, start.offset, most))
            yield start

    def _skip(self, start: Position, reason: str) -> None:
        """Step over damage, or say where it is."""
        if not self._exclusive:
            raise Stale
        self._check_path(monotonic())
        end, certain = self._resume(start)
        until = self._cursor.end_of(start)
        if until and certain and self.state.ordinal(end) <= until:  # not needed any more
            self._cursor.step_over(end)
            return
        if not self._skip_corrupt:
            raise self._recovery.damage(start, reason)
        self._step_over(start, end, reason, certain=certain)

    def _resume(self, start: Position) -> tuple[Position, bool]:
        return self._recovery.resume(start, self._head, self.state.chunksize)

    def _step_over(self, start: Position, end: Position, reason: str, *, certain: bool) -> None:
        self._recovery.set_aside(start, end, reason)
        self.skipped += self.state.ordinal(end) - self.state.ordinal(start)
        self._cursor.skip(start, end, certain=certain)

    def set_aside(self, *, unseen: bool = False) -> bool:
        """Set the next item aside if it cannot be loaded; returns whether it was.

        Args:
            unseen: also one that can; none is loaded.
        """
        cursor, (last, count, limit) = self._cursor, self._head
        reason, damaged = "it was to be set aside", False
        try:
            while cursor.until and (end_of_range := cursor.end_of(cursor.read)):
                self._step_over_finished(cursor.read, end_of_range)
        except (FileNotFoundError, Damaged, ItemTooLarge):
            pass  # as the next step will find
        chunk, records, offset = start = cursor.read
        if cursor.has_known(self.skip) or chunk > last or (chunk == last and records >= count):
            return False
        try:
            if not unseen:
                self._reader.decode(chunk, offset, limit if chunk == last else None)
                return False
        except FileNotFoundError:
            reason, damaged = "the chunk is missing", True
        except Damaged as damage:
            reason, damaged = str(damage), True
        except (SerializationError, ItemTooLarge, SystemExit) as error:
            reason = reason_of(error)
        end = None if damaged else self._recovery.end_of(start, self.state)
        certain = True
        if end is None:
            end, certain = self._resume(start)
            several = self.state.ordinal(end) - self.state.ordinal(start) > 1
            if several and not (damaged or self._framing.native):
                raise SerializationError(
                    f"{self._recovery.place(start)}: {reason}. It cannot be set aside: where it "
                    f"ends, only the load of {self._framing.name} could tell"
                )
        self._step_over(start, end, reason, certain=certain)
        return True

    # -- ending a transaction -------------------------------------------------------

    def commit(self) -> None:
        if not self._exclusive:
            return
        _, tail, old, _, missing = state = self.state
        cursor = self._cursor
        if cursor.finished.ranges:
            self._catch_up()
        done, head = cursor.done(), self._head
        changed = self._synced or (cursor.finished.changes and self._framing.native)
        if self._missing is not missing:
            state, changed = state._replace(missing=self._missing), True
        if head is not old or done != tail or changed:
            self._store(state.with_ends(done, head))
        self._end()

    def _catch_up(self) -> None:
        """Find out where finished items end that reading does not come by any more."""
        cursor, state = self._cursor, self.state
        while (start := cursor.catch_up()) is not None and start != self._stuck:
            first = start
            end = cursor.finished.end_of(state.ordinal(start))
            try:
                while state.ordinal(start) < end:
                    *_, start = self._places(start, end)
            except (OSError, Damaged, ItemTooLarge, SerializationError) as error:
                # The tail stays in front of them, and they are finished all the same.
                self._stuck = None if isinstance(error, OSError) else first
                return
            cursor.found(start)

    def _end(self) -> None:
        if self._exclusive and self._lock is not None:
            self._lock.release()
            self._exclusive = False

    def _store(self, new: State) -> None:
        appended = self._writer.first is not None
        flushed = self._power if appended else self._flushed
        raw = self._info.encode(new, self._cursor.finished, flushed=flushed)
        if raw == self._seen:  # what was finished is known already, or has no room
            self._stored = True
            return
        tail, done = self.state.tail.chunk, new.tail.chunk
        consumed = self._chunks.between(tail, done) if done != tail else ()
        sync = self._power and appended
        try:
            if sync:
                self._writer.sync()
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
        """Refuse to acknowledge a commit to files to which the path does not lead any more."""
        if not self._info.is_current():
            self._fail("its info was removed or replaced while it was written")
        self._folder.check()

    def _landed(self, raw: bytes, new: State) -> None:
        """Let memory follow: the transaction is stored."""
        self._seen, self.state = raw, new
        self._cursor.landed(new)
        if self._writer.first is not None:
            self._flushed = self._power
            self._writer.landed(new.head, flushed=self._unflushed)
        self._unflushed = False
        self._stored = True
        self._intended = None

    def _take_back(self, error: BaseException | None) -> None:
        """Put the old ``info`` back; if that fails, or a flush did, have the store opened anew.

        Args:
            error: the failure; None for an interrupt.
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
        """Cut off what the transaction wrote, and let memory be as before it."""
        if self._exclusive and not self.failed:
            with contextlib.suppress(QueueFailed):
                self._folder.check()
        if self._writer.first is not None and not self.failed:  # else opening anew sees to it
            self._writer.undo(self.state.head)
        self._reader.forget()
        self._cursor.undo()
        self._head = self.state.head

    def abandon(self) -> None:
        self._exclusive = False
        if self._lock is not None:
            self._lock.drop()

    # -- the rest -------------------------------------------------------------------

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - puts and joins wait for it, too
        self._looks += 1
        by_name = self._looks % 8 == 0 or self.probe() is not None
        if by_name and not self._folder.is_current():
            return True
        return self._info.differs(self._seen, by_name)

    def probe(self) -> tuple[int, bytes] | None:
        return self._info.probe(self._seen)

    def sync(self) -> None:
        try:
            self._writer.sync_all(self.state)
        except SyncError as error:
            self._distrust(error)
            raise
        self._vouch()
        # So says info with this commit, without another flush; a foreign one cannot.
        self._synced = self._framing.native and self._seen is not None
        self._flushed = True

    def close(self) -> None:
        try:
            with contextlib.suppress(OSError, PersistQueueError):
                if self.failed and self._intended is not None:
                    self.open()  # the last chance to undo what failed; later objects cannot
                lock, now = self._lock, monotonic()
                if lock is None or not self._opened or not lock.try_acquire(now):
                    return
                if self._info.read(now) == self._seen:
                    self._writer.cut(self.state.head)  # as opening does, if this cannot
        finally:
            self.forget()

    def forget(self) -> None:
        self._writer.close()
        self._reader.close()
        self._info.close()
        if self._lock is not None:
            self._lock.close()
        self._lock, self._opened, self._placed = None, False, False


def beside(tempdir: str | os.PathLike[str], path: str) -> str:
    """Return a ``tempdir`` as an absolute path.

    Raises:
        ValueError: it is on another file system than ``path``, or will be.
        OSError: there is no ``tempdir``.
    """
    existing = path
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if os.stat(existing).st_dev != os.stat(tempdir).st_dev:
        raise ValueError(
            f"tempdir {os.fspath(tempdir)!r} is on another file system than {path!r}: "
            "a file there cannot replace one here in one step"
        )
    return absolute(tempdir)


def _is_other(new: State, old: State) -> bool:
    """Return whether the places of ``old`` may be other items' in ``new``."""
    return new.head < old.head or new.chunksize != old.chunksize or new.mended != old.mended
