"""The line of a broker: gets wait for one of many queues, and all share one batch.

A get that waits is parked at its queue (``Call.at``).  When a batch is over, the store has
noted which queues got something (``Ready``); there, as many go on as there is something for.
When others have committed, it is not known where, so the first at each queue looks again, and one
that finds something lets the next one look.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from .._core.call import TAKE
from .._core.waiters import Calls, Waiters, WaitingCalls

if TYPE_CHECKING:
    from .._core.call import AnyCall
    from ..exceptions import QueueClosed, QueueShutDown


class WaitersByQueue(Waiters):
    """The ops of one broker object.  The session's mutex protects it.

    Args:
        ready: what the store knows of its queues.
    """

    def __init__(self, ready: Ready, closed: type[QueueClosed]) -> None:
        super().__init__(0, closed)
        self._ready = ready
        self._at: dict[Any, Calls] = {}  # gets that wait, by queue; none of these is empty

    @property
    def waiting(self) -> bool:
        return bool(self._at)

    def waiting_calls(self) -> WaitingCalls:
        gets = sum(map(len, list(self._at.values())))
        return super().waiting_calls()._replace(gets=gets)

    def enter(self, call: AnyCall) -> None:
        if call.waits and call.verb == TAKE and call.at in self._at:
            self._arrivals += 1
            call.number = self._arrivals
            self._line_up(call)
        else:
            super().enter(call)

    def start(self, call: AnyCall) -> list[AnyCall]:
        self.enter(call)
        return self.batch()

    def finish(self, counts: tuple[int, int] | None, held_back: bool = False) -> None:
        super().finish(counts, held_back)
        if counts is not None:
            ready = self._ready
            stirred = self._at if ready.unsure else self._at.keys() & ready.stirred
            ready.unsure = False
            ready.stirred.clear()
            for queue in list(stirred):
                self._promote_at(queue)

    def withdraw(self, call: AnyCall) -> bool:
        found = super().withdraw(call)
        if found and call.verb == TAKE:
            self._tidy(call.at)
            self._promote_at(call.at)  # what was meant for it goes to the next
        return found

    def all(self) -> list[AnyCall]:
        return [*super().all(), *(call for line in self._at.values() for call in line)]

    def poke(self) -> bool:
        for queue in list(self._at):
            self._first_to_pending(self._at[queue])
            self._tidy(queue)
        return bool(self.pending)

    def stop(self, error: type[QueueShutDown | QueueClosed], immediate: bool) -> None:
        super().stop(error, immediate)
        for line in self._at.values():
            self._answer(line, error=True)
        self._at.clear()

    def _empty(self) -> None:
        super()._empty()
        self._at.clear()

    def _parking(self, call: AnyCall) -> Calls:
        return (
            self._at.setdefault(call.at, OrderedDict())
            if call.verb == TAKE
            else super()._parking(call)
        )

    def _waits_behind(self, call: AnyCall) -> bool:
        return call.at in self._at and super()._waits_behind(call)

    def _promote_at(self, queue: Any) -> None:
        """Let as many go on as there may be something for."""
        line = self._at.get(queue)
        if not line:
            return
        count = self._ready.in_queue(queue)
        count -= sum(call.load for call in self.pending if call.verb == TAKE and call.at == queue)
        while line and count > 0:
            count -= self._first_to_pending(line).load
        self._tidy(queue)

    def _tidy(self, queue: Any) -> None:
        if queue in self._at and not self._at[queue]:
            del self._at[queue]


class Ready:
    """How many items wait in each queue, as far as it is known without asking.

    Attributes:
        stirred: queues that got something since the line last looked.
        unsure: anything may be anywhere: others have committed.
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self.stirred: set[str] = set()
        self.unsure = True

    def in_queue(self, queue: str) -> int:
        """Return how many are there for those who wait; 1 where it is not known."""
        return self._known.get(queue, 1)

    def more(self, queue: str, count: int) -> None:
        """Note that a queue got items."""
        if queue in self._known:
            self._known[queue] += count
        self.stirred.add(queue)

    def taken(self, queue: str, count: int, most: int) -> None:
        """Note that a call asked for ``most`` items and got ``count``."""
        if count < most:
            self._known[queue] = 0
        elif queue in self._known:
            self._known[queue] = max(self._known[queue] - count, 0)
            if self._known[queue]:
                self.stirred.add(queue)
        else:
            self.stirred.add(queue)

    def passed(self, queue: str, count: int) -> None:
        """Note that a call got ``count`` items, and others there are held back for a while."""
        self._known.pop(queue, None)
        if count:
            self.stirred.add(queue)

    def unknown(self, queue: str) -> None:
        """Forget a queue's count."""
        self._known.pop(queue, None)
        self.stirred.add(queue)

    def forget(self) -> None:
        """Forget everything."""
        self._known.clear()
        self.unsure = True
