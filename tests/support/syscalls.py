"""The system calls of a worker, recorded by strace, as changes to a platter.

SQLite has no seam of ours below it, so the kernel's is used: every call that changes the
queue's directory, or syncs something of it, in the order in which they ended.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from powercuts import Platter

import persistqueue

_CALLS = (
    "openat,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,unlink,unlinkat,rename,renameat,"
    "renameat2"
)
_LINE = re.compile(r"(\d+) +(?:(\w+)\((.*)\) += (-?\d+)(.*)|(.*))")
_HEX = re.compile(r'["<]((?:\\x[0-9a-f]{2})*)[">]')
_HERE = Path(__file__).parent


class Call(NamedTuple):
    """A call that ended.

    Attributes:
        texts: the names and strings among its arguments, and behind its result.
    """

    name: str
    arguments: str
    texts: list[bytes]
    result: int


def need_strace() -> None:
    """Skip the test where there is no strace, or where it may not trace."""
    if shutil.which("strace") is None:
        if "CI" in os.environ:
            pytest.fail("strace is missing: install the Debian package strace")
        pytest.skip("needs strace (the Debian package strace)")
    tried = subprocess.run(
        ["strace", "-o", os.devnull, "true"], check=False, capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")


def traced(options: list[str], worker: str, arguments: dict[str, object]) -> int:
    """Run a function of ``workers`` under strace in a process of its own; return its status."""
    program = f"import workers; workers.{worker}(**{arguments!r})"
    home = Path(persistqueue.__file__).parents[1]
    places = [str(home), str(_HERE)]
    done = subprocess.run(
        ["strace", "-f", "-qq", *options, sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        check=False,
        timeout=120,
    )
    return done.returncode


def recorded(trace: Path, worker: str, **arguments: object) -> list[Call]:
    """Run a function of ``workers`` and return its calls, in the order in which they ended."""
    options = ["-y", "-xx", "-s", "10000000", "-e", f"trace={_CALLS}", "-o", str(trace)]
    assert 0 == traced(options, worker, arguments)
    return list(_calls(trace))


def _calls(trace: Path) -> Iterator[Call]:
    begun: dict[str, str] = {}  # by thread: the beginning of a call that another interrupted
    for line in trace.read_text().splitlines():
        thread, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>")
            continue
        if rest.startswith("<... "):
            rest = begun.pop(thread) + rest.partition(" resumed>")[2]
        match = _LINE.fullmatch(f"{thread} {rest}")
        if match is not None and match[2]:
            texts = [
                bytes.fromhex(found.replace("\\x", ""))
                for found in _HEX.findall(match[3] + match[5])
            ]
            yield Call(match[2], match[3], texts, int(match[4]))


class Replay:
    """Tells a platter what happened in a directory; a step is a line in the log.

    Args:
        without_sync: the end of the names of files whose syncs are left out.

    Attributes:
        synced: the directories and files that were synced.
    """

    def __init__(self, directory: Path, log: Path, without_sync: str = "") -> None:
        self.platter = Platter({})
        self.synced: set[str] = set()
        self._home, self._log = os.fsencode(directory), os.fsencode(log)
        self._without = without_sync.encode()

    def follow(self, calls: list[Call]) -> None:
        """Go through the calls in their order."""
        for call in calls:
            if call.result >= 0:
                getattr(self, f"_{call.name}")(call)

    def _file(self, path: bytes) -> str | None:
        """Return the name of a file in the directory; of one that a power cut may leave."""
        folder, _, name = path.rpartition(b"/")
        own = folder == self._home and not name.endswith((b"-shm", b"(deleted)"))
        return os.fsdecode(name) if own else None  # -shm is made anew by whoever opens first

    def _write(self, call: Call) -> None:
        if call.texts[0] == self._log:
            self.platter.step += 1
            self.platter.note()
        elif self._file(call.texts[0]) is not None:
            raise NotImplementedError("say what a loss of power does to a write without an offset")

    def _pwrite64(self, call: Call) -> None:
        self._changed(call, call.texts[1][: call.result])

    def _ftruncate(self, call: Call) -> None:
        self._changed(call, None)

    def _fallocate(self, call: Call) -> None:
        if self._file(call.texts[0]) is not None:
            raise NotImplementedError("say what a loss of power does to fallocate")

    def _changed(self, call: Call, data: bytes | None) -> None:
        if (file := self._file(call.texts[0])) is not None:
            self.platter.note()
            offset = int(call.arguments.rpartition(", ")[2])
            self.platter.change(self.platter.open(file), offset, data)

    def _fsync(self, call: Call) -> None:
        path = call.texts[0]
        if self._without and path.endswith(self._without):
            return
        self.synced.add(os.fsdecode(path))
        if path == self._home:
            self.platter.sync_names()
        elif (file := self._file(path)) is not None:
            self.platter.sync(self.platter.open(file))

    _fdatasync = _fsync

    def _openat(self, call: Call) -> None:
        if "O_CREAT" in call.arguments and (file := self._file(call.texts[-1])) is not None:
            self.platter.note()
            self.platter.open(file)

    def _unlink(self, call: Call) -> None:
        if (file := self._file(call.texts[-1])) is not None:
            self.platter.note()
            self.platter.unlink(file)

    _unlinkat = _unlink

    def _rename(self, call: Call) -> None:
        old, new = (self._file(text) for text in call.texts if b"/" in text)
        if old is not None and new is not None:
            self.platter.note()
            self.platter.replace(old, new)

    _renameat = _renameat2 = _rename
