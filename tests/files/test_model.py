"""A random life of a file queue against a model of a few lines.

Items are numbers in the order of their puts, so the model is three things: which are
stored, which are handed out, which are finished.  A crash drops the object without
closing it; reopening hands out again what was not finished, and nothing else.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from families import FILE_FAMILIES, run
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from turns import busy_thread, quick_turn, turns
from waiting import Interrupt, interrupt

from persistqueue import AsyncQueue, Empty
from persistqueue.serializers import json, pickle


class Life(RuleBasedStateMachine):
    """One directory, opened again and again."""

    family = "Queue"
    autosave = False

    @initialize(
        chunksize=st.sampled_from([1, 2, 3, 7, 100]), serializer=st.sampled_from([pickle, json])
    )
    def begin(self, chunksize: int, serializer: Any) -> None:
        self.folder = tempfile.mkdtemp()
        self.arguments: dict[str, Any] = {
            "chunksize": chunksize,
            "serializer": serializer,
            "autosave": self.autosave,
            "durability": "process",
        }
        self.abandoned: list[Any] = []
        self.next = 0  # the next number to put
        self.finished: set[int] = set()
        self.taken: list[list[int]] = []  # in the order in which they were taken
        self.begin_bag()
        self.open()

    def begin_bag(self) -> None:
        """For a model that needs more."""

    def open(self) -> None:
        self.q = FILE_FAMILIES[self.family](Path(self.folder) / "q", **self.arguments)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.q.close()
            for q in self.abandoned:
                q.close()
            shutil.rmtree(self.folder)

    # The model.

    def stored(self) -> list[int]:
        return [n for n in range(self.next) if n not in self.finished]

    def waiting(self) -> list[int]:
        out = {item[0] for item in self.taken}
        return [n for n in self.stored() if n not in out]

    def finish(self, item: list[int]) -> None:
        self.finished.add(item[0])

    # What callers do.

    @rule()
    def put(self) -> None:
        self.q.put([self.next])
        self.next += 1

    @rule(number=st.integers(0, 9))
    def put_many(self, number: int) -> None:
        self.q.put_many([n] for n in range(self.next, self.next + number))
        self.next += number

    @rule(most=st.integers(1, 6))
    def get_many(self, most: int) -> None:
        expected = self.waiting()[:most]
        if expected:
            taken = self.q.get_many(most)
            assert [[n] for n in expected] == taken
            self.taken += taken
        else:
            with pytest.raises(Empty):
                self.q.get_nowait()

    @rule()
    def peek(self) -> None:
        if self.waiting():
            assert [self.waiting()[0]] == self.q.peek()

    @precondition(lambda self: self.taken and not self.autosave)
    @rule(by_item=st.booleans(), pick=st.integers(0, 9))
    def task_done(self, by_item: bool, pick: int) -> None:
        if by_item:
            item = self.taken.pop(pick % len(self.taken))
            self.q.task_done(item=item)
        else:
            item = self.taken.pop(0)
            self.q.task_done()
        self.finish(item)

    @rule(fails=st.booleans(), take_inside=st.integers(0, 2))
    def process(self, fails: bool, take_inside: int) -> None:
        if not self.waiting():
            return
        first = self.waiting()[0]
        try:
            with self.q.process() as item:
                assert [first] == item
                self.taken.append(item)
                if take_inside and self.waiting():
                    expected = self.waiting()[:take_inside]
                    taken = self.q.get_many(take_inside)
                    assert [[n] for n in expected] == taken
                    self.taken += taken
                interrupt(fails)
        except Interrupt:
            self.taken.remove(item)
        else:
            self.taken.remove(item)
            self.finish(item)

    @rule(crash=st.booleans())
    def reopen(self, crash: bool) -> None:
        if crash:
            self.abandoned.append(self.q)
        else:
            self.q.close()
        self.taken.clear()
        self.open()

    @invariant()
    def counts_are_exact(self) -> None:
        if hasattr(self, "q"):
            assert len(self.waiting()) == self.q.qsize()
            stored = set(self.stored()) | {item[0] for item in self.taken}
            assert len(stored) == self.q.unfinished_tasks


class AutosaveLife(Life):
    """The same with autosave: what is taken is finished, at most once.

    What is given back may have left the disk already; it is then stored again behind
    the others when the queue is closed, and a crash before that loses it.
    """

    autosave = True

    def begin_bag(self) -> None:
        self.bag: set[int] = set()  # stored, in whatever order
        self.back: set[int] = set()  # given back since the queue was opened

    @rule(number=st.integers(1, 9))
    def put_many(self, number: int) -> None:
        self.q.put_many([n] for n in range(self.next, self.next + number))
        self.bag |= set(range(self.next, self.next + number))
        self.next += number

    @rule()
    def put(self) -> None:
        self.put_many(1)

    @rule(most=st.integers(1, 6))
    def get_many(self, most: int) -> None:
        if self.bag:
            taken = self.q.get_many(most)
            assert min(most, len(self.bag)) == len(taken)
            self.remove(taken)

    def remove(self, taken: list[list[int]]) -> None:
        numbers = {item[0] for item in taken}
        assert len(numbers) == len(taken)
        assert numbers <= self.bag
        self.bag -= numbers
        self.back -= numbers

    @rule()
    def peek(self) -> None:
        if self.bag:
            assert self.q.peek()[0] in self.bag

    @rule(fails=st.booleans(), take_inside=st.integers(0, 2))
    def process(self, fails: bool, take_inside: int) -> None:
        if not self.bag:
            return
        with suppress(Interrupt), self.q.process() as item:
            self.remove([item])
            if take_inside and self.bag:
                self.get_many(take_inside)
            if fails:
                self.bag.add(item[0])
                self.back.add(item[0])
                raise Interrupt

    @rule(crash=st.booleans())
    def reopen(self, crash: bool) -> None:
        if crash:
            self.abandoned.append(self.q)
        else:
            self.q.close()
        self.open()
        there = (
            {item[0] for item in self.q.get_many(len(self.bag) + 1)} if self.q.qsize() else set()
        )
        assert there <= self.bag
        assert self.bag - there <= (self.back if crash else set())
        self.bag, self.back = set(), set()

    @invariant()
    def counts_are_exact(self) -> None:
        if hasattr(self, "q"):
            assert len(self.bag) == self.q.qsize()


@pytest.mark.parametrize("life", [Life, AutosaveLife])
@pytest.mark.parametrize("family", sorted(FILE_FAMILIES))
def test_a_random_life_loses_nothing(life: type[Life], family: str) -> None:
    """Delivered and still stored are together what was put, in order, after any steps."""
    machine = type("Machine", (life,), {"family": family})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=120,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# -- calls that are cancelled -------------------------------------------------------

CANCELLED = object()
#: Turns of the loop before a call is cancelled; negative: the thread does nothing meanwhile.
MOMENTS = st.integers(-4, 12)


async def _cancelled(
    q: AsyncQueue[Any], call: Callable[[], Awaitable[Any]], at: int, again: int | None
) -> Any:
    """Make a call and cancel it; the disk takes no time or all the time, so a run can be repeated."""
    with busy_thread(q) if at < 0 else nullcontext():
        task = asyncio.ensure_future(call())
        for number in (at, again):
            for _ in range(abs(number or 0)):
                await (turns(1) if at < 0 else quick_turn(q))
            if number is not None:
                task.cancel()
        await turns(1)
    await asyncio.wait([task])
    return CANCELLED if task.cancelled() else task.result()


class CancelledCalls:
    """Rules for a machine: calls that are cancelled after some turns of the loop."""

    q: Any

    def struck(self, verb: str, *args: Any, at: int, again: int | None, **options: Any) -> Any:
        """Make a call and cancel it; return what it returned, or ``CANCELLED``."""
        method = getattr(self.q._queue, verb)
        return run(_cancelled(self.q._queue, lambda: method(*args, **options), at, again))

    def has_stored(self, number: int) -> bool:
        """Return whether a cancelled put of ``number`` items stored them: all or none."""
        more = self.q.qsize() - self.expected()
        assert more in (0, number)
        return bool(more)

    def expected(self) -> int:
        """Return how many items can be taken, as the model has it."""
        raise NotImplementedError


class CancelledLife(CancelledCalls, Life):
    """A life in which calls are cancelled."""

    family = "AsyncQueue"

    def expected(self) -> int:
        return len(self.waiting())

    @rule(at=MOMENTS, again=st.none() | MOMENTS, number=st.integers(1, 5))
    def cancelled_put(self, at: int, again: int | None, number: int) -> None:
        items = [[n] for n in range(self.next, self.next + number)]
        before = self.next
        outcome = self.struck("put_many", items, at=at, again=again)
        if self.has_stored(number):
            self.next += number
        assert outcome is CANCELLED or self.next == before + number

    @rule(at=MOMENTS, again=st.none() | MOMENTS, most=st.integers(1, 6))
    def cancelled_get(self, at: int, again: int | None, most: int) -> None:
        expected = [[n] for n in self.waiting()[:most]]
        outcome = self.struck("get_many", most, at=at, again=again)
        if outcome is not CANCELLED:
            assert expected == outcome
            self.taken += outcome

    @rule(at=MOMENTS, again=st.none() | MOMENTS)
    def cancelled_get_of_one(self, at: int, again: int | None) -> None:
        expected = [[n] for n in self.waiting()[:1]]
        outcome = self.struck("get", at=at, again=again)
        if outcome is not CANCELLED:
            assert expected == [outcome]
            self.taken.append(outcome)

    # No preconditions: what can be taken may depend on the speed of the thread.
    @rule(by_item=st.booleans(), pick=st.integers(0, 9))
    def task_done(self, by_item: bool, pick: int) -> None:
        if self.taken:
            Life.task_done(self, by_item, pick)

    @rule(at=MOMENTS, again=st.none() | MOMENTS, pick=st.integers(0, 9))
    def cancelled_task_done(self, at: int, again: int | None, pick: int) -> None:
        if not self.taken:
            return
        item = self.taken[pick % len(self.taken)]
        outcome = self.struck("task_done", item=item, at=at, again=again)
        if outcome is CANCELLED:
            try:
                self.q.task_done(item=item)
            except ValueError as error:
                assert "done already" in str(error)
        self.taken.remove(item)
        self.finish(item)

    @rule(at=MOMENTS, inside=st.none() | st.integers(0, 3))
    def cancelled_process(self, at: int, inside: int | None) -> None:
        ended: list[Any] = []

        async def block() -> None:
            async with self.q._queue.process() as item:
                await turns(inside or 0)
                ended.append(item)

        first = self.waiting()[:1]
        run(_cancelled(self.q._queue, block, at, None))
        assert [[n] for n in first][: len(ended)] == ended
        for item in ended:
            self.finish(item)

    @rule(at=MOMENTS, most=st.integers(1, 4))
    def cancelled_iteration(self, at: int, most: int) -> None:
        seen: list[Any] = []
        left: list[Any] = []  # the one in whose body the loop was left

        async def loop() -> None:
            async for item in self.q._queue:
                seen.append(item)
                left[:] = [item]
                if len(seen) == most:
                    return
                await turns(1)
                left.clear()

        expected = [[n] for n in self.waiting()[:most]]
        run(_cancelled(self.q._queue, loop, at, None))
        assert expected[: len(seen)] == seen
        for item in seen[: len(seen) - len(left)]:
            self.finish(item)
        self.q.qsize()

    @rule(at=MOMENTS, verb=st.sampled_from(["peek", "qsize", "sync", "join"]))
    def cancelled_look(self, at: int, verb: str) -> None:
        if verb != "peek" or self.waiting():
            self.struck(verb, at=at, again=None)


class CancelledAutosaveLife(CancelledCalls, AutosaveLife):
    """The same with autosave: a cancelled get hands out nothing, and loses nothing."""

    family = "AsyncQueue"

    def expected(self) -> int:
        return len(self.bag)

    @rule(at=MOMENTS, again=st.none() | MOMENTS, number=st.integers(1, 5))
    def cancelled_put(self, at: int, again: int | None, number: int) -> None:
        items = [[n] for n in range(self.next, self.next + number)]
        outcome = self.struck("put_many", items, at=at, again=again)
        stored = self.has_stored(number)
        assert stored or outcome is CANCELLED
        if stored:
            self.bag |= {n for (n,) in items}
        self.next += number

    @rule(at=MOMENTS, again=st.none() | MOMENTS, most=st.integers(1, 6))
    def cancelled_get(self, at: int, again: int | None, most: int) -> None:
        outcome = self.struck("get_many", most, at=at, again=again)
        if outcome is CANCELLED:
            self.back |= self.bag  # any of them may have been out and back
        else:
            self.remove(outcome)

    @rule(at=MOMENTS, inside=st.integers(0, 3))
    def cancelled_process(self, at: int, inside: int) -> None:
        ended: list[Any] = []

        async def block() -> None:
            async with self.q._queue.process() as item:
                await turns(inside)
                ended.append(item)

        self.back |= self.bag
        run(_cancelled(self.q._queue, block, at, None))
        self.remove(ended)


def live(life: type[Any], examples: int) -> None:
    """Run random lives."""
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("life", [CancelledLife, CancelledAutosaveLife])
def test_a_random_life_with_cancelled_calls(life: type[Any]) -> None:
    """Delivered and still stored are what was put, whatever calls are cancelled whenever."""
    live(life, 40)


@pytest.mark.slow
@pytest.mark.parametrize("life", [CancelledLife, CancelledAutosaveLife])
def test_a_random_life_with_cancelled_calls_at_length(life: type[Any]) -> None:
    """The same for many more lives."""
    live(life, 400)
