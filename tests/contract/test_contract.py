"""What every file queue does, whatever its family: one text, run for each.

The rules are the standard library's (queue.Queue, asyncio.Queue) where it has them.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from brokers import BROKER_EXCEPTIONS, BROKER_FAMILIES
from families import (
    ENGINE_FAMILIES,
    EXCEPTIONS,
    FILE_FAMILIES,
    MYSQL_FAMILIES,
    REDIS_FAMILIES,
    SQL_FAMILIES,
)
from waiting import PATIENCE, Call, until

import persistqueue
from persistqueue import Empty, Full, QueueClosed, QueueShutDown, serializers
from persistqueue.testing import waiting_calls

Open = Callable[..., Any]


FAMILIES = {
    **FILE_FAMILIES,
    **SQL_FAMILIES,
    **MYSQL_FAMILIES,
    **REDIS_FAMILIES,
    **ENGINE_FAMILIES,
    **BROKER_FAMILIES,
}
#: None, numbers, text, and what else comes back equal.
_PLAIN = [None, 0, "", "text", "ü" * 5000, 1.5, {"n": {"m": None}}, True]
ITEMS: dict[str, list[Any]] = {
    "cbor2": [*_PLAIN, b"bytes", {"n": [1, {"m": None}]}, 2**70],
    "json": [*_PLAIN, {"n": [1, {"m": None}]}, 2**70],
    "msgpack": [*_PLAIN, b"bytes", 2**63],
    "pickle": [*_PLAIN, b"bytes", {"n": [1, {"m": None}]}, (1, 2), 2**70],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test for each family and serializer: a fourth of them unless all are asked for.

    Each test is run for each family, and with each serializer; the one that a family is
    run with changes from test to test.
    """
    if "case" not in metafunc.fixturenames:
        return
    all_wanted = "not product" not in metafunc.config.option.markexpr  # half a minute to collect
    turn = list(metafunc.module.__dict__).index(metafunc.function.__name__)
    cases = []
    for number, family in enumerate(sorted(FAMILIES)):
        for other, name in enumerate(sorted(ITEMS)):
            selected = (turn + number - other) % len(ITEMS) == 0
            if family in ENGINE_FAMILIES:  # one of them for each test
                place = list(ENGINE_FAMILIES).index(family)
                selected = selected and (turn + place) % len(ENGINE_FAMILIES) == 0
            if selected or all_wanted:
                marks = [] if selected else [pytest.mark.product]
                cases.append(pytest.param((family, name), id=f"{family}-{name}", marks=marks))
    metafunc.parametrize("case", cases)


@pytest.fixture
def open_queue(case: tuple[str, str], request: pytest.FixtureRequest) -> Open:
    """Opens a queue of a family with a serializer, if the contract is the family's own."""
    family, name = case
    test = request.node.originalname
    exceptions = EXCEPTIONS.get(test, {})
    if family in BROKER_FAMILIES and test in BROKER_EXCEPTIONS:
        exceptions = {family: BROKER_EXCEPTIONS[test]}
    if family in exceptions:
        pytest.skip(exceptions[family])
    return partial(FAMILIES[family], serializer=getattr(serializers, name))


def waiting(q: Any, number: int) -> None:
    """Wait until ``number`` calls are parked inside ``q``."""
    until(lambda: waiting_calls(q).parked == number)


# -- order and content --------------------------------------------------------------


def test_items_come_out_as_they_went_in(
    open_queue: Open, path: Path, case: tuple[str, str]
) -> None:
    """Every item comes back equal and in the order of the puts, None like any other."""
    items = ITEMS[case[1]]
    with open_queue(path) as q:
        for item in items:
            q.put(item)
        assert items == [q.get() for _ in items]


@pytest.mark.parametrize("chunksize", [1, 2, 3, 100])
def test_reopening_finds_what_was_put(open_queue: Open, path: Path, chunksize: int) -> None:
    """What was put is there after close and open, at any chunk size."""
    with open_queue(path, chunksize=chunksize) as q:
        for n in range(10):
            q.put(n)
    with open_queue(path) as q:
        assert 10 == q.qsize()
        assert list(range(10)) == [q.get() for _ in range(10)]


def test_unfinished_items_come_again(open_queue: Open, path: Path, case: tuple[str, str]) -> None:
    """What was taken and not finished comes again, in order, after a restart.

    An engine stores the place of the oldest unfinished item only: what is behind it comes again.
    """
    with open_queue(path, chunksize=3) as q:
        q.put_many(range(10))
        taken = [q.get() for _ in range(6)]
        q.task_done(item=taken[0])
        q.task_done(item=taken[1])
        q.task_done(item=taken[4])
    again = [2, 3, 4, 5] if case[0] in ENGINE_FAMILIES else [2, 3, 5]
    with open_queue(path) as q:
        assert [*again, 6, 7, 8, 9] == [q.get() for _ in range(len(again) + 4)]


def test_put_does_not_finish_what_was_taken(open_queue: Open, path: Path) -> None:
    """A put after a get stores the put alone: the item that was taken comes again."""
    with open_queue(path) as q:
        q.put("a")
        q.get()
        q.put("b")
    with open_queue(path) as q:
        assert ["a", "b"] == [q.get(), q.get()]


def test_autosave_finishes_at_get(open_queue: Open, path: Path) -> None:
    """With autosave what was taken does not come again."""
    with open_queue(path, autosave=True) as q:
        q.put_many("abc")
        assert "a" == q.get()
    with open_queue(path, autosave=True) as q:
        assert ["b", "c"] == [q.get(), q.get()]


@pytest.mark.parametrize("autosave", [False, True])
def test_opening_an_open_queue_does_nothing(open_queue: Open, path: Path, autosave: bool) -> None:
    """A block around a queue in use: nothing is lost, and nothing is handed out again."""
    q = open_queue(path, autosave=autosave)
    q.put_many("abc")
    taken = q.get()
    with q:
        assert 2 == q.qsize()
        assert ["a", "b", "c"] == sorted([taken, *q.get_many(9)])


@pytest.mark.parametrize("autosave", [False, True])
def test_opening_an_open_queue_does_nothing_to_its_counts(
    open_queue: Open, path: Path, autosave: bool
) -> None:
    """What was taken before still counts as it did."""
    q = open_queue(path, autosave=autosave)
    q.put_many("abc")
    q.get()
    unfinished = q.unfinished_tasks
    with q:
        assert unfinished == q.unfinished_tasks


# -- many at once -------------------------------------------------------------------


def test_get_many_takes_what_is_there(open_queue: Open, path: Path) -> None:
    """get_many returns up to so many, oldest first, over chunk borders."""
    with open_queue(path, chunksize=4) as q:
        q.put_many(range(10))
        assert [0, 1, 2] == q.get_many(3)
        assert [3, 4, 5, 6, 7, 8, 9] == q.get_many(100)
        with pytest.raises(Empty):
            q.get_many(5, timeout=0)


def test_get_many_waits_for_the_first(open_queue: Open, path: Path) -> None:
    """get_many on an empty queue waits until one item comes and returns it."""
    with open_queue(path) as q:
        call = Call(q.get_many, 5)
        waiting(q, 1)
        q.put("x")
        assert ["x"] == call.outcome()


def test_put_many_of_nothing_stores_nothing(open_queue: Open, path: Path) -> None:
    """put_many of an empty iterable does nothing."""
    with open_queue(path) as q:
        q.put_many([])
        assert q.empty()


def test_put_many_with_an_item_that_cannot_be_stored_stores_none(
    open_queue: Open, path: Path
) -> None:
    """One unpicklable item among many: an error, and not one of them is stored."""
    with open_queue(path) as q:
        with pytest.raises(persistqueue.SerializationError):
            q.put_many([1, 2, lambda: None, 3])
        assert q.empty()


def test_put_many_longer_than_maxsize_is_an_error(open_queue: Open, path: Path) -> None:
    """More items than would ever fit: ValueError at once, instead of waiting for ever."""
    with open_queue(path, maxsize=3) as q:
        with pytest.raises(ValueError, match="maxsize 3"):
            q.put_many(range(4))
        assert q.empty()


def test_put_many_waits_for_room_for_all(open_queue: Open, path: Path) -> None:
    """put_many waits until all fit, and a later put does not overtake it."""
    with open_queue(path, maxsize=3) as q:
        q.put(0)
        many = Call(q.put_many, [1, 2, 3])
        waiting(q, 1)
        one = Call(q.put, 4)
        waiting(q, 2)
        assert [0, 1, 2, 3, 4] == [q.get() for _ in range(5)]
        many.outcome()
        one.outcome()


# -- waiting ------------------------------------------------------------------------


def test_get_waits_for_put(open_queue: Open, path: Path) -> None:
    """A get on an empty queue returns the next item that is put."""
    with open_queue(path) as q:
        call = Call(q.get)
        waiting(q, 1)
        q.put("x")
        assert "x" == call.outcome()


def test_getters_are_served_in_the_order_of_their_arrival(open_queue: Open, path: Path) -> None:
    """The first to wait gets the first item."""
    with open_queue(path) as q:
        calls = []
        for n in range(5):
            calls.append(Call(q.get))
            waiting(q, n + 1)
        q.put_many(range(5))
        assert list(range(5)) == [call.outcome() for call in calls]


def test_putters_are_served_in_the_order_of_their_arrival(open_queue: Open, path: Path) -> None:
    """The first to wait for room puts first."""
    with open_queue(path, maxsize=1) as q:
        q.put(0)
        calls = []
        for n in range(1, 5):
            calls.append(Call(q.put, n))
            waiting(q, n)
        assert list(range(5)) == [q.get() for _ in range(5)]
        for call in calls:
            call.outcome()


def test_a_getter_that_gave_up_passes_the_wake_up_on(open_queue: Open, path: Path) -> None:
    """After the first waiter ran out of time, the second gets the item."""
    with open_queue(path) as q:
        first = Call(q.get, timeout=0.3)
        waiting(q, 1)
        second = Call(q.get)
        with pytest.raises(Empty):
            first.outcome()
        q.put("x")
        assert "x" == second.outcome()


@pytest.mark.parametrize("call", ["get", "get_nowait", "peek"])
def test_nothing_there_is_empty(open_queue: Open, path: Path, call: str) -> None:
    """Without waiting, an empty queue raises Empty."""
    with open_queue(path) as q, pytest.raises(Empty):
        getattr(q, call)(**({"block": False} if call == "get" else {}))


def test_timeouts_end_in_empty_and_full(open_queue: Open, path: Path) -> None:
    """A get or put that waited in vain raises Empty or Full."""
    with open_queue(path, maxsize=1) as q:
        with pytest.raises(Empty):
            q.get(timeout=0.01)
        q.put(1)
        with pytest.raises(Full):
            q.put(2, timeout=0.01)
        with pytest.raises(Full):
            q.put_nowait(2)
        assert q.full()
        assert 1 == q.qsize()


@pytest.mark.parametrize("block", [True, False])
def test_negative_timeouts_are_errors(open_queue: Open, path: Path, block: bool) -> None:
    """A negative timeout is a ValueError, always, and changes nothing."""
    with open_queue(path) as q:
        q.put(1)
        with pytest.raises(ValueError, match="timeout"):
            q.get(block, -1)
        with pytest.raises(ValueError, match="timeout"):
            q.put(2, block=block, timeout=-0.5)
        with pytest.raises(ValueError, match="timeout"):
            q.get_many(1, timeout=-1)
        assert 1 == q.qsize()


@pytest.mark.parametrize("block", [True, False])
def test_a_timeout_that_is_not_a_number_is_an_error(
    open_queue: Open, path: Path, block: bool
) -> None:
    """NaN is a ValueError, whether or not the call would wait, and changes nothing."""
    nan = float("nan")
    with open_queue(path, maxsize=1) as q:
        for call, first in ((q.get, block), (q.get_many, 9)):
            with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
                Call(call, first, timeout=nan).outcome()
        q.put("a")
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            Call(q.put, "b", block=block, timeout=nan).outcome()
        assert ["a"] == q.get_many(9)


def test_a_timeout_of_another_type_is_an_error(open_queue: Open, path: Path) -> None:
    """Text is a TypeError that names the argument, and changes nothing."""
    with open_queue(path, maxsize=1) as q:
        for call, first in ((q.get, True), (q.get, False), (q.get_many, 9)):
            with pytest.raises(TypeError, match="'timeout' must be a number of seconds, not str"):
                call(first, timeout="3")
        q.put("a")
        with pytest.raises(TypeError, match="'timeout' must be a number of seconds, not str"):
            q.put("b", timeout="3")
        assert ["a"] == q.get_many(9)


@pytest.mark.parametrize("timeout", [10**400, float("inf"), 1e300])
def test_a_timeout_without_an_end_waits_like_none(
    open_queue: Open, path: Path, timeout: float
) -> None:
    """A get and a put wait as long as it takes, however much more the timeout allows."""
    with open_queue(path, maxsize=1) as q:
        get = Call(q.get, timeout=timeout)
        waiting(q, 1)
        q.put("a")
        assert "a" == get.outcome()
        q.put("b")
        put = Call(q.put, "c", timeout=timeout)
        waiting(q, 1)
        assert ["b"] == q.get_many(1, timeout)
        put.outcome()
        assert "c" == q.get(timeout=timeout)


def test_put_waits_for_room(open_queue: Open, path: Path) -> None:
    """A put on a full queue goes on when an item is taken."""
    with open_queue(path, maxsize=1) as q:
        q.put(1)
        call = Call(q.put, 2)
        waiting(q, 1)
        assert 1 == q.get()
        call.outcome()
        assert 2 == q.get()


# -- finishing ----------------------------------------------------------------------


def test_join_waits_for_the_last_task_done(open_queue: Open, path: Path) -> None:
    """join returns when every item is finished, not when every item is taken."""
    with open_queue(path) as q:
        q.put_many([1, 2])
        q.get_many(2)
        q.task_done()
        call = Call(q.join)
        waiting(q, 1)
        q.task_done()
        call.outcome()
        assert 0 == q.unfinished_tasks


def test_join_of_an_empty_queue_returns(open_queue: Open, path: Path) -> None:
    """join on a queue that never held anything returns at once."""
    with open_queue(path) as q:
        q.join()
        assert 0 == q.unfinished_tasks


def test_join_with_autosave_waits_for_task_done(open_queue: Open, path: Path) -> None:
    """With autosave, too, join waits for task_done."""
    with open_queue(path, autosave=True) as q:
        q.put(1)
        q.get()
        call = Call(q.join)
        waiting(q, 1)
        assert 1 == q.unfinished_tasks
        q.task_done()
        call.outcome()


@pytest.mark.parametrize("autosave", [False, True])
def test_task_done_too_often_is_an_error(open_queue: Open, path: Path, autosave: bool) -> None:
    """More task_done calls than items taken: ValueError."""
    with open_queue(path, autosave=autosave) as q:
        q.put(1)
        q.get()
        with pytest.raises(ValueError, match="too many times"):
            q.task_done(2)
        q.task_done()
        with pytest.raises(ValueError, match="too many times"):
            q.task_done()


def test_task_done_counts_oldest_first(open_queue: Open, path: Path) -> None:
    """A bare task_done finishes one item: the oldest that the caller took."""
    with open_queue(path) as q:
        q.put_many("abc")
        q.get_many(3)
        q.task_done()
    with open_queue(path) as q:
        assert "b" == q.get()


def test_task_done_of_several(open_queue: Open, path: Path) -> None:
    """task_done(2) finishes two."""
    with open_queue(path) as q:
        q.put_many("abc")
        q.get_many(3)
        q.task_done(2)
    with open_queue(path) as q:
        assert ["c"] == q.get_many(9)


def test_task_done_of_an_item_goes_by_identity(open_queue: Open, path: Path) -> None:
    """An equal object that get did not return finishes nothing."""
    with open_queue(path) as q:
        q.put_many([["a"], ["a"]])
        first, second = q.get_many(2)
        with pytest.raises(ValueError, match="very object"):
            q.task_done(item=["a"])
        q.task_done(item=second)
        with pytest.raises(ValueError, match="very object"):
            q.task_done(item=second)
        assert 1 == q.unfinished_tasks
        q.task_done(item=first)
        q.join()


def test_task_done_of_none(open_queue: Open, path: Path, case: tuple[str, str]) -> None:
    """None is an item: task_done(item=None) finishes it."""
    with open_queue(path) as q:
        q.put_many([1, None])
        q.get_many(2)
        q.task_done(item=None)
    with open_queue(path) as q:
        # 1 is older and unfinished: an engine keeps what is behind it, too.
        assert ([1] if case[0] in FILE_FAMILIES else [1, None]) == q.get_many(9)


@pytest.mark.parametrize("count", [0, -1])
def test_task_done_of_less_than_one_is_an_error(open_queue: Open, path: Path, count: int) -> None:
    """task_done needs a count of at least 1."""
    with open_queue(path) as q, pytest.raises(ValueError, match="at least 1"):
        q.task_done(count)


def raise_after(_: Any) -> None:
    raise ZeroDivisionError


# -- process and iteration ----------------------------------------------------------


def test_process_finishes_at_the_end_of_the_block(open_queue: Open, path: Path) -> None:
    """After a process block the item does not come again."""
    with open_queue(path) as q:
        q.put_many("ab")
        with q.process() as item:
            assert "a" == item
        assert 1 == q.qsize()
    with open_queue(path) as q:
        assert "b" == q.get()


def test_unfinished_tasks_count_what_a_block_has(open_queue: Open, path: Path) -> None:
    """An item in a process block is unfinished until the block is over without an error."""
    with open_queue(path) as q:
        q.put_many("ab")
        with q.process():
            assert 2 == q.unfinished_tasks
        assert 1 == q.unfinished_tasks
        with pytest.raises(ZeroDivisionError), q.process():
            raise ZeroDivisionError
        assert 1 == q.unfinished_tasks
        with pytest.raises(persistqueue.SerializationError):
            q.put_many([1, lambda: None])
        assert 1 == q.unfinished_tasks


@pytest.mark.parametrize("autosave", [False, True])
def test_process_gives_back_on_an_error(open_queue: Open, path: Path, autosave: bool) -> None:
    """An error inside a process block puts the item back in its place, and passes."""
    with open_queue(path, autosave=autosave, chunksize=1) as q:
        q.put_many("ab")
        with pytest.raises(ZeroDivisionError), q.process():
            raise ZeroDivisionError
        assert 2 == q.qsize()
        assert "a" == q.peek()
        assert ["a", "b"] == sorted(q.get(timeout=PATIENCE) for _ in range(2))


def failing(q: Any) -> float:
    """Fail on the next item; returns when, or a moment before."""
    taken: list[float] = []
    with pytest.raises(ZeroDivisionError), q.process(timeout=PATIENCE):
        raise_after(taken.append(monotonic()))
    return taken[0]


@pytest.mark.parametrize("autosave", [False, True])
def test_what_a_block_failed_on_is_held_back_and_others_are_served(
    open_queue: Open, path: Path, autosave: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes again after 0.1 s, then 0.2 s; what else is there comes meanwhile."""

    def attempt(number: int) -> bool:
        caplog.clear()
        with open_queue(Path(f"{path}{number}"), autosave=autosave) as q:
            q.put("poison")
            failed = failing(q)
            with suppress(Empty):
                q.get(timeout=0.02)
                assert failed + 0.099 < monotonic()
                return False
            assert 1 == q.qsize()
            again = failing(q)
            assert failed + 0.099 < again
            q.put("good")
            got = [q.get(timeout=PATIENCE) for _ in range(2)]
            assert again + 0.199 < monotonic() < again + 5
        assert ["good", "poison"] == sorted(got)
        assert 1 == sum("working on an item failed" in line for line in caplog.messages)
        return "good" == got[0]

    quick_enough(attempt)


def quick_enough(attempt: Callable[[int], bool]) -> None:
    """Try what has to be done before an item comes again; a busy machine may need several tries."""
    assert any(attempt(number) for number in range(5))


def test_what_is_held_back_is_for_those_who_wait(open_queue: Open, path: Path) -> None:
    """Gets that wait are served by a put at once, and by the end of the time."""

    def attempt(number: int) -> bool:
        with open_queue(Path(f"{path}{number}")) as q:
            q.put("poison")
            failed = [failing(q) for _ in range(3)][-1]  # then it is 0.4 s
            calls = [Call(q.get, timeout=PATIENCE) for _ in range(2)]
            waiting(q, 2)
            q.put("good")
            until(lambda: not all(call.is_alive() for call in calls))
            quick = monotonic() < failed + 0.35
            assert ["good", "poison"] == sorted(call.outcome() for call in calls)
            assert failed + 0.399 < monotonic() < failed + 5
            return quick

    quick_enough(attempt)


@pytest.mark.parametrize("autosave", [False, True])
def test_what_one_object_holds_back_another_takes(
    open_queue: Open, path: Path, autosave: bool
) -> None:
    """An item that was given back is there at once for another object."""

    def attempt(number: int) -> bool:
        opened = partial(open_queue, Path(f"{path}{number}"), autosave=autosave)
        with opened() as q, opened() as other:
            q.put("a")
            failed = [failing(q) for _ in range(3)][-1]
            assert "a" == other.get(timeout=PATIENCE)
            return monotonic() < failed + 0.35

    quick_enough(attempt)


def test_a_shutdown_leaves_what_is_held_back_to_those_who_get(open_queue: Open, path: Path) -> None:
    """After a shutdown gets go on until nothing is there, and what is held back is there."""
    with open_queue(path) as q:
        q.put("a")
        failing(q)
        q.shutdown()
        failing(q)
        with pytest.raises(Empty):
            q.get(block=False)
        assert ["a"] == list(q)


def test_join_waits_for_what_is_held_back(open_queue: Open, path: Path) -> None:
    """An item that was given back is not finished."""
    with open_queue(path) as q:
        q.put("a")
        failing(q)
        joined = Call(q.join)
        with q.process(timeout=PATIENCE):
            assert joined.is_alive()
        joined.outcome()


def test_closing_wakes_who_waits_for_what_is_held_back(open_queue: Open, path: Path) -> None:
    """A queue that is closed does not wait, and the item is there when it is opened again."""
    with open_queue(path) as q:
        q.put("a")
        for _ in range(3):
            failing(q)
        getting = Call(q.get)
        waiting(q, 1)
        q.close()
        with pytest.raises(QueueClosed):
            getting.outcome()
    with open_queue(path) as q:
        assert "a" == q.get(block=False)


def test_a_loop_that_is_left_at_an_item_again_and_again(open_queue: Open, path: Path) -> None:
    """Left ten times, it is there at once, for it may be a break; from then on it is held back."""
    with open_queue(path) as q:
        q.put("a")
        started = monotonic()
        assert ["a"] * 10 == [leave(q) for _ in range(10)]
        left = monotonic()
        assert "a" == leave(q)
        assert monotonic() < started + 2
        assert "a" == q.get(timeout=PATIENCE)
        assert left + 0.099 < monotonic() < left + 5


@pytest.mark.parametrize("autosave", [False, True])
def test_random_failures_lose_nothing(
    open_queue: Open, path: Path, autosave: bool, case: tuple[str, str]
) -> None:
    """Whatever is held back, passed over and put meanwhile, each item is finished once.

    What is finished behind an unfinished one comes again when an engine is opened again.
    """
    chance, done, number = random.Random(repr(case)), list[int](), 0
    for _ in range(3):
        with open_queue(path, autosave=autosave) as q:
            for _ in range(40):
                if chance.random() < 0.3:
                    more = chance.randrange(1, 4)
                    q.put_many(range(number, number + more))
                    number += more
                with suppress(Empty, ZeroDivisionError), q.process(block=False) as item:
                    assert chance.random() < 0.5 or 1 / 0
                    done.append(item)
    with open_queue(path, autosave=autosave) as q:
        while q.qsize():
            with q.process(timeout=PATIENCE) as item:
                done.append(item)
    if not autosave and case[0] in ENGINE_FAMILIES:
        done = list(set(done))
    assert list(range(number)) == sorted(done)


def leave(q: Any) -> Any:
    """Leave a loop at its first item; returns that."""
    for item in q:
        return item
    return None


def test_process_has_a_timeout(open_queue: Open, path: Path) -> None:
    """process waits like get does."""
    with open_queue(path) as q, pytest.raises(Empty), q.process(timeout=0.01):
        raise AssertionError("there is nothing to process")


def test_an_item_given_back_under_autosave_is_not_lost(open_queue: Open, path: Path) -> None:
    """Given back after its chunk is gone, an item is stored again when the queue closes."""
    with open_queue(path, autosave=True, chunksize=2) as q:
        q.put_many(range(6))
        with pytest.raises(ZeroDivisionError), q.process():
            raise_after(q.get_many(3))
        assert 3 == q.qsize()
    with open_queue(path, autosave=True) as q:
        assert [4, 5, 0] == q.get_many(9)


@pytest.mark.parametrize("autosave", [False, True])
def test_task_done_inside_a_loop_or_a_block_counts_once(
    open_queue: Open, path: Path, autosave: bool
) -> None:
    """Iteration and process() finish an item; a task_done inside does it earlier, not twice."""
    with open_queue(path, autosave=autosave) as q:
        q.put_many("abcd")
        for item in q:
            q.task_done()
            if item == "b":
                break
        assert 2 == q.unfinished_tasks
        with q.process() as item:
            q.task_done(item=item)
        assert 1 == q.unfinished_tasks
        with pytest.raises(ZeroDivisionError), q.process():
            raise_after(q.task_done())
        assert 0 == q.unfinished_tasks == q.qsize()


@pytest.mark.parametrize("autosave", [False, True])
def test_leaving_a_loop_gives_the_last_item_back(
    open_queue: Open, path: Path, autosave: bool
) -> None:
    """What the loop held when it was left, and nothing else, is there again."""
    with open_queue(path, autosave=autosave) as q:
        q.put_many("abc")
        for item in q:
            if item == "b":
                break
        assert ["b", "c"] == q.get_many(9)


@pytest.mark.parametrize("autosave", [False, True])
def test_a_block_that_outlives_the_queue_loses_nothing(
    open_queue: Open, path: Path, autosave: bool
) -> None:
    """A block that raises after close() raises its own error, and the item comes again."""
    q = open_queue(path, autosave=autosave)
    q.put("a")
    with pytest.raises(ZeroDivisionError), q.process():
        raise_after(q.close())
    with open_queue(path, autosave=autosave) as q:
        assert "a" == q.get()


# -- looking ------------------------------------------------------------------------


@pytest.mark.parametrize("autosave", [False, True])
def test_peek_takes_nothing(open_queue: Open, path: Path, autosave: bool) -> None:
    """peek returns the next item, again and again, and leaves it there."""
    with open_queue(path, autosave=autosave, chunksize=1) as q:
        q.put_many("ab")
        assert ["a", "a"] == [q.peek(), q.peek()]
        assert 2 == q.qsize()
        assert ["a", "b"] == [q.get(), q.get()]


def test_info_is_the_stored_mapping(open_queue: Open, path: Path) -> None:
    """info shows head, tail and size as they are stored."""
    with open_queue(path, chunksize=2) as q:
        q.put_many("abc")
        q.get()
        q.task_done()
        info = q.info
        assert (2, 2) == (info["chunksize"], info["size"])
        assert ([0, 1], [1, 1]) == (info["tail"][:2], info["head"][:2])


# -- shutdown and close -------------------------------------------------------------


def test_shutdown_refuses_puts_and_lets_gets_finish(open_queue: Open, path: Path) -> None:
    """After shutdown what is there can be taken; then gets and all puts raise."""
    with open_queue(path) as q:
        q.put(1)
        q.shutdown()
        with pytest.raises(QueueShutDown):
            q.put(2)
        assert 1 == q.get()
        q.task_done()
        for attempt in (q.get, q.get_nowait, lambda: q.get(timeout=0.01)):
            with pytest.raises(QueueShutDown):
                attempt()
        q.join()


def test_shutdown_wakes_waiting_calls(open_queue: Open, path: Path) -> None:
    """A waiting get wakes up with QueueShutDown."""
    with open_queue(path) as q:
        call = Call(q.get)
        waiting(q, 1)
        q.shutdown()
        with pytest.raises(QueueShutDown):
            call.outcome()


def test_shutdown_leaves_what_another_object_put_to_a_waiting_get(
    open_queue: Open, path: Path
) -> None:
    """A get that waits takes what is there at the shutdown, whoever put it just before."""
    with open_queue(path) as a, open_queue(path) as b:
        calls = []
        for number in range(2):
            calls.append(Call(a.get))
            waiting(a, number + 1)
        b.put("x")
        a.shutdown()
        assert "x" == calls[0].outcome()
        with pytest.raises(QueueShutDown):
            calls[1].outcome()


def test_immediate_shutdown_keeps_what_is_stored(open_queue: Open, path: Path) -> None:
    """shutdown(immediate=True) refuses gets, ends join, and deletes nothing."""
    with open_queue(path) as q:
        q.put(1)
        call = Call(q.join)
        waiting(q, 1)
        q.shutdown(immediate=True)
        call.outcome()
        with pytest.raises(QueueShutDown):
            q.get()
        q.join()
    with open_queue(path) as q:
        assert 1 == q.get()


def test_close_wakes_waiting_calls_and_is_idempotent(open_queue: Open, path: Path) -> None:
    """close wakes waiters with QueueClosed; a second close does nothing."""
    q = open_queue(path)
    call = Call(q.get)
    waiting(q, 1)
    q.close()
    with pytest.raises(QueueClosed):
        call.outcome()
    q.close()
    for attempt in (lambda: q.put(1), q.get, q.qsize, q.peek):
        with pytest.raises(QueueClosed):
            attempt()


def test_join_of_a_closed_queue_is_an_error(open_queue: Open, path: Path) -> None:
    """Nobody can say any more whether everything is finished."""
    q = open_queue(path)
    q.close()
    with pytest.raises(QueueClosed):
        q.join()


def test_a_queue_that_was_dropped_unclosed_is_let_go(open_queue: Open, path: Path) -> None:
    """Nothing keeps it, and what was put is there."""
    q = open_queue(path)
    q.put("a")
    store = weakref.ref(q._session._store)
    del q
    until(lambda: gc.collect() >= 0 and store() is None, "the end of the queue")
    with open_queue(path) as q:
        assert "a" == q.get()


# -- several objects ----------------------------------------------------------------


def test_a_second_object_sees_what_is_committed(open_queue: Open, path: Path) -> None:
    """Two objects on a path: puts of either are seen by both."""
    with open_queue(path, autosave=True, chunksize=2) as a, open_queue(path, autosave=True) as b:
        for n in range(10):
            (a if n % 2 else b).put(n)
        assert 10 == a.qsize() == b.qsize()
        assert list(range(10)) == [(b if n % 3 else a).get() for n in range(10)]
        assert a.empty()
        assert b.empty()


def test_a_waiting_get_notices_another_objects_put(open_queue: Open, path: Path) -> None:
    """A get that waits in one object returns what another object puts."""
    with open_queue(path) as a, open_queue(path) as b:
        call = Call(a.get)
        waiting(a, 1)
        b.put("x")
        assert "x" == call.outcome()


def test_a_waiting_put_notices_room_made_by_another_object(open_queue: Open, path: Path) -> None:
    """A put that waits for room goes on when another object finishes an item."""
    with open_queue(path, maxsize=1) as a, open_queue(path, autosave=True) as b:
        a.put(1)
        call = Call(a.put, 2)
        waiting(a, 1)
        assert 1 == b.get()
        call.outcome()
        assert 2 == b.get()


def test_join_notices_what_another_object_finishes(open_queue: Open, path: Path) -> None:
    """join returns when the items were finished through another object."""
    with open_queue(path) as a, open_queue(path, autosave=True) as b:
        a.put(1)
        call = Call(a.join)
        waiting(a, 1)
        b.get()
        call.outcome()
        assert 0 == a.unfinished_tasks


def test_settled_elsewhere_is_not_handed_out_again(open_queue: Open, path: Path) -> None:
    """What another object finished is skipped by an object that had not taken it."""
    with open_queue(path) as a, open_queue(path) as b:
        a.put_many(range(4))
        assert [0, 1] == a.get_many(2)
        a.task_done(2)
        assert [2, 3] == b.get_many(9)
