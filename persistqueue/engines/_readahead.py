"""Records that were read from an engine, or just given to it, and come next.

What is asked for grows with what comes back, so that small records come by the hundreds and
large ones one by one; what is kept is bounded in bytes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ENOUGH = 1 << 18  # bytes to read at once, and to keep of what was appended
_MOST = 1024  # records to read at once


class ReadAhead:
    """Records in one run, by number.

    Args:
        read: returns so many records from a number on.
    """

    def __init__(self, read: Callable[[int, int], Sequence[bytes | None]]) -> None:
        self._read = read
        self._first = 0  # number of the first that is kept
        self._kept: deque[bytes | None] = deque()
        self._bytes = 0  # of what was appended and is kept
        self._count = 1  # records to read next time

    def get(self, number: int, stop: int) -> bytes | None:
        """Return a record; ``stop`` is the number behind the last that can be read."""
        place = number - self._first
        if not 0 <= place < len(self._kept):
            records = self._read(number, min(self._count, stop - number))
            self._first, self._kept, self._bytes, place = number, deque(records), 0, 0
            self._adapt()
        while place > 0:  # those in front are handed out
            self._let_go()
            place -= 1
        return self._kept[0]

    def _adapt(self) -> None:
        size = sum(len(record) for record in self._kept if record is not None)
        if size < _ENOUGH // 2:
            self._count = min(2 * self._count, _MOST)
        elif size > _ENOUGH:
            self._count = max(self._count // 2, 1)

    def extend(self, number: int, records: Sequence[bytes]) -> None:
        """Keep records that were appended, if they follow on what is kept, and are few."""
        if not self._kept:
            self._first, self._bytes = number, 0
        if self._first + len(self._kept) != number or self._bytes > _ENOUGH:
            return
        for record in records:
            self._bytes += len(record)
            if self._bytes > _ENOUGH:
                return
            self._kept.append(record)

    def drop(self, number: int) -> None:
        """Let go of records before ``number``."""
        while self._kept and self._first < number:
            self._let_go()

    def _let_go(self) -> None:
        record = self._kept.popleft()
        self._first += 1
        if record is not None and self._bytes:
            self._bytes = max(self._bytes - len(record), 0)
