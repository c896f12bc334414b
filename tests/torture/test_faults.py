"""The n-th call to the system fails, for every n; and a disk that is full, and has room again."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from cases import Case, tortured
from crashdisk import SCRIPT, random_script
from failures import check_failures
from syscalls import need_strace, traced
from test_full_disk import stuff
from test_power import async_on_disk, on_disk, on_files
from test_power_sqlite import on_sqlite
from workers import Item, Log, items_of
from zygote import Zygote

from persistqueue import serializers

DISK_SAYS = (errno.EIO, errno.ENOSPC, errno.EMFILE)

# -- the seam below a file queue ----------------------------------------------------


@tortured(["AsyncQueue-task_done"], 1, 8, on_files)
def test_a_failing_call(case: Case, amount: int, memory: Path, figures: Any) -> None:
    """A call that the disk fails raises, leaves what was there, and the next one works."""
    hows = ("instead", "half", "behind", "rest") if amount > 1 else ("instead",)
    runs = 0
    for seed in range(amount):
        script = random_script(f"faults {seed}") if seed else SCRIPT[: 3 if amount == 1 else None]
        for durability in ("power", "process")[:amount]:
            runs += check_failures(
                memory / f"{seed} {durability}", script, hows, case.at_most_once,
                family=async_on_disk if case.twin else on_disk,
                errors=DISK_SAYS[seed % 3 :] + DISK_SAYS[: seed % 3],
                durability=durability, serializer=serializers.pickle,
            )  # fmt: skip
            shutil.rmtree(memory / f"{seed} {durability}")
    figures(faults=runs)
    assert runs > 10


# -- the system below SQLite --------------------------------------------------------

#: what fails, and by turns what the system says then
SYSTEM = {
    "pwrite64": ("EIO", "ENOSPC"), "fdatasync": ("EIO",), "fsync": ("EIO",),
    "openat": ("EMFILE",), "ftruncate": ("EIO", "ENOSPC"), "unlink": ("EIO",),
}  # fmt: skip
RARE = 6  # so many of a kind are tried, even if nobody notices the first ones


def met(case: Case, place: Path, call: str, error: str, number: int) -> tuple[bool, int]:
    """Have a call fail for a worker, and see what is left.

    Returns:
        whether the worker noticed, and how many items it had put.
    """
    log, path = place / "log", place / "queue"
    status = traced(
        ["-o", os.devnull, "-P", str(path), *_watched(path), "-e", f"trace={call}", "-e",
         f"inject={call}:error={error}:when={number}"],
        "persevere", {"case": case.name, "path": str(path), "log": str(log)},
    )  # fmt: skip
    assert 0 == status, "an error that is not ours, see above"
    lines = log.read_text().splitlines()
    errors = [line for line in lines if line.startswith("error")]
    kept = Log([line for line in lines if not line.startswith("error")])
    left: list[Item] = case.contents(path)
    there, put = set(left), set(kept.put)
    unsure = {
        item
        for line in errors
        if line.split()[3].startswith("QueueFailed")  # of an OSError, nothing is stored
        for item in items_of("me", int(line.split()[2]))
    }
    assert len(left) == len(there)
    gone = kept.taken if case.at_most_once else kept.finished
    missing = put - there - gone
    assert len(missing) <= (len(errors) if case.at_most_once else 0), f"lost {missing}"
    assert there <= put | unsure, "an item that nobody put"
    assert set() == there & gone, "finished, and comes again"
    return bool(errors), len(put)


def _watched(path: Path) -> list[str]:
    names = ("data.db", "data.db-wal", "data.db-journal", "data.db-shm")
    return [word for name in names for word in ("-P", str(path / name))]


@tortured(["SQLiteQueue-get"], 1, 1000, on_sqlite)
def test_a_failing_system(case: Case, amount: int, memory: Path, figures: Any) -> None:
    """A call that the system fails raises an OSError, a QueueFailed; what was acknowledged stays."""
    need_strace()
    runs = noticed = acknowledged = 0
    for call, errors in SYSTEM.items() if amount > 1 else [("fdatasync", ("EIO",))]:
        unnoticed = 0
        for number in range(1, amount + 1):
            (place := memory / f"{call} {number}").mkdir()
            hit, put = met(case, place, call, errors[number % len(errors)], number)
            runs, noticed, acknowledged = runs + 1, noticed + hit, acknowledged + put
            shutil.rmtree(place)
            unnoticed = 0 if hit else unnoticed + 1
            if unnoticed == RARE:  # there are no more of them
                break
    figures(faults=runs, noticed=noticed, acknowledged=acknowledged)
    assert noticed


# -- a disk that is full, and has room again ----------------------------------------


@tortured(["AsyncSQLiteAckQueue-ack"], 1, 25, on_sqlite)
def test_files_that_may_not_grow(case: Case, amount: int, memory: Path, figures: Any) -> None:
    """Where a write stops short, the put raises; what is there is there; with room all works."""
    sizes = [40_000 + 511 * number for number in range(amount)]
    acknowledged = 0
    with Zygote() as zygote:
        for size in sizes:
            path, log = memory / str(size), memory / f"{size}.log"
            arguments = {"case": case.name, "path": str(path), "log": str(log), "size": size}
            assert 0 == zygote.reap(zygote.fork("outgrow", **arguments)), "see the traceback above"
            put, left = Log(log.read_text().splitlines()).put, case.contents(path)
            assert len(left) == len({item[:3] for item in left})
            assert set(put) <= {item[:3] for item in left}, "lost"
            assert len(left) <= len(put) + 9, "an item that nobody put"  # a commit that failed
            acknowledged += len(put)
    figures(limits=len(sizes), acknowledged=acknowledged)


def _text(number: int) -> str:
    return f"{number} " + "x" * 700


def _fill(q: Any) -> int:
    """Put until there is no room; return how many items were taken in."""
    for number in range(100_000):
        try:
            q.put(_text(number))
        except OSError as error:
            assert error.errno in (errno.ENOSPC, errno.EFBIG, errno.EIO)
            return number
    raise AssertionError("there is always room")


@tortured(["Queue-get", "AsyncSQLiteQueue-task_done", "PDict-get"], 1, 1)
def test_a_full_file_system(case: Case, amount: int, small: Path, figures: Any) -> None:
    """On a full file system nothing is lost, and when there is room everything works again."""
    q = case.open(small / "queue")
    q.put(_text(-1))
    ballast = stuff(small)
    count = _fill(q)
    assert count + 1 == q.qsize()
    ballast.unlink()
    q.put_many(["more", "still more"])
    q.close()
    expected = [*map(_text, range(-1, count)), "more", "still more"]
    assert sorted(expected) == sorted(case.contents(small / "queue"))
    figures(acknowledged=count + 3)


@pytest.fixture
def small(tmp_path: Path) -> Any:
    """A file system of 1 MiB."""
    import subprocess

    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root may mount a small tmpfs")
    (place := tmp_path / "small").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
