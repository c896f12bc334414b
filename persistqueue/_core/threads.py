"""How threads wait for a store, and share its commits.

The first thread in becomes the leader: it runs one batch with everything that is
pending, its own op and those of the threads that came meanwhile, then hands the
leadership to the first thread of the next batch and returns.  A thread whose op is
parked sleeps on a gate of its own until it is answered or made the leader.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from ..exceptions import PersistQueueError, QueueClosed, QueueShutDown
from .deadline import FOREVER, Deadline
from .patience import begin
from .session import Shell, outcome_of
from .store import Reentry
from .waiters import (
    ANSWERED,
    APPEND,
    FLUSH,
    FLYING,
    NO_ROOM,
    NOTHING_THERE,
    PARKED,
    TAKE,
    UNTAKE,
    Op,
)
from .watcher import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .call import Call, R
    from .inflight import Finish
    from .store import Record, Store

_LONGEST_SLEEP = threading.TIMEOUT_MAX  # s; a longer timeout sleeps again


class ThreadShell(Shell):
    """One queue object, as threads use it.

    Args:
        store: opened here.
    """

    caller = staticmethod(threading.current_thread)

    def __init__(
        self, store: Store, maxsize: int, finish: Finish, patience: float | None = None
    ) -> None:
        super().__init__(store, maxsize, finish, _thread_ended, patience)
        try:
            begin(store.open, store.abandon, (), patience, None, store.errors.locked)
        except BaseException:
            store.forget()
            self._let_store_go()
            raise
        self.ready, self.unfinished = store.counts(exact=False)

    def _reset(self) -> None:
        super()._reset()
        # Protects the line, the takes and the leader; never held during I/O.  No
        # condition: each waiting thread has a gate of its own, released under this.
        self._mutex = threading.Lock()
        self._leader: Op | None = None  # who runs batches; at most one
        self._leading = 0  # the thread that does, while it does
        # Given back by finalisers; a deque needs no lock.
        self._strays: deque[Sequence[Record]] = deque()
        self._let_go = threading.Event()  # the store is closed

    # -- giving back ----------------------------------------------------------------

    def give_back(self, records: Sequence[Record], failed: bool = False) -> None:
        """Return records to their places, those that nobody has settled.

        Ctrl-C does not stop it half-way: it is seen through, then the interrupt goes on.

        Args:
            failed: working on them did; they are held back.
        """
        pick = self._picking(records, failed)
        interrupt: BaseException | None = None
        while True:
            try:
                self._resolve(UNTAKE, pick)
            except QueueClosed:
                self._give_back_closed(records)
                break
            except Exception:
                raise
            except BaseException as error:
                interrupt = error
            else:
                break
        if interrupt is not None:
            raise interrupt

    def give_back_soon(self, records: Sequence[Record]) -> None:
        """The same for a finaliser, which may run in the middle of a call of its thread."""
        self._strays.append(records)
        if self._leading != threading.get_ident() and self._mutex.acquire(blocking=False):
            self._mutex.release()
            self._collect_strays()

    def _collect_strays(self) -> None:
        while self._strays:
            with contextlib.suppress(IndexError):  # another thread was quicker
                self.give_back(self._strays.popleft())

    def _give_back_closed(self, records: Sequence[Record]) -> None:
        """Return records after ``close``: under autosave they are stored nowhere else."""
        if not self._autosave:
            return
        self._let_go.wait()
        with self._mutex:
            mine: list[Record] = []
            self._takes.pick(records, mine, UNTAKE)
            ops = [Op(UNTAKE, mine), Op(FLUSH)]
            self._runner.run(ops)
            self._store.close()
        if ops[0].error is not None:
            raise ops[0].error

    def _resolve(
        self,
        verb: str,
        pick: Callable[[list[Record]], None],
        act: Callable[[Sequence[Record]], Any] | None = None,
    ) -> Any:
        """Settle or give back what ``pick`` picks; if that fails, it is as before."""
        return self._see_through(Op(verb, [], act=act), pick)

    def _see_through(self, op: Op, pick: Callable[[list[Record]], None]) -> Any:
        if self._closed and self._is_settled(op.verb):
            return None
        try:
            return self.call(op, pick)
        except BaseException:  # Ctrl-C may come when it is stored already
            if op.result is None:
                with self._mutex:
                    self._takes.restore(op.load, op.verb)
            raise

    def taken(self) -> list[Record]:
        """Return what this object has handed out and is not finished, oldest first."""
        with self._mutex:
            return self._takes.known()

    def passed(self, records: Sequence[Record]) -> None:
        with self._mutex:
            super().passed(records)

    # -- one call -------------------------------------------------------------------

    def run(self, call: Call[R]) -> R:
        """See a call through; returns its result, or raises its error."""
        pick = self._bound(call)
        result: R = self.call(call) if pick is None else self._see_through(call, pick)
        return result

    def call(self, op: Op, pick: Callable[[list[Record]], None] | None = None) -> Any:
        """See one op through and return its result.

        Args:
            pick: fills the op's load, under the mutex.

        When the call is interrupted (Ctrl-C) before its batch, it is withdrawn; after
        that its outcome is awaited and what it took is given back.
        """
        batch: list[Op] = []
        if self._strays and op.verb != UNTAKE:
            self._collect_strays()
        try:
            with self._mutex:
                if pick is not None:
                    pick(op.load)
                if self._leader is None:
                    self._leader, self._leading = op, threading.get_ident()
                    batch = self._line.start(op)
                elif self._leading == threading.get_ident():
                    _refuse_reentry()
                else:
                    self._line.enter(op)
            if batch:
                self._lead(op, batch)
            while op.where != ANSWERED:
                self._sleep(op, op.deadline)
                if self._leader is op:
                    with self._mutex:
                        self._leading = threading.get_ident()
                        batch = self._line.batch()
                    self._lead(op, batch)
            return outcome_of(op)
        except BaseException:
            self._leave(op, batch)
            raise

    def _lead(self, op: Op, batch: list[Op]) -> None:
        """Run a batch for everybody in it, then hand the leadership on."""
        runner, line = self._runner, self._line
        try:
            if batch:
                runner.run(batch)
        finally:
            interrupt = runner.interrupt
            with self._mutex:
                if batch:
                    self._finish(batch, op)
                waits = line.parked
                if line.pending:
                    self._hand_on()
                else:
                    self._leader, self._leading = None, 0
        if waits:
            watch(self)  # here, not where its caller sleeps: he went to sleep before it
        if interrupt is not None:
            raise interrupt

    def _hand_on(self) -> None:
        """Make the first pending op's thread the leader; the mutex is held."""
        self._leading = 0
        pending = self._line.pending
        if pending:
            self._leader = pending[0]
            self._wake(pending[0])
        else:
            self._leader = None

    def _sleep(self, op: Op, deadline: Deadline) -> None:
        """Wait until the op is answered, is made the leader, or runs out of time."""
        with self._mutex:
            if op.where == ANSWERED:
                return
            if self._leader is op:
                return
            gate = op.gate = threading.Lock()
            gate.acquire()
            parked = op.where == PARKED
        if parked:
            watch(self)
        remaining = deadline.remaining() if op.waits else None
        if remaining is None:
            gate.acquire()
            return
        if gate.acquire(timeout=min(remaining, _LONGEST_SLEEP)) or remaining > _LONGEST_SLEEP:
            return
        # Believe the wait, not a clock: a test may have stopped it.
        with self._mutex:
            op.waits = False  # pending or flying: the batch is the last try
            if op.where == PARKED:
                self._withdraw(op)
                op.result = NO_ROOM if op.verb == APPEND else NOTHING_THERE

    def _withdraw(self, op: Op) -> None:
        """Take an op out; what was meant for it goes to the next.  The mutex is held."""
        self._line.withdraw(op)
        if self._leader is None:
            self._hand_on()

    def _leave(self, op: Op, batch: list[Op]) -> None:
        """The caller was interrupted: see that nothing is lost and nobody waits for it.

        Ctrl-C may come between any two steps of ``call`` and ``_lead``: a leader that
        has not handed on yet still answers for its batch.
        """
        with self._mutex:
            if self._leader is op:
                self._line.recall(batch)
                if any(other.where == FLYING for other in batch):
                    self._finish(batch, op)
                self._deliver([other for other in batch if other.where == ANSWERED])
                self._hand_on()
            elif self._leader is not None:  # it may have been made so and not been woken
                self._wake(self._leader)
            self._withdraw(op)
            if self._leader is op:  # it was pending, so that it was to lead again
                self._hand_on()
        while op.where == FLYING:
            self._sleep(op, FOREVER)
        if op.verb == TAKE and op.error is None and isinstance(op.result, list):
            with self._mutex:
                self._takes.hold(op.result, op.owner)
            self.give_back(op.result)

    # -- the rest -------------------------------------------------------------------

    def look(self) -> bool:
        """Called by the watcher: let waiters try again if somebody else committed."""
        if self._strays:
            self._collect_strays()
        if not self._line.waiting:
            return self._rests()
        if self._leader is None and self._changed():
            with self._mutex:
                if self._leader is None and self._line.poke():
                    self._hand_on()
        return True

    def shutdown(self, immediate: bool) -> None:
        """Refuse puts from now on; gets too, if ``immediate`` or when nothing is left."""
        with self._mutex:
            for op in self._line.stop(QueueShutDown, immediate):
                self._wake(op)
            if self._leader is None:
                self._hand_on()

    def close(self) -> None:
        """Finish what is under way, wake every waiter, let go of the files."""
        self._collect_strays()
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            self._runner.hurry()
            for op in self._line.stop(QueueClosed, immediate=True):
                self._wake(op)
        try:
            self._drain()
        finally:
            self._store.close()
            self._let_store_go()
            self._let_go.set()

    def _drain(self) -> None:
        """Wait for what is under way, and store what is in memory only."""
        try:
            self.call(Op(FLUSH))
        except (PersistQueueError, OSError):
            if self._store.unsaved():
                raise

    def after_fork(self) -> None:
        """In a child process: new locks, new descriptors, and nothing taken."""
        super().after_fork()
        if self._closed:
            self._let_go.set()


def _refuse_reentry() -> NoReturn:
    raise Reentry(
        "a queue was called in the middle of another call on it in the same thread: from a signal "
        "handler, a destructor, or a function that it runs (that of transact(), say)"
    )


def _thread_ended(thread: threading.Thread) -> bool:
    return not thread.is_alive()
