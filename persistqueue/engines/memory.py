"""``MemoryEngine``: nothing survives."""

from __future__ import annotations

from collections import deque
from itertools import islice, repeat, starmap
from typing import TYPE_CHECKING

from .base import StorageEngine

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence


class MemoryEngine(StorageEngine):
    """Keeps records in memory: they are gone when the queue is closed or its process ends.

    For tests, and for programs that want a queue's methods without its files.  The path is a
    name only.
    """

    persistent = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._records: deque[bytes] = deque()

    def open(self) -> int:
        return len(self._records)

    def append(self, records: Sequence[bytes]) -> None:
        self._records.extend(records)

    def read(self, start: int, count: int) -> Sequence[bytes]:
        if 2 * start <= len(self._records):
            return list(islice(self._records, start, start + count))
        behind = len(self._records) - start - count  # a deque is walked from its nearer end
        return list(islice(reversed(self._records), behind, behind + count))[::-1]

    def remove(self, count: int) -> None:
        # No loop in Python: Ctrl-C would come in the middle of it.
        deque(starmap(self._records.popleft, repeat((), count)), maxlen=0)

    def sync(self) -> None:
        """Nothing is made safe: there is no file."""

    def close(self) -> None:
        self._records.clear()
