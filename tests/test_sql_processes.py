"""Several processes on one database, and processes that die."""

from __future__ import annotations

import ast
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from waiting import Call, until

from persistqueue import (
    FILOSQLiteQueue,
    PriorityQueue,
    SQLiteAckQueue,
    SQLiteQueue,
    UniqueAckQ,
    UniqueQ,
)

KINDS = [FILOSQLiteQueue, PriorityQueue, SQLiteAckQueue, SQLiteQueue, UniqueAckQ, UniqueQ]
_HOME = str(Path(__file__).parents[1])

_CONSUME = """
import sys
import persistqueue
kind, path = sys.argv[1:]
q = getattr(persistqueue, kind)(path, durability="process")
got = []
while (item := q.get(timeout=20)) != "end":
    got.append(item)
    if hasattr(q, "ack"):
        q.ack(item)
print(got)
"""

_ECHO = """
import sys
import persistqueue
ping = persistqueue.SQLiteQueue(sys.argv[1], "ping", durability="process")
pong = persistqueue.SQLiteQueue(sys.argv[1], "pong", durability="process")
while (item := ping.get()) is not None:
    pong.put(item)
"""

_PUT_FOR_EVER = """
import sys
import persistqueue
q = getattr(persistqueue, sys.argv[1])(sys.argv[2], durability=sys.argv[3])
n = 0
while True:
    q.put(n)
    print(n, flush=True)
    n += 1
"""


def spawn(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start ``code`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": _HOME}, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_item_goes_to_one_process(kind: Any, path: Path) -> None:
    """Two consumers and two producing threads: every item once, none lost."""
    with kind(path, durability="process") as q:
        consumers = [spawn(_CONSUME, kind.__name__, path) for _ in range(2)]
        calls = [Call(q.put_many, range(start, 200, 2)) for start in (0, 1)]
        for n in range(200, 300):
            q.put(n)
        for call in calls:
            call.outcome()
        if kind in (UniqueQ, UniqueAckQ):
            until(lambda: q.qsize() == 0)
            q.put("end")
            until(lambda: any(consumer.poll() is not None for consumer in consumers))
            q.clear_acked_data(keep_latest=0) if kind is UniqueAckQ else None
            for row in q.queue():
                q.ack(id=row["id"])
            q.clear_acked_data(keep_latest=0) if kind is UniqueAckQ else None
            q.put("end")
        elif kind is PriorityQueue:
            q.put_many(["end", "end"], priority=1)
        elif kind is FILOSQLiteQueue:
            until(lambda: q.qsize() == 0)
            q.put_many(["end", "end"])
        else:
            q.put_many(["end", "end"])
        got = [ast.literal_eval(consumer.communicate(timeout=30)[0]) for consumer in consumers]
    assert list(range(300)) == sorted(got[0] + got[1])


def test_ping_pong_of_two_processes(path: Path) -> None:
    """No wake-up is lost: each answer comes, and the median of a turn is under 40 ms."""
    with SQLiteQueue(path, "ping", durability="process") as ping:
        pong = SQLiteQueue(path, "pong", durability="process")
        other = spawn(_ECHO, path)
        for n in range(100):
            ping.put(n)
            assert n == pong.get(timeout=20)
        ping.put(None)
        assert 0 == other.wait(20)
        other.communicate()
        pong.close()


def test_ping_pong_of_two_threads(path: Path) -> None:
    """A put wakes the getter that waits, a thousand times, over two objects and tables."""
    with SQLiteQueue(path, "ping", durability="process") as ping:
        pong = SQLiteQueue(path, "pong", durability="process")

        def echo() -> None:
            while (item := ping.get()) is not None:
                pong.put(item)

        call = Call(echo)
        for n in range(1000):
            ping.put(n)
            assert n == pong.get(timeout=20)
        ping.put(None)
        call.outcome()
        pong.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("kind", [PriorityQueue, SQLiteAckQueue, SQLiteQueue])
def test_what_was_acknowledged_survives_kill_9(kind: Any, path: Path, durability: str) -> None:
    """Every put that had returned is there, and at most one more."""
    for round_number in range(3):
        worker = spawn(_PUT_FOR_EVER, kind.__name__, path, durability)
        assert worker.stdout is not None
        lines = [worker.stdout.readline() for _ in range(random.randrange(1, 40))]
        worker.kill()
        last = int((worker.communicate()[0].splitlines() or lines)[-1])
        with kind(path) as q:
            stored = q.get_many(100_000)
            assert list(range(len(stored))) == stored
            assert last + 1 <= len(stored) <= last + 2, round_number
            if kind is SQLiteAckQueue:
                for item in stored:
                    q.ack(item)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_goes_on(path: Path) -> None:
    """Parent and child use the object after a fork; nothing is lost or doubled."""
    with SQLiteQueue(path, auto_commit=False) as q:
        q.put_many(range(4))
        assert 0 == q.get()
        child = os.fork()
        if child == 0:
            q.put("child")
            os._exit(0 if q.get() == 0 else 1)  # the parent's take is not the child's
        assert 0 == os.waitpid(child, 0)[1]
        assert [1, 2, 3, "child"] == q.get_many(9)
        q.task_done()
        assert 0 == q.unfinished_tasks


def test_sixteen_threads_and_a_second_object(path: Path) -> None:
    """Concurrent puts and gets through two objects: each item once."""
    with SQLiteQueue(path) as a, SQLiteQueue(path) as b:
        got: list[int] = []
        begin = threading.Barrier(16)

        def work(n: int) -> None:
            begin.wait()
            for k in range(20):
                (a if k % 2 else b).put(n * 20 + k)
                got.append((b if k % 3 else a).get())

        for call in [Call(work, n) for n in range(16)]:
            call.outcome()
        assert list(range(320)) == sorted(got)
        assert 0 == a.qsize() == b.qsize()
