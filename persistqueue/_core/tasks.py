"""How asyncio tasks wait for a store, and share its commits.

Only the event loop touches the waiting calls and the book of items in flight; only the store's
thread touches the store; the ``GroupCommit`` carries batches from one to the other.

Cancellation
    A call whose batch has not begun is withdrawn.  Otherwise its outcome is awaited, however
    often the task is cancelled meanwhile, and the items that it took are given back.  A
    coroutine that cannot wait any more (it is destroyed, or its loop is closed) *abandons* its
    call: its items are given back when the batch is over.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import sys
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from ..exceptions import PersistQueueError, QueueClosed
from .call import (
    ANSWERED,
    APPEND,
    FLUSH,
    FLYING,
    NO_ROOM,
    NOTHING_THERE,
    PARKED,
    PENDING,
    SETTLE,
    TAKE,
    UNTAKE,
    Call,
    flush,
)
from .deadline import NOW, Deadline
from .groupcommit import GroupCommit
from .log import warn
from .queue_tasks import AsyncEmpty, AsyncFull, AsyncQueueShutDown
from .session import Session, outcome_of
from .watcher import watch
from .worker import running_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .call import AnyCall, R
    from .inflight import AckMode
    from .store import Record, Store
    from .worker import Worker

_AT_EXIT = 0.2  # s that queues which were not closed may delay the end of the process
_async_sessions: weakref.WeakSet[TaskSession] = weakref.WeakSet()
_OUTLIVE_THEIR_CALLER = (SETTLE, UNTAKE, FLUSH)
_UNDER_WAY = frozenset({PENDING, PARKED, FLYING})


class TaskSession(Session):
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
        self._unclaimed: set[AnyCall] = set()  # took items, and their tasks have not gone on
        # Calls whose caller is gone; finalisers add to it, on any thread: a deque needs no lock.
        self._abandoned: deque[AnyCall] = deque()
        self._opened = False  # by open(), without a batch
        self._closing: asyncio.Event | None = None  # set when the close under way is over
        self._poked = False  # a call of _poke is on its way

    # -- opening, settling, giving back ---------------------------------------------

    async def open(self) -> None:
        """Open the store now; without this the first call does."""
        self._bind()
        self.check_open()
        self._opened = True
        await self._worker.run(self._patience.open)
        if self._closed:  # meanwhile
            await self._worker.run(self._store.close)
            self._worker.stop()
        self.check_open()
        ready, stored = self._store.counts(exact=False)
        self._waiters.counts = ready, stored + self.inflight.unanswered

    async def give_back(self, records: Sequence[Record], failed: bool = False) -> None:
        """Return records to their places, even if cancelled; settled ones stay so.

        Args:
            failed: working on them failed; they are held back.
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
        timer = None
        try:
            loop = self._bind()
            call.owner = _caller(loop)
            if call.pick is not None:
                self._pick(call)
                if not call.load and call.act is None:
                    return result  # settled or given back already
            self._enter(call)
            gate = call.gate = loop.create_future()
            if call.waits and (remaining := call.deadline.remaining()) is not None:
                timer = loop.call_later(remaining, self._expire, call)
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
            if call.result is None and call.pick is not None and call.where not in _UNDER_WAY:
                self._undo_pick(call)

    def _enter(self, call: AnyCall) -> None:
        """Let a call wait for the next batch, and send that."""
        commits = self._commits
        if commits.busy:
            commits.mend()
        if self._abandoned:
            self._tidy()
        commits.busy = True
        waiters = self._waiters
        if waiters.stopped is not None:
            waiters.admit(call)
        waiters.enter(call)
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

    def _expire(self, call: AnyCall) -> None:
        """End a parked call: its time is over.  If it is pending or flying, its batch is the last.

        The timer is believed, not a clock: a test may have stopped it.
        """
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

    # -- calls whose caller is gone ---------------------------------------------------

    def give_back_soon(self, records: Sequence[Record]) -> None:
        """Give records back from a finaliser: on any thread, and in the middle of a call."""
        call: AnyCall = Call(TAKE, holds=True)
        call.where, call.result = ANSWERED, records
        self._abandon_call(call)

    async def _leave(self, call: AnyCall) -> None:
        """See a call through whose task is cancelled: no item is lost, and no call waits for it."""
        if self._commits.busy:
            self._commits.mend()
        if call.withdraws:
            call.waits, call.deadline = False, NOW  # if it is flying, its batch is the last
            self._withdraw(call)
            if call.where == FLYING:
                self._abandoned.append(call)  # its items are back before the next hop begins
        while call.where in _UNDER_WAY:
            gate = call.gate = asyncio.get_running_loop().create_future()
            try:
                with contextlib.suppress(asyncio.CancelledError):  # once more: no matter
                    await gate
            except GeneratorExit:
                self._abandon_call(call)
                raise
        taken = self._claim(call)
        if taken:
            try:
                await self.give_back(taken)
            except Exception:
                warn("an item could not be given back", traceback=True)

    def _claim(self, call: AnyCall) -> list[Record]:
        """Return the records that a call took, to give them back; once."""
        if call.verb != TAKE or call.error is not None or not isinstance(call.result, list):
            return []
        taken, call.result = call.result, None
        self._unclaimed.discard(call)
        if not call.holds:
            self.inflight.hold(taken, call.owner)
        return taken

    def _abandon_call(self, call: AnyCall) -> None:
        """Note that the caller of a call is gone; callable on any thread."""
        self._abandoned.append(call)
        loop = self._commits.loop
        if self._commits.gone:
            if self._autosave:  # its items are stored nowhere else
                self._wind_up_soon()
        elif loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: the next call tidies up
                loop.call_soon_threadsafe(self._tidy)

    def _tidy(self) -> None:
        """Withdraw the abandoned calls, and give back the items that they took."""
        loop, flying = self._bind(), []
        while self._abandoned:
            call = self._abandoned.popleft()
            if call.verb not in _OUTLIVE_THEIR_CALLER:
                self._withdraw(call)
                if call.where == ANSWERED:
                    self._wake(call)
            if call.where == FLYING and call.verb == TAKE:
                flying.append(call)
            elif taken := self._claim(call):
                self._send_back(taken, loop)
        self._abandoned.extend(flying)

    def _send_back(self, taken: Sequence[Record], loop: asyncio.AbstractEventLoop) -> None:
        """Give records back without a caller."""
        call = self._returning(taken)
        self._pick(call)
        try:
            self._waiters.admit(call)
        except QueueClosed:
            if not self._autosave:
                return
            call.verb = FLUSH  # its items are stored nowhere else
        self._waiters.enter(call)
        call.gate = loop.create_future()
        call.gate.add_done_callback(lambda _: self._is_back(call))
        self._commits.hop_soon()

    def _is_back(self, call: AnyCall) -> None:
        if call.error is not None and call.result is None:
            self._undo_pick(call)
            warn("an item could not be given back: %s", call.error)
        if self._closed:
            self._worker.stop()

    def _withdraw(self, call: AnyCall) -> None:
        """Take a call out of those that wait; another one gets its item, or its room."""
        if self._waiters.withdraw(call):
            self._commits.hop_soon()

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
        """Serve a new loop; the calls that waited in the old one end."""
        old = self._commits.loop
        if old is not None and old.is_running():
            raise RuntimeError(
                "this queue object is in use in another running event loop; open one object "
                "for each loop: any number of them may share a path"
            )
        self._poked = False
        for call in self._waiters.all():
            if call.verb not in _OUTLIVE_THEIR_CALLER:
                self._waiters.withdraw(call)
                call.error = RuntimeError("the queue was used in another event loop meanwhile")
                self._wake(call)
        for call in self._commits.flying or ():
            call.waits = False  # else it would be parked, and its caller is gone
        self._commits.move_to(loop)

    def look(self) -> bool:
        """Let waiting calls try again if another object has committed; the watcher calls it."""
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
        """Finish the batch that is under way, wake every waiting call, close the store.

        A second call returns when the first one does.
        """
        if self._closed:
            if self._closing is not None:
                await self._closing.wait()
            return
        self._bind()
        self._commits.mend()
        self._tidy()
        self._closed = True
        self._patience.hurry()
        self._waiters.stop(QueueClosed, immediate=True)
        self._deliver()
        if not self._used:
            self._let_store_go()
            return
        self._closing = asyncio.Event()
        try:
            await self.run(flush())
            while self._commits.flying or self._waiters.pending:  # items of abandoned calls
                await self.run(flush())
        except (PersistQueueError, OSError):
            if self._store.unsaved():
                raise
        finally:
            self._closing.set()
            self._closing = None
            self._worker.stop()
            self._let_store_go()

    def abandon(self) -> None:
        """Close without waiting, for a finaliser: this object is not used any more."""
        if not self._used:
            self._let_store_go()
        elif not self._closed:
            self._closed = self._commits.gone = True
            self._patience.hurry()
            self._wind_up_soon()

    def _wind_up_soon(self) -> None:
        if not sys.is_finalizing():  # no thread starts any more; atexit has done it
            self._worker.start(self._wind_up)
            self._worker.stop()

    def _wind_up(self) -> None:
        """Close, on the store's thread, behind the batch that was under way.

        The loop may be gone.  With autosave, items that no caller got are stored again.
        """
        records: list[Record] = []
        if self._autosave:
            for call in self._commits.landed or ():
                if call.verb == TAKE and isinstance(call.result, list) and not call.noted:
                    records, call.result = records + call.result, None
            for call in (*self._abandoned, *self._unclaimed):
                records += self.inflight.still(self._claim(call))
            for call in self._waiters.batch():
                records += call.load if call.verb in (UNTAKE, FLUSH) and call.load else ()
        # A runner of its own: the results of the other one were not delivered.
        self._new_runner().run([Call(FLUSH, records)])
        self._store.close()
        self._let_store_go()

    def linger(self, timeout: float | None) -> None:
        """Wait up to ``timeout`` seconds for the end of ``abandon``."""
        self._worker.join(timeout)

    @property
    def _used(self) -> bool:
        """Whether the store was opened, or may have been."""
        return self._opened or self._commits.used

    def after_fork(self) -> None:
        """Begin anew in a child process: no loop, no thread, no items in flight."""
        self._worker.forget()
        super().after_fork()


def _caller(loop: asyncio.AbstractEventLoop) -> weakref.ref[asyncio.Task[Any]] | None:
    """Return a weak reference to the task: its items in flight do not keep it alive."""
    task = asyncio.current_task(loop)
    if task is None:
        return None
    owner = weakref.ref(task)
    hash(owner)  # now: a reference whose task is gone has no hash
    return owner


def _task_ended(owner: weakref.ref[asyncio.Task[Any]] | None) -> bool:
    task = None if owner is None else owner()
    return task is None or task.done() or task.get_loop().is_closed()


@atexit.register
def _at_exit() -> None:
    """Close the queues that were not closed, as far as that takes no time."""
    sessions, deadline = list(_async_sessions), Deadline(timeout=_AT_EXIT)
    for session in sessions:
        session.abandon()
    for session in sessions:
        session.linger(deadline.remaining())
