"""The files of one queue: opened, mended, and opened anew when something has failed.

Files are found from the directory that was opened (see ``folder``).  Where the path leads to
another one by now, or a flush failed, or ``info`` could not be put back, ``failed`` says so,
and ``open`` begins anew.  It puts ``info`` back to what was stored before, unless others
went on from it; writes again what a failed flush may have lost; cuts what is behind the
head; and flushes that.

Items that are handed out then have their places still, where the directory and its ``info``
are the same and nothing was cut in front of the head.  Else they belong to an *era* that is
over: settling them does nothing, and what is stored of them is handed out again.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn

from .._core.cursor import Cursor, State
from .._core.deadline import monotonic
from .._core.disk import Disk, File, SyncError
from .._core.folder import EXCHANGED, DirectoryLock, Folder
from .._core.log import warn
from .._core.store import Errors
from ..exceptions import PersistQueueError, QueueFailed
from .directory import ChunkDirectory
from .flushed import Flushed
from .info import InfoFile
from .reader import ChunkReader
from .recovery import Recovery
from .writer import ChunkWriter

if TYPE_CHECKING:
    from .._core.framing import Framing


class QueueFiles:
    """A queue's directory.

    Args:
        path: an absolute path; ``open`` creates the directory.
        chunksize: records in a chunk, for a new queue.
        autosave: taken is settled.
        power: commits survive loss of power, not only death of the process.
        skip_corrupt: set damaged records aside and go on, instead of raising.
        longest: bound on an encoded item, in bytes, checked before loading it.
        tempdir: where the temporary ``info`` is written; None for inside ``path``.
    """

    errors = Errors()  # see ``base.Store``

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
        self.failed = ""
        self.state = State(chunksize)  # what info held at the last transaction
        self._disk = disk or Disk()
        self._framing = framing
        self._autosave = autosave
        self._power = power
        self._skip_corrupt = skip_corrupt
        self._folder = Folder(path, refuse=self._exchanged)
        self._chunks = ChunkDirectory(self._disk, self._folder)
        self._recovery = Recovery(self._disk, self._chunks, framing)
        self._info = InfoFile(self._disk, self._folder, framing, tempdir)
        self._writer = ChunkWriter(
            self._disk, self._chunks, ahead=power and framing.native, durable=power
        )
        self._reader = ChunkReader(self._disk, self._chunks, framing, longest)
        self._flushed = Flushed(self._disk, self._chunks, self._info, power)
        self._cursor = Cursor(self.state, autosave, self._chunks.is_there)
        self._lock: DirectoryLock | None = None
        self._opened = False
        self._has_company = False  # another object consumes, too; it has been said
        self._looked = float("-inf")  # when the names were last looked up
        self._looks = 0
        self._seen: bytes | None = None  # the bytes of info that state was decoded from
        # What is handed out has its place in the files that were open when it was read.
        self._placed = False  # whether those are open, or were until something failed
        self._era = 0  # how often other files took their place
        # The transaction under way.
        self._exclusive = False  # whether it holds the lock
        self._head = self.state.head
        self._moved: str | None = None  # what info is to say of a move, if that changes
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

    # -- opening, failing -----------------------------------------------------------

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
                self._flushed.made(self._disk.make_directory(self.path))
            self._lock = DirectoryLock(self._folder)
        return self._lock

    def _recover(self) -> None:
        """See what is there, and have it mended."""
        now, old = monotonic(), self.state
        self._flushed.sync_above()
        self._info.look_up()
        goes_on = self._placed and self._is_known(now)
        if goes_on:
            self._finish_undoing(now)
        raw, state = self._recovery.mend(self._info, old.chunksize, sync=self._power)
        same = goes_on and state.chunksize == old.chunksize and state.head >= old.head
        if same and state.tail < old.tail:  # info was rebuilt; what is finished is known here
            state = state.with_ends(old.tail, state.head, state.moved)
            raw = self._info.encode(state)
            self._info.write(raw, sync=self._power)
        self._flushed.mend(raw, state)
        self._flushed.opened(state)
        self._place(state, same)
        self._seen, self.state, self._intended = raw, state, None
        self._reader.close()
        self._writer.close()
        self._writer.open(state.head)
        with contextlib.suppress(FileNotFoundError):  # a hole in the middle: take says so
            self._reader.load(state.tail.chunk)
        self._reset()

    def _is_known(self, now: float) -> bool:
        """Return whether ``info`` is the one that this object has read and written."""
        return self._info.is_current() or self._info.read(now) in (self._seen, self._intended)

    def _finish_undoing(self, now: float) -> None:
        """Undo what failed, ``info`` first, unless others went on from it."""
        raw = self._info.read(now)
        if self._intended is not None and (raw == self._intended or not self._info.is_whole(raw)):
            self._info.put(self._seen, sync=self._power)
            raw = self._seen
        if raw == self._seen:
            self._writer.undo(self.state.head)

    def _place(self, state: State, same: bool) -> None:
        """Keep the places of what is handed out, or begin another era."""
        if same:
            self._cursor.follow(self.state, state)
        else:
            self._era += self._placed
            self._cursor = Cursor(state, self._autosave, self._chunks.is_there, self._cursor)
        self._placed = True

    def _reset(self) -> None:
        """Forget the last transaction."""
        self._exclusive = False
        self._head = self.state.head
        self._intended = self._moved = None
        if self._writer.first is not None:
            self._writer.begin()
        self._cursor.begin()

    def _look_around(self, now: float) -> None:
        """See whether the directory is still the one that was opened."""
        self._looked = now
        self._folder.look()

    def _exchanged(self) -> NoReturn:
        self._fail(EXCHANGED)

    def _fail(self, what: str) -> NoReturn:
        self._opened, self.failed = False, f"{self.path}: {what}"
        raise QueueFailed(f"{self.failed}; the next call reopens the queue")

    def _distrust(self, error: BaseException | None) -> None:
        """Do not go on before this was opened anew: what is on the disk is not known."""
        self._opened = False
        self._flushed.doubt(self.state.head.chunk)
        if isinstance(error, SyncError):
            with contextlib.suppress(OSError, QueueFailed):
                self._flushed.write_again(self.state, flush=False)
        self.failed = self.failed or f"{self.path}: it could not be written ({error})"

    # -- the rest -------------------------------------------------------------------

    def changed(self, getting: bool) -> bool:  # noqa: ARG002 - whoever waits
        self._looks += 1
        by_name = self._looks % 8 == 0 or self.probe() is not None
        if by_name and not self._folder.is_current():
            return True
        return self._info.differs(self._seen, by_name)

    def probe(self) -> tuple[int, bytes] | None:
        return self._info.probe(self._seen)

    def close(self) -> None:
        try:
            with contextlib.suppress(OSError, PersistQueueError):
                if self.failed and self._intended is not None:
                    self.open()  # the last chance to undo what failed; who comes next cannot
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
        self._let_go()
        self._placed = False

    def _let_go(self) -> None:
        self._writer.close()
        self._reader.close()
        self._info.close()
        if self._lock is not None:
            self._lock.close()
        self._lock, self._opened = None, False
