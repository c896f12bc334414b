"""Carries calls to a store: neighbouring equal verbs in one call, one commit for all.

It runs on the thread that the session chose.  A call whose own verb fails (a damaged record, say)
fails alone.  A transaction that fails is undone, and its calls are run again one by one: the
one at fault fails alone.
"""

from __future__ import annotations

import copy
from itertools import groupby
from typing import TYPE_CHECKING

from ..exceptions import Full, ItemTooLarge, NotEnoughReplicas, PersistQueueError, QueueUnreachable
from .call import (
    APPEND,
    CALL,
    COUNT,
    FINISH,
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
    Finishing,
)
from .deadline import monotonic
from .log import warn
from .store import Stale, Undone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .backoff import BackOff
    from .call import AnyCall
    from .inflight import AckMode, AnyInFlight
    from .patience import Patience
    from .store import Record, Store

_LOOKS = frozenset({COUNT, JOIN, LOOK, PEEK})
_OVER, _BEGINS, _RUNS = range(3)  # how far a transaction is
_LET_GO = (SETTLE, UNTAKE, FINISH, CALL)  # verbs that end the holding of items


class Runner:
    """Runs batches on one store, one at a time.

    Args:
        maxsize: 0 for no bound.
        finish: when an item is finished.
        book: counts the items that are settled and lack a task_done.
        back_off: knows which items are held back.

    Attributes:
        done: the last batch whose calls carry results or errors; another one was
            interrupted before it was stored, and may be run again.
        counts: items that could be taken, and items not settled, when it was over;
            None when the store could not be asked.
    """

    def __init__(
        self,
        store: Store,
        maxsize: int,
        finish: AckMode,
        book: AnyInFlight,
        patience: Patience,
        back_off: BackOff,
    ) -> None:
        self._store = store
        self._back_off = back_off
        self._book = book
        self._maxsize = maxsize
        self._patience = patience
        self._counted = finish.counted
        # Verbs that store nothing, so that the store may skip its lock.
        self._looks = _LOOKS | finish.looks
        self._taken = 0  # items that this batch took and counts, less those given back
        self.done: Sequence[AnyCall] | None = None
        self.counts: tuple[int, int] | None = None
        self._stage = _OVER
        # The call that runs by itself, and why.
        self._alone: tuple[Sequence[AnyCall], Exception] | None = None

    def run(self, calls: Sequence[AnyCall]) -> None:
        """Run one batch; errors go to its calls.

        Any other exception (Ctrl-C) goes through, and ``recover`` has to follow.
        """
        self._taken = 0
        if self._back_off.busy:
            self._store.skip, self._store.held_back = self._back_off.keys(), False
        first, looking = calls[0], True
        if first.verb == FLUSH and len(calls) == 1 and not (first.load or self._store.unsaved()):
            self.conclude(calls)  # the queue is closed, and everything is stored
            return
        for call in calls:
            if call.verb not in self._looks:
                looking = False
                break
        try:
            while not self._transaction(calls, looking):
                looking = False  # the store was overtaken: again, with the lock
        except Exception as error:
            if self.done is not calls:
                cause = _cause(error)
                if len(calls) == 1 or _is_everybodys(error, cause):
                    _fail(calls, cause)
                    self.conclude(calls)
                    return
                self._one_by_one(calls, cause)
            else:
                warn("stored, but cleaning up behind it failed", traceback=True)
        self._look_back()

    def recover(self, calls: Sequence[AnyCall]) -> None:
        """Bring a batch to an end in which an exception has gone through ``run``.

        Afterwards ``done`` is right.  It is never interrupted itself.
        """
        stage, self._stage = self._stage, _OVER
        alone, self._alone = self._alone, None
        if stage == _BEGINS:
            self._store.abandon()
        elif stage == _RUNS and self._store.rollback():
            self.done = calls if alone is None else alone[0]
        if alone is not None:
            call, error = alone
            if self.done is not call:
                _fail(call, error)
            self.done = calls
        if self.done is calls:
            self._look_back()

    def _look_back(self) -> None:
        """Count the items that a batch has left."""
        counts = self._store.counts(exact=False)
        if self._counted:
            counts = counts[0], counts[1] + self._book.unanswered + self._taken
        self.counts = counts

    def conclude(self, calls: Sequence[AnyCall]) -> None:
        """Let ``calls``, which carry results or errors, be the last batch."""
        self.done, self.counts = calls, None

    def _one_by_one(self, calls: Sequence[AnyCall], error: Exception) -> None:
        """Run calls one by one that failed together: a put that does not fit fails alone.

        When that is interrupted, those that have not run yet keep the error that they had.
        """
        _fail(calls, error)
        for call in calls:
            alone = [call]
            self._alone, call.error = (alone, error), None
            try:
                looking = call.verb in self._looks
                while not self._transaction(alone, looking):
                    looking = False
            except Exception as own:
                if self.done is not alone:
                    _fail(alone, _cause(own))
        self.done, self._alone = calls, None

    def _transaction(self, calls: Sequence[AnyCall], looking: bool) -> bool:
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
                self._patience.begin(not looking, calls, began, unreachable)
        except Exception:
            store.abandon()
            self._stage = _OVER
            raise
        self._stage = _RUNS
        try:
            if len(calls) == 1:
                _VERBS[calls[0].verb](self, calls)
            else:
                for verb, group in groupby(calls, key=_verb_of):
                    self._run_group(verb, list(group))
            store.commit()
            self.done = calls
        except Stale:
            store.rollback()
            self._stage, self._taken = _OVER, taken
            for call in calls:  # its outcome is undone, and may be another one next time
                call.error = None
            return False
        except Exception:
            if store.rollback():
                self.done = calls
            else:
                self._taken = taken
            self._stage = _OVER
            raise
        self._stage = _OVER
        return True

    def _run_group(self, verb: str, calls: Sequence[AnyCall]) -> None:
        """Run neighbouring equal verbs."""
        try:
            _VERBS[verb](self, calls)
        except PersistQueueError as error:
            if self._store.transactional:
                raise
            _fail(calls, error)

    def _append(self, calls: Sequence[AnyCall]) -> None:
        """Append the puts that fit; a put that can wait does not pass an earlier one."""
        if len(calls) == 1 and self._maxsize <= 0:
            calls[0].result = self._store.append(calls[0].load)
            return
        records: list[bytes] = []
        wanted = sum(len(call.load) for call in calls)
        room = self._store.room(self._maxsize, wanted) if self._maxsize > 0 else wanted
        blocked, stored = False, []
        for call in calls:
            need = len(call.load)
            if need > room:  # a unique queue may hold some of it already
                need = self._store.needs(call.load, records)
            if need > room or (blocked and call.waits):
                call.result, blocked = NO_ROOM, True
                continue
            room -= need
            records += call.load
            stored.append(call)
        try:
            places = self._store.append(records) if records else None
        except Full:  # another process took the room
            for call in stored:
                call.result = NO_ROOM
            return
        if places is not None:
            for call in stored:
                call.result, places = places[: len(call.load)], places[len(call.load) :]

    def _take(self, calls: Sequence[AnyCall]) -> None:
        """Share out the items that are there.  A damaged item is an error of these takes alone."""
        first, lone = calls[0], len(calls) == 1
        if not lone and any(call.act for call in calls):
            for call in calls:
                self._take((call,))
            return
        try:
            if first.act is not None:
                taken = first.act()
            else:
                taken = self._store.take(first.load if lone else sum(call.load for call in calls))
        except PersistQueueError as error:  # any other undoes the batch
            _fail(calls, error)
            return
        if self._counted:
            self._taken += len(taken)
        if lone:
            first.result = taken or NOTHING_THERE
            return
        for call in calls:
            call.result = taken[: call.load] or NOTHING_THERE
            taken = taken[call.load :]

    def _peek(self, calls: Sequence[AnyCall]) -> None:
        try:
            record = self._store.peek()
        except PersistQueueError as error:  # any other undoes the batch
            _fail(calls, error)
            return
        for call in calls:
            call.result = [record] if record is not None else NOTHING_THERE

    def _untake(self, calls: Sequence[AnyCall]) -> None:
        records = [record for call in calls for record in call.load]
        lost = self._store.untake(records)
        if self._counted:
            self._taken -= len(records)
        for call in calls:
            call.result = _those(call.load, lost) if lost else ()

    def _settle(self, calls: Sequence[AnyCall]) -> None:
        lost = self._store.settle(
            calls[0].load if len(calls) == 1 else [record for call in calls for record in call.load]
        )
        for call in calls:
            call.result = _those(call.load, lost) if lost else ()

    def _finish(self, calls: Sequence[AnyCall]) -> None:
        """Finish records as their calls say, all or none."""
        act = calls[0].act
        assert act is not None
        if len(calls) == 1:
            calls[0].result = act(calls[0].load)
        else:
            assert isinstance(act, Finishing)
            act.together(calls)

    def _count(self, calls: Sequence[AnyCall]) -> None:
        for call in calls:
            call.result = self._store.counts()[0]

    def _join(self, calls: Sequence[AnyCall]) -> None:
        left = self._store.counts()[1] + self._book.unanswered + self._taken
        for call in calls:
            call.result = UNFINISHED if left else None

    def _call(self, calls: Sequence[AnyCall]) -> None:
        """Call functions of the store; an error is that caller's own."""
        for call in calls:
            assert call.act is not None
            try:
                call.result = call.act() if call.load is None else call.act(call.load)
            except (Stale, Undone):
                raise
            except Exception as error:
                _fail((call,), error)

    def _sync(self, calls: Sequence[AnyCall]) -> None:
        self._store.sync()

    def _flush(self, calls: Sequence[AnyCall]) -> None:
        """Store what is in memory only, and the items that were given back after ``close``."""
        if records := [record for call in calls for record in call.load or ()]:
            self._store.untake(records)
        self._store.flush()
        for call in calls:
            call.result = True


_VERBS: dict[str, Callable[[Runner, Sequence[AnyCall]], None]] = {
    APPEND: Runner._append,
    TAKE: Runner._take,
    PEEK: Runner._peek,
    UNTAKE: Runner._untake,
    SETTLE: Runner._settle,
    FINISH: Runner._finish,
    COUNT: Runner._count,
    JOIN: Runner._join,
    SYNC: Runner._sync,
    FLUSH: Runner._flush,
    CALL: Runner._call,
    LOOK: Runner._call,
}


def _those(load: Sequence[Record], lost: Sequence[Record]) -> Sequence[Record]:
    """Return those of a call's records that were not its object's any more."""
    strangers = set(lost)
    return [record for record in load if record in strangers]


def _verb_of(call: AnyCall) -> str:
    return call.verb


def _is_everybodys(error: Exception, cause: Exception) -> bool:
    """Return whether no call of a batch would fare better alone."""
    if isinstance(error, ItemTooLarge):
        return False
    return isinstance(error, PersistQueueError) or isinstance(cause, QueueUnreachable)


def _cause(error: Exception) -> Exception:
    return error.error if isinstance(error, Undone) else error


def _fail(calls: Sequence[AnyCall], error: Exception) -> None:
    cause = _cause(error)
    for call in calls:
        done = isinstance(cause, NotEnoughReplicas) and call.verb in _LET_GO
        call.result, call.error = True if done else None, _own(cause)


def _own(error: Exception) -> Exception:
    """Return the error as an object of the caller's own: a traceback has one owner."""
    try:
        own = copy.copy(error)
    except Exception:
        return error
    own.__cause__, own.__suppress_context__ = error.__cause__, error.__suppress_context__
    own.__traceback__ = error.__traceback__
    return own
