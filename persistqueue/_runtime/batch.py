"""Carries ops to a store: neighbouring equal verbs in one call, one commit for all.

Runs on whatever thread the shell chose; only here does anything wait for a store's
lock.  An op whose own verb fails (a damaged record, say) fails alone; a commit that
fails fails the whole batch and leaves the store as it was.
"""

from __future__ import annotations

import copy
import logging
import time
from itertools import groupby
from typing import TYPE_CHECKING

from .._storage.base import Stale
from ..exceptions import QueueLocked
from .deadline import Deadline
from .policy import (
    APPEND,
    COUNT,
    FLUSH,
    JOIN,
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

    from .._storage.base import Store

log = logging.getLogger("persistqueue")

LOCK_PATIENCE = 10.0  # s; what SQLite users know as the busy timeout
_SHORTEST_NAP, _LONGEST_NAP = 0.000_05, 0.005  # s between two tries for the lock
_LOOKS = frozenset({COUNT, JOIN, PEEK})


class Outcome:
    """How a batch ended.

    Attributes:
        count: items that could be taken, None when the store could not be asked.
        unsettled: items stored and not settled, likewise.
        interrupt: what stopped the batch from outside (Ctrl-C), if anything did.
        happened: whether the ops carry results or errors; False: try them again.
    """

    def __init__(self) -> None:
        self.count: int | None = None
        self.unsettled: int | None = None
        self.interrupt: BaseException | None = None
        self.happened = False


class Runner:
    """Runs batches on one store, one at a time.

    Args:
        maxsize: 0 for no bound.
        autosave: what is taken is settled, so a settle stores nothing.
        unanswered: returns how many items taken under autosave lack a task_done.
    """

    def __init__(
        self, store: Store, maxsize: int, autosave: bool, unanswered: Callable[[], int]
    ) -> None:
        self._store = store
        self._maxsize = maxsize
        self._autosave = autosave
        self._unanswered = unanswered
        # Verbs that store nothing, so that the store may skip its lock.
        self._looks = _LOOKS | ({SETTLE} if autosave else {TAKE, UNTAKE})
        self._landed = False  # whether the last transaction was stored, interrupted or not
        self._taken = 0  # items taken under autosave by this batch

    def run(self, ops: Sequence[Op], outcome: Outcome) -> None:
        """Run one batch and note in ``outcome`` how it ended; errors go to the ops."""
        self._landed = False
        try:
            self._transaction(ops, all(op.verb in self._looks for op in ops))
        except Exception as error:
            if not self._landed:
                for op in ops:
                    op.result, op.error = None, _own(error)
                outcome.happened = True
                return
            log.warning("stored, but cleaning up behind it failed", exc_info=True)
        except BaseException as interrupt:
            outcome.interrupt = interrupt
        if self._landed:
            outcome.count = self._store.count()
            outcome.unsettled = self._left()
            outcome.happened = True

    def _transaction(self, ops: Sequence[Op], looking: bool) -> None:
        store, self._taken = self._store, 0
        begin(lambda: store.begin(not looking), store.abandon)
        try:
            if len(ops) == 1:
                self._verb(ops[0].verb, ops)
            else:
                for verb, group in groupby(ops, key=_verb_of):
                    self._verb(verb, list(group))
            store.commit()
            self._landed = True
        except Stale:
            store.rollback()
            self._transaction(ops, looking=False)
        except BaseException:
            self._landed = store.rollback()
            raise

    def _left(self) -> int:
        """Return how many items are not settled, as ``join`` counts them."""
        return self._store.unsettled() + self._unanswered() + self._taken

    def _verb(self, verb: str, ops: Sequence[Op]) -> None:
        try:
            _VERBS[verb](self, ops)
        except Stale:
            raise
        except Exception as error:
            if verb not in (TAKE, PEEK):
                raise  # the whole transaction is to be undone
            for op in ops:
                op.error = _own(error)

    def _append(self, ops: Sequence[Op]) -> None:
        """Append what fits; behind a put that does not fit, none that could wait passes."""
        records: list[bytes] = []
        room = self._maxsize - self._store.count() if self._maxsize > 0 else None
        blocked = False
        for op in ops:
            if room is not None and (room < len(op.load) or (blocked and op.waits)):
                op.result, blocked = NO_ROOM, True
                continue
            if room is not None:
                room -= len(op.load)
            records += op.load
            op.result = len(op.load)
        if records:
            self._store.append(records)

    def _take(self, ops: Sequence[Op]) -> None:
        taken = self._store.take(sum(op.load for op in ops))
        at = 0
        for op in ops:
            part = taken[at : at + op.load]
            at += op.load
            op.result = part or NOTHING_THERE
        if self._autosave:
            self._taken += len(taken)

    def _peek(self, ops: Sequence[Op]) -> None:
        record = self._store.peek()
        for op in ops:
            op.result = [record] if record is not None else NOTHING_THERE

    def _untake(self, ops: Sequence[Op]) -> None:
        self._store.untake([record for op in ops for record in op.load])

    def _settle(self, ops: Sequence[Op]) -> None:
        self._store.settle([record for op in ops for record in op.load])

    def _count(self, ops: Sequence[Op]) -> None:
        for op in ops:
            op.result = self._store.count()

    def _join(self, ops: Sequence[Op]) -> None:
        left = self._left()
        for op in ops:
            op.result = UNFINISHED if left else None

    def _sync(self, ops: Sequence[Op]) -> None:
        self._store.sync()

    def _flush(self, ops: Sequence[Op]) -> None:
        self._store.flush()


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
}


def begin(attempt: Callable[[], bool], abandon: Callable[[], None]) -> None:
    """Call ``attempt`` until it has the store's lock, napping in between.

    Raises:
        QueueLocked: somebody else held the lock for ``LOCK_PATIENCE`` seconds.
    """
    if attempt():
        return
    deadline, nap = Deadline(timeout=LOCK_PATIENCE), _SHORTEST_NAP
    try:
        while not attempt():
            if deadline.expired():
                raise QueueLocked(
                    f"another process has held the queue's lock for {LOCK_PATIENCE:.0f} s; "
                    "nothing was done: is it stopped in the middle of a call?"
                )
            time.sleep(nap)
            nap = min(nap * 1.5, _LONGEST_NAP)
    finally:
        abandon()


def _verb_of(op: Op) -> str:
    return op.verb


def _own(error: Exception) -> Exception:
    """Return the error as an object of the caller's own: a traceback has one owner."""
    try:
        own = copy.copy(error)
    except Exception:
        return error
    own.__cause__, own.__suppress_context__ = error.__cause__, error.__suppress_context__
    own.__traceback__ = error.__traceback__
    return own
