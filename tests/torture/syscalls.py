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
    "renameat2,mkdir,mkdirat"
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
    places = [str(home), str(_HERE.parent), str(_HERE)]
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


def platter_of(
    calls: list[Call], directory: Path, log: Path, without_sync: str = ""
) -> tuple[Platter, set[str]]:
    """Tell a platter what happened in a directory; a step is a line in the log.

    Args:
        without_sync: the end of the names of files whose syncs are left out.

    Returns:
        the platter, and the directories that were synced.
    """
    platter, synced = Platter({}), set()
    home = os.fsencode(directory)

    def name_of(path: bytes) -> str | None:
        folder, _, name = path.rpartition(b"/")
        own = folder == home and not name.endswith((b"-shm", b"(deleted)"))
        return os.fsdecode(name) if own else None  # -shm is rebuilt by whoever opens first

    for name, arguments, texts, result in calls:
        if result < 0:
            continue
        if name == "write" and texts[0] == os.fsencode(log):
            platter.step += 1
            platter.note()
        elif name in ("fsync", "fdatasync"):
            if without_sync and texts[0].endswith(without_sync.encode()):
                continue
            synced.add(os.fsdecode(texts[0]))
            if texts[0] == home:
                platter.sync_names()
            elif (file := name_of(texts[0])) is not None:
                platter.sync(platter.open(file))
        elif name == "openat":
            if "O_CREAT" in arguments and (file := name_of(texts[-1])) is not None:
                platter.note()
                platter.open(file)
        elif name.startswith("rename"):
            old, new = (name_of(text) for text in texts if b"/" in text)
            assert old is not None
            assert new is not None
            platter.note()
            platter.replace(old, new)
        elif name.startswith("unlink"):
            if (file := name_of(texts[-1])) is not None:
                platter.note()
                platter.unlink(file)
        elif texts and (file := name_of(texts[0])) is not None:
            platter.note()
            numbers = arguments.rsplit(", ", 2)
            if name == "pwrite64":
                platter.change(platter.open(file), int(numbers[-1]), texts[1][:result])
            elif name == "ftruncate":
                platter.change(platter.open(file), int(numbers[-1]), None)
            else:
                raise NotImplementedError(f"say what a loss of power does to {name}")
    return platter, synced
