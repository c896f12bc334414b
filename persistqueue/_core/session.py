"""The decisions that both sessions make in the same way: everything but waiting.

A session lets calls wait for a batch, has batches run, and delivers their results.  The subclass
knows how its callers wait, and on which thread a batch runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ..exceptions import Empty, Full, QueueClosed
from .backoff import BackOff
from .batch import Runner
from .call import LOOK, NO_ROOM, NOTHING_THERE, SETTLE, TAKE, UNTAKE, Call, return_picked
from .forks import follow
from .patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .call import AnyCall, R
    from .inflight import AckMode, AnyInFlight
    from .store import Record, Store
    from .waiters import WaitingCalls

_NOTED = (TAKE, UNTAKE)
# Stores that are not closed yet.  The garbage collector ends unreachable objects in any order: a
# connection to Redis, or from Python 3.13 on to SQLite, before ``__del__`` of the queue gives
# items back with it.  No reference leads from a store to its queue.
_kept: set[Store] = set()


class Session(ABC):
    """One queue object: its waiting calls, its items in flight, its runner.

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
        self._counted = finish.counted
        self._most_patience = patience
        self._ended = ended
        self._closed = False
        self._reset()
        follow(self)
        _kept.add(store)

    def _reset(self) -> None:
        """Begin without waiting calls and items in flight."""
        self._waiters = self._store.waiters(self._maxsize)
        self.inflight: AnyInFlight = self._finish_at.book(self._ended)
        self.back_off = BackOff()
        self._patience = Patience(self._store, self._most_patience)
        self._runner = self._new_runner()

    def _let_store_go(self) -> None:
        """The store is closed."""
        _kept.discard(self._store)

    def _new_runner(self) -> Runner:
        return Runner(
            self._store,
            self._maxsize,
            self._finish_at,
            self.inflight,
            self._patience,
            self.back_off,
        )

    @property
    def ready(self) -> int:
        """Items that could be taken, as of the last batch."""
        return self._waiters.counts[0]

    @property
    def unfinished(self) -> int:
        """Items not settled, as of the last batch."""
        return self._waiters.counts[1]

    # -- calls ----------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise ``QueueClosed`` if the queue is closed; never waits."""
        self._waiters.admit(Call(LOOK))

    def passed(self, records: Sequence[Record]) -> None:
        """Forget records that a function of the store has finished."""
        for record in records:
            self.inflight.discard(record)

    def _pick(self, call: AnyCall) -> None:
        """Move the records that a call finishes or gives back from the book to its load.

        Each enters the load before it leaves the book, so that ``_undo_pick`` is right
        wherever an interrupt comes.
        """
        book, load, pick = self.inflight, call.load, call.pick
        assert pick is not None
        for record in pick(book, call.owner):
            load.append(record)
            book.discard(record)
        if call.verb == SETTLE and self._counted:
            count = len(load)
            book.unanswered -= count
            call.counted = True  # at once: no interrupt comes between two lines without a call

    def _undo_pick(self, call: AnyCall) -> None:
        """Put the picked records back into the book if the call changed nothing; once."""
        if call.result is None and not call.noted:
            count = len(call.load) if call.counted else 0
            self.inflight.restore(call.load)
            self.inflight.unanswered += count
            call.noted = True

    def _is_settled(self, verb: str) -> bool:
        """Return whether a call has nothing to store: taken items are settled already."""
        return self._autosave and verb == SETTLE

    # -- the outcome of a call --------------------------------------------------------

    def waiting_calls(self) -> WaitingCalls:
        """Return how many calls wait, for tests."""
        return self._waiters.waiting_calls()

    def probe(self) -> tuple[int, bytes] | int | None:
        """Return how the watcher may see that no other object has committed."""
        return None if self.back_off.busy else self._store.probe()

    def due(self) -> float:
        """Return when the watcher is to look at the store at the latest."""
        return self._store.due(self._waiters.getting)

    def _changed(self) -> bool:
        """Return whether parked calls may try again."""
        return self.back_off.is_over() or self._store.changed(self._waiters.getting)

    def _returning(self, records: Sequence[Record], failed: bool = False) -> Call[Sequence[Record]]:
        """Return the call that gives back those of ``records`` that are not finished.

        Args:
            failed: working on them failed.
        """

        def pick(book: AnyInFlight, _: object) -> Iterable[Record]:
            known = book.still(records)
            if failed:
                self.back_off.note(known)
            return known

        return return_picked(pick, withdraws=False)

    def _rests(self) -> bool:
        """Return whether the store is to be watched although no call waits.

        A server that was asked to tell of items may have told this object of one.
        """
        store = self._store
        if store.owes and (self._waiters.pending or self._waiters.going):
            return True  # a call that takes the item is on its way
        if store.owes or isinstance(store.probe(), int):
            store.changed(False)
        return store.owes or isinstance(store.probe(), int)

    def after_fork(self) -> None:
        """Begin anew in a child process: new locks and descriptors, no waiting calls."""
        counts = self._waiters.counts
        self._reset()
        self._waiters.counts = counts
        if self._closed:
            self._waiters.stop(QueueClosed, immediate=True)
        self._store.forget()

    @abstractmethod
    def _wake(self, call: AnyCall) -> None:
        """Let the caller of ``call`` look at it; to do it twice is harmless."""

    def _finish(self) -> None:
        """Deliver the results of the batch that was under way."""
        runner, line = self._runner, self._waiters
        if runner.done is line.going:
            line.finish(runner.counts, self._store.held_back)
        else:
            line.again()
        self._deliver()

    def _deliver(self) -> None:
        """Let the callers of answered calls go on; to do it twice is harmless."""
        answered = self._waiters.answered
        for call in answered:
            if (
                call.verb in _NOTED
                and call.result is not None
                and not call.noted
                and call.error is None
            ):
                self._note(call)
            if call.gate is not None:
                self._wake(call)
        answered.clear()

    def _note(self, call: AnyCall) -> None:
        """Note in the book who took records, or that records were given back."""
        if call.verb == UNTAKE:
            self.inflight.returned(len(call.load))
        elif call.result is not NOTHING_THERE:
            if call.holds:
                self.inflight.hold(call.result, call.owner)
            self.inflight.add(call.result, call.owner)
        call.noted = True  # at once: items must not be counted twice


def outcome_of(call: Call[R], empty: type[Empty] = Empty, full: type[Full] = Full) -> R:
    """Return the result of an answered call, or raise its error."""
    if call.error is not None:
        raise call.error
    result: R = call.result
    if call.result is NOTHING_THERE:
        raise empty("the queue is empty")
    if call.result is NO_ROOM:
        raise full("the queue is full")
    return result  # no call behind this: Ctrl-C comes with calls
