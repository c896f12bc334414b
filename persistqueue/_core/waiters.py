"""Who is next, and whom to let go on: decisions without I/O or waiting.

Theory of operation
    A call is an ``Op``.  It enters the ``Waiters`` and is either *pending* (goes with
    the next batch) or *parked* (a get that waits for an item, a put that waits for
    room, a join).  A batch of pending ops becomes one transaction of the store.
    When it is over, ``Waiters.finish`` answers each op or parks it, and moves as many
    parked ops to pending as there is something for: so whatever waits is served in
    the order of its arrival, and a lost wake-up cannot be: nobody is woken, the
    line is looked at after every batch.

    pending --batch--> flying --finish--> answered
       ^                  |
       |                  v
       +---- finish --- parked --withdraw, stop--> answered

Whoever waits (a thread, a task) does it in the session around this.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, TypeAlias

from ..exceptions import QueueClosed, QueueLocked, QueueShutDown, QueueUnreachable
from .deadline import FOREVER, Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Verbs of an op.
APPEND, TAKE, PEEK, UNTAKE, SETTLE, COUNT, JOIN, SYNC, FLUSH, CALL, LOOK = (
    "append", "take", "peek", "untake", "settle", "count", "join", "sync", "flush", "call", "look",
)  # fmt: skip
_BRING = (APPEND, UNTAKE, CALL)  # behind which there may be more to take


class Unmet:
    """An outcome of an op that leaves it waiting."""


NOTHING_THERE, NO_ROOM, UNFINISHED = Unmet(), Unmet(), Unmet()

# Where an op is.
NEW, PENDING, PARKED, FLYING, ANSWERED = range(5)


class Op:
    """One call on its way to the store.

    Attributes:
        verb: which store verb it needs.
        load: encoded records (append), a number (take), records (untake, settle; flush:
            those that are given back after ``close``).
        act: a function of the store; take: hands out certain records, not the next ones;
            call and look: does what no verb says (look stores nothing).  A call's load, if
            it has one, are records that it finishes in a way of its own.
        at: of many queues, the one that it takes from (see ``lines``).
        waits: whether it may be parked.
        owner: the thread or task it belongs to.
        holds: whether its caller answers for each item that it takes.
        deadline: when its caller gives up.
        result: its outcome once answered, unless ``error`` is set.
        gate: the session's: what its caller waits on; ``release()`` lets it go on.
        number: the line's: how many came before it.
        waited: the line's: whether it was parked.
        noted: the session's: whether it is remembered who took what.
    """

    __slots__ = (
        "act", "at", "deadline", "error", "gate", "holds", "load", "noted", "number", "owner",
        "result", "verb", "waited", "waits", "where",
    )  # fmt: skip

    def __init__(
        self,
        verb: str,
        load: Any = None,
        waits: bool = False,
        owner: Any = None,
        holds: bool = False,
        deadline: Deadline = FOREVER,
        act: Callable[..., Any] | None = None,
        at: Any = None,
    ) -> None:
        self.verb = verb
        self.load = load
        self.waits = waits
        self.owner = owner
        self.holds = holds
        self.deadline = deadline
        self.act = act
        self.at = at
        self.result: Any = None
        self.error: BaseException | None = None
        self.gate: Any = None
        self.noted = self.waited = False
        self.number = 0
        self.where = NEW


Ops: TypeAlias = "OrderedDict[Op, None]"  # in order; one in the middle leaves at once


class Waiters:
    """The ops of one queue object.  The session's mutex protects it.

    An op is put into its next place before it is taken out of the last one, and ``where`` says
    which of the two holds.  So ``mend`` can put all in order again, wherever an exception of a
    signal handler came.

    Args:
        maxsize: 0 for no bound.
        closed: what is raised when the object was closed.
    """

    def __init__(self, maxsize: int, closed: type[QueueClosed] = QueueClosed) -> None:
        self.maxsize = maxsize
        self._closed = closed
        self.count = 0  # items that could be taken, as of the last batch
        self._arrivals = 0
        self.parked = False  # whether the last batch left anybody waiting
        # Whether all that is there is held back (see ``backoff``), as far as is known.
        self._barren = False
        self.pending: Ops = OrderedDict()
        self.going: Sequence[Op] = ()  # the batch that is handed over or under way
        self.answered: deque[Op] = deque()  # whose callers are to be woken yet
        self._getters: Ops = OrderedDict()
        self._putters: Ops = OrderedDict()
        self._joiners: Ops = OrderedDict()
        self.stopped: type[QueueShutDown | QueueClosed] | None = None
        self._immediate = False

    @property
    def waiting(self) -> bool:
        """Whether any op is parked."""
        return bool(self._getters or self._putters or self._joiners)

    @property
    def getting(self) -> bool:
        """Whether a get is parked."""
        return bool(self._getters)

    def enter(self, op: Op) -> None:
        """Let an op in.

        Raises:
            QueueShutDown, QueueClosed: the line was stopped for such ops.
        """
        if self.stopped is not None:
            self.admit(op)
        self._arrivals += 1
        op.number = self._arrivals
        ahead = self._getters if op.verb == TAKE else self._putters if op.verb == APPEND else None
        if op.waits and ahead:
            op.where, op.waited = PARKED, True
            ahead[op] = None
        else:
            self._to_pending(op)

    def admit(self, op: Op) -> None:
        """Raise what ``enter`` would if the line was stopped for such ops."""
        if self.stopped is QueueClosed:
            if op.verb != FLUSH:
                raise self._stopped_error()
        elif self.stopped is not None and (
            op.verb == APPEND or (op.verb in (TAKE, PEEK) and self._immediate)
        ):
            raise self._stopped_error()

    def start(self, op: Op) -> list[Op]:
        """Let an op in when no batch is under way, and return the batch that goes now.

        It is empty when the op has to wait behind others of its kind.
        """
        if not (self.pending or self._getters or self._putters or self.stopped):
            op.where, op.number = FLYING, self._arrivals  # less than whoever comes later
            self.going = batch = [op]
            return batch
        self.enter(op)
        return self.batch()

    def batch(self) -> list[Op]:
        """Return what goes with the next batch."""
        self.going = batch = list(self.pending)
        for op in batch:
            op.where = FLYING
        self.pending.clear()
        return batch

    def mend(self) -> None:
        """Put each op where it says that it is, and nowhere else: an interrupt may have come."""
        ops = dict.fromkeys((*self.going, *self.everybody(), *self.answered))
        self._empty()
        self.pending.clear()
        self.answered.clear()
        for op in ops:
            if op.where == PENDING:
                self.pending[op] = None
            elif op.where == PARKED:
                self._line_up(op)
            elif op.where == ANSWERED:
                self.answered.append(op)

    def _empty(self) -> None:
        for line in (self._getters, self._putters, self._joiners):
            line.clear()

    def finish(self, counts: tuple[int, int] | None) -> None:
        """Sort the ops of a batch that is over: each is answered now, or parked.

        Args:
            counts: items that could be taken, and items not settled, when the batch
                was over.  None: the store could not be asked.
        """
        batch, parked = self.going, []
        for op in batch:
            if op.where != FLYING:  # sorted before an interrupt
                continue
            if op.waits and (_is_unmet(op) or _waits_for_a_server(op)):
                parked.append(op)
            else:
                if self.stopped is not None and op.result is NOTHING_THERE and not self._goes_on:
                    op.error = self._stopped_error()
                op.where = ANSWERED
                self.answered.append(op)
        away = any(isinstance(op.error, QueueUnreachable) for op in batch)
        self.parked = bool(parked)
        if parked:
            self._park(parked)
        if counts is not None:
            self.count, unsettled = counts
            if self._joiners and unsettled == 0:
                self._all_to_pending(self._joiners)
            if self._getters or self._putters:
                self._promote()
        elif not away and not any(isinstance(op.error, QueueLocked) for op in batch):
            self.poke()  # a store that failed for good shall say so to those that wait
        self.going = ()

    def weigh(self, barren: bool) -> None:
        """Before ``finish``: find out whether all that is left by a batch is held back.

        Args:
            barren: whether its last take found nothing else.
        """
        for op in self.going if barren or self._barren else ():
            if op.verb == TAKE and op.act is None:
                self._barren = barren and op.result is NOTHING_THERE
            elif op.verb in _BRING:
                self._barren = False

    @property
    def _goes_on(self) -> bool:
        """Whether gets go on after a shutdown: what is held back is there all the same."""
        return self._barren and self.stopped is not QueueClosed and not self._immediate

    def again(self, dropped: Op | None) -> None:
        """Put ops of a batch that never happened back to the front.

        Args:
            dropped: one that shall not be tried again.
        """
        for op in reversed(self.going):
            if op.where == FLYING:
                op.result, op.error = None, None
                if op is dropped:
                    op.where = ANSWERED
                else:
                    op.where = PENDING
                    self.pending[op] = None
                    self.pending.move_to_end(op, last=False)
        self.going = ()

    def withdraw(self, op: Op) -> bool:
        """Take an op out; False when it is not in the line."""
        if op.where not in (PENDING, PARKED):
            return False
        line = self.pending if op.where == PENDING else self._parking(op)
        op.where = ANSWERED
        line.pop(op, None)
        if self._getters or self._putters:
            self._promote()  # what was meant for it goes to the next
        return True

    def everybody(self) -> list[Op]:
        """Return all ops that are pending or parked."""
        return [*self.pending, *self._getters, *self._putters, *self._joiners]

    def poke(self) -> bool:
        """Somebody else committed: let the first of each kind look again."""
        for line in (self._getters, self._putters, self._joiners):
            if line:
                self._first_to_pending(line)
        return bool(self.pending)

    def stop(self, error: type[QueueShutDown | QueueClosed], immediate: bool) -> None:
        """Shut down or close: answer the parked ops for which it is the end.

        After a shutdown that is not immediate, gets go on until nothing is there: those
        that wait become pending, for another object may have put something.
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

    def _parking(self, op: Op) -> Ops:
        return {TAKE: self._getters, APPEND: self._putters, JOIN: self._joiners}[op.verb]

    def _park(self, ops: list[Op]) -> None:
        """Park ops, each where its arrival puts it; a later one waits behind them.

        Those that must not wait, because the line was stopped, are answered.
        """
        for op in ops:
            waits = self._goes_on if op.verb == TAKE else op.verb == JOIN and not self._immediate
            if self.stopped is None or waits:
                self._line_up(op)
            else:
                op.result = None
                self._answer((op,), error=op.verb != JOIN)
        for op in [op for op in self.pending if op.waits and self._waits_behind(op)]:
            self._line_up(op)
            del self.pending[op]

    def _waits_behind(self, op: Op) -> bool:
        """Return whether an op of the same kind that came earlier is parked."""
        first = next(iter(self._parking(op)), None)
        return first is not None and first.number < op.number

    def _line_up(self, op: Op) -> None:
        """Park one op in the order of arrival; its place is nearly always at an end."""
        op.where, op.waited, op.result, op.error = PARKED, True, None, None
        line = self._parking(op)
        last = next(reversed(line), None)
        line[op] = None
        if last is not None and last.number > op.number:
            for later in [other for other in line if other.number > op.number]:
                line.move_to_end(later)

    def _answer(self, line: Ops | tuple[Op, ...], error: bool = False) -> None:
        """Answer every op in ``line``: with nothing, or with why the line was stopped."""
        for op in line:
            op.error = self._stopped_error() if error else None
            op.where = ANSWERED
            self.answered.append(op)
        if isinstance(line, OrderedDict):
            line.clear()

    def _promote(self) -> None:
        """Let as many go on as there is something for."""
        if self._getters and self.count > 0 and not self._barren:
            count = self.count - sum(op.verb == TAKE for op in self.pending)
            while self._getters and count > 0:
                count -= self._first_to_pending(self._getters).load
        room = self.maxsize - self.count
        while self._putters and len(next(iter(self._putters)).load) <= room:
            room -= len(self._first_to_pending(self._putters).load)

    def _first_to_pending(self, line: Ops) -> Op:
        op = next(iter(line))
        self._to_pending(op)
        del line[op]
        return op

    def _all_to_pending(self, line: Ops) -> None:
        for op in line:
            self._to_pending(op)
        line.clear()

    def _to_pending(self, op: Op) -> None:
        op.where = PENDING
        self.pending[op] = None
        if op.verb == UNTAKE:  # before the gets that wait: what is given back is older
            self.pending.move_to_end(op, last=False)


def _is_unmet(op: Op) -> bool:
    return type(op.result) is Unmet and op.error is None


def _waits_for_a_server(op: Op) -> bool:
    """Return whether it waited already when the server went away, and may go on with that."""
    error = op.error
    return (
        op.waited
        and isinstance(error, QueueUnreachable)
        and (op.verb != APPEND or error.stored is False)
    )
