"""What one object writes to its queue's files: in which order, and how that is undone.

Commit
    Data is written at the known head (not at the end of the file) and
    flushed; then ``info`` is overwritten in place and flushed.  Bytes behind the head are
    no items.  Settling only changes ``info`` (the tail, and which items behind it are
    finished), without a flush, because a power cut may then redeliver, never lose.  Before a
    consumed chunk is removed, ``info`` is flushed at either durability.

Failure
    A transaction that cannot write is undone: first ``info``, then the chunks, so that
    no ``info`` tells of items that are not there.  Where ``info`` cannot be put back, a
    flush failed, or the path leads elsewhere by now (see ``folder``), the object says so in
    ``failed`` and cuts nothing.  Then the store is opened anew.  That puts ``info`` back to what
    was stored before, unless others went on from it; writes again what a failed flush may have
    lost; cuts what is behind the head; and flushes that.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn

from .._core.cursor import State
from .._core.disk import SyncError
from ..exceptions import QueueFailed
from .writer import ChunkWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.cursor import Position
    from .._core.disk import Disk
    from .._core.finished import Finished
    from .._core.framing import Framing
    from .chunks import ChunkDirectory
    from .info import InfoFile


class Commits:
    """The commits of one object; the caller holds the directory's lock.

    Args:
        power: commits survive loss of power, not only death of the process.

    Attributes:
        writer: the chunk at the head.
        state: what ``info`` held at the end of the last transaction.
        seen: the bytes of ``info`` that it was decoded from; None: there was none.
        flushed: whether the chunk of the state's head was flushed up to the head.
        synced: whether this transaction has done that.
        failed: why it is not known what is on the disk; empty while it is.
    """

    def __init__(
        self,
        disk: Disk,
        chunks: ChunkDirectory,
        info: InfoFile,
        framing: Framing,
        chunksize: int,
        *,
        power: bool,
    ) -> None:
        ahead = power and framing.native
        self.writer = ChunkWriter(disk, chunks, info, power=power, ahead=ahead)
        self.state = State(chunksize)
        self.seen: bytes | None = None
        self.flushed = self.synced = False
        self.failed = ""
        self._chunks = chunks
        self._info = info
        self._native = framing.native
        self._power = power
        # The transaction under way.
        self._intended: bytes | None = None  # what info holds once it is stored
        self._unflushed = False  # whether that must be flushed yet
        self._stored = False  # whether it has come to its end

    # -- a transaction: begin, append, store; or take_back and undo -----------------

    def begin(self) -> None:
        """Forget the last transaction."""
        self.synced = self._stored = False
        self._intended = None

    def see(self, raw: bytes | None, state: State, *, flushed: bool) -> None:
        """Go on from what others have committed."""
        self.seen, self.state, self.flushed = raw, state, flushed

    def append(self, records: Sequence[bytes], head: Position) -> Position:
        """Write records from ``head`` on, and return the place behind them."""
        try:
            if self.seen is None:
                self.writer.sync_itself()
                if self._native or len(records) > 1:
                    self._write_first_info()
            return self.writer.append(records, self.state, head)
        except SyncError as error:
            self.distrust(error)
            raise

    def _write_first_info(self) -> None:
        """Write ``info`` before the first record, so that a torn one is not taken for whole.

        A foreign serializer's first record comes without: persist-queue's users count on
        one ``dump`` for an item and one for ``info``, and only ``load`` can read it anyway.
        """
        raw = self._info.encode(self.state)
        self._info.write(raw, sync=self._power)
        self.seen = raw

    def store(self, new: State, finished: Finished) -> None:
        """Make what was appended count, and the new ends.

        Raises:
            OSError, QueueFailed: nothing of it is stored; ``undo`` has to follow.
        """
        appended = self.writer.first is not None
        flushed = self._power if appended else self.flushed
        raw = self._info.encode(new, finished, flushed=flushed)
        if raw == self.seen:  # what was finished is known already, or has no room
            self._stored = True
            return
        tail, done = self.state.tail.chunk, new.tail.chunk
        consumed = self._chunks.between(tail, done) if done != tail else ()
        sync = self._power and appended
        try:
            if sync:
                self.writer.sync()
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
            self.fail("its info was removed or replaced while it was written")
        self._chunks.folder.check()

    def _landed(self, raw: bytes, new: State) -> None:
        """Let memory follow: the transaction is stored."""
        self.seen, self.state = raw, new
        if self.writer.first is not None:
            self.flushed = self._power
            self.writer.landed(new.head, flushed=self._unflushed)
        self._unflushed = False
        self._stored = True
        self._intended = None

    def _take_back(self, error: BaseException | None) -> None:
        """Put the old ``info`` back; if that fails, or a flush did, have the store opened anew.

        Args:
            error: the failure; None for an interrupt.
        """
        if self._intended is not None and self._info.restore(self.seen, sync=self._power):
            self._intended = None
        if self._intended is not None or isinstance(error, SyncError):
            self.distrust(error)

    def is_stored(self) -> bool:
        """Return whether the transaction came to its end, before it was interrupted maybe.

        If not, ``info`` is put back.
        """
        if self._stored or self._intended is None:
            return self._stored
        if not self.failed and self._info.holds(self._intended) and self._is_safe():
            self._landed(self._intended, self._info.decode(self._intended))
        elif not self.failed:
            self._take_back(None)
        return self._stored

    def _is_safe(self) -> bool:
        """Return whether ``info`` could be flushed if it has to be."""
        try:
            if self._unflushed:
                self._info.sync()
                self._vouch()
        except (OSError, QueueFailed) as error:
            self._take_back(error)
            return False
        return True

    def undo(self, *, check: bool) -> None:
        """Cut off what the transaction wrote.

        Args:
            check: look first whether the path leads there still.
        """
        if check and not self.failed:
            with contextlib.suppress(QueueFailed):
                self._chunks.folder.check()
        if self.writer.first is not None and not self.failed:  # else opening anew sees to it
            self.writer.undo(self.state.head)

    def sync(self) -> None:
        """Make everything that is stored safe against loss of power; ``store`` is to say so."""
        try:
            self.writer.sync_all(self.state)
        except SyncError as error:
            self.distrust(error)
            raise
        self._vouch()
        self.synced = self._native and self.seen is not None  # a foreign info cannot say it
        self.flushed = True

    # -- failure ----------------------------------------------------------------------

    def fail(self, what: str) -> NoReturn:
        """Have the store opened anew before the next call.

        Raises:
            QueueFailed: always.
        """
        self.failed = f"{self._chunks.path}: {what}"
        raise QueueFailed(f"{self.failed}; the next call reopens the queue")

    def distrust(self, error: BaseException | None) -> None:
        """Have the store opened anew before the next call: what is on the disk is not known."""
        self.writer.doubt(self.state.head.chunk)
        if isinstance(error, SyncError):
            with contextlib.suppress(OSError, QueueFailed):
                self.writer.write_again(self.state, flush=False)
        self.failed = self.failed or f"{self._chunks.path}: it could not be written ({error})"

    @property
    def owes(self) -> bool:
        """Whether something is left to be undone."""
        return bool(self.failed) and self._intended is not None

    def wrote(self, raw: bytes | None) -> bool:
        """Return whether this object has read or written an ``info``."""
        return raw in (self.seen, self._intended)

    def finish_undoing(self, now: float) -> None:
        """Undo what failed, ``info`` first, unless others went on from it."""
        raw = self._info.read(now)
        if self._intended is not None and (raw == self._intended or not self._info.is_whole(raw)):
            self._info.put(self.seen, sync=self._power)
            raw = self.seen
        if raw == self.seen:
            self.writer.undo(self.state.head)
