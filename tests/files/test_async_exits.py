"""Processes that end without closing their AsyncQueue: at once, and without losing anything."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crashdisk import Child, watchdog
from interpreter import start

from persistqueue import Queue

BEGIN = """
import asyncio, os, sys
from persistqueue import AsyncQueue
path = sys.argv[1]

async def work(queue, done=1):
    await queue.put_many(range(6))
    for _ in range(3):
        await queue.get()
    await queue.task_done(done)
"""

# name -> program, exit status, what is left, whether something may be said on stderr
ENDS: dict[str, tuple[str, int, list[int], str]] = {
    "forgotten in asyncio.run": (
        """
async def main():
    await work(AsyncQueue(path))
asyncio.run(main())
""",
        0, [1, 2, 3, 4, 5], "",
    ),
    "kept by the module": (
        """
queue = AsyncQueue(path)
asyncio.run(work(queue))
""",
        0, [1, 2, 3, 4, 5], "",
    ),
    "in a cycle of references": (
        """
queue = AsyncQueue(path)
queue.myself = queue
asyncio.run(work(queue))
del queue
""",
        0, [1, 2, 3, 4, 5], "",
    ),
    "process durability": (
        """
queue = AsyncQueue(path, durability="process")
asyncio.run(work(queue))
""",
        0, [1, 2, 3, 4, 5], "",
    ),
    "autosave": (
        """
queue = AsyncQueue(path, autosave=True)
asyncio.run(work(queue))
""",
        0, [3, 4, 5], "",
    ),
    "an idle waiter that asyncio.run cancels": (
        """
queue = AsyncQueue(path)
async def main():
    await work(queue)
    await queue.get_many(9)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)
asyncio.run(main())
""",
        0, [1, 2, 3, 4, 5], "",
    ),
    "a loop that nobody closes, with an idle waiter": (
        """
import warnings; warnings.simplefilter("ignore")
queue = AsyncQueue(path)
async def main():
    global waiting
    await work(queue)
    await queue.get_many(9)
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0.01)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
waiting._log_destroy_pending = False
""",
        0, [1, 2, 3, 4, 5], "",
    ),
    "sys.exit inside": (
        """
async def main():
    queue = AsyncQueue(path)
    await work(queue)
    sys.exit(3)
asyncio.run(main())
""",
        3, [1, 2, 3, 4, 5], "",
    ),
    "sys.exit inside a process block": (
        """
async def main():
    queue = AsyncQueue(path)
    await work(queue)
    async with queue.process():
        sys.exit(3)
asyncio.run(main())
""",
        3, [1, 2, 3, 4, 5], "",
    ),
    "sys.exit in a task beside": (
        """
async def main():
    queue = AsyncQueue(path)
    await work(queue)
    async def leave():
        sys.exit(3)
    await asyncio.gather(asyncio.create_task(leave()), queue.join())
asyncio.run(main())
""",
        3, [1, 2, 3, 4, 5], "SystemExit: 3",  # as asyncio reports it without any queue
    ),
    "an exception": (
        """
async def main():
    queue = AsyncQueue(path)
    await work(queue)
    raise LookupError("on purpose")
asyncio.run(main())
""",
        1, [1, 2, 3, 4, 5], "LookupError: on purpose",
    ),
    "an exception inside the context": (
        """
async def main():
    async with AsyncQueue(path) as queue:
        await work(queue)
        raise LookupError("on purpose")
asyncio.run(main())
""",
        1, [1, 2, 3, 4, 5], "LookupError: on purpose",
    ),
    "os._exit": (
        """
async def main():
    queue = AsyncQueue(path)
    await work(queue)
    os._exit(4)
asyncio.run(main())
""",
        4, [1, 2, 3, 4, 5], "",
    ),
    "several runs": (
        """
queue = AsyncQueue(path)
asyncio.run(work(queue))
asyncio.run(queue.put(6))
asyncio.run(queue.task_done(2))
""",
        0, [3, 4, 5, 6], "",
    ),
    "a loop in a daemon thread": (
        """
import threading, time
def serve():
    asyncio.run(main())
async def main():
    global queue
    queue = AsyncQueue(path)
    await work(queue)
    worked.set()
    await queue.join()
worked = threading.Event()
threading.Thread(target=serve, daemon=True).start()
worked.wait()
""",
        0, [1, 2, 3, 4, 5], "",
    ),
    "used in atexit": (
        """
import atexit
queue = AsyncQueue(path)
asyncio.run(work(queue))
atexit.register(lambda: asyncio.run(queue.put(6)))
""",
        0, [1, 2, 3, 4, 5, 6], "",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """Let nothing hang."""
    with watchdog(120):
        yield


def contents(path: Path) -> list[Any]:
    """Return what is stored, through a queue of the other kind."""
    with Queue[Any](path) as queue:
        return queue.get_many(100_000) if queue.qsize() else []


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_forgets_to_close_ends_by_itself(path: Path, end: str) -> None:
    """However a process ends, it ends without a word of ours, and loses nothing."""
    program, status, left, said = ENDS[end]
    before = time.monotonic()
    done = start(BEGIN + program, path)
    assert time.monotonic() - before < 10
    assert (status, left) == (done.returncode, contents(path)), done.stderr
    assert said == (done.stderr.strip().splitlines() or [""])[-1]


IN_FLIGHT = """
import threading, time, warnings
warnings.simplefilter("ignore")
queue = AsyncQueue(path, autosave=True, durability="process")
loop = asyncio.new_event_loop()
loop.run_until_complete(work(queue, 3))
lane = queue._session._commits

async def begin(call=queue.get):
    global task
    task = asyncio.ensure_future(call())
    task._log_destroy_pending = False
    await asyncio.sleep(0)

def until_landed():
    while lane.flying is not None and lane.landed is None:
        time.sleep(0.001)

def busy():  # until the main thread is through: as a disk that is slow
    main = threading.main_thread()
    queue._session._worker.start(main.join)

async def delivered():  # but the task never goes on
    while lane.flying is not None:
        await asyncio.sleep(0)
    loop.stop()
"""

# With autosave: what of a get that never returned is under way when the program ends.
UNRETURNED: dict[str, str] = {
    "flying": "loop.run_until_complete(begin())",
    "flying, on a slow disk": "busy(); loop.run_until_complete(begin())",
    "landed": "loop.run_until_complete(begin()); until_landed()",
    "closed": "loop.run_until_complete(begin()); loop.close()",
    "closed, on a slow disk": "busy(); loop.run_until_complete(begin()); loop.close()",
    "closed and landed": "loop.run_until_complete(begin()); until_landed(); loop.close()",
    "many": "loop.run_until_complete(begin(lambda: queue.get_many(2))); until_landed()",
    "dropped": """
loop.run_until_complete(begin()); until_landed(); loop.close()
del task, queue, begin
""",
    "delivered, and interrupted then": """
async def interrupted():
    await begin()
    while lane.flying is not None:
        await asyncio.sleep(0)
    raise KeyboardInterrupt  # before the turn in which the get goes on
try:
    loop.run_until_complete(interrupted())
except KeyboardInterrupt:
    pass
""",
    "stopped": """
async def consume():
    while True:
        print(await queue.get(), flush=True)
task = loop.create_task(consume())
task._log_destroy_pending = False
loop.call_soon(loop.call_soon, loop.stop)
loop.run_forever()
""",
    "loops": """
async def main():
    global loops
    loops = [aiter(queue) for _ in range(3)]
    for one in loops:
        await anext(one)
    loops.clear()
loop.run_until_complete(main())
""",
    "loops, and the event loop is closed": """
async def main():
    loops = [aiter(queue) for _ in range(3)]
    for one in loops:
        await anext(one)
loop.run_until_complete(main())
loop.close()
""",
}


@pytest.mark.parametrize("case", UNRETURNED)
def test_what_no_get_returned_is_stored_again_at_the_end(path: Path, case: str) -> None:
    """With autosave, too, an item that no call handed over is there after a normal exit."""
    done = start(BEGIN + IN_FLIGHT + UNRETURNED[case], path)
    assert (0, "") == (done.returncode, done.stderr)
    assert [3, 4, 5] == sorted([*map(int, done.stdout.split()), *contents(path)])


PUTS_IN_FLIGHT = """
queue = AsyncQueue(path, chunksize=7, durability=sys.argv[2])
async def put(number):
    await queue.put(number)
    os.write(1, b"%d\\n" % number)
async def main():
    tasks = [asyncio.create_task(put(number)) for number in range(300)]
    await tasks[int(sys.argv[3])]
asyncio.run(main())
"""


@pytest.mark.parametrize("durability", ["power", "process"])
def test_puts_in_flight_at_the_end(path: Path, durability: str) -> None:
    """When ``asyncio.run`` ends among puts, what was acknowledged is stored, all of it in order."""
    done = start(BEGIN + PUTS_IN_FLIGHT, path, durability, 20)
    assert (0, "") == (done.returncode, done.stderr)
    stored, acknowledged = contents(path), [int(line) for line in done.stdout.split()]
    assert 20 in acknowledged
    assert set(acknowledged) <= set(stored)
    assert sorted(set(stored)) == stored


# -- Ctrl-C -------------------------------------------------------------------------

INTERRUPTED = """
import itertools
queue = AsyncQueue(path, chunksize=7, durability="process")
mine = int(sys.argv[2])

def say(*words):
    os.write(1, " ".join(map(str, words)).encode() + b"\\n")

async def produce(name):
    for number in itertools.count():
        await queue.put((mine, name, number))
        say("put", name, number)

async def consume():
    while True:
        item = await queue.get()
        say("got", *item)
        await queue.task_done(item=item)
        say("done", *item)

async def hold():
    while True:
        async with queue.process() as item:
            say("got", *item)
        say("done", *item)

async def main():
    await asyncio.gather(produce(0), produce(1), consume(), hold())

asyncio.run(main())
"""


class Interruptible(Child):
    """A program that is sent SIGINT."""

    def interrupt(self) -> tuple[int, float, list[str]]:
        """Send it and return the exit status, the time that took, and all it has said."""
        before = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        impatience = threading.Timer(10, self._process.kill)
        impatience.start()
        status = self._end()
        impatience.cancel()
        return status, time.monotonic() - before, self.said


# A session's job in the background ignores Ctrl-C, and so does what it starts.
LISTENS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
ENDS_OF_CTRL_C = (-signal.SIGINT, 1, 130)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_an_interrupt_in_the_middle_loses_nothing(path: Path) -> None:
    """Ctrl-C ends the process soon, with what was acknowledged stored and what was not done kept."""
    chance, turns = random.Random(3), 6
    put, done, in_doubt = set(), set(), set()
    for turn in range(turns):
        with Interruptible(LISTENS + BEGIN + INTERRUPTED, path, turn) as child:
            child.lines(chance.randint(1, 200))
            status, seconds, said = child.interrupt()
        assert status in ENDS_OF_CTRL_C
        assert seconds < 10
        words = [line.split() for line in said]
        put |= {(turn, *map(int, rest)) for verb, *rest in words if verb == "put"}
        done |= {tuple(map(int, rest)) for verb, *rest in words if verb == "done"}
        # What was finished when the interrupt came had no time to be said.
        in_doubt |= {tuple(map(int, rest)) for verb, *rest in words if verb == "got"}
    left = contents(path)
    gone = put - done - set(left)
    assert gone <= in_doubt
    assert len(gone) <= 2 * turns
    assert len(set(left)) == len(left)
    for name in (0, 1):
        own = [item for item in left if item[1] == name]
        assert sorted(own) == own


INTERRUPTED_WHILE_IDLE = """
queue = AsyncQueue(path)
async def main():
    await work(queue)
    await queue.get_many(9)
    print("waiting", flush=True)
    await queue.get()
asyncio.run(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_an_interrupt_of_an_idle_waiter(path: Path) -> None:
    """Ctrl-C ends a process that waits for an item as it ends any asyncio program."""
    with Interruptible(LISTENS + BEGIN + INTERRUPTED_WHILE_IDLE, path) as child:
        child.lines(1)
        status, seconds, _ = child.interrupt()
    assert status in ENDS_OF_CTRL_C
    assert seconds < 10
    assert [1, 2, 3, 4, 5] == contents(path)


EMPTY = """
async def main(): pass
asyncio.run(main())
print("end", flush=True)
"""

FORGOTTEN = """
queue = AsyncQueue(path)
asyncio.run(work(queue))
print("end", flush=True)
"""

FORGOTTEN_WHILE_WAITING = """
queue = AsyncQueue(path)
async def main():
    await work(queue)
    await queue.get_many(9)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)
    print("end", flush=True)
asyncio.run(main())
"""


@pytest.mark.slow
def test_a_forgotten_queue_costs_no_time_at_exit(path: Path) -> None:
    """A process that forgets to close ends at most 300 ms later than an empty asyncio program."""

    def median(body: str) -> float:
        times = []
        for turn in range(15):
            command = [sys.executable, "-c", BEGIN + body, str(path / str(turn))]
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert process.stdout is not None
            process.stdout.readline()
            before = time.monotonic()
            process.wait()
            times.append(time.monotonic() - before)
            process.stdout.close()
        return sorted(times)[len(times) // 2]

    empty = median(EMPTY)
    for program in (FORGOTTEN, FORGOTTEN_WHILE_WAITING):
        assert median(program) < empty + 0.3


AT_EXIT = """
import asyncio, atexit, sys
import persistqueue

async def end():
    opened = getattr(persistqueue, sys.argv[2])(sys.argv[1], *sys.argv[4:])
    async with opened:
        if sys.argv[2] == "AsyncPDict":
            await opened.set("a", 1)
            assert 1 == await opened.pop("a")
        else:
            q = opened.queue("q") if sys.argv[2] == "AsyncBroker" else opened
            await q.put("a")
            assert await q.peek() == await q.get() == "a"
    print("done")

if sys.argv[3] == "again":
    asyncio.run(end())
atexit.register(lambda: asyncio.run(end()))
"""


@pytest.mark.parametrize("use", ["again", "first"])
@pytest.mark.parametrize(
    "kind",
    ["AsyncBroker", "AsyncPDict", "AsyncQueue", "AsyncSQLiteAckQueue", "AsyncSQLiteQueue"],
)
def test_what_runs_in_atexit_may_use_a_queue(path: Path, kind: str, use: str) -> None:
    """Every class does in ``atexit`` what it does before, also when it was not used before."""
    done = start(AT_EXIT, path, kind, use, *(["d"] if kind == "AsyncPDict" else []))
    assert ("", ["done"] * (2 if use == "again" else 1)) == (done.stderr, done.stdout.split())
