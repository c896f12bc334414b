"""Rewrites a file queue without its damage."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, NamedTuple

from .._core.deadline import monotonic
from .._core.folder import DirectoryLock
from ..exceptions import QueueLocked
from .writer import ChunkWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._core.cursor import State
    from .._core.folder import Folder
    from .look import Place

_BATCH = 1 << 20  # bytes that are copied at a time
_PATIENCE = 10.0  # s to wait for the queue's lock


class Salvaged(NamedTuple):
    """The result of a repair: items that were kept, and items that the damage took."""

    kept: int
    damaged: int


def repair(place: Place, progress: Callable[[int, int], None]) -> Salvaged:
    """Mend what opening mends, and move the whole records behind the damaged ones.

    Damage is copied to files of its own first; then the whole records are written
    behind the head, in their order; then one write of ``info`` makes that the queue.  A
    crash before leaves the queue as it was.

    Args:
        progress: is told how many items of how many were looked at.

    Raises:
        QueueLocked: another process held the queue's lock for 10 s.
        QueueCorrupt, FormatError: nothing can be read; nothing was touched.
        OSError: it could not be written; the queue is as it was.
    """
    lock = _locked(place.folder)
    try:
        raw, state = place.recovery.mend(place.info, 100, sync=True)
        damage, kept = [], 0
        for stretch in place.walk(state):
            if stretch.reason:
                damage.append(stretch)
            kept += not stretch.reason
            progress(state.ordinal(stretch.end) - state.ordinal(state.tail), state.size)
        for start, _, reason in damage:
            place.recovery.skip(start, state.head, state.chunksize, reason)
        if damage:
            _rewrite(place, raw, state, kept)
        return Salvaged(kept, state.size - kept)
    finally:
        lock.close()
        place.close()


def _locked(folder: Folder) -> DirectoryLock:
    lock = DirectoryLock(folder)
    deadline = monotonic() + _PATIENCE
    while not lock.try_acquire(now := monotonic()):
        if now > deadline:
            lock.close()
            raise QueueLocked(
                f"{folder.path}: another process holds the queue's lock; nothing was done"
            )
        time.sleep(0.005)
    return lock


def _rewrite(place: Place, raw: bytes | None, state: State, kept: int) -> None:
    """Write the whole records once more, and make the first of them the tail."""
    writer = ChunkWriter(place.disk, place.chunks, ahead=False, durable=True)
    head = state.head
    try:
        for records in _batches(place, state, kept):
            head = writer.append(records, state, head)
        writer.sync()
        place.chunks.sync_names()
        mended = state.with_ends(state.head, head, state.moved)
        place.info.write(place.info.encode(mended), sync=True)
    except BaseException:
        if place.info.restore(raw, sync=True):  # else both are there, and either is whole
            writer.undo(state.head)
        raise
    finally:
        writer.close()
    for chunk in place.chunks.between(state.tail.chunk, state.head.chunk):
        place.chunks.remove(chunk)


def _batches(place: Place, state: State, kept: int) -> Iterator[list[bytes]]:
    """Yield the bytes of ``kept`` whole records, about a mebibyte at a time."""
    records: list[bytes] = []
    size = 0
    for stretch in place.walk(state):
        if stretch.reason:
            continue
        records.append(place.record(stretch, state.head))
        size += len(records[-1])
        kept -= 1
        if size >= _BATCH:
            yield records
            records, size = [], 0
    if kept:
        raise OSError(errno.EIO, "other records can be read than a moment ago", place.path)
    yield records
