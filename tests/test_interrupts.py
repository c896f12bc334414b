"""Ctrl-C wherever Python lets it in loses nothing and hangs nobody.

CPython handles a signal when a Python function is entered and when a C function has
returned; a profile function is called at the same moments and may raise there.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from waiting import Call, until
from waiting import Interrupt as StopWork

import persistqueue
from persistqueue import Broker, Queue, SQLiteQueue

_PACKAGE = str(Path(persistqueue.__file__).parent)


class Interrupt:
    """Raises KeyboardInterrupt at the k-th moment at which a signal could be handled.

    Args:
        where: the folders of the code whose moments count.
    """

    def __init__(self, k: int, *where: str) -> None:
        self._left = k
        self._where = where

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code.co_name == "__del__":
            return  # Python would swallow it there
        if event == "call" and frame.f_lasti >= 0 and sys.version_info < (3, 11):
            return  # a generator goes on: what a profiler raises then passes its own handlers
        if event in ("call", "c_return") and code.co_filename.startswith(self._where):
            self._left -= 1
            if self._left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt


def interrupted(k: int, call: Callable[[], Any], *where: str) -> tuple[bool, Any]:
    """Run ``call`` and interrupt it at moment ``k``: whether it was, and what it returned."""
    gc.collect()
    gc.disable()  # an interrupt inside somebody's __del__ would be swallowed
    sys.setprofile(Interrupt(k, _PACKAGE, *where))
    try:
        return False, call()
    except KeyboardInterrupt:
        return True, None
    finally:
        sys.setprofile(None)
        gc.enable()


def every_moment(tmp_path: Path, prepare: Any, call: Any, check: Any, **arguments: Any) -> int:
    """Interrupt ``call`` at each such moment in turn; returns how many there are."""
    for k in range(1, 2000):
        path = tmp_path / f"q{k}"
        with Queue(path, durability="process", **arguments) as q:
            prepare(q)
            hit, _ = interrupted(k, lambda: call(q))
            if not hit:
                return k - 1
            check(q, path)
            assert Call(q.put, "after").outcome() is None  # nobody is left in charge
    raise AssertionError("the call never came to its end")


def test_an_interrupted_put_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    """After Ctrl-C in put, the item is there once or not; everything else is there."""

    def check(q: Queue[str], path: Path) -> None:
        with Queue[str](path) as again:
            assert again.get_many(9) in (["a"], ["a", "b"])
        assert q.qsize() in (1, 2)

    moments = every_moment(tmp_path, lambda q: q.put("a"), lambda q: q.put("b"), check)
    assert moments > 40


@pytest.mark.parametrize("autosave", [False, True])
def test_an_interrupted_get_hands_out_nothing(tmp_path: Path, autosave: bool) -> None:
    """After Ctrl-C in get, the item is still there for the next get, in its place."""

    def check(q: Queue[str], path: Path) -> None:
        assert 2 == q.qsize()
        assert ["a", "b"] == q.get_many(9)
        q.task_done(2)

    def prepare(q: Queue[str]) -> None:
        q.put_many("ab")

    moments = every_moment(tmp_path, prepare, lambda q: q.get(), check, autosave=autosave)
    assert moments > 40


def test_an_interrupted_task_done_can_be_repeated(tmp_path: Path) -> None:
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

    moments = every_moment(tmp_path, prepare, lambda q: q.task_done(), check)
    assert moments > 40


@pytest.mark.parametrize("autosave", [False, True])
def test_an_interrupted_get_of_what_was_given_back(tmp_path: Path, autosave: bool) -> None:
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

    assert every_moment(tmp_path, prepare, lambda q: q.get(), check, autosave=autosave) > 40


def test_an_interrupted_task_done_that_closes_a_gap(tmp_path: Path) -> None:
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

    assert every_moment(tmp_path, prepare, lambda q: q.task_done(), check) > 40


@pytest.mark.parametrize("family", ["Broker", "Queue", "SQLiteQueue"])
def test_an_interrupted_block_holds_nothing(tmp_path: Path, family: str) -> None:
    """After Ctrl-C in or around a process block its item is finished or back in its place."""
    opens: dict[str, Callable[[Path], Any]] = {
        "Broker": lambda path: Broker(path, durability="process"),
        "Queue": lambda path: Queue[str](path, durability="process"),
        "SQLiteQueue": lambda path: SQLiteQueue(path, auto_commit=False, durability="process"),
    }

    def block(q: Any) -> None:
        with q.process():
            pass

    for k in range(1, 2000):
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


def test_whoever_is_next_is_woken_although_ctrl_c_comes_just_then(tmp_path: Path) -> None:
    """The leader has named another thread's call its successor, and is interrupted."""
    with Queue(tmp_path) as q:
        puts: list[Call] = []

        def interrupted(frame: Any, event: str, _: Any) -> Any:
            if event == "call" and frame.f_code.co_name == "_lead" and not puts:
                puts.append(Call(q.put, "b"))
                until(lambda: q._shell._line.pending, "another put")
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
}


@pytest.mark.parametrize("verb", _CALLS)
@pytest.mark.parametrize("family", ["Broker", "SQLiteQueue"])
def test_an_interrupted_call_holds_no_other_thread_up(
    tmp_path: Path, family: str, verb: str
) -> None:
    """Ctrl-C, also in the standard library's locks, leaves every thread's calls as they were."""
    for k in range(1, 2000):
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
