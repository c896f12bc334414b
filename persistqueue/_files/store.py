"""A queue as a directory of chunk files: the store behind ``Queue``.

Sharing
    Each transaction holds the directory's lock, compares the bytes of ``info`` with
    those last seen and moves to what others committed.  A take that stores nothing
    reads without the lock and begins again with it when anything is odd.

Failure
    What is written, in which order, and how a failure is undone, is said in ``commits``; and how
    items are read, in ``reading``.  A store that has failed is opened anew.

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
from .._core.cursor import Cursor
from .._core.deadline import monotonic
from .._core.disk import Disk, File, SyncError
from .._core.folder import EXCHANGED, DirectoryLock, Folder
from .._core.log import warn
from .._core.store import TWO_CONSUMERS
from ..exceptions import PersistQueueError, QueueCorrupt
from .chunks import ChunkDirectory, ChunkReader
from .commits import Commits
from .info import RECHECK, BadInfo, InfoFile
from .reading import ReadingStore
from .recovery import Recovery

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .._core.cursor import State
    from .._core.framing import Framing


class ChunkFileStore(ReadingStore):
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
        self._disk = disk
        self._framing = framing
        self._autosave = autosave
        self._power = power
        self._skip_corrupt = skip_corrupt
        self._folder = Folder(path, refuse=self._exchanged)
        self._chunks = ChunkDirectory(disk, self._folder)
        self._recovery = Recovery(disk, self._chunks, framing)
        self._info = InfoFile(disk, self._folder, framing, tempdir)
        self._commits = Commits(disk, self._chunks, self._info, framing, chunksize, power=power)
        self._reader = ChunkReader(disk, self._chunks, framing, longest)
        self._cursor = Cursor(self.state, autosave, self._chunks.is_there)
        self._known: Collection[tuple[int, int]] = ()  # finished ranges that ``info`` held last
        self._lock: DirectoryLock | None = None
        self._opened = False
        self._has_company = False  # another object consumes, too; it has been said
        self._path_checked = float("-inf")  # when the path was last looked up
        self._looks = 0  # how often ``changed`` was called
        # Handed out items have their places in the files that were open when they were read.
        self._placed = False  # whether those are open, or were until something failed
        self._era = 0  # how often other files took their place
        self._exclusive = False
        self._head = self.state.head

    @property
    def state(self) -> State:
        """The value of ``info`` at the end of the last transaction."""
        return self._commits.state

    @property
    def failed(self) -> str:
        return self._commits.failed

    @property
    def headf(self) -> File | None:
        """The chunk that is written to."""
        return self._commits.writer.file

    @property
    def tailf(self) -> File | None:
        """The chunk that is being read."""
        return self._reader.file

    # -- opening, and opening anew --------------------------------------------------

    def open(self) -> bool:
        if self._opened and not self.failed:
            return True
        lock = self._held_lock()
        try:
            if not lock.try_acquire(monotonic()):
                return False
            self._recover()
        except BaseException as error:
            lock.drop()
            if isinstance(error, SyncError):
                self._commits.distrust(error)
            raise
        lock.release()
        self._opened, self._commits.failed = True, ""
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
                self._commits.writer.made(self._disk.make_directory(self.path))
            self._lock = DirectoryLock(self._folder)
        return self._lock

    def _recover(self) -> None:
        """Read the directory, and have it mended."""
        self._stuck = None
        now, old = monotonic(), self.state
        self._commits.writer.sync_above()
        self._info.look_up()
        # Whether info is the one that this object has read and written.
        known = self._info.is_current() or self._commits.wrote(self._info.read(now))
        goes_on = self._placed and known
        if goes_on:
            self._commits.finish_undoing(now)
        raw, state = self._recovery.mend(self._info, old.chunksize, sync=self._power)
        same = goes_on and not _is_other(state, old)
        if same and state.tail < old.tail:  # info was rebuilt; this object knows what is finished
            state = state.with_ends(old.tail, state.head)
            raw = self._info.encode(state, self._cursor.finished)
            self._info.write(raw, sync=self._power)
        self._commits.writer.open(raw, state)
        flushed, finished = self._info.supplement(raw, state)
        self._known = frozenset(finished)
        if same:
            self._cursor.follow(old, state, finished)
        else:
            self._begin_anew(state, finished)
        self._placed = True
        self._commits.see(raw, state, flushed=flushed)
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

    def _check_path(self) -> None:
        self._path_checked = monotonic()
        self._folder.check()

    def _exchanged(self) -> NoReturn:
        self._commits.fail(EXCHANGED)

    # -- a transaction --------------------------------------------------------------

    def begin(self, exclusive: bool) -> bool:
        if not self._opened and not self.open():
            return False
        lock, now = self._lock, monotonic()
        assert lock is not None
        if now - self._path_checked >= RECHECK:
            self._check_path()
        if not exclusive and self._info.read(now) == self._commits.seen:
            self._reset()
            if lock.is_next:
                lock.stand_back()
            return True
        if not lock.try_acquire(now):
            return False
        self._reset()
        raw = self._info.read(now)
        if raw != self._commits.seen:
            self._refresh(raw)
        self._exclusive = True
        return True

    def _reset(self) -> None:
        """Forget the last transaction."""
        commits = self._commits
        commits.begin()
        self._exclusive = False
        self._head, self._missing = commits.state.head, commits.state.missing
        self._cursor.begin()

    def _refresh(self, raw: bytes | None) -> None:
        """Move to what others committed since this object read it."""
        if raw is None:
            self._commits.fail("its info was removed while it was open")
        try:
            state = self._info.decode(raw)
        except BadInfo as bad:
            self._commits.failed = f"{self.path}: its info is damaged ({bad})"
            advice = "the next call reopens the queue"
            raise QueueCorrupt(self.path, "info", reason=str(bad), advice=advice) from bad
        self._check_path()
        flushed, finished = self._info.supplement(raw, state)
        old, self._head = self.state, state.head
        self._commits.see(raw, state, flushed=flushed)
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
        self._head = self._commits.append(records, self._head)

    def counts(self, exact: bool = True) -> tuple[int, int]:  # noqa: ARG002 - counting is free here
        return self._cursor.counts(self._head)

    # -- ending a transaction -------------------------------------------------------

    def commit(self) -> None:
        if not self._exclusive:
            return
        commits, cursor = self._commits, self._cursor
        _, tail, old, _, missing = state = commits.state
        if cursor.finished.ranges:
            self._catch_up()
        done, head = cursor.done(), self._head
        changed = commits.synced or (cursor.finished.changes and self._framing.native)
        if self._missing is not missing:
            state, changed = state._replace(missing=self._missing), True
        if head is not old or done != tail or changed:
            commits.store(state.with_ends(done, head), cursor.finished)
            cursor.landed(commits.state)
        self._end()

    def _end(self) -> None:
        if self._exclusive and self._lock is not None:
            self._lock.release()
            self._exclusive = False

    def rollback(self) -> bool:
        try:
            if self._commits.is_stored():
                self._cursor.landed(self._commits.state)
                return True
            self._commits.undo(check=self._exclusive)
            self._reader.forget()
            self._cursor.undo()
            self._head = self._commits.state.head
            return False
        finally:
            self._end()

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
        return self._info.differs(self._commits.seen, by_name)

    def probe(self) -> tuple[int, bytes] | None:
        return self._info.probe(self._commits.seen)

    def sync(self) -> None:
        self._commits.sync()

    def close(self) -> None:
        try:
            with contextlib.suppress(OSError, PersistQueueError):
                if self._commits.owes:
                    self.open()  # the last chance to undo what failed; later objects cannot
                lock, now = self._lock, monotonic()
                if lock is None or not self._opened or self.failed or not lock.try_acquire(now):
                    return
                if self._info.read(now) == self._commits.seen:
                    self._commits.writer.cut(self.state.head)  # as opening does, if this cannot
        finally:
            self.forget()

    def forget(self) -> None:
        self._commits.writer.close()
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
