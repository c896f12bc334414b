"""Disks that fail, die and lose power, and what a queue on them has to hold.

Everything a file queue does to the disk goes through one ``Disk``; its public
methods are the crash points, numbered from 1 in the order in which they are called.
A *script* is a list of steps for one queue.  ``Model`` says what each step returns
and what is stored after it, so a test can stop a script anywhere and knows what
must be there.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import persistqueue
from persistqueue import AsyncQueue, Empty, Queue
from persistqueue._core.disk import Disk, File, SyncError
from persistqueue._core.folder import Folder

CALLS = tuple(
    name for name, value in vars(Disk).items() if callable(value) and not name.startswith("_")
)
#: The calls after which the disk holds something else than before.
CHANGES = frozenset(
    {"open", "allocate", "write", "truncate", "replace", "unlink", "make_directory"}
)
#: The calls that change nothing that a program can see.
LOOKS = frozenset({"read", "size", "identity", "names", "sync", "sync_directory"})

CHUNKSIZE = 3
KILLED = 77  # exit status of a child that died at a crash point


# -- disks --------------------------------------------------------------------------


class UnsyncedDisk(Disk):
    """Syncs nothing: it costs time, and no test here looks below the real disk's cache."""

    def sync(self, file: File) -> None:
        """Do nothing."""

    def sync_directory(self, path: str, folder: Folder | None = None) -> None:
        """Do nothing."""


class NumberedDisk(UnsyncedDisk):
    """Counts its calls and hands each to ``happen``, which does it or does not."""

    def __init__(self) -> None:
        self.calls = 0
        self.names_called: list[str] = []

    def happen(
        self, name: str, call: Callable[..., Any], args: tuple[Any, ...], options: Any
    ) -> Any:
        """Do one call."""
        return call(*args, **options)


def _numbered(name: str) -> Callable[..., Any]:
    real = getattr(UnsyncedDisk, name)

    def method(self: NumberedDisk, *args: Any, **options: Any) -> Any:
        self.calls += 1
        self.names_called.append(name)
        return self.happen(name, partial(real, self), args, options)

    return method


for _name in CALLS:
    setattr(NumberedDisk, _name, _numbered(_name))


class Fault(NamedTuple):
    """What goes wrong at a crash point.

    ``how`` is one of: ``instead`` (the call does nothing), ``half`` (a write stops in
    the middle), ``behind`` (the call is done, and fails all the same).  With ``rest`` behind
    it, or alone, all calls that follow do nothing, until ``heal``; with ``alike``, those that
    have the same name.
    """

    at: int
    how: str
    number: int = errno.EIO

    @property
    def lasts(self) -> bool:
        """Whether later calls fail, too."""
        return self.how.endswith(("rest", "alike"))


class FaultyDisk(NumberedDisk):
    """One call fails, with an ``OSError`` or whatever ``error`` makes."""

    def __init__(self, fault: Fault, error: Callable[[], BaseException] | None = None) -> None:
        super().__init__()
        self.fault = fault
        self.hit = False  # whether the fault has happened
        self._name = ""  # to which call
        self._error = error
        self._healed = False

    @property
    def ails(self) -> bool:
        """Whether calls fail that are still to come."""
        return self.hit and self.fault.lasts and not self._healed

    def heal(self) -> None:
        """Let everything work from now on."""
        self._healed = True

    def happen(
        self, name: str, call: Callable[..., Any], args: tuple[Any, ...], options: Any
    ) -> Any:
        fault, now = self.fault, self.calls == self.fault.at
        later = self.hit and fault.lasts and (name == self._name or fault.how.endswith("rest"))
        if self._healed or not (now or later):
            return call(*args, **options)
        if now:
            self.hit, self._name = True, name
        if now and fault.how.startswith("half") and name == "write":
            file, data, offset = args
            call(file, data[: len(data) // 2], offset)
        if now and fault.how.startswith("behind"):
            done = call(*args, **options)
            if isinstance(done, File):
                done.close()
        raise self._error() if self._error is not None else self._os_error(name, args)

    def _os_error(self, name: str, args: tuple[Any, ...]) -> OSError:
        kind = SyncError if name.startswith("sync") else OSError
        path = getattr(args[0], "path", args[0])
        return kind(self.fault.number, os.strerror(self.fault.number), path)


class DeadlyDisk(NumberedDisk):
    """The process ends at call ``at``, or in the middle of it if ``torn``."""

    def __init__(self, at: int, torn: bool = False) -> None:
        super().__init__()
        self._at = at
        self._torn = torn

    def happen(
        self, name: str, call: Callable[..., Any], args: tuple[Any, ...], options: Any
    ) -> Any:
        if self.calls == self._at:
            if self._torn and name == "write":
                file, data, offset = args
                call(file, data[: len(data) // 2], offset)
            os._exit(KILLED)
        return call(*args, **options)


def on_disk(disk: Disk) -> type[Queue[Any]]:
    """Return a class of queues on ``disk``."""

    class QueueOnDisk(Queue[Any]):
        _disk = disk

    return QueueOnDisk


def async_on_disk(disk: Disk) -> Callable[..., Any]:
    """Return what opens an async queue on ``disk`` for blocking calls."""
    from families import BlockingAsyncQueue, run  # others need no event loop

    class AsyncQueueOnDisk(AsyncQueue[Any]):
        _disk = disk

    return lambda path, **options: BlockingAsyncQueue(run(AsyncQueueOnDisk.create(path, **options)))


#: name -> makes a class of queues on a disk.
ON_DISK: dict[str, Callable[[Disk], Any]] = {"AsyncQueue": async_on_disk, "Queue": on_disk}


#: A class of queues that sync nothing, to look at what is there.
unsynced = on_disk(UnsyncedDisk())


# -- files --------------------------------------------------------------------------


def lay_out(files: dict[str, bytes], directory: Path) -> None:
    """Make ``directory`` hold exactly ``files``."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)


def files_of(directory: Path) -> dict[str, bytes]:
    """Return the files in a directory, without the lock."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != ".lock"}


def erased(before: dict[str, bytes], directory: Path) -> list[str]:
    """Return the names of files of which bytes (zeros do not count) are nowhere any more.

    What is not in its place has to be in one piece in some ``*.corrupt-*``.
    """
    now = files_of(directory)
    aside = [data for name, data in now.items() if ".corrupt-" in name]
    lost = []
    for name, data in before.items():
        there = now.get(name, b"")
        kept = next(
            (at for at in range(len(data)) if there[at : at + 1] != data[at : at + 1]), len(data)
        )
        rest = data[kept:].strip(b"\0")
        if not any(rest in piece for piece in [b"", *aside]):
            lost.append(name)
    return lost


# -- scripts ------------------------------------------------------------------------


class Step(NamedTuple):
    """One call of a script: ``verb`` of the queue, with a number of items."""

    verb: str
    number: int = 1


class Model:
    """What a queue holds: the plain-Python twin of one queue object.

    Args:
        first, put: the numbers of the oldest item that is there, and of the next.

    Attributes:
        stored: items that are there after a crash, oldest first.
        put: items that were ever put.
    """

    def __init__(self, autosave: bool, first: int = 0, put: int = 0) -> None:
        self.autosave = autosave
        self.stored = [item_of(number) for number in range(first, put)]
        self.put = put
        self._taken = 0  # of stored, from the front: handed out by this object

    def new_items(self, count: int) -> list[str]:
        """Return the next items of the script, of very different lengths."""
        return [item_of(number) for number in range(self.put, self.put + count)]

    def waiting(self) -> list[str]:
        """Return what can be taken."""
        return self.stored[self._taken :]

    def taken(self) -> list[str]:
        """Return what is handed out and not finished."""
        return self.stored[: self._taken]

    def copy(self) -> Model:
        """Return a model that goes on from here."""
        twin = Model(self.autosave, put=self.put)
        twin.stored, twin._taken = list(self.stored), self._taken
        return twin

    def apply(self, step: Step) -> None:
        """Follow a step that was acknowledged."""
        if step.verb in ("put", "put_many"):
            count = step.number if step.verb == "put_many" else 1
            self.stored += self.new_items(count)
            self.put += count
        elif step.verb in ("get", "get_many"):
            count = min(step.number if step.verb == "get_many" else 1, len(self.waiting()))
            if self.autosave:
                del self.stored[:count]
            else:
                self._taken += count
        elif step.verb == "task_done" and not self.autosave:
            count = min(step.number, self._taken)
            del self.stored[:count]
            self._taken -= count
        elif step.verb == "finish" and self._taken and not self.autosave:
            self._taken -= 1
            del self.stored[self._taken]
        elif step.verb in ("open", "close"):
            self._taken = 0

    def skip(self, step: Step) -> None:
        """Follow a step that failed: its items' numbers are used up."""
        if step.verb in ("put", "put_many"):
            self.put += step.number if step.verb == "put_many" else 1


def item_of(number: int) -> str:
    """Return the item that has a number: most are short, some are longer than a sector."""
    length = (3, 40, 700, 11, 120, 1300, 60)[number % 7]
    return f"{number}:" + "abcdefg"[number % 7] * length


#: Crosses chunk borders (at a chunk size of 3) with put, put_many, get and task_done,
#: leaves work unfinished at a close, and comes to a queue that is empty.
SCRIPT = [
    Step("open"),
    Step("put"),
    Step("put"),
    Step("get"),
    Step("task_done"),
    Step("put_many", 7),
    Step("get"),
    Step("get"),
    Step("task_done"),
    Step("put"),
    Step("get_many", 4),
    Step("task_done", 3),
    Step("peek"),
    Step("close"),
    Step("open"),
    Step("put_many", 2),
    Step("get_many", 2),
    Step("task_done", 2),
    Step("sync"),
    Step("put"),
    Step("get_many", 20),
    Step("task_done", 20),
    Step("put_many", 5),
    Step("get"),
    Step("task_done"),
    Step("put"),
    Step("get"),
    Step("close"),
]


#: Finishes the newest item in hand ("finish"), in front of which others are unfinished.
OUT_OF_TURN = [
    Step("open"),
    Step("put_many", 7),
    Step("get_many", 6),
    Step("finish"),
    Step("finish"),
    Step("put"),
    Step("task_done"),
    Step("get"),
    Step("finish"),
    Step("finish"),
    Step("put_many", 4),
    Step("get_many", 3),
    Step("finish"),
    Step("close"),
    Step("open"),
    Step("get_many", 4),
    Step("finish"),
    Step("task_done"),
    Step("finish"),
    Step("sync"),
    Step("task_done", 2),
    Step("put"),
    Step("get_many", 9),
    Step("finish"),
    Step("task_done", 9),
    Step("put"),
    Step("close"),
]


def random_script(seed: object) -> list[Step]:
    """Return a script nobody would think of."""
    chance = random.Random(f"script {seed}")
    script = [Step("open")]
    for _ in range(25):
        verb = chance.choice(
            ["put", "put_many", "get", "task_done"] * 2 + ["get_many", "peek", "sync", "open"]
        )
        if verb == "open":
            script.append(Step("close"))
        script.append(Step(verb, chance.randint(1, 7) if "many" in verb else chance.randint(1, 3)))
    return [*script, Step("close")]


class Driver:
    """Runs the steps of a script on a queue of class ``kind``.

    Attributes:
        short: whether ``get_many`` may return less than is there: it met an error
            behind the first item, and leaves it to the next call.
    """

    def __init__(self, kind: type[Queue[Any]], path: Path, model: Model, **options: Any) -> None:
        self.model = model
        self.queue: Queue[Any] | None = None
        self.short: Callable[[], bool] = lambda: False
        self._hand: dict[str, str] = {}  # the objects that were taken
        self._kind = kind
        self._path = path
        self._options = options

    def run(self, step: Step) -> None:
        """Do one step, check what it returns, and let the model follow."""
        done = getattr(self, f"_{step.verb}")(step)
        self.model.apply(step if done is None else step._replace(number=done))

    def close(self) -> None:
        """Let go of the queue, however its disk is."""
        if self.queue is not None:
            self.queue.close()

    def _open(self, step: Step) -> None:
        self.queue = self._kind(
            self._path, chunksize=CHUNKSIZE, autosave=self.model.autosave, **self._options
        )

    def _close(self, step: Step) -> None:
        assert self.queue is not None
        self.queue.close()

    def _put(self, step: Step) -> None:
        assert self.queue is not None
        self.queue.put(self.model.new_items(1)[0])

    def _put_many(self, step: Step) -> None:
        assert self.queue is not None
        self.queue.put_many(self.model.new_items(step.number))

    def _get(self, step: Step) -> None:
        assert self.queue is not None
        try:
            taken = [self.queue.get(block=False)]
        except Empty:
            taken = []
        assert taken == self.model.waiting()[:1]
        self._hand.update(zip(taken, taken, strict=True))

    def _get_many(self, step: Step) -> int:
        assert self.queue is not None
        try:
            taken = self.queue.get_many(step.number, timeout=0)
        except Empty:
            taken = []
        expected = self.model.waiting()[: step.number]
        assert taken == expected or (self.short() and taken == expected[: len(taken)] != [])
        self._hand.update(zip(taken, taken, strict=True))
        return len(taken)

    def _finish(self, step: Step) -> None:
        assert self.queue is not None
        if self.model.taken():
            self.queue.task_done(item=self._hand[self.model.taken()[-1]])

    def _task_done(self, step: Step) -> None:
        assert self.queue is not None
        if not self.model.autosave and (count := min(step.number, len(self.model.taken()))):
            self.queue.task_done(count)

    def _peek(self, step: Step) -> None:
        assert self.queue is not None
        try:
            found = [self.queue.peek()]
        except Empty:
            found = []
        assert found == self.model.waiting()[:1]

    def _sync(self, step: Step) -> None:
        assert self.queue is not None
        self.queue.sync()


def contents(path: Path, **options: Any) -> list[Any]:
    """Return everything that is stored, oldest first, as a new process would see it."""
    with unsynced(path, durability="process", **options) as queue:
        return drain(queue)


def drain(queue: Queue[Any]) -> list[Any]:
    """Take everything out."""
    taken: list[Any] = []
    try:
        while True:
            taken += queue.get_many(1000, timeout=0)
    except Empty:
        return taken


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """Lend a copy of a queue's directory."""
    twin = path.with_name(path.name + ".copy")
    if path.exists():
        shutil.copytree(path, twin)
    try:
        yield twin
    finally:
        shutil.rmtree(twin, ignore_errors=True)


def in_child(work: Callable[[Callable[[], None]], None]) -> tuple[int, int]:
    """Run ``work`` in a forked process.

    Args:
        work: is given a function that acknowledges something.

    Returns:
        the child's exit status, and how often it acknowledged.
    """
    reading, writing = os.pipe()

    def acknowledge() -> None:
        os.write(writing, b".")

    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            work(acknowledge)
            status = 0
        finally:
            if status:
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            acknowledged = len(pipe.read())
    except Hangs:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, acknowledged


class Hangs(BaseException):
    """A test took so long that it will never end."""


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Raise ``Hangs`` in the main thread when the time is over."""

    def bark(number: int, frame: object) -> None:
        raise Hangs(f"no end after {seconds} s")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5)  # and again, if cleaning up hangs, too
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Child:
    """A Python program in a process of its own, in which a warning is an error.

    Attributes:
        said: the lines of its standard output that were read.
    """

    def __init__(self, program: str, *arguments: object) -> None:
        environment = dict(os.environ, PYTHONPATH=str(Path(persistqueue.__file__).parents[1]))
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def lines(self, count: int) -> list[str]:
        """Wait until it has said that many lines more, and return them."""
        assert self._process.stdout is not None
        for _ in range(count):
            line = self._process.stdout.readline().decode()
            assert line.endswith("\n"), "it ended by itself"
            self.said.append(line.rstrip("\n"))
        return self.said[-count:]

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def kill(self) -> list[str]:
        """Kill it and return all it has said."""
        self._process.kill()
        assert self._end() == -signal.SIGKILL, "it ended by itself"
        return self.said

    def wait(self) -> list[str]:
        """Wait for its end and return all it has said."""
        assert 0 == self._end()
        return self.said

    def _end(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self.said += self._process.stdout.read().decode().splitlines()
        self._process.stdout.close()
        return self._process.wait()

    def __enter__(self: Child) -> Child:  # noqa: PYI034 - Self is Python 3.11's
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._end()


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))
