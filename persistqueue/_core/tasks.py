"""How asyncio tasks wait for a store, and share its commits.

Only the event loop touches the line and the takes; only the store's thread touches the
store; the ``GroupCommit`` carries batches from one to the other.

Cancellation
    A call whose batch has not begun is withdrawn.  Else its outcome is awaited, however
    often the task is cancelled meanwhile, and what it took is given back.  A coroutine
    that cannot wait any more (it is destroyed, or its loop is closed) *abandons* its call:
    what that comes to is given back when it lands.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import sys
import weakref
from typing import TYPE_CHECKING, Any

from ..exceptions import PersistQueueError, QueueClosed
from .abandoned import OUTLIVE_THEIR_CALLER, UNDER_WAY, AbandonedCalls
from .async_errors import AsyncEmpty, AsyncFull, AsyncQueueShutDown
from .call import APPEND, COUNT, FLUSH, NO_ROOM, NOTHING_THERE, PARKED, TAKE, UNTAKE, Call, flush
from .deadline import Deadline
from .groupcommit import GroupCommit
from .patience import begin
from .session import outcome_of
from .watcher import watch
from .worker import running_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .call import AnyCall, R
    from .inflight import AckMode
    from .store import Record, Store
    from .worker import Worker

_AT_EXIT = 0.2  # s that queues which nobody closed may delay the end of the process
_LONGEST_TIMER = 86_400.0  # s; loops refuse timers of many days, so a longer one is set again
_async_sessions: weakref.WeakSet[TaskSession] = weakref.WeakSet()


class TaskSession(AbandonedCalls):
    """One queue object, as the tasks of one event loop after another use it.

    Args:
        store: opened by ``open``, or by the first call.
        worker: runs functions on the store's thread.
    """

    def __init__(
        self,
        store: Store,
        maxsize: int,
        finish: AckMode,
        patience: float | None = None,
        *,
        worker: Worker,
    ) -> None:
        self._worker = worker
        super().__init__(store, maxsize, finish, _task_ended, patience)
        _async_sessions.add(self)

    def _reset(self) -> None:
        super()._reset()
        self._commits = GroupCommit(
            self._waiters, self._runner, self._store, self._worker, self._deliver_batch
        )
        self._opened = False  # by open(), without a batch
        self._closing: asyncio.Event | None = None  # set when the close under way is over
        self._poked = False  # a call of _poke is on its way

    # -- opening, settling, giving back ---------------------------------------------

    async def open(self) -> None:
        """Open the store now, if it is not open; otherwise the first call does."""
        self._bind()
        self._waiters.admit(Call(COUNT))
        self._opened = True
        store, patience = self._store, self._patience
        locked = store.errors.locked
        await self._worker.run(begin, store.open, store.abandon, (), patience, None, locked)
        if self._closed:  # meanwhile
            await self._worker.run(self._store.close)
            self._worker.stop()
        self._waiters.admit(Call(COUNT))
        self.ready, stored = self._store.counts(exact=False)
        self.unfinished = stored + self._inflight.unanswered

    async def give_back(self, records: Sequence[Record], failed: bool = False) -> None:
        """Return records to their places, those that nobody has settled, even if cancelled.

        Args:
            failed: working on them did; they are held back.
        """
        call = self._returning(records, failed)
        try:
            await self.run(call)
        except QueueClosed:
            if self._autosave:  # they are stored nowhere else
                await self.run(flush(call.pick))
                self._worker.stop()

    # -- one call -------------------------------------------------------------------

    async def run(self, call: Call[R]) -> R:
        """See a call through; gives its result, or raises its error."""
        result: R = call.result
        if self._closed and self._is_settled(call.verb):
            return result
        call.owner, timer = _caller(), None
        try:
            loop = self._bind()
            if call.pick is not None:
                self._pick(call)
                if not call.load and call.act is None:
                    return result  # settled or given back already
            self._enter(call)
            gate = call.gate = loop.create_future()
            if call.waits and (remaining := call.deadline.remaining()) is not None:
                delay = min(remaining, _LONGEST_TIMER)
                timer = loop.call_later(delay, self._expire, call, remaining - delay)
            await gate
            self._unclaimed.discard(call)
            return outcome_of(call, AsyncEmpty, AsyncFull)
        except GeneratorExit:
            self._abandon_call(call)
            raise
        except BaseException:  # CancelledError: before the outcome is known, or just after
            if call.error is None:
                await self._leave(call)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if call.pick is not None and call.where not in UNDER_WAY:
                self._undo_pick(call)

    def _enter(self, call: AnyCall) -> None:
        """Let a call into the line, and see that the line moves."""
        commits = self._commits
        if commits.busy:
            commits.mend()
        if self._abandoned:
            self._tidy()
        commits.busy = True
        self._waiters.enter(call)
        if call.where == PARKED:
            watch(self)
        commits.hop_soon()
        commits.busy = False

    def _wake(self, call: AnyCall) -> None:
        gate = call.gate
        if gate is None:
            return
        if gate.get_loop().is_closed():  # with the call still in it
            call.gate = None  # else it would be woken again and again
            self._abandon_call(call)
        elif not gate.done():
            gate.set_result(None)
            if self._autosave and call.verb == TAKE and isinstance(call.result, list):
                self._unclaimed.add(call)

    def _expire(self, call: AnyCall, left: float) -> None:
        """The call ran out of time: if it is pending or flying, its batch is the last try.

        The timer is believed, not a clock: a test may have stopped it.

        Args:
            left: seconds that are left of a timeout too long for one timer.
        """
        loop = self._commits.loop
        if left > 0 and loop is not None:
            delay = min(left, _LONGEST_TIMER)
            loop.call_later(delay, self._expire, call, left - delay)
            return
        call.waits = False
        if call.where == PARKED:
            self._withdraw(call)
            call.result = NO_ROOM if call.verb == APPEND else NOTHING_THERE
            self._wake(call)

    def _deliver_batch(self, again: bool) -> None:
        """Let the callers of a batch that is over go on."""
        if again:
            self._waiters.mend()
        self._finish()
        if self._abandoned:
            self._tidy()
        if self._waiters.parked:
            watch(self)

    # -- the loop -------------------------------------------------------------------

    def _bind(self) -> asyncio.AbstractEventLoop:
        """Return the running loop, and make it this object's.

        Raises:
            RuntimeError: none is running, or another one that this object serves.
        """
        loop = running_loop()
        if loop is not self._commits.loop:
            self._move_to(loop)
        return loop

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve a new loop; whoever waited in the old one is gone."""
        old = self._commits.loop
        if old is not None and old.is_running():
            raise RuntimeError(
                "this queue object is in use in another running event loop; open one object "
                "for each loop: any number of them may share a path"
            )
        self._poked = False
        for call in self._waiters.all():
            if call.verb not in OUTLIVE_THEIR_CALLER:
                self._waiters.withdraw(call)
                call.error = RuntimeError("the queue was used in another event loop meanwhile")
                self._wake(call)
        for call in self._commits.flying or ():
            call.waits = False  # else it would be parked when it lands, for nobody
        self._commits.move_to(loop)

    def look(self) -> bool:
        """Called by the watcher: let waiters try again if somebody else committed."""
        loop = self._commits.loop
        if not self._waiters.waiting or loop is None or loop.is_closed():
            return self._rests()
        idle = self._commits.flying is None and not self._poked
        if idle and self._changed():
            self._poked = True
            with contextlib.suppress(RuntimeError):  # closed in the meantime
                loop.call_soon_threadsafe(self._poke)
        return True

    def _poke(self) -> None:
        self._poked = False
        if self._waiters.poke():
            self._commits.hop_soon()

    # -- the end --------------------------------------------------------------------

    def shutdown(self, immediate: bool) -> None:
        """Refuse puts from now on; gets too, if ``immediate`` or when nothing is left."""
        self._bind()
        self._waiters.stop(AsyncQueueShutDown, immediate)
        self._deliver()
        self._commits.hop_soon()

    async def close(self) -> None:
        """Finish what is under way, wake every waiter, let go of the files.

        A second call returns when the first one does.
        """
        if self._closed:
            if self._closing is not None:
                await self._closing.wait()
            return
        self._bind()
        self._commits.mend()
        self._tidy()
        self._stop()
        if not self._used:
            self._let_store_go()
            return
        self._closing = asyncio.Event()
        try:
            await self.run(flush())
            while self._commits.flying or self._waiters.pending:  # what calls took that are gone
                await self.run(flush())
        except (PersistQueueError, OSError):
            if self._store.unsaved():
                raise
        finally:
            self._closing.set()
            self._closing = None
            self._worker.stop()
            self._let_store_go()

    def _stop(self) -> None:
        self._closed = True
        self._runner.hurry()
        self._waiters.stop(QueueClosed, immediate=True)
        self._deliver()

    def abandon(self) -> None:
        """The same for a finaliser, without waiting: nobody uses this object any more."""
        if not self._used:
            self._let_store_go()
        elif not self._closed:
            self._closed = self._commits.gone = True
            self._runner.hurry()
            self._wind_up_soon()

    def _wind_up_soon(self) -> None:
        if not sys.is_finalizing():  # no thread starts any more; atexit has done it
            self._worker.start(self._wind_up)
            self._worker.stop()

    def _wind_up(self) -> None:
        """Close, on the store's thread, behind what was under way; the loop may be gone.

        What was settled when it was taken, and never arrived, is stored nowhere else.
        """
        records: list[Record] = []
        if self._autosave:
            for call in self._commits.landed or ():
                if call.verb == TAKE and isinstance(call.result, list) and not call.noted:
                    records, call.result = records + call.result, None
            for call in (*self._abandoned, *self._unclaimed):
                records += self._inflight.still(self._claim(call))
            for call in self._waiters.batch():
                records += call.load if call.verb in (UNTAKE, FLUSH) and call.load else ()
        # A runner of its own: what the other one came to was not delivered.
        runner = self._new_runner()
        runner.hurry()
        runner.run([Call(FLUSH, records)])
        self._store.close()
        self._let_store_go()

    def linger(self, timeout: float | None) -> None:
        """Wait up to ``timeout`` seconds for what ``abandon`` began."""
        self._worker.join(timeout)

    @property
    def _used(self) -> bool:
        """Whether the store was opened, or may have been."""
        return self._opened or self._commits.used

    def after_fork(self) -> None:
        """In a child process: no loop, no thread, new descriptors, and nothing taken."""
        self._worker.forget()
        super().after_fork()


def _caller() -> weakref.ref[asyncio.Task[Any]] | None:
    """Return a reference to the task, which must not live on for what it took."""
    task = asyncio.current_task(running_loop())
    if task is None:
        return None
    owner = weakref.ref(task)
    hash(owner)  # now: it cannot be done any more when the task is gone
    return owner


def _task_ended(owner: weakref.ref[asyncio.Task[Any]] | None) -> bool:
    task = None if owner is None else owner()
    return task is None or task.done() or task.get_loop().is_closed()


@atexit.register
def _at_exit() -> None:
    """Close what nobody closed, as far as that takes no time."""
    sessions, deadline = list(_async_sessions), Deadline(timeout=_AT_EXIT)
    for session in sessions:
        session.abandon()
    for session in sessions:
        session.linger(deadline.remaining())
