"""A storage engine of one's own: a journal, to which every change is appended.

The file is a row of frames: what kind, how long, checksums of both, then the data.  A frame
at the end that a crash cut short is removed when the file is opened, so a change is there
whole or not at all; damage anywhere else is an error, and stays.  What is removed from the
queue stays in the file until it is opened again and half of it is waste.

Run it: it puts items, takes some, and finds the rest after a restart.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import zlib
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

from persistqueue import Queue, QueueCorrupt
from persistqueue.engines import StorageEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FRAME = Struct("<cQLL")  # kind, length of the data, its CRC-32, and that of these three
LENGTH = Struct("<Q")
LAST = Struct("<L")
ADDED, REMOVED = b"+", b"-"


class JournalEngine(StorageEngine):
    """Keeps records in one file that only grows; where each stands is kept in memory."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._fd = -1
        self._end = 0  # of the last whole frame
        self._unsafe = False  # a sync failed: what the system has dropped, nobody knows
        self._places: list[tuple[int, int]] = []  # offset and length of each record

    def open(self) -> int:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self._end, self._places = 0, []
        size = os.fstat(self._fd).st_size
        for kind, data in self._frames(size):
            self._apply(kind, data)
        if size > self._end:
            os.ftruncate(self._fd, self._end)
        if self._unsafe or sum(length for _, length in self._places) < self._end // 2:
            self._write_anew()
        return len(self._places)

    def append(self, records: Sequence[bytes]) -> None:
        self._change(ADDED, b"".join(LENGTH.pack(len(record)) + record for record in records))

    def read(self, start: int, count: int) -> list[bytes | None]:
        wanted = self._places[start : start + count]
        return [os.pread(self._fd, length, offset) for offset, length in wanted]

    def remove(self, count: int) -> None:
        self._change(REMOVED, LENGTH.pack(count))

    def sync(self) -> None:
        self._unsafe = True
        os.fsync(self._fd)
        self._unsafe = False

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _change(self, kind: bytes, data: bytes) -> None:
        frame = frame_of(kind, data) + data
        try:
            if os.pwrite(self._fd, frame, self._end) < len(frame):
                raise OSError(errno.ENOSPC, "no room", self.path)  # noqa: TRY301 - undone below
        except BaseException:
            os.ftruncate(self._fd, self._end)  # nothing of it is stored
            raise
        self._apply(kind, data)

    def _apply(self, kind: bytes, data: bytes) -> None:
        """Note what a whole frame at the end says."""
        at = self._end + FRAME.size
        if kind == REMOVED:
            del self._places[: LENGTH.unpack(data)[0]]
        else:
            stop = at + len(data)
            start = at
            while start < stop:
                (length,) = LENGTH.unpack_from(data, start - at)
                self._places.append((start + LENGTH.size, length))
                start += LENGTH.size + length
        self._end = at + len(data)

    def _frames(self, size: int) -> Iterator[tuple[bytes, bytes]]:
        """Find the whole frames; the caller moves the end behind each."""
        while self._end + FRAME.size <= size:
            head = os.pread(self._fd, FRAME.size, self._end)
            kind, length, _, _ = FRAME.unpack(head)
            data = os.pread(self._fd, min(length, size), self._end + FRAME.size)
            if head == frame_of(kind, data):
                yield kind, data
            elif head[-4:] == LAST.pack(zlib.crc32(head[:-4])) and len(data) < length:
                return  # cut short
            else:
                raise QueueCorrupt(
                    os.path.dirname(self.path), os.path.basename(self.path), self._end
                )

    def _write_anew(self) -> None:
        """Replace the file by one that holds what is stored, and nothing else."""
        records = [os.pread(self._fd, length, offset) for offset, length in self._places]
        new = JournalEngine(f"{self.path}.journal-new")
        Path(new.path).unlink(missing_ok=True)
        new._fd = os.open(new.path, os.O_RDWR | os.O_CREAT, 0o600)
        if records:
            new.append(records)
        new.sync()
        os.replace(new.path, self.path)
        self.close()
        self._fd, self._end, self._places = new._fd, new._end, new._places


def frame_of(kind: bytes, data: bytes) -> bytes:
    """Return what stands in front of a frame's data."""
    head = FRAME.pack(kind, len(data), zlib.crc32(data), 0)[: -LAST.size]
    return head + LAST.pack(zlib.crc32(head))


def main() -> None:
    """Show that what was put is there after a restart."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    path = folder / "jobs.journal"
    with Queue(path, engine=JournalEngine) as q:
        q.put_many(range(10))
        for _ in range(4):
            q.get()
            q.task_done()
    with Queue(path, engine=JournalEngine) as q:
        print(f"{q.qsize()} items after a restart, the oldest is {q.get()}")


if __name__ == "__main__":
    main()
