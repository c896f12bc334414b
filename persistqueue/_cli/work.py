"""run a function for each job of a job queue

The function takes a job's item; "async def" runs on an event loop, a plain one in threads. When
it raises, the job is tried again as Retry says, or is dead. Ends at SIGTERM or Ctrl-C: nothing new
is taken, handlers have --grace seconds, and the jobs of the others are ready again. A process that
dies is started again.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from .._core.log import warn
from .._core.work import GRACE, is_async
from .places import LOCAL, counting_from, parsed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

_SHORTEST, _LONGEST = 0.5, 30.0  # s before a process that died is started again
_HANGUP: int | None = getattr(signal, "SIGHUP", None)  # its terminal is closed; not on Windows
_LOOK = 0.1  # s between two looks at the processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add, number = parser.add_argument, counting_from(1)
    add("function", metavar="MODULE:FUNCTION", help="what is called with each item")
    add("path", metavar="PATH", help="the database: app.db, or sqlite:app.db?name=NAME")
    add("--concurrency", type=number, default=1, metavar="N", help="jobs at a time, of a process")
    add("--processes", type=number, default=1, metavar="N", help="how many (default: 1)")
    add("--timeout", type=float, metavar="S", help="seconds after which a call has failed")
    add(
        "--grace",
        type=float,
        default=GRACE,
        metavar="S",
        help=f"seconds for calls that run at the end (default: {GRACE:g})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Work until a signal comes; returns the exit status."""
    handler = _imported(arguments.function)
    name = parsed(arguments.path)
    if name.scheme not in LOCAL:
        raise ValueError(f"{name.shown}: jobs are in SQLite databases: app.db, sqlite:app.db?name=")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("persistqueue").setLevel(logging.INFO)  # why handlers fail
    if arguments.processes > 1:
        return _supervise(arguments.processes, _alone(arguments))
    place: dict[str, Any] = {"path": name.address, "name": name.queue or "default"}
    if name.serializer is not None:
        place["serializer"] = name.serializer
    how = {key: getattr(arguments, key) for key in ("concurrency", "timeout", "grace")}
    if is_async(handler):
        asyncio.run(_work_async(place, handler, how))
    else:
        _work(place, handler, how)
    return 0


def _imported(name: str) -> Callable[[Any], Any]:
    module, _, path = name.partition(":")
    if not module or not path:
        raise ValueError(f"{name}: name a function as module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: Any = importlib.import_module(module)
    try:
        for part in path.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise ValueError(f"{name}: the module {module} has no {path}") from None
    if not callable(found):
        raise ValueError(f"{name}: it cannot be called")  # noqa: TRY004 - of the command line
    handler: Callable[[Any], Any] = found
    return handler


async def _work_async(place: dict[str, Any], handler: Any, how: dict[str, Any]) -> None:
    from ..async_jobqueue import AsyncJobQueue

    async with AsyncJobQueue[Any](**place) as queue:
        await queue.work(handler, **how)


def _work(place: dict[str, Any], handler: Any, how: dict[str, Any]) -> None:
    from ..jobqueue import JobQueue

    with JobQueue[Any](**place) as queue:
        queue.work(handler, **how)


# -- several processes ----------------------------------------------------------------------


def _alone(arguments: argparse.Namespace) -> list[str]:
    """Return the command for one process."""
    command = [sys.executable, "-m", "persistqueue", "work", arguments.function, arguments.path]
    for name in ("concurrency", "timeout", "grace"):
        if (value := getattr(arguments, name)) is not None:
            command += [f"--{name}", str(value)]
    return command


def _supervise(count: int, command: Sequence[str]) -> int:
    """Keep ``count`` processes of this command at work until a signal comes."""
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, _HANGUP):
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, lambda number, _: signals.put(number))
    workers = [_Worker(command) for _ in range(count)]
    told = 0
    while not told:
        for worker in workers:
            worker.see_that_it_runs()
        try:
            told = signals.get(timeout=_LOOK)
        except Empty:
            continue
    for worker in workers:
        worker.end()
    threading.Thread(target=_pass_on, args=(signals, workers), daemon=True).start()
    return max(worker.status() for worker in workers)


def _pass_on(signals: SimpleQueue[int], workers: Sequence[_Worker]) -> None:
    """Tell the workers when a second signal comes."""
    while True:
        signals.get()
        for worker in workers:
            worker.end()


class _Worker:
    """One process; it is started again when it dies, later each time."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = _SHORTEST
        self._due = 0.0
        self._began = 0.0

    def see_that_it_runs(self) -> None:
        now = time.monotonic()
        if self._process is not None and (status := self._process.poll()) is not None:
            if now - self._began > _LONGEST:
                self._pause = _SHORTEST
            warn(
                "a worker process ended with status %d; another one starts in %g s",
                status, self._pause,
            )  # fmt: skip
            self._process, self._due = None, now + self._pause
            self._pause = min(2 * self._pause, _LONGEST)
        if self._process is None and now >= self._due:
            self._began = now
            try:  # a group of its own: Ctrl-C is told by this process, once
                self._process = subprocess.Popen(self._command, start_new_session=True)  # noqa: S603
            except OSError as error:  # no memory, too many processes: the others go on
                warn("a worker process cannot be started now: %s", error)
                self._due = now + self._pause
                self._pause = min(2 * self._pause, _LONGEST)

    def end(self) -> None:
        """Tell it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def status(self) -> int:
        """Wait for its end, and return its status."""
        status = 0 if self._process is None else self._process.wait()
        return 0 if status == -signal.SIGTERM else abs(status)  # told before it had begun
