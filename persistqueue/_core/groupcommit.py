"""Group commit for asyncio: all pending calls go to the store's thread in one hop.

They are one batch, closed by one commit.  Calls that arrive meanwhile go with the next hop,
which the end of this one starts: there is no task that could be cancelled in between, no timer
and no knob.  A lone caller pays one hop, a hundred callers share it.

The loop and the thread meet in two places: ``_fly`` has a batch from the loop, ``_land``
takes it back.  A loop may be closed in between; then the next one takes the batch.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from ..exceptions import SerializationError
from .call import FLUSH

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from .batch import Runner
    from .call import AnyCall
    from .store import Store
    from .waiters import Waiters
    from .worker import Worker


class GroupCommit:
    """Carries the batches of one queue object.

    Args:
        deliver: called on the loop when a batch is over, before the next one goes;
            with True when it was interrupted (Ctrl-C) and is called again.
    """

    def __init__(
        self,
        line: Waiters,
        runner: Runner,
        store: Store,
        worker: Worker,
        deliver: Callable[[bool], None],
    ) -> None:
        self._waiters = line
        self._runner = runner
        self._store = store
        self._worker = worker
        self._deliver = deliver
        self.loop: asyncio.AbstractEventLoop | None = None
        self.gone = False  # the queue is not used any more: no batch goes, none is delivered
        self.used = False  # whether a batch has ever gone
        self.flying: list[AnyCall] | None = None  # the batch on the thread
        self._called = False  # a call of _hop is on its way
        self._reminded = False  # another call of _land is on its way
        self._begun: list[AnyCall] | None = None  # the batch that the thread has begun last
        self.busy = False  # in the middle of something; left so by an interrupt
        self._crowded = False  # the last hop carried several calls
        # Protects loop and landed, where the thread and a new loop may meet.
        self._mutex = threading.Lock()
        self.landed: list[AnyCall] | None = None  # the batch that the thread has finished

    def move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve a new loop, and deliver there the batch that the old one left."""
        with self._mutex:
            self.loop, self._called = loop, False
        self._land()
        self.hop_soon()

    def mend(self) -> None:
        """Go on where an interrupt may have come: Ctrl-C goes out of the loop, which goes on."""
        self._called = self._reminded = self.busy = False
        self._waiters.mend()
        if self.landed is not None:
            self._land(True)
        elif self.flying is None:
            self._waiters.again()
        elif self._begun is not self.flying:
            self._worker.start(self._fly, self.flying)
        self.hop_soon()

    def hop_soon(self) -> None:
        """Send the pending calls to the store.

        A lone caller's call goes at once (a turn of the loop costs 10 µs).  Where the last
        hop carried several, this one waits for the calls that the same turn of the loop adds.
        """
        if self.flying is not None:
            if self.landed is not None and not self._reminded and self.loop is not None:
                self.loop.call_soon(self._land)  # an interrupt may have come in front of it
                self._reminded = True
            return
        if self._called or not self._waiters.pending:
            return
        if self._crowded and self.loop is not None:
            for _ in "12":  # the loop loses a callback in front of which an interrupt comes
                self.loop.call_soon(self._hop)
            self._called = True
        else:
            self._hop()

    def _hop(self) -> None:
        """Send all pending calls to the store's thread, unless it is at work."""
        self._called = False
        if self.flying is not None or self.gone or not self._waiters.pending:
            return
        self.busy = True
        batch = self.flying = self._waiters.batch()
        self.used, self._crowded = True, len(batch) > 1
        try:
            self._worker.start(self._fly, batch)
        except RuntimeError as error:  # no more threads
            self._fail(batch, error)
            self._touch_down(batch)
        except BaseException:
            if self.loop is not None:
                self.loop.call_soon(self.mend)  # an interrupt: the calls wait for nothing else
            raise
        self.busy = False

    def _fly(self, batch: list[AnyCall]) -> None:
        """Run a batch; on the store's thread.  To start it twice is harmless."""
        if self._begun is batch:
            return
        self._begun, runner = batch, self._runner
        try:
            self._run(batch)
            if runner.done is not batch:
                self._run_apart(batch)
            if batch[-1].verb == FLUSH:
                self._store.close()
        except BaseException as error:  # of any kind: callers wait for it
            self._fail(batch, error)
        finally:
            self._touch_down(batch)

    def _run_apart(self, batch: list[AnyCall]) -> None:
        """Run calls one by one, as the code of an item raised ``SystemExit``, say.

        No signal arrives on this thread, so the error belongs to that item's caller alone.
        """
        runner = self._runner
        for call in batch:
            alone = [call]
            stop = self._run(alone)
            if runner.done is not alone:
                kind = type(stop).__name__
                call.error = SerializationError(
                    f"an item's own code raised {kind}; it stays stored"
                )
                call.error.__cause__ = stop
        runner.conclude(batch)

    def _run(self, batch: list[AnyCall]) -> BaseException | None:
        """Run a batch; returns the exception that has stopped it, if it is no ``Exception``."""
        try:
            self._runner.run(batch)
        except BaseException as stop:
            self._runner.recover(batch)
            return stop
        return None

    def _fail(self, batch: list[AnyCall], error: BaseException | None) -> None:
        for call in batch:
            call.result, call.error = None, error
        self._runner.conclude(batch)

    def _touch_down(self, batch: list[AnyCall]) -> None:
        """Tell the loop that a batch is over."""
        with self._mutex:
            self.landed, loop = batch, self.loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: the next loop lands it
                loop.call_soon_threadsafe(self._land)

    def _land(self, again: bool = False) -> None:
        """Deliver the results of a batch, and send the calls that came meanwhile."""
        batch = self.landed
        if batch is None or self.gone:
            return
        self.busy = True
        try:
            self._deliver(again)
        except BaseException as error:
            if self.loop is not None and not (again and isinstance(error, Exception)):
                self.loop.call_soon(self._land, True)  # an interrupt: they wait for nothing else
            raise
        self.landed = self.flying = None
        self._reminded = False
        self.hop_soon()
        self.busy = False
