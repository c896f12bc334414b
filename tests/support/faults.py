"""A class lives on while the system below SQLite fails, and when it does not any more.

One process lives many lives, one for each call that fails: ``faults.c`` is preloaded there, and
is told which.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cases import CASES, ENGINES, Case
from no_log import NoLog

import persistqueue
from persistqueue import Empty, QueueFailed
from persistqueue._core import patience

_HERE = Path(__file__).parent
_ALWAYS = 2**62

#: What fails, by its number in ``faults.c``, and by turns what the system says then.
KINDS = {
    "write": (1, (errno.EIO, errno.ENOSPC)), "short": (2, (errno.ENOSPC,)),
    "sync": (3, (errno.EIO,)), "open": (4, (errno.EMFILE, errno.EIO)),
    "truncate": (5, (errno.EIO, errno.ENOSPC)), "unlink": (6, (errno.EIO, errno.EBUSY)),
}  # fmt: skip


def counted(function: str, case: str, place: Path, **arguments: Any) -> Counter[str]:
    """Call a function of this module where ``faults.c`` is preloaded; return what it counted.

    The test is skipped where that is not possible.
    """
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler, cc")
    library = place / "faults.so"
    command = [compiler, "-shared", "-fPIC", "-o", library, _HERE / "faults.c", "-ldl"]
    subprocess.run(command, check=True)
    home = Path(persistqueue.__file__).parents[1]
    arguments |= {"case": case, "place": str(place)}
    program = f"import faults; faults.{function}(faults.System({str(library)!r}), **{arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "LD_PRELOAD": str(library),
            "PYTHONPATH": os.pathsep.join(map(str, [home, _HERE])),
        },
        stdout=subprocess.PIPE,
        check=False,
        timeout=1700,
    )
    assert 0 == done.returncode, "see above"
    return Counter(json.loads(done.stdout))


class System:
    """What ``faults.c`` is told."""

    def __init__(self, preloaded: str) -> None:
        library = ctypes.CDLL(preloaded)
        self._set, self._calls = library.faults_set, library.faults_calls
        self._set.argtypes = [
            ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_int,
        ]  # fmt: skip
        self._calls.restype = ctypes.c_long

    def fail(self, path: Path, what: str, first: int, lasting: bool, number: int = 0) -> None:
        """Fail from the first call of a kind in a directory on, or once.

        A short write is two calls: the second one, of the rest, raises.
        """
        kind, numbers = KINDS[what]
        last = _ALWAYS if lasting else first + (what == "short")
        self._set(os.fsencode(path), kind, first, last, numbers[number % len(numbers)])

    def work(self) -> int:
        """Work again; return how many calls of the kind there were."""
        calls: int = self._calls()
        self._set(b"", 0, 0, 0, 0)
        return calls


class Small(sqlite3.Connection):
    """A connection that copies its log into the database every few pages."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute("PRAGMA wal_autocheckpoint=12")


def live_on(
    system: System, case: str, place: str, every: int, durability: str, log: bool = True
) -> None:
    """Live one life for each call that fails (or for one in ``every``), in each way.

    By turns the object is used on or another one is opened, and another object is open or not.

    Args:
        log: false as on a file system that has no shared memory, and so no write-ahead log.
    """
    logging.getLogger("persistqueue").setLevel(logging.CRITICAL)
    patience.PAUSE = 0.0
    connect, made = sqlite3.connect, Small if log else NoLog
    sqlite3.connect = lambda *args, **options: connect(*args, **{"factory": made, **options})
    count: Counter[str] = Counter()
    for what, lasting in itertools.product(KINDS, (False, True)):
        for turn, at in enumerate(itertools.count(1, every)):
            path = Path(place, f"{what} {at} {lasting}")
            life = Life((CASES | ENGINES)[case], path, durability, system, bool(turn % 2))
            try:
                beside = bool(turn // 2 % 2) and case not in ENGINES  # which have one object
                life.live(what, at, lasting, turn, beside=beside)
            except BaseException:
                print(path, *life.told, sep="\n", file=sys.stderr)
                raise
            if life.calls < at:
                break
            count += Counter(faults=1, noticed=bool(life.told), acknowledged=len(life.put))
    print(json.dumps(count))


class Life:
    """Puts, takes and finishes, over a trouble of the system.

    Args:
        anew: when the trouble is over, another object is opened.

    Attributes:
        told: errors that were raised.
        calls: of the system, that might have failed.
    """

    _STEPS = (
        "put", "put", "get", "finish", "many", "get", "put", "sync", "get", "finish", "get", "big",
        "finish", "put", "shrink", "again", "get", "put", "finish", "sync", "get", "put",
    )  # fmt: skip

    def __init__(self, case: Case, path: Path, durability: str, system: System, anew: bool) -> None:
        self._case, self._path, self._durability = case, path, durability
        self._system, self._anew = system, anew
        self._q: Any = None
        self._number = 0
        self._held: list[Any] = []
        self._patience = 1  # errors, and the trouble is over
        self.put: set[Any] = set()
        self._unsure: set[Any] = set()  # a put failed, and nobody can know what is stored
        self._gone: set[Any] = set()  # got, or finished
        self.told: list[str] = []
        self.calls = 0

    def live(self, what: str, at: int, lasting: bool, number: int, beside: bool) -> None:
        """Live on while a call fails, or all from that one on.

        Args:
            number: chooses what the system says.
            beside: another object is open, so that the log is not removed.
        """
        other = self._open() if beside else None
        self._patience = 3 if lasting else 1
        self._system.fail(self._path, what, at, lasting, number)
        try:
            for step in self._STEPS:
                self._step(step)
        finally:
            self._recover()
        for q in (self._q, other):
            if q is not None:
                q.close()
        self._check(self._case.contents(self._path))
        shutil.rmtree(self._path)

    def _open(self) -> Any:
        return self._case.open(self._path, self._durability)

    def _step(self, step: str) -> None:
        try:
            if self._q is None:
                self._q = self._open()
            getattr(self, f"_{step}")()
        except (OSError, QueueFailed) as error:
            if not self._patience:
                raise
            self.told.append(f"{step}: {error!r}")
            if len(self.told) == self._patience:
                self._recover()

    def _recover(self) -> None:
        """Let the trouble be over: from now on everything works, at once."""
        if not self._patience:
            return
        self._patience, self.calls = 0, self._system.work()
        if self._anew and self._q is not None and self.told:
            self._close()
        if self._q is None:
            self._q = self._open()

    def _close(self) -> None:
        q, self._q, self._held = self._q, None, []
        q.close()

    def _put(self, items: list[Any] | None = None) -> None:
        self._number += 1
        items = items or [("me", self._number, 0)]
        try:
            self._q.put(items[0]) if len(items) == 1 else self._q.put_many(items)
        except (OSError, QueueFailed) as error:
            # Else nothing is stored; what an engine has of it, this object alone knows.
            if isinstance(error, QueueFailed) or self._case in ENGINES.values():
                self._unsure.update(items)
            raise
        self.put.update(items)

    def _many(self) -> None:
        self._put([("me", self._number + 1, part) for part in range(9)])

    def _big(self) -> None:
        """Put more than the log holds before it is copied."""
        self._put([("me", self._number + 1, part, "x" * 9_000) for part in range(5)])

    def _get(self) -> None:
        try:
            item = self._q.get(timeout=0)
        except Empty:
            assert self.put <= self._gone | set(self._held), "an item is not handed out"
            return
        if self._case.at_most_once:
            self._gone.add(item)
        else:
            self._held.append(item)

    def _finish(self) -> None:
        if self._held:
            self._case.finish(self._q, self._held[0])
            self._gone.add(self._held.pop(0))

    def _sync(self) -> None:
        self._q.sync()

    def _shrink(self) -> None:
        if hasattr(self._q, "shrink_disk_usage"):
            self._q.shrink_disk_usage()

    def _again(self) -> None:
        # What a call that failed has left in a directory, its object alone knows and can undo.
        if not (self.told and self._patience and self._case.on_files):
            self._close()

    def _check(self, left: list[Any]) -> None:
        there = set(left)
        assert len(left) == len(there), "twice"
        assert not there & self._gone, "finished, and comes again"
        assert not (lost := self.put - self._gone - there), f"lost {lost}"
        assert there <= self.put | self._unsure, "an item that nobody put"


def wait_out(system: System, case: str, place: str) -> None:
    """Count what is said while all syncs fail, and how long it takes until all is well."""
    path, count = Path(place, "queue"), Counter(logged=0)
    logging.getLogger("persistqueue").addFilter(lambda _: count.update(logged=1) or False)
    q, got = CASES[case].open(path, "power"), []
    waiting = threading.Thread(target=lambda: got.append(_persisting(lambda: q.get(timeout=20))))
    waiting.start()
    time.sleep(0.05)
    system.fail(path, "sync", 1, True)
    for number in range(3):
        try:
            q.put(number)
        except QueueFailed:
            count["failed"] += 1
    system.work()
    began = time.monotonic()
    _persisting(lambda: q.put_many(["one", "two"]))
    count["tenths"] = int((time.monotonic() - began) * 10)
    waiting.join()
    q.close()
    assert {"one", "two"} == {*got, *CASES[case].contents(path)}
    print(json.dumps(count))


def _persisting(call: Callable[[], Any]) -> Any:
    """Call again until the trouble is over."""
    while True:
        try:
            return call()
        except QueueFailed:
            time.sleep(0.01)


def distrust_the_log(system: System, case: str, place: str) -> None:
    """Sync again after a sync that failed; then use nothing of the log any more."""
    path, kind = Path(place, "queue"), CASES[case]
    q, other = kind.open(path), kind.open(path)
    q.put(1)
    other.put(2)
    system.fail(path, "sync", 1, lasting=False)
    try:
        q.sync()
    except OSError:
        q.sync()
    (twin := Path(place, "twin")).mkdir()
    shutil.copy(path / "data.db", twin)
    print(json.dumps({"left": len(kind.contents(twin))}), flush=True)
    os._exit(0)  # SQLite's locks are gone
