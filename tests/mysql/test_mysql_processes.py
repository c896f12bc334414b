"""Several processes on one table, and a server that dies under a load."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from families import BlockingAsyncQueue, run
from mysql_server import MysqlServer, mysql, new_server, where  # noqa: F401
from waiting import Call, until

from persistqueue import AsyncMySQLAckQueue, AsyncMySQLQueue, Empty, MySQLAckQueue, MySQLQueue

_HOME = str(Path(__file__).parents[2])

# Each prints what it got; "end" ends one consumer.
_SYNC = """
import json, sys
import persistqueue
kind, where = sys.argv[1], json.loads(sys.argv[2])
q = getattr(persistqueue, kind)(**where)
print("ready", flush=True)
got = []
while (item := q.get(timeout=30)) != "end":
    got.append(item)
    if hasattr(q, "ack"):
        assert q.ack(item)
if hasattr(q, "ack"):
    q.ack("end")
print(got)
"""

_ASYNC = """
import asyncio, json, sys
import persistqueue

async def consume(q, got):
    while (item := await q.get(timeout=30)) != "end":
        got.append(item)
        if hasattr(q, "ack"):
            assert await q.ack(item)
    if hasattr(q, "ack"):
        await q.ack("end")

async def main():
    kind, where = sys.argv[1], json.loads(sys.argv[2])
    async with getattr(persistqueue, kind)(**where) as q:
        print("ready", flush=True)
        got = []
        await asyncio.gather(*(consume(q, got) for _ in range(5)))
        print(got)

asyncio.run(main())
"""

_FILL = """
import json, sys
import persistqueue
q = persistqueue.MySQLQueue(**json.loads(sys.argv[2]), maxsize=5)
print("ready", flush=True)
for n in range(60):
    q.put(n)
print("done")
"""


_TAKE = """
import json, sys, time
import persistqueue
q = getattr(persistqueue, sys.argv[1])(**json.loads(sys.argv[2]))
q.put("b")
q.ack(q.get())
q.get()
print("ready", flush=True)
time.sleep(60)
"""


def spawn(code: str, kind: str, where: dict[str, Any]) -> subprocess.Popen[str]:
    """Start ``code`` in a process of its own; return when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, kind, json.dumps(where)],
        env={**os.environ, "PYTHONPATH": _HOME}, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    return process


def is_ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "ready\n"


def open_async(kind: Any, **arguments: Any) -> Any:
    return BlockingAsyncQueue(run(kind.create(**arguments)))


@pytest.mark.parametrize("kind", ["MySQLQueue", "MySQLAckQueue"])
def test_each_item_goes_to_one_of_four_processes(kind: str, where: dict[str, Any]) -> None:
    """600 items, four consuming processes of both families: every item once, no error."""
    consumers = [
        spawn(code, prefix + kind, where)
        for code, prefix in [(_SYNC, ""), (_SYNC, ""), (_ASYNC, "Async"), (_ASYNC, "Async")]
    ]
    assert all(map(is_ready, consumers))
    with KINDS[kind](**where) as q:
        with q.__class__(**where) as other:
            calls = [Call(q.put_many, range(start, 400, 4)) for start in range(4)]
            for n in range(400, 600):
                other.put(n)
            for call in calls:
                call.outcome()
        q.put_many(["end"] * 12)
        got = [ast.literal_eval(consumer.communicate(timeout=60)[0]) for consumer in consumers]
        assert [0, 0, 0, 0] == [consumer.returncode for consumer in consumers]
        assert list(range(600)) == sorted(item for items in got for item in items)
        assert q.empty()


def test_many_objects_of_all_classes_in_threads(where: dict[str, Any]) -> None:
    """Gets, acks, nacks and updates of many connections at once: no deadlock reaches a caller."""
    run(asyncio.sleep(0))
    opens: list[Any] = [MySQLAckQueue, lambda **where: open_async(AsyncMySQLAckQueue, **where)] * 3
    queues = [opener(**where) for opener in opens]
    queues[0].put_many(range(150))
    done: Counter[int] = Counter()
    once = threading.Lock()

    def work(q: Any, seed: int) -> None:
        while True:
            try:
                items = q.get_many(1 + seed % 3, timeout=0)
            except Empty:
                return
            for item in items:
                if (item + seed) % 5 == 0:
                    assert q.nack(item, to="back")
                    seed += 1
                elif (item + seed) % 7 == 0:
                    assert q.ack_failed(item)
                    with once:
                        done[item] += 1
                else:
                    assert q.ack(item)
                    with once:
                        done[item] += 1

    calls = [Call(work, q, seed) for seed, q in enumerate(queues)]
    for call in calls:
        call.outcome()
    assert Counter(range(150)) == done
    for q in queues:
        q.close()


def test_maxsize_holds_for_two_processes(where: dict[str, Any]) -> None:
    """Two processes that put never make it more than it may be."""
    producers = [spawn(_FILL, "", where) for _ in range(2)]
    assert all(map(is_ready, producers))
    with MySQLQueue[int](**where, maxsize=5) as q:
        got = []
        for _ in range(120):
            assert q.qsize() <= 5
            got.append(q.get(timeout=30))
    assert sorted([*range(60), *range(60)]) == sorted(got)
    assert ["done\n"] * 2 == [producer.communicate(timeout=30)[0] for producer in producers]


# -- a server that dies -------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal() -> Iterator[MysqlServer]:
    """A server that may be killed."""
    server = new_server()
    yield server
    server.stop()


def test_what_a_killed_worker_held_comes_again(
    mysql: MysqlServer,
    where: dict[str, Any],
) -> None:
    """It had finished one item, and had another in hand: that one, and no other."""
    with MySQLAckQueue[str](**where) as q:
        q.put("a")
        with spawn(_TAKE, "MySQLAckQueue", where) as worker:
            assert is_ready(worker)
            assert q.empty()
            worker.kill()
        assert not comes_again(q)  # its connection may have been cut, and nothing else
        mysql.minute_later(where["db_name"])
        until(partial(comes_again, q), "the item")
        assert "b" == q.get()
        assert q.empty()


@pytest.mark.parametrize("kind", ["MySQLAckQueue", "AsyncMySQLAckQueue"])
@pytest.mark.parametrize("backlog", [0, 300])
def test_what_a_killed_worker_held_goes_to_one_at_work(
    kind: str, backlog: int, mysql: MysqlServer, where: dict[str, Any]
) -> None:
    """Within 2 s, whether it waits or always finds something; no minute has to pass."""
    with KINDS[kind](**where) as q:
        q.put("a")
        with spawn(_TAKE, "MySQLAckQueue", where) as worker:
            assert is_ready(worker)
            q.put_many(range(backlog))
            before = [q.get() for _ in range(min(backlog, 5))]
            worker.kill()
            began = time.monotonic()
            while (item := q.get(timeout=20)) != "b":
                assert q.ack(item)
                time.sleep(0.02)
        assert time.monotonic() - began < 6  # 2, on a machine with time to spare
        assert list(range(len(before))) == before


def test_a_restart_of_the_server_takes_nothing_from_the_living(mortal: MysqlServer) -> None:
    """All connections are gone, and each worker gets new ones before others believe it dead."""
    where = mortal.database()
    with MySQLAckQueue[str](**where) as q, MySQLAckQueue[str](**where) as other:
        q.put("a")
        assert "a" == q.get()
        waiting = Call(other.get, timeout=30)
        time.sleep(0.5)
        mortal.restart()
        time.sleep(3)
        q.put("b")
        assert "b" == waiting.outcome()
        assert q.ack("a")


def comes_again(q: MySQLAckQueue[str]) -> bool:
    q.resume_unack_tasks()
    return not q.empty()


KINDS: dict[str, Any] = {
    "MySQLQueue": MySQLQueue,
    "AsyncMySQLQueue": lambda **where: open_async(AsyncMySQLQueue, **where),
    "MySQLAckQueue": MySQLAckQueue,
    "AsyncMySQLAckQueue": lambda **where: open_async(AsyncMySQLAckQueue, **where),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_dies_in_the_middle_of_a_load(kind: str, mortal: MysqlServer) -> None:
    """Producers and consumers do not notice that it is killed and started again, twice."""
    run(asyncio.sleep(0))
    where = mortal.database()
    got: list[int] = []
    stop = threading.Event()

    def produce(start: int) -> list[int]:
        put = []
        with KINDS[kind](**where) as q:
            number = start
            while not stop.is_set():
                q.put(number)
                put.append(number)
                number += 10
        return put

    def consume() -> None:
        with KINDS[kind](**where) as q:
            while (item := q.get(timeout=60)) is not None:
                got.append(item)
                if hasattr(q, "ack"):
                    assert q.ack(item)
            if hasattr(q, "ack"):
                q.ack(None)

    producers = [Call(produce, start) for start in range(2)]
    consumers = [Call(consume) for _ in range(2)]
    for _ in range(2):
        seen = len(got)
        until(partial(more_than, got, seen + 20), "some work")
        mortal.restart()
    until(partial(more_than, got, len(got) + 20), "some work")
    stop.set()
    put = [number for producer in producers for number in producer.outcome()]
    with KINDS[kind](**where) as q:
        q.put_many([None, None])
        for consumer in consumers:
            consumer.outcome()
        assert q.empty()
    assert sorted(put) == sorted(got)


def more_than(items: list[Any], number: int) -> bool:
    return len(items) > number


def test_a_frozen_server(mortal: MysqlServer) -> None:
    """A call waits while the server stands still, and is done once when it goes on."""
    with MySQLQueue[str](**mortal.database()) as q:
        q.put("a")
        with mortal.frozen():
            put = Call(q.put, "b")
            until(lambda: q._store.conn._writes or q._session._leader)
        put.outcome()
        assert ["a", "b"] == q.get_many(5)
