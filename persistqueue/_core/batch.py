"""Carries ops to a store: neighbouring equal verbs in one call, one commit for all.

Runs on whatever thread the session chose; only here does anything wait for a store's
lock.  An op whose own verb fails (a damaged record, say) fails alone; a commit that
fails fails the whole batch and leaves the store as it was.
"""

from __future__ import annotations

import copy
from itertools import groupby
from typing import TYPE_CHECKING

from ..exceptions import ItemTooLarge, NotEnoughReplicas, PersistQueueError, QueueUnreachable
from .deadline import monotonic
from .log import warn
from .patience import Reopening, begin, how_long_away
from .store import Apart, Crowded, Stale, Undone
from .waiters import (
    APPEND,
    CALL,
    COUNT,
    FLUSH,
    JOIN,
    LOOK,
    NO_ROOM,
    NOTHING_THERE,
    PEEK,
    SETTLE,
    SYNC,
    TAKE,
    UNFINISHED,
    UNTAKE,
    Op,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .backoff import BackOff
    from .inflight import AckMode, AnyInFlight
    from .store import Record, Store

_LOOKS = frozenset({COUNT, JOIN, LOOK, PEEK})
_OVER, _BEGINS, _RUNS = range(3)  # how far a transaction is
_LET_GO = (SETTLE, UNTAKE, CALL)  # what is done with items that nobody holds any more then


class Runner:
    """Runs batches on one store, one at a time.

    Args:
        maxsize: 0 for no bound.
        finish: when an item is finished.
        takes: counts what lacks a task_done although it is settled.
        patience: seconds to wait for the store's lock, at the most; None for
            ``patience.LOCK_PATIENCE``.
        back_off: knows which items are held back.

    Attributes:
        ops: the last batch.
        happened: whether its ops carry results or errors; False: the
            batch was interrupted before it was stored, and may be run again.
        counts: items that could be taken, and items not settled, when it was over;
            None when the store could not be asked.
        barren: whether its last take found nothing but what is held back.
    """

    def __init__(
        self,
        store: Store,
        maxsize: int,
        finish: AckMode,
        takes: AnyInFlight,
        patience: float | None,
        back_off: BackOff,
    ) -> None:
        self._store = store
        self._back_off = back_off
        self._reopening = Reopening(store)
        self._inflight = takes
        self._maxsize = maxsize
        self._patience = patience
        self._counted = finish.counted
        # Verbs that store nothing, so that the store may skip its lock.
        self._looks = _LOOKS | finish.looks
        self._taken = 0  # items that this batch took and tallies, less those given back
        self.ops: Sequence[Op] = ()
        self.happened = False
        self.counts: tuple[int, int] | None = None
        self._stage = _OVER
        self._alone: tuple[Op, Exception] | None = None  # which op runs by itself, and why
        self.barren = self._closing = False

    def hurry(self) -> None:
        """Somebody closes: a server that is away is waited for a moment only, from now on."""
        self._closing = True
        self._store.hurry()

    def run(self, ops: Sequence[Op]) -> None:
        """Run one batch; errors go to its ops.

        Any other exception (Ctrl-C) goes through, and ``recover`` has to follow.
        """
        self.ops, self.happened = ops, False
        self.counts = self._alone = None
        self._taken, self.barren = 0, False
        if self._back_off.busy:
            self._store.skip, self._store.barren = self._back_off.keys(), False
        verb, looks = ops[0].verb, self._looks
        if len(ops) > 1:
            looking = all(op.verb in looks for op in ops)
        elif verb == FLUSH and not (ops[0].load or self._store.unsaved()):
            self.happened = True  # a queue is closed, and nothing is left
            return
        else:
            looking = verb in looks
        try:
            while not self._transaction(ops, looking):
                looking = False  # anything looked odd: again, with the lock
        except Exception as error:
            if not self.happened:
                cause = _cause(error)
                if len(ops) == 1 or _is_everybodys(error, cause):
                    _fail(ops, cause)
                    self.happened = True
                    return
                self._one_by_one(ops, cause)
            else:
                warn("stored, but cleaning up behind it failed", traceback=True)
        self._look_back()

    def recover(self) -> None:
        """Bring a batch to an end in which an exception has gone through ``run``.

        Afterwards ``happened`` is right.  It is never interrupted itself.
        """
        stage, self._stage = self._stage, _OVER
        if stage == _BEGINS:
            self._store.abandon()
        elif stage == _RUNS:
            self.happened = self._store.rollback() or self.happened
        if self._alone is not None:
            op, error = self._alone
            if not self.happened:
                _fail((op,), error)
            self.happened = True
        if self.happened:
            self._look_back()

    def _look_back(self) -> None:
        """Note what is left when a batch is over."""
        self.barren = bool(self._store.skip) and self._store.barren
        counts = self._store.counts(exact=False)
        if self._counted:
            counts = counts[0], counts[1] + self._inflight.unanswered + self._taken
        self.counts = counts

    def conclude(self, ops: Sequence[Op]) -> None:
        """Let ``ops``, which carry results or errors, be the last batch."""
        self.ops, self.happened = ops, True
        self.counts = None

    def _one_by_one(self, ops: Sequence[Op], error: Exception) -> None:
        """Run ops apart that failed together: somebody's put that does not fit is his own.

        When that is interrupted, those that did not get their turn fail as they had.
        """
        _fail(ops, error)
        for op in ops:
            self._alone, self.happened, op.error = (op, error), False, None
            try:
                looking = op.verb in self._looks
                while not self._transaction((op,), looking):
                    looking = False
            except Exception as own:
                if not self.happened:
                    _fail((op,), _cause(own))
        self.happened, self._alone = True, None

    def _transaction(self, ops: Sequence[Op], looking: bool) -> bool:
        """Run all verbs and commit.  False: begin again, with the lock."""
        store, taken = self._store, self._taken
        began, unreachable = monotonic(), None
        self._stage = _BEGINS
        try:
            try:
                begun = not store.failed and store.begin(not looking)
            except QueueUnreachable as error:
                begun, unreachable = False, error
            if not begun:
                begin(
                    lambda: self._begun(not looking),
                    store.abandon,
                    ops,
                    self._patience,
                    lambda: how_long_away(self._closing),
                    store.errors.locked,
                    began,
                    unreachable,
                )
        except Exception:
            store.abandon()
            self._stage = _OVER
            raise
        self._stage = _RUNS
        try:
            if len(ops) == 1:
                _VERBS[ops[0].verb](self, ops)
            else:
                for verb, group in groupby(ops, key=_verb_of):
                    self._run_group(verb, list(group))
            store.commit()
            self.happened = True
        except Stale:
            store.rollback()
            self._stage, self._taken = _OVER, taken
            for op in ops:  # what one came to is undone, and may be another thing next time
                op.error = None
            return False
        except Exception:
            self.happened = store.rollback()
            self._stage = _OVER
            if not self.happened:
                self._taken = taken
            raise
        self._stage = _OVER
        return True

    def _begun(self, exclusive: bool) -> bool:
        """Begin a transaction; a store that has failed is opened anew first."""
        if self._store.failed and not self._reopening.reopen(self._closing):
            return False
        return self._store.begin(exclusive)

    def _run_group(self, verb: str, ops: Sequence[Op]) -> None:
        """Run neighbouring equal verbs."""
        try:
            _VERBS[verb](self, ops)
        except Apart as failure:
            _fail(ops, failure.error)

    def _append(self, ops: Sequence[Op]) -> None:
        """Append what fits; behind a put that does not fit, none that could wait passes."""
        if len(ops) == 1 and self._maxsize <= 0:
            ops[0].result = self._store.append(ops[0].load)
            return
        records: list[bytes] = []
        wanted = sum(len(op.load) for op in ops)
        room = self._store.room(self._maxsize, wanted) if self._maxsize > 0 else wanted
        blocked, stored = False, []
        for op in ops:
            need = len(op.load)
            if need > room:  # a unique queue may hold some of it already
                need = self._store.needs(op.load, records)
            if need > room or (blocked and op.waits):
                op.result, blocked = NO_ROOM, True
                continue
            room -= need
            records += op.load
            stored.append(op)
        try:
            places = self._store.append(records) if records else None
        except Crowded:
            for op in stored:
                op.result = NO_ROOM
            return
        if places is not None:
            for op in stored:
                op.result, places = places[: len(op.load)], places[len(op.load) :]

    def _take(self, ops: Sequence[Op]) -> None:
        """Share out what is there.  An item that cannot be had is the takers' own trouble."""
        first, lone = ops[0], len(ops) == 1
        if not lone and any(op.act for op in ops):
            for op in ops:
                self._take((op,))
            return
        try:
            if first.act is not None:
                taken = first.act()
            else:
                taken = self._store.take(first.load if lone else sum(op.load for op in ops))
        except (PersistQueueError, Apart) as error:  # any other undoes the batch
            _fail(ops, error)
            return
        if self._counted:
            self._taken += len(taken)
        if lone:
            first.result = taken or NOTHING_THERE
            return
        for op in ops:
            op.result = taken[: op.load] or NOTHING_THERE
            taken = taken[op.load :]

    def _peek(self, ops: Sequence[Op]) -> None:
        try:
            record = self._store.peek()
        except (PersistQueueError, Apart) as error:  # any other undoes the batch
            _fail(ops, error)
            return
        for op in ops:
            op.result = [record] if record is not None else NOTHING_THERE

    def _untake(self, ops: Sequence[Op]) -> None:
        records = [record for op in ops for record in op.load]
        lost = self._store.untake(records)
        if self._counted:
            self._taken -= len(records)
        for op in ops:
            op.result = _those(op.load, lost)

    def _settle(self, ops: Sequence[Op]) -> None:
        lost = self._store.settle(
            ops[0].load if len(ops) == 1 else [record for op in ops for record in op.load]
        )
        for op in ops:
            op.result = _those(op.load, lost)

    def _count(self, ops: Sequence[Op]) -> None:
        for op in ops:
            op.result = self._store.counts()[0]

    def _join(self, ops: Sequence[Op]) -> None:
        left = self._store.counts()[1] + self._inflight.unanswered + self._taken
        for op in ops:
            op.result = UNFINISHED if left else None

    def _call(self, ops: Sequence[Op]) -> None:
        """Call functions of the store; whatever one raises is its caller's own."""
        for op in ops:
            assert op.act is not None
            try:
                op.result = op.act() if op.load is None else op.act(op.load)
            except (Stale, Undone):
                raise
            except Exception as error:
                _fail((op,), error)

    def _sync(self, ops: Sequence[Op]) -> None:
        self._store.sync()

    def _flush(self, ops: Sequence[Op]) -> None:
        """Store what is in memory only, also what was given back after ``close``."""
        if records := [record for op in ops for record in op.load or ()]:
            self._store.untake(records)
        self._store.flush()
        for op in ops:
            op.result = True


_VERBS: dict[str, Callable[[Runner, Sequence[Op]], None]] = {
    APPEND: Runner._append,
    TAKE: Runner._take,
    PEEK: Runner._peek,
    UNTAKE: Runner._untake,
    SETTLE: Runner._settle,
    COUNT: Runner._count,
    JOIN: Runner._join,
    SYNC: Runner._sync,
    FLUSH: Runner._flush,
    CALL: Runner._call,
    LOOK: Runner._call,
}


def _those(load: Sequence[Record], lost: Sequence[Record] | None) -> Sequence[Record]:
    """Return those of an op's records that were not its object's any more."""
    if not lost:
        return ()
    strangers = set(lost)
    return [record for record in load if record in strangers]


def _verb_of(op: Op) -> str:
    return op.verb


def _is_everybodys(error: Exception, cause: Exception) -> bool:
    """Return whether no call of a batch would fare better alone."""
    if isinstance(error, ItemTooLarge):
        return False
    return isinstance(error, PersistQueueError) or isinstance(cause, QueueUnreachable)


def _cause(error: Exception) -> Exception:
    return error.error if isinstance(error, (Undone, Apart)) else error


def _fail(ops: Sequence[Op], error: Exception) -> None:
    cause = _cause(error)
    for op in ops:
        done = isinstance(cause, NotEnoughReplicas) and op.verb in _LET_GO
        op.result, op.error = True if done else None, _own(cause)


def _own(error: Exception) -> Exception:
    """Return the error as an object of the caller's own: a traceback has one owner."""
    try:
        own = copy.copy(error)
    except Exception:
        return error
    own.__cause__, own.__suppress_context__ = error.__cause__, error.__suppress_context__
    own.__traceback__ = error.__traceback__
    return own
