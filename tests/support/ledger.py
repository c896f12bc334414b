"""What callers of an async queue were told, and so what must be stored.

Each call of a test goes through a ``Ledger``, which notes what came of it: acknowledged,
refused, or cancelled and so in doubt.  The audits compare that with what is there.
An item is a list, ``[producer, number]``: loading makes a new object of it, so that
``task_done(item=...)`` knows which one is meant.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from crashdisk import contents

from persistqueue import AsyncQueue, Empty, Full, QueueClosed, QueueShutDown

Key = tuple[int, int]
Guard = Callable[[Any], Awaitable[Any]]
REFUSED = (Empty, Full, QueueClosed, QueueShutDown)
SOON = 20.0  # s; what must come at once takes no longer on a machine that others use, too


class Expected(Exception):
    """Raised inside a ``process`` block."""


async def plainly(call: Awaitable[Any]) -> Any:
    """Guard nothing."""
    return await call


def key_of(item: list[int]) -> Key:
    return item[0], item[1]


class Ledger:
    """The calls of one test, on one queue object or on several one after another.

    Attributes:
        acked: items whose put returned.
        doubtful: items whose put did neither return nor refuse them.
        refused: items whose put said that they are not stored.
        in_hand: items that were returned and that nobody began to finish.
        finished: keys of items that the queue said are finished.
        unsure: items whose task_done did neither return nor refuse.
        lapsed: keys of items that were in that state when another object was opened.
    """

    def __init__(self, autosave: bool = False) -> None:
        self.autosave = autosave
        self.acked: set[Key] = set()
        self.doubtful: set[Key] = set()
        self.refused: set[Key] = set()
        self.in_hand: list[list[int]] = []
        self.finished: set[Key] = set()
        self.unsure: list[list[int]] = []
        self.lapsed: set[Key] = set()
        self.given_twice: list[Key] = []
        self._numbers: Counter[int] = Counter()
        self._out: set[Key] = set()  # delivered by the object in use
        self._reopened = False

    # -- calls ------------------------------------------------------------------------

    async def put(self, q: Any, producer: int, guard: Guard = plainly, **options: Any) -> None:
        await self._store(q.put, self._new(producer), guard, options)

    async def put_many(
        self, q: Any, producer: int, count: int, guard: Guard = plainly, **options: Any
    ) -> None:
        keys = [key for _ in range(count) for key in self._new(producer)]
        await self._store(q.put_many, keys, guard, options)

    async def _store(self, put: Any, keys: list[Key], guard: Guard, options: Any) -> None:
        items = [list(key) for key in keys]
        load = items if put.__name__ == "put_many" else items[0]
        self.doubtful.update(keys)
        try:
            await guard(put(load, **options))
        except (Full, QueueClosed, QueueShutDown):
            self.refused.update(keys)
            raise
        self.acked.update(keys)
        self.doubtful.difference_update(keys)

    async def get(self, q: Any, guard: Guard = plainly, **options: Any) -> list[int]:
        item: list[int] = await guard(q.get(**options))
        self.took(item)
        return item

    async def get_many(self, q: Any, most: int, guard: Guard = plainly, **options: Any) -> None:
        for item in await guard(q.get_many(most, **options)):
            self.took(item)

    def took(self, item: list[int], held: bool = False) -> None:
        """Note that an item was returned; one that a block or a loop holds is nobody else's."""
        key = key_of(item)
        if key in self._out:
            self.given_twice.append(key)
        self._out.add(key)
        if not held:
            self.in_hand.append(item)

    async def task_done(
        self, q: Any, item: list[int] | None = None, guard: Guard = plainly
    ) -> None:
        """Finish an item by identity: the first in hand, or a certain one."""
        if item is None:
            if not self.in_hand:
                return
            item = self.in_hand[0]
        self._drop(item)
        self.unsure.append(item)
        await guard(q.task_done(item=item))
        self._finish(item)

    async def process(
        self, q: Any, body: Callable[[], Awaitable[None]], guard: Guard = plainly, **options: Any
    ) -> None:
        """Take an item for the length of ``body``; an error of ``body`` gives it back."""
        block = q.process(**options)
        item = await guard(block.__aenter__())
        self.took(item, held=True)
        try:
            await body()
        except BaseException as error:
            self._out.discard(key_of(item))
            assert not await block.__aexit__(type(error), error, error.__traceback__)
            raise
        self.unsure.append(item)
        try:
            await block.__aexit__(None, None, None)
        except asyncio.CancelledError:
            self._finish(item)  # a block that came to its end is finished, cancelled or not
            raise
        self._finish(item)

    async def iterate(self, q: Any, most: int, body: Callable[[], Awaitable[None]]) -> None:
        """Loop over up to ``most`` items, then leave the loop: the last one goes back."""
        held: list[int] | None = None
        inside = False
        try:
            async for item in q:
                if held is not None:
                    self._finish(held)
                held, inside = item, True
                self.took(item, held=True)
                most -= 1
                if most == 0:
                    break
                await body()
                inside = False
        except QueueClosed:  # when the one in hand should have been finished
            inside = True
            raise
        finally:
            if held is not None and inside:
                self._out.discard(key_of(held))
            elif held is not None:  # finished when the next was asked for, cancelled or not
                self._finish(held)

    def _new(self, producer: int) -> list[Key]:
        self._numbers[producer] += 1
        return [(producer, self._numbers[producer])]

    def _drop(self, item: list[int]) -> None:
        self.in_hand = [other for other in self.in_hand if other is not item]

    def _finish(self, item: list[int]) -> None:
        self.unsure = [other for other in self.unsure if other is not item]
        self.finished.add(key_of(item))

    def reopened(self) -> None:
        """Note that a new object is used: what is not finished comes again."""
        self.lapsed.update(key_of(item) for item in self.unsure)
        if self.autosave:
            self.finished.update(key_of(item) for item in self.in_hand)
        else:
            self._out.clear()
        self.in_hand, self.unsure, self._reopened = [], [], True

    # -- audits -----------------------------------------------------------------------

    async def finish_all(self, q: Any) -> None:
        """Finish everything that was returned; then the counts have to be exact."""
        for item in list(self.in_hand):
            await self.task_done(q, item)
        if self.autosave:
            await self._finish_tally(q)
        for item in list(self.unsure):
            if not self.autosave:
                try:
                    await q.task_done(item=item)
                except ValueError as error:
                    assert "done already" in str(error)
            self._finish(item)
        left = await q.qsize()
        assert left == q.unfinished_tasks
        assert len(self.acked - self.finished) <= left
        assert left <= len((self.acked | self.doubtful) - self.finished)
        if left == 0:
            await asyncio.wait_for(q.join(), SOON)

    async def _finish_tally(self, q: Any) -> None:
        for _ in self.unsure:
            try:
                await q.task_done()
            except ValueError:
                return
        with pytest.raises(ValueError, match="too many times"):
            await q.task_done()

    def audit(self, path: Path) -> None:
        """Compare what is stored, as another process sees it, with what callers were told."""
        stored = [key_of(item) for item in contents(path)]
        there, unsure = set(stored), {key_of(item) for item in self.unsure}
        in_hand = {key_of(item) for item in self.in_hand}
        assert len(there) == len(stored), "stored twice"
        assert [] == self.given_twice, "delivered twice"
        assert set() == there & self.refused, "stored, although put refused it"
        assert there <= self.acked | self.doubtful
        gone = self.finished | self.lapsed | unsure | (in_hand if self.autosave else set())
        assert set() == self.acked - gone - there, "lost"
        if self.autosave:
            assert set() == there & gone, "stored, although it was delivered"
            return
        # What is finished comes again only behind something that is not (or was not, when
        # an object before this one was closed).
        assert self._reopened or set() == set(stored[:1]) & self.finished, (
            "finished, and comes again"
        )
        assert stored == self._in_order(stored), "out of order"

    @staticmethod
    def _in_order(keys: list[Key]) -> list[Key]:
        """Return the keys with each producer's own in the order of its puts."""
        own: dict[int, list[Key]] = {}
        for key in sorted(keys, reverse=True):
            own.setdefault(key[0], []).append(key)
        return [own[producer].pop() for producer, _ in keys]


async def finish_and_audit(q: AsyncQueue[Any], ledger: Ledger, path: Path) -> None:
    """Finish what was returned, close the queue, and look what is stored."""
    await ledger.finish_all(q)
    left = await q.qsize()
    await q.close()
    ledger.audit(path)
    stored = {key_of(item) for item in contents(path)}
    assert left == len(stored - ledger.finished)
