"""The random life of ``test_model`` on an async queue, with calls that are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import pytest
from families import run
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from test_model import AutosaveLife, Life
from turns import busy_thread, quick_turn, turns

from persistqueue import AsyncQueue

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
