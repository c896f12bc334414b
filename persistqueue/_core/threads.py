"""How threads wait for a store, and share its commits.

The first thread in becomes the leader: it runs one batch with everything that is
pending, its own call and those of the threads that came meanwhile, then hands the
leadership to the first thread of the next batch and returns.  A thread whose call is
parked sleeps on a gate of its own until it is answered or made the leader.
"""

from __future__ import annotations

import contextlib
import threading
import time
from _thread import start_new_thread
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from ..exceptions import PersistQueueError, QueueClosed, QueueShutDown
from .call import (
    ANSWERED,
    APPEND,
    FLYING,
    NEW,
    NO_ROOM,
    NOTHING_THERE,
    PARKED,
    TAKE,
    UNTAKE,
    Unmet,
    flush,
)
from .deadline import FOREVER, Deadline
from .log import warn
from .session import Session, outcome_of
from .store import Reentry
from .watcher import watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .call import AnyCall, Call, R
    from .inflight import AckMode
    from .store import Record, Store

_NAP = 0.001  # s between two looks whether another thread has finished
_CROWD = 3  # calls in a batch; two threads lose more by a wait than they gain
_GATHER = 0.000_05  # s for which the leader of a crowd waits for its calls


class ThreadSession(Session):
    """One queue object, as threads use it.

    Args:
        store: opened here.
    """

    def __init__(
        self, store: Store, maxsize: int, finish: AckMode, patience: float | None = None
    ) -> None:
        super().__init__(store, maxsize, finish, _thread_ended, patience)
        try:
            self._patience.open()
        except BaseException:
            store.forget()
            self._let_store_go()
            raise
        self._waiters.counts = store.counts(exact=False)

    def _reset(self) -> None:
        super()._reset()
        # Protects the waiting calls, the book of items in flight and the leader; never held
        # during I/O.  No condition: each waiting thread has a gate of its own, released under this.
        self._mutex = threading.Lock()
        self._leader: AnyCall | None = None  # whose thread runs batches; at most one
        self._leading = 0  # that thread, while it runs one
        # The last batch was a crowd's: its threads call again at once, so the next leader waits for
        # them.  Else batches of all and of a single call take turns: twice the flushes (measured).
        self._crowded = False
        # Records to give back; finalisers add to it, and a deque needs no lock.
        self.strays: deque[tuple[Sequence[Record], bool]] = deque()
        self._disorder = False  # an interrupted call is not cleaned up yet
        self._gone = False  # the store is closed, and not used any more

    # -- giving back ----------------------------------------------------------------

    def give_back(self, records: Sequence[Record], failed: bool = False) -> None:
        """Return records to their places; settled ones stay so.

        If an interrupt comes in the middle, the next call continues.

        Args:
            failed: working on them failed; they are held back.
        """
        self.strays.append((records, failed))
        self.collect_strays()

    def give_back_soon(self, records: Sequence[Record]) -> None:
        """Return records to their places from a finaliser, or with the next call."""
        self.strays.append((records, False))
        self.collect_soon()

    def collect_soon(self) -> None:
        """Give back the strays now if no call of this thread is under way.

        A finaliser can raise nothing: an error is logged.
        """
        if self._leading != threading.get_ident() and not self._mutex.locked():
            try:
                self.collect_strays()
            except Exception:
                warn("an item could not be given back", traceback=True)

    def collect_strays(self) -> None:
        """Give back the strays."""
        strays = self.strays
        while strays:
            with contextlib.suppress(IndexError, ValueError):  # another thread was quicker
                stray = strays[0]
                try:
                    self._return(*stray)
                except Exception:
                    strays.remove(stray)
                    raise
                strays.remove(stray)

    def _return(self, records: Sequence[Record], failed: bool) -> None:
        """Return records to their places, unless they are there already."""
        try:
            self.run(self._returning(records, failed), self)
        except QueueClosed:
            if self._autosave:  # they are stored nowhere else
                self._return_closed(records)

    def _return_closed(self, records: Sequence[Record]) -> None:
        while not self._gone:
            time.sleep(_NAP)
        with self._mutex:
            back = self._returning(records)
            self._pick(back)
            self._runner.run([back, flush()])
            self._store.close()
        if back.error is not None:
            raise back.error

    def taken(self) -> list[Record]:
        """Return the records that this object has handed out and not finished, oldest first."""
        with self._mutex:
            return self.inflight.known()

    def passed(self, records: Sequence[Record]) -> None:
        with self._mutex:
            super().passed(records)

    # -- one call -------------------------------------------------------------------

    def run(  # noqa: C901 - in the handler no function may be called
        self, call: Call[R], owner: object = None
    ) -> R:
        """See a call through; returns its result, or raises its error.

        An exception of a signal handler (Ctrl-C) may come anywhere in here.  Then ``_leave``
        puts things in order, on a thread of its own, where no signal handler runs.

        Args:
            owner: to whom the call belongs; None: to this thread.
        """
        call.owner = threading.current_thread() if owner is None else owner
        result: R = call.result
        if self._closed and self._is_settled(call.verb):
            return result
        if self.strays and call.verb != UNTAKE:
            self.collect_strays()
        try:
            if batch := self._enter(call):
                self._lead(batch)
            while call.where != ANSWERED:
                self._sleep(call, call.deadline)
                if self._leader is call:
                    self._lead_again()
            result = call.result
            if call.error is None and type(result) is not Unmet:
                return result  # no call behind the look: interrupts come with calls
            if call.pick is not None:
                with self._mutex:
                    self._undo_pick(call)
        except BaseException:
            if call.where == NEW and self._leader is not call and not (call.pick and call.load):
                raise  # it was refused
            # ``start_new_thread`` is the first call here: no second interrupt comes before it.
            left: list[bool] = []
            self._disorder = True
            if self._leader is call:
                self._leading = 0  # this thread may call again before the other one has finished
            try:
                start_new_thread(self._leave, (call, left))
            except RuntimeError:  # no more threads
                self._leave(call, left)
            while not left:
                time.sleep(_NAP)
            raise
        return outcome_of(call)

    def _enter(self, call: AnyCall) -> list[AnyCall]:
        """Let a call wait for its turn; returns the batch that this thread has to run now."""
        while self._disorder:
            time.sleep(_NAP)
        with self._mutex:
            waiters = self._waiters
            if waiters.stopped is not None:
                waiters.admit(call)
            if call.pick is not None:
                self._pick(call)
                if not call.load and call.act is None:
                    call.result, call.where = (), ANSWERED  # finished or given back already
                    return []
            if self._leader is None:
                self._leader, self._leading = call, threading.get_ident()
                if not self._crowded:
                    return waiters.start(call)
            elif self._leading == threading.get_ident():
                _refuse_reentry()
            waiters.enter(call)
        return []

    def _lead_again(self) -> None:
        self._leading = threading.get_ident()
        if self._crowded:
            time.sleep(_GATHER)
        with self._mutex:
            batch = self._waiters.batch()
        self._lead(batch)

    def _lead(self, batch: list[AnyCall]) -> None:
        """Run a batch for all that are in it, then hand the leadership on."""
        if batch:
            self._runner.run(batch)
        with self._mutex:
            self._finish()
            waits = self._waiters.parked
            self._leader, self._leading = None, 0
            self._crowded = len(batch) >= _CROWD
            if self._waiters.pending:
                self._hand_on()
        if waits:
            watch(self)  # here, not in ``_sleep``: its caller was asleep before it was parked

    def _hand_on(self) -> None:
        """Make the first pending call's thread the leader; the mutex is held."""
        self._leading = 0
        first = self._leader = next(iter(self._waiters.pending), None)
        if first is not None:
            self._wake(first)

    def _wake(self, call: AnyCall) -> None:
        if call.gate is not None and call.gate.locked():
            call.gate.release()

    def _sleep(self, call: AnyCall, deadline: Deadline) -> None:
        """Wait until the call is answered, is made the leader, or runs out of time."""
        with self._mutex:
            if call.where == ANSWERED:
                return
            if self._leader is call:
                return
            gate = call.gate = threading.Lock()
            gate.acquire()
            parked = call.where == PARKED
        if parked:
            watch(self)
        remaining = deadline.remaining() if call.waits else None
        if remaining is None:
            gate.acquire()
            return
        if gate.acquire(timeout=remaining):
            return
        # Believe the wait, not a clock: a test may have stopped it.
        with self._mutex:
            call.waits = False  # pending or flying: the batch is the last try
            if call.where == PARKED:
                self._withdraw(call)
                call.result = NO_ROOM if call.verb == APPEND else NOTHING_THERE

    def expire(self, call: AnyCall) -> None:
        """End the wait of another thread's call: it finds nothing; if it is flying, it may."""
        with self._mutex:
            call.waits = False
            if call.where == PARKED:
                self._withdraw(call)
                call.result = NOTHING_THERE
                self._wake(call)

    def _withdraw(self, call: AnyCall) -> None:
        """Take a call out of those that wait; the next one gets its item.  The mutex is held."""
        self._waiters.withdraw(call)
        if self._leader is None:
            self._hand_on()

    def _leave(self, call: AnyCall, left: list[bool]) -> None:
        """Bring a call that was interrupted to its end.

        A call whose batch has not begun is withdrawn.  Otherwise its outcome is awaited, and the
        items that it took are given back.

        Args:
            left: gets an element at the end.
        """
        try:
            if self._leader is call:
                self._runner.recover(self._waiters.going)
            with self._mutex:
                self._waiters.mend()
                if self._leader is call:
                    self._finish()
                self._deliver()
                self._waiters.withdraw(call)
                if call.pick and call.where != FLYING:
                    self._undo_pick(call)
                self._disorder = False
                self._waiters.poke()  # a parked call may have missed its item
                if self._leader is call or self._leader is None:
                    self._hand_on()
                else:  # it may not have been woken
                    self._wake(self._leader)
            while call.where == FLYING:
                self._sleep(call, FOREVER)
            with self._mutex:
                self._waiters.withdraw(call)  # its batch never happened: it is pending again
                if self._leader is call:
                    self._hand_on()
                if call.pick:
                    self._undo_pick(call)
            self._give_up(call)
        except Exception:
            warn("the items of an interrupted call could not be given back", traceback=True)
        finally:
            self._disorder = False
            left.append(True)

    def _give_up(self, call: AnyCall) -> None:
        """Give back the items that a call took, or should have given back."""
        if call.verb == TAKE and call.error is None and isinstance(call.result, list):
            with self._mutex:
                self.inflight.hold(call.result, call.owner)
            self.strays.append((call.result, False))
        elif call.verb == UNTAKE and call.result is None:
            self.strays.append((call.load, False))
        self.collect_strays()

    # -- the rest -------------------------------------------------------------------

    def look(self) -> bool:
        """Let waiting calls try again if another object has committed; the watcher calls it."""
        if self.strays:
            self.collect_strays()
        if not self._waiters.waiting:
            return self._rests()
        if self._leader is None and self._changed():
            with self._mutex:
                if self._leader is None and self._waiters.poke():
                    self._hand_on()
        return True

    def shutdown(self, immediate: bool) -> None:
        """Refuse puts from now on; gets too, if ``immediate`` or when nothing is left."""
        with self._mutex:
            self._waiters.stop(QueueShutDown, immediate)
            self._deliver()
            if self._leader is None:
                self._hand_on()

    def close(self) -> None:
        """Finish the batch that is under way, wake every waiting call, close the store."""
        begun: list[bool] = []
        try:
            self.collect_strays()
            with self._mutex:
                if self._closed:
                    return
                begun += (True,)
                self._closed = True
            self._wind_up()
        except Exception:
            raise
        except BaseException:  # as in ``run``
            left: list[bool] = []
            try:
                start_new_thread(self._wind_up_again, (begun, left))
            except RuntimeError:
                self._wind_up_again(begun, left)
            while not left:
                time.sleep(_NAP)
            raise

    def _wind_up_again(self, begun: list[bool], left: list[bool]) -> None:
        """Continue a ``close`` that was interrupted."""
        try:
            if begun and not self._gone:
                self._closed = True
                self._wind_up()
        except Exception:
            warn("closing a queue failed", traceback=True)
        finally:
            left.append(True)

    def _wind_up(self) -> None:
        """Close; this may be repeated."""
        self._patience.hurry()
        with self._mutex:
            self._waiters.mend()
            self._waiters.stop(QueueClosed, immediate=True)
            self._deliver()
        try:
            self._drain()
        finally:
            self._store.close()
            self._let_store_go()
            self._gone = True

    def _drain(self) -> None:
        """Wait for the batch that is under way, and store what is in memory only."""
        try:
            self.run(flush(), self)
        except (PersistQueueError, OSError):
            if self._store.unsaved():
                raise

    def after_fork(self) -> None:
        """Begin anew in a child process: new locks, new descriptors, no items in flight."""
        super().after_fork()
        if self._closed:
            self._gone = True


def _refuse_reentry() -> NoReturn:
    raise Reentry(
        "a queue was called in the middle of another call on it in the same thread: from a signal "
        "handler, a destructor, or a function that it runs (that of transact(), say)"
    )


def _thread_ended(thread: threading.Thread) -> bool:
    return not thread.is_alive()
