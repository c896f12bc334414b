"""Ctrl-C wherever Python lets it in loses nothing and hangs no thread.

Each test makes a call again and again, and interrupts it at other moments: at a third of
them, or at each where the tests marked ``slow`` are run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from interrupts import interrupted
from waiting import Call, until
from waiting import Interrupt as StopWork

import persistqueue
from persistqueue import (
    AsyncQueue,
    AsyncSQLiteQueue,
    Broker,
    JobQueue,
    PDict,
    Queue,
    SQLiteAckQueue,
    SQLiteQueue,
)
from persistqueue.testing import waiting_calls


@pytest.fixture(autouse=True)
def _logging_goes_on() -> Iterator[None]:
    """Release the locks of logging that an interrupt inside it has left held by this thread.

    They are taken in Python before 3.13, in front of the ``try`` that releases them.
    """
    yield
    handlers = [reference() for reference in logging._handlerList]  # type: ignore[attr-defined]
    locks = [logging._lock, *(each.lock for each in handlers if each)]  # type: ignore[attr-defined]
    for lock in locks:
        while lock is not None and lock._is_owned():
            lock.release()


@contextlib.contextmanager
def alarms() -> Iterator[list[int]]:
    """SIGALRM raises KeyboardInterrupt meanwhile; yields the signals that came."""
    came: list[int] = []

    def ring(number: int, _: Any) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield came
    finally:
        signal.signal(signal.SIGALRM, before)


def interrupt_all(
    moments: range, tmp_path: Path, prepare: Any, call: Any, check: Any, **arguments: Any
) -> int:
    """Interrupt ``call`` at one moment after the other; returns how many there are, about."""
    for k in moments:
        path = tmp_path / f"q{k}"
        with Queue(path, durability="process", **arguments) as q:
            prepare(q)
            hit, _ = interrupted(k, lambda: call(q))
            if not hit:
                return k - 1
            check(q, path)
            assert Call(q.put, "after").outcome() is None  # nobody is left in charge
    raise AssertionError("the call never came to its end")


def test_an_interrupted_put_is_stored_whole_or_not_at_all(moments: range, tmp_path: Path) -> None:
    """After Ctrl-C in put, the item is there once or not; everything else is there."""

    def check(q: Queue[str], path: Path) -> None:
        with Queue[str](path) as again:
            assert again.get_many(9) in (["a"], ["a", "b"])
        assert q.qsize() in (1, 2)

    assert interrupt_all(moments, tmp_path, lambda q: q.put("a"), lambda q: q.put("b"), check) > 40


@pytest.mark.parametrize("autosave", [False, True])
def test_an_interrupted_get_hands_out_nothing(
    moments: range, tmp_path: Path, autosave: bool
) -> None:
    """After Ctrl-C in get, the item is still there for the next get, in its place."""

    def check(q: Queue[str], path: Path) -> None:
        assert 2 == q.qsize()
        assert ["a", "b"] == q.get_many(9)
        q.task_done(2)

    def prepare(q: Queue[str]) -> None:
        q.put_many("ab")

    assert (
        interrupt_all(moments, tmp_path, prepare, lambda q: q.get(), check, autosave=autosave) > 40
    )


@pytest.mark.parametrize("verb", ["pop", "popitem"])
def test_an_interrupted_pop_of_a_dict_takes_nothing_out(
    moments: range, tmp_path: Path, verb: str
) -> None:
    """After Ctrl-C in pop or popitem the key is there, with its value."""
    with PDict(str(tmp_path), "d", durability="process") as d:
        for k in moments:
            d["a"] = k
            hit, _ = interrupted(k, d.popitem if verb == "popitem" else lambda: d.pop("a"))
            if not hit:
                break
            assert {"a": k} == d.copy()
    assert k > 40


def test_an_interrupted_task_done_can_be_repeated(moments: range, tmp_path: Path) -> None:
    """After Ctrl-C in task_done the item is finished, or task_done may be called again."""

    def check(q: Queue[str], path: Path) -> None:
        q.qsize()  # unfinished_tasks is as of the last call that came to its end
        if q.unfinished_tasks == 2:
            q.task_done()
        assert 1 == q.unfinished_tasks
        with Queue[str](path) as again:
            assert ["b"] == again.get_many(9)

    def prepare(q: Queue[str]) -> None:
        q.put_many("ab")
        q.get()

    assert interrupt_all(moments, tmp_path, prepare, lambda q: q.task_done(), check) > 40


@pytest.mark.parametrize("autosave", [False, True])
def test_an_interrupted_get_of_what_was_given_back(
    moments: range, tmp_path: Path, autosave: bool
) -> None:
    """After Ctrl-C in the get of an item that was given back, it is there once, in its place."""

    def check(q: Queue[str], path: Path) -> None:
        assert 3 == q.qsize()
        assert ["a", "b", "c"] == q.get_many(9)
        q.task_done(3)

    def prepare(q: Queue[str]) -> None:
        q.put_many("abc")
        for _ in range(2):
            with suppress(StopWork), q.process(), q.process():
                raise StopWork

    assert (
        interrupt_all(moments, tmp_path, prepare, lambda q: q.get(), check, autosave=autosave) > 40
    )


def test_an_interrupted_task_done_that_closes_a_gap(moments: range, tmp_path: Path) -> None:
    """After Ctrl-C in the task_done of the oldest item, those finished before it stay finished."""

    def check(q: Queue[list[str]], path: Path) -> None:
        q.qsize()
        if q.unfinished_tasks == 2:
            q.task_done()
        assert 1 == q.unfinished_tasks
        with Queue[list[str]](path) as again:
            assert [["d"]] == again.get_many(9)

    def prepare(q: Queue[list[str]]) -> None:
        q.put_many([name] for name in "abcd")
        items = q.get_many(3)
        for item in items[:0:-1]:
            q.task_done(item=item)

    assert interrupt_all(moments, tmp_path, prepare, lambda q: q.task_done(), check) > 40


@pytest.mark.parametrize("family", ["Broker", "Queue", "SQLiteQueue"])
def test_an_interrupted_block_holds_nothing(moments: range, tmp_path: Path, family: str) -> None:
    """After Ctrl-C in or around a process block its item is finished or back in its place."""
    opens: dict[str, Callable[[Path], Any]] = {
        "Broker": lambda path: Broker(path, durability="process"),
        "Queue": lambda path: Queue[str](path, durability="process"),
        "SQLiteQueue": lambda path: SQLiteQueue(path, auto_commit=False, durability="process"),
    }

    def block(q: Any) -> None:
        with q.process():
            pass

    for k in moments:
        with opens[family](tmp_path / f"q{k}") as opened:
            q = opened.queue("q") if family == "Broker" else opened
            q.put_many("ab")
            hit, _ = interrupted(k, lambda q=q: block(q), contextlib.__file__)
            if not hit:
                break
            gc.collect()
            assert Call(q.put, "after").outcome() in (None, 3)  # nobody is left in charge
            found = q.get_many(9)
            assert found in (["b", "after"], ["a", "b", "after"]), k
            if family == "Broker":
                assert 0 == opened.stats().held, k
            else:
                q.task_done(len(found))
                assert 0 == q.unfinished_tasks, k
    assert k > 40


def test_an_interrupted_failure_of_a_job_leaves_no_job_held(moments: range, tmp_path: Path) -> None:
    """After Ctrl-C while a job's failure is stored, the job is tried again, now or later."""

    def block(q: JobQueue[str]) -> None:
        with suppress(ValueError), q.process():
            raise ValueError

    for k in moments:
        with JobQueue[str](tmp_path / f"{k}.db", durability="process") as q:
            q.put("a")
            hit, _ = interrupted(k, lambda q=q: block(q), contextlib.__file__)
            if not hit:
                break
            gc.collect()
            assert Call(q.put, "after").outcome() == 2
            assert 0 == q.stats().held, k
    assert k > 40


def test_whoever_is_next_is_woken_although_ctrl_c_comes_just_then(tmp_path: Path) -> None:
    """The leader has named another thread's call its successor, and is interrupted."""
    with Queue(tmp_path) as q:
        puts: list[Call] = []

        def interrupted(frame: Any, event: str, _: Any) -> Any:
            if event == "call" and frame.f_code.co_name == "_lead" and not puts:
                puts.append(Call(q.put, "b"))
                until(lambda: waiting_calls(q).next, "another put")
            if event == "call" and frame.f_code.co_name == "_wake" and puts:
                sys.settrace(None)
                raise KeyboardInterrupt
            return None

        sys.settrace(interrupted)
        try:
            with pytest.raises(KeyboardInterrupt):
                q.put("a")
        finally:
            sys.settrace(None)
        puts[0].outcome()
        assert "b" in q.get_many(9)


_CALLS: dict[str, Callable[[Any], Any]] = {
    "put": lambda q: q.put("c"),
    "get": lambda q: q.get(),
    "look": lambda q: q.qsize(),
    "wait": lambda q: q.get(timeout=0.001) and q.get(timeout=0.001),
}


# From Python 3.13 on: a connection that was interrupted in the making is closed by the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("verb", _CALLS)
@pytest.mark.parametrize("family", ["Broker", "SQLiteQueue"])
def test_an_interrupted_call_holds_no_other_thread_up(
    moments: range, tmp_path: Path, family: str, verb: str
) -> None:
    """Ctrl-C, also in the standard library's locks, leaves every thread's calls as they were."""
    for k in moments:
        path = tmp_path / f"q{k}"
        with (Broker if family == "Broker" else SQLiteQueue)(path, durability="process") as opened:
            q = opened.queue("q") if family == "Broker" else opened
            q.put("a")
            hit, _ = interrupted(k, lambda q=q: suppressed(_CALLS[verb], q), threading.__file__)
            assert Call(q.put, "b").outcome() in (2, 3), k
            assert Call(q.qsize).outcome() in (1, 2, 3), k
        if not hit:
            break
    assert k > 40


def suppressed(call: Callable[[Any], Any], q: Any) -> None:
    """Call it, whether or not there is an item."""
    with suppress(persistqueue.Empty):
        call(q)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that signals")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in __del__
@pytest.mark.parametrize("verb", ["put", "get", "process"])
@pytest.mark.parametrize("family", ["autosave", "Queue", "SQLiteAckQueue", "SQLiteQueue"])
def test_two_interrupts_one_behind_the_other(
    moments: range, tmp_path: Path, family: str, verb: str
) -> None:
    """A second Ctrl-C, just behind the first one, loses nothing and holds nobody up."""
    opens: dict[str, Callable[[Path], Any]] = {
        "autosave": lambda path: Queue[str](path, durability="process", autosave=True),
        "Queue": lambda path: Queue[str](path, durability="process"),
        "SQLiteAckQueue": lambda path: SQLiteAckQueue(path, durability="process"),
        "SQLiteQueue": lambda path: SQLiteQueue(path, durability="process"),
    }

    def process(q: Any) -> None:
        with q.process():
            raise ValueError

    calls = _CALLS | {"process": process}
    for k in moments:
        with opens[family](tmp_path / f"q{k}") as q, alarms() as came:
            q.put_many("ab")
            hit, got = False, None
            try:
                hit, got = interrupted(
                    k, lambda q=q: calls[verb](q), contextlib.__file__, again=1e-5 * (1 + k % 9)
                )
                while hit and not came:
                    time.sleep(1e-5)
            except KeyboardInterrupt:
                hit = True
            except ValueError:
                pass
            gc.collect()
            assert q.put("after") in (None, 3, 4), k  # this thread may go on
            assert Call(q.put, "last").outcome() in (None, 4, 5), k  # and so may others
            until(lambda q=q, got=got: q.qsize() + (got == "a") >= 4, "an item given back")
            found = [got] if got == "a" else []
            while len(found) < 4:
                found += [item for item in q.get_many(9, timeout=20) if item != "c"]
            if verb == "process":
                found.sort(key=["a", "b", "after", "last"].index)  # the first may be held back
            assert found == ["a", "b", "after", "last"], k
        if not hit:
            break
    assert k > 40


class Slow:
    """An item that cannot be loaded before ``event`` is set."""

    events: ClassVar[dict[str, threading.Event]] = {}

    def __init__(self, event: str) -> None:
        self.event = event

    def __setstate__(self, state: dict[str, str]) -> None:
        self.event = state["event"]
        self.events[self.event].wait(20)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
@pytest.mark.parametrize("family", ["autosave", "Queue", "SQLiteQueue"])
def test_two_interrupts_of_a_get_in_the_batch_of_another_thread(
    tmp_path: Path, family: str
) -> None:
    """What another thread takes for a get that gave up is given back when it is there."""
    Slow.events = {name: threading.Event() for name in "abc"}
    with (
        SQLiteQueue(tmp_path, durability="process")
        if family == "SQLiteQueue"
        else Queue[Any](tmp_path, durability="process", autosave=family == "autosave")
    ) as q:
        q.put_many([Slow("a"), Slow("b"), Slow("c")])
        others = [Call(q.get) for _ in range(2)]
        until(lambda: waiting_calls(q).next == 1, "a batch and another get")

        def twice() -> None:
            until(lambda: waiting_calls(q).next == 2, "this thread's get")
            Slow.events["a"].set()
            until(lambda: not waiting_calls(q).next, "a batch of two")
            for _ in range(2):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                time.sleep(0.2)
            Slow.events["b"].set()
            Slow.events["c"].set()

        interrupting = Call(twice)
        try:
            with pytest.raises(KeyboardInterrupt):
                q.get()
        except KeyboardInterrupt:  # the second one came behind the call
            pass
        interrupting.outcome()
        got = sorted(other.outcome().event for other in others)
        assert [*got, q.get(timeout=5).event] == ["a", "b", "c"]


class Exits:
    """An item whose own code raises ``SystemExit`` when it is loaded, once ``event`` is set."""

    event = threading.Event()

    def __reduce__(self) -> Any:
        return _exits, ()


def _exits() -> None:
    Exits.event.wait(20)
    raise SystemExit


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("family", ["Queue", "SQLiteQueue"])
def test_an_interrupted_get_in_a_batch_that_never_happens(tmp_path: Path, family: str) -> None:
    """A call that is gone does not become the leader when another thread's batch is undone."""
    Slow.events, Exits.event = {"a": threading.Event()}, threading.Event()
    with (
        SQLiteQueue(tmp_path, durability="process")
        if family == "SQLiteQueue"
        else Queue[Any](tmp_path, durability="process")
    ) as q:
        q.put_many([Slow("a"), Exits(), "c"])
        first = Call(q.get)
        until(lambda: q._session._leader is not None, "a batch")
        other = Call(q.get)
        until(lambda: waiting_calls(q).next == 1, "another get")

        def interrupt() -> None:
            until(lambda: waiting_calls(q).next == 2, "this thread's get")
            Slow.events["a"].set()
            until(lambda: not waiting_calls(q).next, "a batch of two")
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.2)
            Exits.event.set()

        interrupting = Call(interrupt)
        with pytest.raises(KeyboardInterrupt):
            q.get()
        interrupting.outcome()
        assert "a" == first.outcome().event
        with suppress(BaseException):
            other.outcome()
        assert Call(q.put, "d").outcome() in (None, 4)
        assert Call(q.qsize).outcome() == 3


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("family", ["AsyncQueue", "AsyncSQLiteQueue", "autosave"])
def test_an_interrupt_that_goes_out_of_the_loop(
    moments: range, tmp_path: Path, family: str
) -> None:
    """When Ctrl-C has stopped a loop, the next call and ``close`` come to their ends in it."""

    async def work(q: Any, put: list[int], got: list[int]) -> None:
        async def write(*items: int) -> None:
            for item in items:
                await q.put(item)
                put.append(item)

        async def read() -> None:
            got.append(await q.get())

        for items in ((1, 2), (3, 4)), ((5,), (6,)):
            calls = (write(*items[0]), write(*items[1]), read())
            await asyncio.gather(*calls, return_exceptions=True)

    async def outcome(call: Any) -> None:
        task = asyncio.ensure_future(call)
        done, _ = await asyncio.wait([task], timeout=20)
        assert done, "the call did not return"
        task.result()

    hit, numbers = True, iter(moments)
    while hit:
        k = next(numbers)
        path = tmp_path / (f"q{k}.db" if family == "AsyncSQLiteQueue" else f"q{k}")
        options = {"autosave": True} if family == "autosave" else {}
        opens = AsyncSQLiteQueue if family == "AsyncSQLiteQueue" else AsyncQueue
        q: Any = opens(path, durability="process", **options)
        put, got = list[int](), list[int]()
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            loop.set_exception_handler(lambda *_: None)  # tasks that were interrupted
            hit, _ = interrupted(k, partial(loop.run_until_complete, work(q, put, got)))
            for call in q.put(9), q.close():
                loop.run_until_complete(outcome(call))
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
        sync = SQLiteQueue if family == "AsyncSQLiteQueue" else Queue
        with sync[int](path) as again:
            left = again.get_many(99)
        assert len(set(left)) == len(left), k
        assert {*put, 9} <= {*left, *got}, k
        assert family == "AsyncQueue" or not {*left} & {*got}, k
    assert k > 100


_TWO_THREADS = """
import sys, threading
from persistqueue import Queue

start, name = threading.Thread.start, "persistqueue-watch"

def interrupted(thread):
    start(thread)
    if thread.name == name:
        threading.Thread.start = start
        raise KeyboardInterrupt

threading.Thread.start = interrupted
for _ in range(2):
    try:
        Queue(sys.argv[1]).get(timeout=0.5)
    except BaseException:
        pass
print(sum(thread.name == name for thread in threading.enumerate()))
"""


def test_an_interrupt_behind_the_start_of_a_thread_leaves_one(path: Path) -> None:
    """The one that is started next; two would do each other's work."""
    done = subprocess.run(
        [sys.executable, "-c", _TWO_THREADS, str(path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ("1\n", "") == (done.stdout, done.stderr)
