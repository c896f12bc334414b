"""Calls whose caller is gone: cancelled, destroyed, or its loop is closed.

A call whose batch has not begun is withdrawn.  Items that it took are given back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from ..exceptions import QueueClosed
from .call import ANSWERED, FLUSH, FLYING, PARKED, PENDING, SETTLE, TAKE, UNTAKE, Call
from .deadline import NOW
from .log import warn
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .call import AnyCall
    from .groupcommit import GroupCommit
    from .store import Record

OUTLIVE_THEIR_CALLER = (SETTLE, UNTAKE, FLUSH)
UNDER_WAY = frozenset({PENDING, PARKED, FLYING})


class AbandonedCalls(Session):
    """The part of a ``TaskSession`` that sees to calls without a caller."""

    _commits: GroupCommit
    _worker: Any

    def _reset(self) -> None:
        super()._reset()
        self._unclaimed: set[AnyCall] = set()  # took something, and their tasks have not gone on
        # Calls whose caller is gone; finalisers add to it, on any thread: a deque needs no lock.
        self._abandoned: deque[AnyCall] = deque()

    def _bind(self) -> asyncio.AbstractEventLoop:
        raise NotImplementedError

    def _wind_up_soon(self) -> None:
        raise NotImplementedError

    async def give_back(self, records: Sequence[Record], failed: bool = False) -> None:
        raise NotImplementedError

    def give_back_soon(self, records: Sequence[Record]) -> None:
        """Give records back from a finaliser: on any thread, and in the middle of a call."""
        call: AnyCall = Call(TAKE, holds=True)
        call.where, call.result = ANSWERED, records
        self._abandon_call(call)

    async def _leave(self, call: AnyCall) -> None:
        """The caller was cancelled: see that nothing is lost and that it holds no other call up."""
        if self._commits.busy:
            self._commits.mend()
        if call.withdraws:
            call.waits, call.deadline = False, NOW  # in flight, it is the last try
            self._withdraw(call)
            if call.where == FLYING:
                self._abandoned.append(call)  # what it takes is back before the next hop begins
        while call.where in UNDER_WAY:
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
            except Exception:  # noqa: BLE001 - the cancellation must not be hidden
                warn("an item could not be given back", traceback=True)

    def _claim(self, call: AnyCall) -> list[Record]:
        """Return what a call took, for giving it back: once, since it may be taken again."""
        if call.verb != TAKE or call.error is not None or not isinstance(call.result, list):
            return []
        taken, call.result = call.result, None
        self._unclaimed.discard(call)
        if not call.holds:
            self._inflight.hold(taken, call.owner)
        return taken

    def _abandon_call(self, call: AnyCall) -> None:
        """Note that the caller of a call is gone; callable on any thread."""
        self._abandoned.append(call)
        loop = self._commits.loop
        if self._commits.gone:
            if self._autosave:  # what it took is stored nowhere else
                self._wind_up_soon()
        elif loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: the next call tidies up
                loop.call_soon_threadsafe(self._tidy)

    def _tidy(self) -> None:
        """Withdraw what was abandoned, and give back what it took."""
        loop, flying = self._bind(), []
        while self._abandoned:
            call = self._abandoned.popleft()
            if call.verb not in OUTLIVE_THEIR_CALLER:
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
            self._waiters.enter(call)
        except QueueClosed:
            if not self._autosave:
                return
            call.verb = FLUSH  # what is in its load is stored nowhere else
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
        """Take a call out; what was meant for it goes to the next."""
        if self._waiters.withdraw(call):
            self._commits.hop_soon()
