# Written by tools/unasync.py: change async_ackqueue.py instead.
"""``AckBase``: what every ack queue in an SQL table does, for threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._core import call
from .._core.arguments import NO_ITEM, T, one_of
from .._core.deadline import Deadline
from .queue import SQLBase
from .statements import ACKED, FAILED, HELD, READY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .ackcalls import AckCalls
    from .acks import AckStore
    from .rows import RowId


class AckBase(SQLBase[T]):
    """Items that are taken are acked, or redelivered; a subclass says in which database."""

    _store: AckStore
    _calls: AckCalls

    # -- get ------------------------------------------------------------------------

    def get(  # type: ignore[override]  # persist-queue has next_in_order before raw
        self,
        block: bool = True,
        timeout: float | None = None,
        id: RowId | None = None,
        next_in_order: bool = False,
        raw: bool = False,
    ) -> Any:
        """Take the next item; it is this object's until it is acked in one way or another.

        Args:
            block: wait for an item if there is none.
            timeout: seconds to wait for one; None for as long as it takes.
            id: take the item with this id instead, if it waits; never waits for it.
            next_in_order: with ``id``: take the one behind it; behind the last, the first.
            raw: return a dict of ``pqid`` (the row's id), ``data``, ``timestamp``; and of ``takes``
                and ``attempts``: how often it was handed out, and how many of these count.

        Raises:
            Empty: there was none in time, or none with this id waits.
            ValueError: the timeout is negative; ``next_in_order`` without ``id``.
            Everything that ``SQLiteQueue.get`` raises.
        """
        act = self._calls.following(next_in_order, id)
        if act is None:
            return super().get(block, timeout, id, raw)
        taken = self._session.run(call.take(1, Deadline.of(block, timeout), act=act))
        return self._rows.shown(taken[0]) if raw else taken[0].item

    # -- finish ---------------------------------------------------------------------

    def ack(self, item: object = NO_ITEM, id: RowId | None = None) -> int | None:
        """Say that an item is done.

        Args:
            item: what ``get`` returned; if that very object is not known, an equal one.
            id: the row's, instead of ``item``; also of an item that no consumer holds.

        Returns:
            the row's id; None if it was acked before, is not known, or was taken over by another
            worker, because this one was counted as dead: then nothing changed, and a WARNING says
            so.

        Raises:
            ValueError: both or neither are given.
        """
        return self._finish(ACKED, item, id)

    def ack_failed(self, item: object = NO_ITEM, id: RowId | None = None) -> int | None:
        """Put an item away as failed; it stays stored.  For the rest see ``ack``."""
        return self._finish(FAILED, item, id)

    def nack(
        self, item: object = NO_ITEM, id: RowId | None = None, *, to: str = "front"
    ) -> int | None:
        """Put an item back, to be redelivered.  For the rest see ``ack``.

        Args:
            item: see ``ack``.
            id: see ``ack``; also of an item that failed, whose attempts are counted anew.
            to: ``"front"``, its own place; or ``"back"``, the last one in the queue's order,
                which gives the row a new id.

        Returns:
            the row's id, the new one if it has one; None if nothing changed.
        """
        back = one_of("to", to, ("front", "back")) == "back"
        return self._finish(READY, item, id, back)

    def ack_many(
        self, items: Iterable[object] = NO_ITEM, *, ids: Iterable[RowId] | None = None
    ) -> list[int | None]:
        """Say that several items are done, with one commit: all of them or, if it raises, none.

        Args:
            items: what ``get`` returned, each time; see ``ack``.
            ids: the rows' ids, instead of ``items``.

        Returns:
            for each of them what ``ack`` returns.

        Raises:
            ValueError: both or neither are given.
        """
        return self._finish_many(ACKED, items, ids)

    def nack_many(
        self,
        items: Iterable[object] = NO_ITEM,
        *,
        ids: Iterable[RowId] | None = None,
        to: str = "front",
    ) -> list[int | None]:
        """Put several items back, with one commit.  For the rest see ``ack_many``.

        Args:
            items, ids: see ``ack_many``.
            to: see ``nack``.
        """
        back = one_of("to", to, ("front", "back")) == "back"
        return self._finish_many(READY, items, ids, back)

    def _finish(
        self, status: int, item: object, id: RowId | None, to_back: bool = False
    ) -> int | None:
        finish = self._calls.one(status, item, id, to_back)
        moved = self._session.run(call.finish_together(finish, finish.pick))
        if moved:
            return moved[0]
        self._calls.say_unknown([finish], item, id)
        return None

    def _finish_many(
        self,
        status: int,
        items: Iterable[object],
        ids: Iterable[RowId] | None,
        to_back: bool = False,
    ) -> list[int | None]:
        finish = self._calls.many(status, items, ids, to_back)
        if not finish.each:
            return []
        moved = self._session.run(call.finish_together(finish, finish.pick))
        self._calls.say_unknown(finish.each, None, ids)
        return moved

    def task_done(self, count: int | None = None, *, item: object = NO_ITEM) -> None:  # noqa: ARG002
        """``task_done(item=...)`` is ``ack(item)``; without an item NOTHING happens.

        An ack queue's items are finished by ``ack``, ``nack`` and ``ack_failed``.  Programs
        for persist-queue call ``task_done()`` behind one of these, so it is no error.
        """
        if item is not NO_ITEM:
            self._finish(ACKED, item, None)

    def resume_unack_tasks(self, force: bool = False) -> None:
        """Make ready the items that this object or a dead worker holds, and those without owner.

        Args:
            force: make ready also the items that living workers hold.  Such an item is worked on
                twice, and an ``ack`` of the first worker, unless it names the id, changes nothing.
        """
        self._session.run(self._calls.resume(force=bool(force)))

    def clear_acked_data(
        self, max_delete: int = 1000, keep_latest: int = 1000, clear_ack_failed: bool = False
    ) -> int:
        """Delete acked items, the newest ``keep_latest`` apart.

        Args:
            max_delete: how many at the most; 0 for no bound.
            keep_latest: how many stay.
            clear_ack_failed: delete failed ones as well.

        Returns:
            how many were deleted.
        """
        clear = self._calls.clear(max_delete, keep_latest, failed_too=bool(clear_ack_failed))
        return self._session.run(clear)

    # -- look -----------------------------------------------------------------------

    def unack_count(self) -> int:
        """Return how many items are handed out, by any worker."""
        return self._count_of(HELD)

    def acked_count(self) -> int:
        """Return how many acked items are still stored."""
        return self._count_of(ACKED)

    def ready_count(self) -> int:
        """Return how many items wait that were handed out before."""
        return self._count_of(READY)

    def ack_failed_count(self) -> int:
        """Return how many items have failed."""
        return self._count_of(FAILED)

    def active_size(self) -> int:
        """Return how many items wait or are handed out."""
        return self._session.run(call.look(lambda: self._store.counts()[1]))

    def queue(self) -> list[dict[str, Any]]:
        """Return everything that is stored, acked items too, in order of id.

        Returns:
            dicts of ``id``, ``data``, ``timestamp``, ``status``, ``takes``, ``attempts`` (see
            ``get``) and ``note``: why it failed, or None.
        """
        return super().queue()

    def _count_of(self, status: int) -> int:
        return self._session.run(self._calls.count(status))
