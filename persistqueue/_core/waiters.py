"""Which call is next, and which goes on waiting: decisions without I/O.

Theory of operation
    A ``Call`` enters the ``Waiters`` and is either *pending* (goes with the next batch) or
    *parked* (a get that waits for an item, a put that waits for room, a join).  A batch of
    pending calls becomes one transaction of the store.  When it is over, ``finish`` answers
    each call or parks it, and moves as many parked calls to pending as can go on.  So calls
    are served in the order of arrival.  No call is notified, so no notification can be lost.

    pending --batch--> flying --finish--> answered
       ^                  |
       |                  v
       +---- finish --- parked --withdraw, stop--> answered

The session around this knows how a thread or a task waits.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..exceptions import QueueClosed, QueueLocked, QueueShutDown, QueueUnreachable
from .call import (
    ANSWERED,
    APPEND,
    CALL,
    FLUSH,
    FLYING,
    JOIN,
    NOTHING_THERE,
    PARKED,
    PEEK,
    PENDING,
    TAKE,
    UNTAKE,
    Unmet,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .call import AnyCall

_BRING = (APPEND, UNTAKE, CALL)  # verbs behind which there may be more items to take
_PASSING = (QueueLocked, QueueUnreachable)  # errors after which a parked call goes on waiting
Calls: TypeAlias = "OrderedDict[AnyCall, None]"  # in order; one in the middle leaves at once


class WaitingCalls(NamedTuple):
    """How many calls wait in a queue object.

    Attributes:
        gets: that wait for an item.
        puts: that wait for room.
        joins: that wait until all items are finished.
        next: that go with the transaction after the one under way.
    """

    gets: int
    puts: int
    joins: int
    next: int

    @property
    def parked(self) -> int:
        """The number of calls that cannot go on now: gets, puts and joins."""
        return self.gets + self.puts + self.joins


class Waiters:
    """The calls of one queue object.  The session's mutex protects it.

    A call is put into its next place before it is taken out of the last one, and ``where`` says
    which of the two holds.  So ``mend`` can put all in order again, wherever an exception of a
    signal handler came.

    Args:
        maxsize: 0 for no bound.
        closed: the class of the error when the object was closed.
    """

    def __init__(self, maxsize: int, closed: type[QueueClosed] = QueueClosed) -> None:
        self.maxsize = maxsize
        self._closed = closed
        self.counts = 0, 0  # items that could be taken, and items not settled, at the last batch
        self._arrivals = 0
        self.parked: list[AnyCall] = []  # the calls of the last batch that wait
        # Whether all items that are stored are held back (see ``backoff``), as far as is known.
        self._held_back = False
        self.pending: Calls = OrderedDict()
        self.going: Sequence[AnyCall] = ()  # the batch that is handed over or under way
        self.answered: list[AnyCall] = []  # whose callers are to be woken yet
        self._getters: Calls = OrderedDict()
        self._putters: Calls = OrderedDict()
        self._joiners: Calls = OrderedDict()
        self.stopped: type[QueueShutDown | QueueClosed] | None = None
        self._immediate = False

    @property
    def waiting(self) -> bool:
        """Whether any call is parked."""
        return bool(self._getters or self._putters or self._joiners)

    @property
    def getting(self) -> bool:
        """Whether a get is parked."""
        return bool(self._getters)

    def waiting_calls(self) -> WaitingCalls:
        """Return how many calls wait, for tests."""
        gets, puts, joins = len(self._getters), len(self._putters), len(self._joiners)
        return WaitingCalls(gets, puts, joins, len(self.pending))

    def enter(self, call: AnyCall) -> None:
        """Let a call in that was admitted."""
        self._arrivals += 1
        call.number = self._arrivals
        ahead = (
            self._getters if call.verb == TAKE else self._putters if call.verb == APPEND else None
        )
        if ahead and call.waits:
            self._line_up(call)
            return
        call.where = PENDING
        self.pending[call] = None
        if call.verb == UNTAKE:  # before the waiting gets: its items are older
            self.pending.move_to_end(call, last=False)

    def admit(self, call: AnyCall) -> None:
        """Raise an error if the line was stopped for such calls.

        Raises:
            QueueShutDown, QueueClosed: it was.
        """
        if self.stopped is QueueClosed:
            if call.verb != FLUSH:
                raise self._stopped_error()
        elif self.stopped is not None and (
            call.verb == APPEND or (call.verb in (TAKE, PEEK) and self._immediate)
        ):
            raise self._stopped_error()

    def start(self, call: AnyCall) -> list[AnyCall]:
        """Let an admitted call in when no batch is under way, and return the batch that goes now.

        It is empty when the call has to wait behind others of its kind.
        """
        if not (self.pending or self._getters or self._putters):
            call.where, call.number = FLYING, self._arrivals  # less than any later call's
            self.going = batch = [call]
            return batch
        self.enter(call)
        return self.batch()

    def batch(self) -> list[AnyCall]:
        """Return the calls that go with the next batch."""
        self.going = batch = list(self.pending)
        for call in batch:
            call.where = FLYING
        self.pending.clear()
        return batch

    def mend(self) -> None:
        """Put each call where it says that it is, and nowhere else: an interrupt may have come."""
        calls = dict.fromkeys((*self.going, *self.all(), *self.answered))
        self._empty()
        self.pending.clear()
        self.answered.clear()
        for call in calls:
            if call.where == PENDING:
                self.pending[call] = None
            elif call.where == PARKED:
                self._line_up(call)
            elif call.where == ANSWERED:
                self.answered.append(call)

    def _empty(self) -> None:
        for line in (self._getters, self._putters, self._joiners):
            line.clear()

    def finish(self, counts: tuple[int, int] | None, held_back: bool = False) -> None:
        """Sort the calls of a batch that is over: each is answered now, or parked.

        Args:
            counts: items that could be taken, and items not settled, when the batch
                was over.  None: the store could not be asked.
            held_back: the last take of the batch found items that are held back, and no others.
        """
        if held_back or self._held_back:
            self._note_held_back(held_back)
        batch = self.going
        self.parked = parked = []
        for call in batch:
            if call.where != FLYING:  # sorted before an interrupt
                continue
            if call.waits and (
                type(call.result) is Unmet if call.error is None else _outlasts(call)
            ):
                parked.append(call)
            else:
                if self.stopped is not None and call.result is NOTHING_THERE and not self._goes_on:
                    call.error = self._stopped_error()
                call.where = ANSWERED
                self.answered.append(call)
        failed = counts is None and not any(isinstance(call.error, _PASSING) for call in batch)
        if parked:
            self._park(parked)
        if counts is not None:
            self.counts = counts
            if self._getters or self._putters or self._joiners:
                self._promote(counts[1])
        elif failed:
            self.poke()  # parked calls shall raise the store's error, too
        self.going = ()

    def _note_held_back(self, held_back: bool) -> None:
        """Find out whether all items that a batch has left are held back."""
        for call in self.going:
            if call.verb == TAKE and call.act is None:
                self._held_back = held_back and call.result is NOTHING_THERE
            elif call.verb in _BRING:
                self._held_back = False

    @property
    def _goes_on(self) -> bool:
        """Whether gets go on after a shutdown: items that are held back come later."""
        return self._held_back and self.stopped is not QueueClosed and not self._immediate

    def again(self) -> None:
        """Put the calls of a batch that never happened back to the front."""
        for call in reversed(self.going):
            if call.where == FLYING:
                call.result, call.error, call.where = None, None, PENDING
                self.pending[call] = None
                self.pending.move_to_end(call, last=False)
        self.going = ()

    def withdraw(self, call: AnyCall) -> bool:
        """Take a call out; False when it is not in the line."""
        if call.where not in (PENDING, PARKED):
            return False
        line = self.pending if call.where == PENDING else self._parking(call)
        call.where = ANSWERED
        line.pop(call, None)
        if self._getters or self._putters:
            self._promote()  # the item or the room that it would have got
        return True

    def all(self) -> list[AnyCall]:
        """Return all calls that are pending or parked."""
        return [*self.pending, *self._getters, *self._putters, *self._joiners]

    def poke(self) -> bool:
        """Let the first parked call of each kind try again: another object has committed."""
        for line in (self._getters, self._putters, self._joiners):
            if line:
                self._first_to_pending(line)
        return bool(self.pending)

    def stop(self, error: type[QueueShutDown | QueueClosed], immediate: bool) -> None:
        """Shut down or close: answer the parked calls that it ends.

        After a shutdown that is not immediate, gets go on until nothing is there: parked
        ones become pending, as another object may have put an item.
        """
        if self.stopped is not QueueClosed:
            self.stopped = error
        self._immediate = self._immediate or immediate
        self._answer(self._putters, error=True)
        if error is QueueClosed or immediate:
            self._answer(self._getters, error=True)
            self._answer(self._joiners, error=error is QueueClosed)
        self._all_to_pending(self._getters)

    def _stopped_error(self) -> QueueShutDown | QueueClosed:
        if self.stopped is QueueClosed:
            return self._closed(
                "the queue is closed; what is stored is there when it is opened again"
            )
        assert self.stopped is not None
        return self.stopped("the queue was shut down")

    def _parking(self, call: AnyCall) -> Calls:
        return {TAKE: self._getters, APPEND: self._putters, JOIN: self._joiners}[call.verb]

    def _park(self, calls: list[AnyCall]) -> None:
        """Park calls, each where its arrival puts it; a later one waits behind them.

        Those that must not wait, because the line was stopped, are answered.
        """
        for call in calls:
            waits = (
                self._goes_on if call.verb == TAKE else call.verb == JOIN and not self._immediate
            )
            if self.stopped is None or waits:
                self._line_up(call)
            else:
                call.result = None
                self._answer((call,), error=call.verb != JOIN)
        for call in [call for call in self.pending if call.waits and self._waits_behind(call)]:
            self._line_up(call)
            del self.pending[call]

    def _waits_behind(self, call: AnyCall) -> bool:
        """Return whether a call of the same kind that came earlier is parked."""
        first = next(iter(self._parking(call)), None)
        return first is not None and first.number < call.number

    def _line_up(self, call: AnyCall) -> None:
        """Park one call in the order of arrival; its place is nearly always at an end."""
        call.where, call.waited, call.result, call.error = PARKED, True, None, None
        line = self._parking(call)
        last = next(reversed(line), None)
        line[call] = None
        if last is not None and last.number > call.number:
            for later in [other for other in line if other.number > call.number]:
                line.move_to_end(later)

    def _answer(self, line: Calls | tuple[AnyCall, ...], error: bool = False) -> None:
        """Answer every call in ``line``: with nothing, or with why the line was stopped."""
        for call in line:
            call.error = self._stopped_error() if error else None
            call.where = ANSWERED
            self.answered.append(call)
        if isinstance(line, OrderedDict):
            line.clear()

    def _promote(self, unsettled: int | None = None) -> None:
        """Let as many gets go on as there are items, as many puts as there is room, and joins."""
        if unsettled == 0:
            self._all_to_pending(self._joiners)
        ready = self.counts[0]
        if self._getters and ready > 0 and not self._held_back:
            count = ready - sum(call.verb == TAKE for call in self.pending)
            while self._getters and count > 0:
                count -= self._first_to_pending(self._getters).load
        room = self.maxsize - ready
        while self._putters and len(next(iter(self._putters)).load) <= room:
            room -= len(self._first_to_pending(self._putters).load)

    def _first_to_pending(self, line: Calls) -> AnyCall:
        call = next(iter(line))
        self._to_pending(call)
        del line[call]
        return call

    def _all_to_pending(self, line: Calls) -> None:
        for call in line:
            self._to_pending(call)
        line.clear()

    def _to_pending(self, call: AnyCall) -> None:
        call.where = PENDING
        self.pending[call] = None


def _outlasts(call: AnyCall) -> bool:
    """Return whether a call goes on waiting: its server has gone while it waited."""
    error = call.error
    return (
        call.waited
        and isinstance(error, QueueUnreachable)
        and (call.verb != APPEND or error.stored is False)
    )
