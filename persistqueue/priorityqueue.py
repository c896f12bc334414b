# Written by tools/unasync.py: change async_priorityqueue.py instead.
"""``PriorityQueue``: the lowest number first, in an SQLite database, for threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._core.arguments import T
from ._sql.rows import checked_priority
from ._sql.sqlite.queue import SQLiteBase
from ._sql.statements import PRIORITY
from .exceptions import Empty, Full

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Empty", "Full", "PriorityQueue"]


class PriorityQueue(SQLiteBase[T]):
    """A queue whose item with the lowest priority goes first; equal ones in the order of put.

    It takes the arguments of ``SQLiteQueue`` and keeps its promises.
    """

    _KIND = PRIORITY

    def put(  # type: ignore[override]  # persist-queue has the priority before block
        self, item: T, priority: int = 0, block: bool = True, timeout: float | None = None
    ) -> int | None:
        """Store an item.

        Args:
            item: anything that the serializer takes; None is an item like any other.
            priority: the lower, the sooner; a whole number of 64 bits.
            block: wait for room if the queue is full.
            timeout: seconds to wait for room; None for as long as it takes.

        Returns:
            the row's id.

        Raises:
            TypeError, ValueError: the priority is no such number.
            Everything that ``SQLiteQueue.put`` raises.
        """
        return self._put(self._prioritised(item, checked_priority(priority)), block, timeout)

    def put_nowait(self, item: T, priority: int = 0) -> int | None:
        """Store an item if there is room now: ``put(item, priority, block=False)``."""
        return self.put(item, priority, False)

    def put_many(  # type: ignore[override]
        self,
        items: Iterable[T],
        priority: int = 0,
        block: bool = True,
        timeout: float | None = None,
    ) -> list[int | None]:
        """Store items of one priority with one commit: all of them or none.

        Args:
            items: read to its end before anything is stored.
            priority: of each of them.
            block: wait until there is room for all.
            timeout: seconds to wait for room; None for as long as it takes.

        Returns:
            the rows' ids.

        Raises:
            ValueError: they are more than ``maxsize``, so they would never fit.
            Everything that ``put`` raises.
        """
        number = checked_priority(priority)
        return self._put_rows(lambda item: self._prioritised(item, number), items, block, timeout)

    def _prioritised(self, item: T, priority: int) -> tuple[object, ...]:
        return *self._rows.of(item), priority
