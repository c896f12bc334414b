"""Who is next, and whom to let go on: decisions without I/O or waiting.

Theory of operation
    A call is an ``Op``.  It enters the ``Line`` and is either *pending* (goes with
    the next batch) or *parked* (a get that waits for an item, a put that waits for
    room, a join).  A batch of pending ops becomes one transaction of the store.
    When it is over, ``Line.finish`` answers each op or parks it, and moves as many
    parked ops to pending as there is something for: so whatever waits is served in
    the order of its arrival, and a lost wake-up cannot be: nobody is woken, the
    line is looked at after every batch.

    pending --batch--> flying --finish--> answered
       ^                  |
       |                  v
       +---- finish --- parked --withdraw, stop--> answered

Whoever waits (a thread, a task) does it in the shell around this.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ..exceptions import QueueClosed, QueueLocked, QueueShutDown, QueueUnreachable
from .deadline import FOREVER, Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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
        gate: the shell's: what its caller waits on; ``release()`` lets it go on.
        number: the line's: how many came before it.
        waited: the line's: whether it was parked.
        noted: the shell's: whether it is remembered who took what.
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


class Line:
    """The ops of one queue object.  The shell's mutex protects it.

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
        self.pending: deque[Op] = deque()
        self._going: Sequence[Op] = ()  # the batch that is handed over or under way
        self._getters: deque[Op] = deque()
        self._putters: deque[Op] = deque()
        self._joiners: deque[Op] = deque()
        self._stopped: type[QueueShutDown | QueueClosed] | None = None
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
        if self._stopped is not None:
            self.admit(op)
        self._arrivals += 1
        op.number = self._arrivals
        ahead = self._getters if op.verb == TAKE else self._putters if op.verb == APPEND else None
        if op.waits and ahead:
            op.where, op.waited = PARKED, True
            ahead.append(op)
        else:
            self._to_pending(op)

    def admit(self, op: Op) -> None:
        """Raise what ``enter`` would if the line was stopped for such ops."""
        if self._stopped is QueueClosed:
            if op.verb != FLUSH:
                raise self._stopped_error()
        elif self._stopped is not None and (
            op.verb == APPEND or (op.verb in (TAKE, PEEK) and self._immediate)
        ):
            raise self._stopped_error()

    def start(self, op: Op) -> list[Op]:
        """Let an op in when no batch is under way, and return the batch that goes now.

        It is empty when the op has to wait behind others of its kind.
        """
        if not (self.pending or self._getters or self._putters or self._stopped):
            op.where, op.number = FLYING, self._arrivals  # less than whoever comes later
            return [op]
        self.enter(op)
        return self.batch()

    def batch(self) -> list[Op]:
        """Return what goes with the next batch."""
        self._going = batch = list(self.pending)
        for op in batch:
            op.where = FLYING
        self.pending.clear()
        return batch

    def recall(self, batch: Sequence[Op]) -> None:
        """Put a batch back that its leader never got: Ctrl-C came while it was handed over.

        Args:
            batch: what the leader got last.
        """
        if self._going is batch:
            return
        lost = [op for op in self._going if op.where == FLYING]
        self._going = ()
        if lost:
            self.pending = deque([*lost, *(op for op in self.pending if op.where != FLYING)])
            for op in lost:
                op.where = PENDING

    def finish(self, batch: Sequence[Op], counts: tuple[int, int] | None) -> list[Op]:
        """Say what a batch came to: returns the ops that are answered now.

        Args:
            counts: items that could be taken, and items not settled, when the batch
                was over.  None: the store could not be asked.
        """
        answered, parked = [], []
        away = any(isinstance(op.error, QueueUnreachable) for op in batch)
        self._going = ()
        for op in batch:
            if op.where != FLYING:  # answered before an interrupt
                continue
            if op.waits and (_is_unmet(op) or _waits_for_a_server(op)):
                op.error = None
                parked.append(op)
            else:
                if self._stopped is not None and op.result is NOTHING_THERE and not self._goes_on:
                    op.error = self._stopped_error()
                op.where = ANSWERED
                answered.append(op)
        self.parked = bool(parked)
        if parked:
            answered += self._park(parked)
        if counts is None:
            if not away and not any(isinstance(op.error, QueueLocked) for op in batch):
                self.poke()  # a store that failed for good shall say so to whoever waits
            return answered
        self.count, unsettled = counts
        while self._joiners and unsettled == 0:
            self._to_pending(self._joiners.popleft())
        if self._getters or self._putters:
            self._promote()
        return answered

    def weigh(self, batch: Sequence[Op], barren: bool) -> None:
        """Before ``finish``: find out whether all that is left by a batch is held back.

        Args:
            barren: whether its last take found nothing else.
        """
        for op in batch if barren or self._barren else ():
            if op.verb == TAKE and op.act is None:
                self._barren = barren and op.result is NOTHING_THERE
            elif op.verb in _BRING:
                self._barren = False

    @property
    def _goes_on(self) -> bool:
        """Whether gets go on after a shutdown: what is held back is there all the same."""
        return self._barren and self._stopped is not QueueClosed and not self._immediate

    def again(self, ops: Iterable[Op]) -> None:
        """Put ops of a batch that never happened back to the front."""
        for op in reversed(list(ops)):
            op.where, op.result, op.error = PENDING, None, None
            self.pending.appendleft(op)

    def withdraw(self, op: Op) -> bool:
        """Take an op out; False when it is not in the line."""
        if op.where == PENDING:
            self.pending.remove(op)
        elif op.where == PARKED:
            self._parking(op).remove(op)
        else:
            return False
        op.where = ANSWERED
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
                self._to_pending(line.popleft())
        return bool(self.pending)

    def stop(self, error: type[QueueShutDown | QueueClosed], immediate: bool) -> list[Op]:
        """Shut down or close: returns the parked ops that are answered by it.

        After a shutdown that is not immediate, gets go on until nothing is there: those
        that wait become pending, for another object may have put something.
        """
        if self._stopped is not QueueClosed:
            self._stopped = error
        self._immediate = self._immediate or immediate
        answered = self._answer(self._putters, error=True)
        if error is QueueClosed or immediate:
            answered += self._answer(self._getters, error=True)
            answered += self._answer(self._joiners, error=error is QueueClosed)
        while self._getters:
            self._to_pending(self._getters.popleft())
        return answered

    def _stopped_error(self) -> QueueShutDown | QueueClosed:
        if self._stopped is QueueClosed:
            return self._closed(
                "the queue is closed; what is stored is there when it is opened again"
            )
        assert self._stopped is not None
        return self._stopped("the queue was shut down")

    def _parking(self, op: Op) -> deque[Op]:
        return {TAKE: self._getters, APPEND: self._putters, JOIN: self._joiners}[op.verb]

    def _park(self, ops: list[Op]) -> list[Op]:
        """Park ops, each where its arrival puts it; whoever came later waits behind them.

        Returns:
            those that must not wait, because the line was stopped; they are answered.
        """
        refused: list[Op] = []
        for op in ops:
            waits = self._goes_on if op.verb == TAKE else op.verb == JOIN and not self._immediate
            if self._stopped is None or waits:
                self._line_up(op)
            else:
                op.result = None
                refused.append(op)
        for op in [op for op in self.pending if op.waits and self._waits_behind(op)]:
            self.pending.remove(op)
            self._line_up(op)
        joiners = deque(op for op in refused if op.verb == JOIN)
        others = deque(op for op in refused if op.verb != JOIN)
        return self._answer(joiners) + self._answer(others, error=True)

    def _waits_behind(self, op: Op) -> bool:
        """Return whether an op of the same kind that came earlier is parked."""
        line = self._parking(op)
        return bool(line) and line[0].number < op.number

    def _line_up(self, op: Op) -> None:
        """Park one op in the order of arrival; its place is nearly always at an end."""
        op.where, op.waited, op.result = PARKED, True, None
        line = self._parking(op)
        place = len(line)
        while place and line[place - 1].number > op.number:
            place -= 1
        line.insert(place, op)

    def _answer(self, line: deque[Op], error: bool = False) -> list[Op]:
        """Answer everybody in ``line``: with nothing, or with why the line was stopped."""
        answered = list(line)
        line.clear()
        for op in answered:
            op.where = ANSWERED
            op.error = self._stopped_error() if error else None
        return answered

    def _promote(self) -> None:
        """Let as many go on as there is something for."""
        count = self.count - sum(op.verb == TAKE for op in self.pending)
        while self._getters and count > 0 and not self._barren:
            op = self._getters.popleft()
            count -= op.load
            self._to_pending(op)
        room = self.maxsize - self.count
        while self._putters and len(self._putters[0].load) <= room:
            op = self._putters.popleft()
            room -= len(op.load)
            self._to_pending(op)

    def _to_pending(self, op: Op) -> None:
        op.where = PENDING
        if op.verb == UNTAKE:  # before the gets that wait: what is given back is older
            self.pending.appendleft(op)
        else:
            self.pending.append(op)


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
