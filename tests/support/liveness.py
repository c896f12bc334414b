"""Workers that hold items, each in a process of its own, and do what they are told."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from crashdisk import Child
from sqlite_objects import open_any

#: Classes that hold items for a consumer.
HOLDERS = tuple(
    f"{twin}{kind}"
    for kind in ("SQLiteAckQueue", "FILOSQLiteAckQueue", "UniqueAckQ", "JobQueue", "Broker")
    for twin in ("", "Async")
)
each_holder = pytest.mark.parametrize("kind", HOLDERS)

_PROGRAM = """
import sys
sys.path[:0] = [sys.argv[1]]
from liveness import serve
serve(*sys.argv[2:])
"""


class Worker(Child):
    """A process with one object; ``tell`` it what to do, read ``lines`` of what came of it.

    - ``hold``: take an item, and work on it until further notice; says the item.
    - ``done``: finish the last item; says ``done``.
    - ``first``: finish the first one of those in hand; says ``first``.
    - ``back``: give the last one back; says ``back``.
    - ``sleep N``: block the thread and the loop for so many seconds; says ``slept``.
    - ``gil N``: the same in one call of C that keeps the GIL; says how long it was.
    - ``fork``: make a child that lives on; says its number.
    """

    def __init__(self, kind: str, path: Path, lease: float | None = 60) -> None:
        super().__init__(_PROGRAM, Path(__file__).parent, kind, path, lease)

    @property
    def number(self) -> int:
        """The process."""
        return self._process.pid

    def ask(self, line: str) -> str:
        """Tell it something, and return what it says to that."""
        self.tell(line)
        return self.lines(1)[0]

    def stop(self) -> None:
        """Stop it, until ``go_on``."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def serve(kind: str, path: str, lease: str) -> None:
    """Do what the lines of standard input say."""
    q = open_any(kind, Path(path), lease=None if lease == "None" else float(lease))
    blocks: list[ExitStack] = []
    for line in sys.stdin:
        word, *values = line.split()
        print(_do(q, word, values, blocks), flush=True)


def _do(q: Any, word: str, values: list[str], blocks: list[ExitStack]) -> object:
    if word == "hold":
        blocks.append(ExitStack())
        return blocks[-1].enter_context(q.process())
    if word == "done":
        blocks.pop().close()
    elif word == "first":
        blocks.pop(0).close()
    elif word == "back":
        blocks.pop().__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    elif word == "sleep":
        time.sleep(float(values[0]))
    elif word == "gil":
        return keep_the_gil(float(values[0]))
    elif word == "fork":
        if number := os.fork():
            return number
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # else the output has no end
        time.sleep(600)
    return word


def keep_the_gil(seconds: float) -> float:
    """Call C code that keeps the GIL for about so many seconds; returns how long it was."""
    count = 1_000_000
    began = time.perf_counter()
    sum(range(count))
    count = int(count * seconds / (time.perf_counter() - began))
    began = time.perf_counter()
    sum(range(count))
    return time.perf_counter() - began
