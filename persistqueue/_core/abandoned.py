"""Calls whose caller is gone: cancelled, destroyed, or its loop is closed.

A call whose batch has not begun is withdrawn.  Items that it took are given back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from ..exceptions import QueueClosed
from .deadline import NOW
from .log import warn
from .session import Session
from .waiters import ANSWERED, FLUSH, FLYING, PARKED, PENDING, SETTLE, TAKE, UNTAKE, Op

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self._unclaimed: set[Op] = set()  # took something, and their tasks have not gone on
        # Ops whose caller is gone; finalisers add to it, on any thread: a deque needs no lock.
        self._abandoned: deque[Op] = deque()

    def _bind(self) -> asyncio.AbstractEventLoop:
        raise NotImplementedError

    def _wind_up_soon(self) -> None:
        raise NotImplementedError

    async def give_back(self, records: Sequence[Record], failed: bool = False) -> None:
        raise NotImplementedError

    def give_back_soon(self, records: Sequence[Record]) -> None:
        """Give records back from a finaliser: on any thread, and in the middle of a call."""
        op = Op(TAKE, holds=True)
        op.where, op.result = ANSWERED, records
        self._abandon_call(op)

    async def _leave(self, op: Op, withdraws: bool) -> None:
        """The caller was cancelled: see that nothing is lost and that it holds no other call up."""
        if self._commits.busy:
            self._commits.mend()
        if withdraws:
            op.waits, op.deadline = False, NOW  # in flight, it is the last try
            self._withdraw(op)
            if op.where == FLYING:
                self._abandoned.append(op)  # what it takes is back before the next hop begins
        while op.where in UNDER_WAY:
            gate = op.gate = asyncio.get_running_loop().create_future()
            try:
                with contextlib.suppress(asyncio.CancelledError):  # once more: no matter
                    await gate
            except GeneratorExit:
                self._abandon_call(op)
                raise
        taken = self._claim(op)
        if taken:
            try:
                await self.give_back(taken)
            except Exception:  # noqa: BLE001 - the cancellation must not be hidden
                warn("an item could not be given back", traceback=True)

    def _claim(self, op: Op) -> list[Record]:
        """Return what an op took, for giving it back: once, since it may be taken again."""
        if op.verb != TAKE or op.error is not None or not isinstance(op.result, list):
            return []
        taken, op.result = op.result, None
        self._unclaimed.discard(op)
        if not op.holds:
            self._inflight.hold(taken, op.owner)
        return taken

    def _abandon_call(self, op: Op) -> None:
        """Note that the caller of an op is gone; callable on any thread."""
        self._abandoned.append(op)
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
            op = self._abandoned.popleft()
            if op.verb not in OUTLIVE_THEIR_CALLER:
                self._withdraw(op)
                if op.where == ANSWERED:
                    self._wake(op)
            if op.where == FLYING and op.verb == TAKE:
                flying.append(op)
            elif taken := self._claim(op):
                self._send_back(taken, loop)
        self._abandoned.extend(flying)

    def _send_back(self, taken: Sequence[Record], loop: asyncio.AbstractEventLoop) -> None:
        """Give records back without a caller."""
        records: list[Record] = []
        self._inflight.pick(taken, records, UNTAKE)
        op = Op(UNTAKE, records)
        try:
            self._waiters.enter(op)
        except QueueClosed:
            if not self._autosave:
                return
            op.verb = FLUSH  # they are stored nowhere else
            self._waiters.enter(op)
        op.gate = loop.create_future()
        op.gate.add_done_callback(lambda _: self._is_back(op))
        self._commits.hop_soon()

    def _is_back(self, op: Op) -> None:
        if op.error is not None and op.result is None:
            self._inflight.restore(op.load, UNTAKE)
            warn("an item could not be given back: %s", op.error)
        if self._closed:
            self._worker.stop()

    def _withdraw(self, op: Op) -> None:
        """Take an op out; what was meant for it goes to the next."""
        if self._waiters.withdraw(op):
            self._commits.hop_soon()
