"""The n-th call to the system fails, for every n; and a disk that is full, and has room again."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cases import CASES, ENGINES, Case, on_files, on_sqlite, tortured
from crashdisk import SCRIPT, async_on_disk, on_disk, random_script
from failures import check_failures, stuff
from faults import counted
from workers import Log
from zygote import Zygote

from persistqueue import serializers
from persistqueue._core import patience

DISK_SAYS = (errno.EIO, errno.ENOSPC, errno.EMFILE)
HOWS = (
    "instead", "half", "behind", "rest", "instead alike", "half alike", "half rest", "behind alike",
)  # fmt: skip

# -- the seam below a file queue ----------------------------------------------------


@tortured(["AsyncQueue-task_done"], 1, 8, on_files)
def test_a_failing_call(
    case: Case, amount: int, memory: Path, figures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that the disk fails raises, leaves what was there, and the next one works."""
    monkeypatch.setattr(patience, "PAUSE", 0.0)  # every call reopens, not one a second
    hows = HOWS if amount > 1 else ("instead",)
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


@tortured(
    ["SQLiteQueue-get", "AsyncSQLiteQueue-task_done", "SQLiteAckQueue-ack", "PDict-get",
     "AsyncBroker-get"], 11, 1, on_sqlite,
)  # fmt: skip
def test_a_failing_system(case: Case, amount: int, memory: Path, figures: Any) -> None:
    """A call that the system fails raises, and does nothing; when it works again, so does all."""
    ways: list[dict[str, Any]] = [{"durability": "power"}]
    if amount == 1 or case.kind == "PDict":
        ways.append({"durability": "power", "log": False})
    if amount == 1:
        ways.append({"durability": "process"})
    count: Counter[str] = Counter()
    for way in ways:
        count += counted("live_on", case.name, memory, every=amount, **way)
    figures(**count)
    assert count["noticed"] > 10


@tortured(
    ["Queue-get", "AsyncQueue-task_done", "Queue-task_done-SQLiteEngine",
     "AsyncQueue-get-PickledListEngine"], 11, 1,
    among={name: case for name, case in (CASES | ENGINES).items() if on_files(case)},
)  # fmt: skip
def test_a_failing_system_below_a_file_queue(
    case: Case, amount: int, memory: Path, figures: Any
) -> None:
    """So it is below chunk files and engines, while the object that met it is there."""
    count: Counter[str] = Counter()
    for durability in ("power", "process")[: 2 if amount == 1 else 1]:
        count += counted("live_on", case.name, memory, every=amount, durability=durability)
    figures(**count)
    assert count["noticed"]


@pytest.mark.parametrize("case", ["SQLiteQueue-get", "AsyncSQLiteAckQueue-ack", "Broker-get"])
def test_when_a_trouble_is_over(case: str, memory: Path) -> None:
    """While syncs fail every call says so; a second later at the most all is well, and logged."""
    count = counted("wait_out", case, memory)
    assert (3, 1) == (count["failed"], count["logged"])
    assert count["tenths"] < 15


@pytest.mark.parametrize("case", ["SQLiteQueue-get", "AsyncPDict-get", "Broker-get"])
def test_a_sync_behind_one_that_failed(case: str, memory: Path) -> None:
    """What a failed flush may have dropped is written again, and elsewhere."""
    assert 2 == counted("distrust_the_log", case, memory)["left"]


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
