"""Several processes on one database, and processes that die."""

from __future__ import annotations

import ast
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from families import SQL_KINDS, open_sql
from interpreter import spawn
from sqlite_objects import open_any
from waiting import Call, until

from persistqueue import PriorityQueue, SQLiteAckQueue, SQLiteQueue
from persistqueue._sql.sqlite.openfiles import OpenFiles
from persistqueue.testing import waiting_calls

KINDS = [*SQL_KINDS, *(f"Async{kind}" for kind in SQL_KINDS)]
_HOME = str(Path(__file__).parents[2])

_CONSUME = """
import sys
import persistqueue
kind, path = sys.argv[1:]
q = getattr(persistqueue, kind)(path, durability="process")
print(q.qsize(), flush=True)
got = []
while "end" not in str(item := q.get(timeout=20)):
    got.append(item)
    if hasattr(q, "ack"):
        q.ack(item)
print(got)
"""

_ASYNC_CONSUME = """
import asyncio, sys
import persistqueue
kind, path = sys.argv[1:]

async def main():
    async with getattr(persistqueue, kind)(path, durability="process") as q:
        print(await q.qsize(), flush=True)
        got = []
        while "end" not in str(item := await q.get(timeout=20)):
            got.append(item)
            if hasattr(q, "ack"):
                await q.ack(item)
    print(got)

asyncio.run(main())
"""

_ECHO = """
import sys
import persistqueue
ping = persistqueue.SQLiteQueue(sys.argv[1], "ping", durability="process")
pong = persistqueue.SQLiteQueue(sys.argv[1], "pong", durability="process")
while (item := ping.get()) is not None:
    pong.put(item)
"""

_ASYNC_ECHO = """
import asyncio, sys
import persistqueue

async def main():
    ping = persistqueue.AsyncSQLiteQueue(sys.argv[1], "ping", durability="process")
    pong = persistqueue.AsyncSQLiteQueue(sys.argv[1], "pong", durability="process")
    while (item := await ping.get()) is not None:
        await pong.put(item)

asyncio.run(main())
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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database's file, which both families take for one."""
    file = tmp_path / "jobs.db"
    file.touch()
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_each_item_goes_to_one_process(kind: str, file: Path) -> None:
    """Two consumers and two producing threads: every item once, none lost."""
    program = _ASYNC_CONSUME if kind.startswith("Async") else _CONSUME
    with open_sql(kind, file, durability="process") as q:
        consumers = [spawn(program, kind, file) for _ in range(2)]
        assert ["0\n", "0\n"] == [consumer.stdout.readline() for consumer in consumers]
        calls = [Call(q.put_many, range(start, 200, 2)) for start in (0, 1)]
        for n in range(200, 300):
            q.put(n)
        for call in calls:
            call.outcome()
        until(lambda: q.qsize() == 0)
        q.put_many(["end of one", "end of the other"])
        got = [ast.literal_eval(consumer.communicate(timeout=30)[0]) for consumer in consumers]
    assert list(range(300)) == sorted(got[0] + got[1])


def often(few: int) -> pytest.MarkDecorator:
    """Run a test for both families, and with the ball going to and fro as often as promised."""
    kinds = ["SQLiteQueue", "AsyncSQLiteQueue"]
    at_length = [pytest.param(kind, 10_000, marks=pytest.mark.slow) for kind in kinds]
    return pytest.mark.parametrize(
        ("kind", "rounds"), [(kinds[0], few), (kinds[1], few // 4), *at_length]
    )


@often(100)
def test_ping_pong_of_two_processes(kind: str, file: Path, rounds: int) -> None:
    """No wake-up from another process is lost: each answer comes."""
    with (
        open_sql(kind, file, name="ping", durability="process") as ping,
        open_sql(kind, file, name="pong", durability="process") as pong,
    ):
        other = spawn(_ASYNC_ECHO if kind.startswith("Async") else _ECHO, file)
        for n in range(rounds):
            ping.put(n)
            assert n == pong.get(timeout=20)
        ping.put(None)
        assert 0 == other.wait(20)
        other.communicate()


@often(1000)
def test_ping_pong_of_two_threads(kind: str, file: Path, rounds: int) -> None:
    """A put wakes the getter that waits, over two objects and tables."""
    with (
        open_sql(kind, file, name="ping", durability="process") as ping,
        open_sql(kind, file, name="pong", durability="process") as pong,
    ):

        def echo() -> None:
            while (item := ping.get()) is not None:
                pong.put(item)

        call = Call(echo)
        for n in range(rounds):
            ping.put(n)
            assert n == pong.get(timeout=20)
        ping.put(None)
        call.outcome()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("kind", [PriorityQueue, SQLiteAckQueue, SQLiteQueue])
def test_what_was_acknowledged_survives_kill_9(kind: Any, path: Path, durability: str) -> None:
    """Every put that had returned is there, and at most one more."""
    for round_number in range(3):
        worker = spawn(_PUT_FOR_EVER, kind.__name__, path, durability)
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


# -- waiting where time stamps say nothing --------------------------------------------------


@pytest.mark.parametrize("glances", [True, False])
@pytest.mark.parametrize(
    "kind",
    ["SQLiteQueue", "AsyncSQLiteQueue", "PriorityQueue", "SQLiteAckQueue", "Broker", "AsyncBroker"],
)
def test_a_waiting_get_notices_a_commit_that_leaves_no_trace(
    kind: str, glances: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On some file systems times are whole seconds, and a log is as long as before."""
    if not glances:  # as where no descriptors are shown
        monkeypatch.setattr(OpenFiles, "glance", lambda _: None)
    q, other = open_any(kind, path), open_any(kind, path)
    log = path / "data.db-wal"
    with log.open("r+b") as file:
        file.truncate(1 << 20)  # longer than it gets here
    for number in range(4):
        os.utime(log, (0, 0))
        getting = Call(q._queue.get, timeout=20)
        until(lambda: waiting_calls(q).parked)
        time.sleep(0.03)  # it has looked
        other.put(number)
        os.utime(log, (0, 0))
        began = time.monotonic()
        item = getting.outcome()
        assert number == item
        assert time.monotonic() - began < 5
        if hasattr(q, "ack"):
            q.ack(item)
    q.close()
    other.close()
