"""Several processes on one broker's database, and processes that die."""

from __future__ import annotations

import ast
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from brokers import BROKERS
from interpreter import spawn
from upstream import Upstream, upstream_fixture  # noqa: F401
from waiting import Call, until

from persistqueue import Broker, SQLiteQueue
from persistqueue.testing import waiting_calls

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")

_STREAM = """
import asyncio, sys
from persistqueue import AsyncBroker, Broker
family, path, interval = sys.argv[1:]

async def main():
    async with AsyncBroker(path, durability="process") as broker:
        done = broker.queue("done")
        async for item in broker.queue("tasks").stream(int(interval)):
            await done.write(item)
            print(item, flush=True)

if family == "async":
    asyncio.run(main())
else:
    with Broker(path, durability="process") as broker:
        done = broker.queue("done")
        for item in broker.queue("tasks").stream(int(interval)):
            done.write(item)
            print(item, flush=True)
"""

_MOVE = """
import sys
from persistqueue import Broker
with Broker(sys.argv[1], durability="process") as broker:
    a, b = broker.queue("a"), broker.queue("b")
    print("ready", flush=True)
    while True:
        a.move_to("b", limit=3)
        b.move_to("a")
"""

_HOLD = """
import sys, time
from persistqueue import Broker
broker = Broker(sys.argv[1])
with broker.queue("tasks").process() as item:
    print(item, flush=True)
    time.sleep(60)
"""

_ECHO = """
import sys
from persistqueue import Broker
with Broker(sys.argv[1], durability="process") as broker:
    while (item := broker.queue("ping").get()) is not None:
        broker.queue("pong").write(item)
"""

_TAKE = """
import sys
from persistqueue import Broker
with Broker(sys.argv[1], durability="process") as broker:
    queue, got = broker.queue("tasks"), []
    while (item := queue.get(timeout=20)) != "end":
        got.append(item)
    print(got)
"""


@contextmanager
def killed(code: str, *arguments: object) -> Iterator[Callable[[], str]]:
    """Run ``code`` until the end of the block, then kill it; gives what reads a line of it."""
    with spawn(code, *arguments) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline
        finally:
            process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("family", ["async", "sync"])
def test_what_a_killed_stream_held_comes_again(family: str, tmp_path: Path) -> None:
    """Nothing is lost; what comes twice was in the batch that was in hand."""
    path, chance = tmp_path / "app.db", random.Random(family)
    with Broker(path, durability="process") as broker:
        broker.queue("tasks").write_many(range(200))
        for _ in range(2):
            with killed(_STREAM, family, path, 10) as line:
                for _ in range(chance.randint(5, 40)):
                    line()
        done = Counter(broker.queue("done").read_all())
        while broker.stats()[1:3] != (0, 0):  # what a dead process held is found within 0.5 s
            done.update(broker.queue("tasks").stream(10))
    assert set(range(200)) == set(done)
    assert sum(done.values()) - 200 <= 2 * 10


def test_a_get_that_waits_gets_what_a_dead_process_held(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with Broker(path, durability="process") as broker:
        broker.queue("tasks").write("only")
        with killed(_HOLD, path) as line:
            assert "only\n" == line()
            call = Call(broker.queue("tasks").get)
            until(lambda: waiting_calls(broker).gets)
        assert "only" == call.outcome()


@pytest.mark.parametrize("family", sorted(BROKERS))
def test_a_holder_whose_file_is_gone(family: str, tmp_path: Path) -> None:
    """It may be alive, so what it holds stays held; vacuum(force=True) gives it back."""
    path = tmp_path / "app.db"
    with Broker(path, durability="process") as broker:
        broker.queue("tasks").write("only")
    with killed(_HOLD, path) as line:
        assert "only\n" == line()
        for file in tmp_path.glob("app.db-owner-*"):
            file.unlink()
    broker = BROKERS[family](path)
    for force, waiting, held in ((False, 0, 1), (True, 1, 0)):
        broker.vacuum(force=force)
        assert (waiting, held) == broker.stats()[1:3]
    broker.close()


def test_a_killed_move_loses_and_doubles_nothing(tmp_path: Path) -> None:
    path, chance = tmp_path / "app.db", random.Random(7)
    with Broker(path, durability="process") as broker:
        broker.queue("a").write_many(range(50))
        for _ in range(3):
            with killed(_MOVE, path) as line:
                line()
                for _ in range(chance.randint(0, 20)):
                    broker.stats()
            there = broker.queue("a").read_all(peek=True) + broker.queue("b").read_all(peek=True)
            assert list(range(50)) == sorted(there)
            assert 50 == broker.stats().waiting


def test_competing_processes_get_different_items(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with Broker(path, durability="process") as broker, SQLiteQueue(path, name="tasks") as plain:
        consumers = [spawn(_TAKE, path) for _ in range(3)]  # communicate() closes their pipes
        for number in range(0, 200, 2):
            broker.queue("tasks").write(number)
            plain.put(number + 1)
        broker.queue("tasks").write_many(["end"] * 3)
        outs = [consumer.communicate(timeout=60)[0] for consumer in consumers]
        got = [ast.literal_eval(out) for out in outs]
    assert list(range(200)) == sorted(item for own in got for item in own)
    assert all(sorted(own) == own for own in got)  # each one's own in order


def test_a_reader_wakes_when_another_process_writes(tmp_path: Path) -> None:
    with Broker(tmp_path / "app.db", durability="process") as broker:
        with spawn(_ECHO, tmp_path / "app.db") as echo:
            for number in range(20):
                broker.queue("ping").write(number)
                assert number == broker.queue("pong").get(timeout=20)
            broker.queue("ping").write(None)
            assert 0 == echo.wait(20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_stream_gives_a_forked_child_nothing_of_its_parents(tmp_path: Path) -> None:
    code = """
import os, sys
from persistqueue import Broker
broker = Broker(sys.argv[1], durability="process")
broker.queue("a").write_many(range(5))
stream = broker.queue("a").stream(commit_interval=3)
assert next(stream) == 0
child = os.fork()
if child == 0:
    assert list(stream) == [3, 4], "the parent has the others"
    broker.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print([*stream, broker.stats()[1:3]])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "app.db")],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (0, "[1, 2, (0, 0)]\n") == (done.returncode, done.stdout), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_both_sides_of_a_fork_go_on(tmp_path: Path) -> None:
    code = """
import os, sys, threading, time
from persistqueue import Broker
from persistqueue.testing import waiting_calls
broker = Broker(sys.argv[1], durability="process")
queue = broker.queue("a")
queue.write_many(range(4))
stream = queue.stream(commit_interval=2)
assert next(stream) == 0
broker.list_queues()
child = os.fork()
if child == 0:
    assert queue.read() == 2, "what the parent holds is not the child's"
    queue.write("child")
    broker.list_queues()
    got = []
    waiter = threading.Thread(target=lambda: got.append(broker.queue("later").get()))
    waiter.start()
    while not waiting_calls(broker).gets:
        time.sleep(0.001)
    broker.queue("later").write("x")
    waiter.join(5)
    assert got == ["x"], "a get that waits in the child"
    broker.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert next(stream) == 1
print([*stream, broker.stats()[1:3]])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "app.db")],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (0, "[3, 'child', (0, 0)]\n") == (done.returncode, done.stdout), done.stderr


def test_upstream_reads_and_writes_a_queue_of_the_broker(
    upstream: Upstream, tmp_path: Path
) -> None:
    """The columns, the order and the ids are persist-queue's; triggers count what it does."""
    with Broker(tmp_path) as broker:  # data.db inside, as 1.1.0 has it
        tasks = broker.queue("tasks")
        ids = tasks.write_many(["a", "b", "c"])
        done = upstream.run(
            "import sys, persistqueue\n"
            "q = persistqueue.SQLiteQueue(sys.argv[1], name='tasks')\n"
            "print([q.get(), q.size, q.put('theirs')])\n",
            tmp_path,
        )
        assert f"['a', 2, {ids[-1] + 1}]\n" == done.stdout, done.stderr
        assert (3, 3) == (tasks.size(), broker.list_queues()[0].waiting)
        assert tasks.write("ours") == ids[-1] + 2
        assert ["b", "c", "theirs", "ours"] == tasks.read_all()
