"""What both sessions decide in the same way: everything but waiting.

A session lets ops into the line, has batches run, and delivers what they came to.  How
its callers wait, and on which thread a batch runs, is for the subclass.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import Empty, Full, QueueClosed
from .backoff import BackOff
from .batch import Runner
from .forks import follow
from .waiters import (
    LOOK,
    NO_ROOM,
    NOTHING_THERE,
    SETTLE,
    TAKE,
    UNTAKE,
    Op,
    Waiters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .call import Call
    from .inflight import AckMode, AnyInFlight
    from .store import Record, Store

_NOTED = (TAKE, UNTAKE)
# Stores that are to be closed yet.  A garbage collection ends what only garbage leads to in any
# order: a connection to Redis, or from Python 3.13 on to SQLite, before ``__del__`` of the queue
# has it give items back.  Nothing leads from a store to its queue.
_kept: set[Store] = set()


class Session:
    """One queue object: its line, its takes, its runner.

    Args:
        maxsize: 0 for no bound.
        finish: when an item is finished.
        ended: tells whether an owner (a thread, a task) can settle nothing any more.
        patience: seconds to wait for the store's lock, at the most; None for 10.
    """

    def __init__(
        self,
        store: Store,
        maxsize: int,
        finish: AckMode,
        ended: Callable[[Any], bool],
        patience: float | None = None,
    ) -> None:
        self._store = store
        self._maxsize = maxsize
        self._finish_at = finish
        self._autosave = finish.at_take
        self._patience = patience
        self._ended = ended
        self._closed = False
        # As of the last batch: items that could be taken, and items not settled.
        self.ready = self.unfinished = 0
        self._reset()
        follow(self)
        _kept.add(store)

    def _reset(self) -> None:
        """Begin with nobody waiting and nothing taken."""
        self._waiters = self._new_waiters()
        self.inflight: AnyInFlight = self._finish_at.book(self._ended)
        self._inflight = self.inflight
        self.back_off = BackOff()
        self._runner = self._new_runner()

    def _let_store_go(self) -> None:
        """The store is closed."""
        _kept.discard(self._store)

    def _new_waiters(self) -> Waiters:
        return Waiters(self._maxsize, self._store.errors.closed)

    def _new_runner(self) -> Runner:
        return Runner(
            self._store,
            self._maxsize,
            self._finish_at,
            self._inflight,
            self._patience,
            self.back_off,
        )

    # -- calls ----------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise what a call would if the queue is closed; waits for nothing."""
        self._waiters.admit(Op(LOOK))

    def passed(self, records: Sequence[Record]) -> None:
        """Forget records that a function of the store has finished."""
        self._inflight.pick(records, [], SETTLE)

    def _bound(self, call: Call[Any], caller: object) -> Callable[[list[Record]], None] | None:
        """Note whose call it is; returns what fills its load."""
        pick = call.pick
        if pick is None:
            call.owner = caller
            return None
        return partial(pick, self._inflight, caller)

    def _is_settled(self, verb: str) -> bool:
        """Return whether a call has nothing to store: taken items are settled already."""
        return self._autosave and verb == SETTLE

    # -- what becomes of an op ------------------------------------------------------

    def probe(self) -> tuple[int, bytes] | int | None:
        """Return what the watcher may read to see that nobody has committed."""
        return None if self.back_off.busy else self._store.probe()

    def _changed(self) -> bool:
        """Return whether those who wait may look again."""
        return self.back_off.is_over() or self._store.changed(self._waiters.getting)

    def _picking(self, records: Sequence[Record], failed: bool) -> Callable[[list[Record]], None]:
        """Return what picks those of ``records`` that are to be given back.

        Args:
            failed: working on them did.
        """

        def pick(into: list[Record]) -> None:
            self._inflight.pick(records, into, UNTAKE)
            if failed:
                self.back_off.note(into)

        return pick

    def _rests(self) -> bool:
        """Return whether the store is to be watched although nobody waits.

        A server may have been asked to say when something comes; then it is not for nobody.
        """
        store = self._store
        if store.owes and (self._waiters.pending or self._waiters.going):
            return True  # the call that was shown the item is on its way to it
        if store.owes or isinstance(store.probe(), int):
            store.changed(False)
        return store.owes or isinstance(store.probe(), int)

    def after_fork(self) -> None:
        """In a child process: new locks, new descriptors, nobody waiting and nothing taken."""
        self._reset()
        if self._closed:
            self._waiters.stop(QueueClosed, immediate=True)
        self._store.forget()

    def _wake(self, op: Op) -> None:
        """Let the caller of ``op`` look at it; to do it twice is harmless."""
        raise NotImplementedError

    def _finish(self, dropped: Op | None = None) -> None:
        """Deliver what the batch that was under way came to.

        Args:
            dropped: an op that shall not be tried again if the batch never happened.
        """
        runner, line = self._runner, self._waiters
        if runner.ops is line.going and runner.happened:
            counts = runner.counts
            if counts is not None:
                self.ready, self.unfinished = counts
            line.weigh(runner.barren)
            line.finish(counts)
        else:
            line.again(dropped)
        self._deliver()

    def _deliver(self) -> None:
        """Let the callers of answered ops go on; to do it twice is harmless."""
        answered = self._waiters.answered
        while answered:
            op = answered[0]
            if op.verb in _NOTED and op.result is not None and not op.noted and op.error is None:
                self._note(op)
            if op.gate is not None:
                self._wake(op)
            answered.popleft()

    def _note(self, op: Op) -> None:
        """Remember who took what, and what was given back."""
        if op.verb == UNTAKE:
            self._inflight.returned(op.load)
        elif op.result is not NOTHING_THERE:
            if op.holds:
                self._inflight.hold(op.result, op.owner)
            self._inflight.add(op.result, op.owner)
        op.noted = True  # at once: to count twice what was taken would not be harmless


def outcome_of(op: Op, empty: type[Empty] = Empty, full: type[Full] = Full) -> Any:
    """Return the result of an answered op, or raise what it came to."""
    if op.error is not None:
        raise op.error
    result = op.result
    if result is NOTHING_THERE:
        raise empty("the queue is empty")
    if result is NO_ROOM:
        raise full("the queue is full")
    return result  # no call behind this: Ctrl-C comes with calls
