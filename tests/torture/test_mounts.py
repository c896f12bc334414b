"""Losses of power on real file systems: an image is copied while its writer stands still.

The copy holds what the file system had given to the disk by then, as a disk does after a
power cut.  It is mounted, which replays the journal, and the queue in it is opened.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cases import Case, tortured
from waiting import until
from workers import Log
from zygote import Zygote

#: file system -> how an image of it is made, and how large (MiB) that has to be.
MAKERS = {
    "ext4": (["mkfs.ext4", "-q", "-F"], 16),
    "xfs": (["mkfs.xfs", "-q", "-f"], 304),
    "btrfs": (["mkfs.btrfs", "-q", "-f"], 128),
}


def ready(system: str, place: Path) -> Path:
    """Return an image with a file system, or skip the test where that cannot be."""
    command, size = MAKERS[system]
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount an image")
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    image = place / "image"
    with image.open("wb") as file:
        file.truncate(size << 20)
    subprocess.run([*command, str(image)], check=True, capture_output=True)
    return image


@contextmanager
def mounted(image: Path, point: Path) -> Iterator[Path]:
    """Mount an image, or skip the test where that is not permitted."""
    point.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-o", "loop", str(image), str(point)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no image can be mounted here: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def cut(case: Case, image: Path, place: Path, log: Path) -> int:
    """Open what a loss of power would leave now; return how many items were acknowledged."""
    lines = log.read_text().splitlines() if log.exists() else []
    subprocess.run(["cp", "--sparse=always", str(image), str(place / "copy")], check=True)
    before, put = Log(lines), set(Log(lines).put)
    with mounted(place / "copy", place / "after") as after:
        if not (after / "queue").exists():
            assert not put, "everything is gone"
            return 0
        left = case.contents(after / "queue")
    there = set(left)
    assert len(there) == len(left)
    gone = before.taken
    missing = put - there - gone
    assert len(missing) <= case.at_most_once, "lost"  # one may have been taken and not yet noted
    assert there <= put | before.doubtful(["p.1", "p.2"]), "an item that nobody put"
    over = gone if case.at_most_once else before.finished
    if not case.on_files:  # a file queue may deliver again what was finished just before
        assert set() == there & over, "finished, and comes again"
    return len(put)


def stop(workers: list[int]) -> None:
    """Have processes stand still; a thread that waits for the disk does so a little later."""
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    until(lambda: {"T"} == {_state(task) for pid in workers for task in _tasks(pid)})


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("system", MAKERS)
@tortured(["Queue-task_done", "AsyncSQLiteAckQueue-ack"], 3, 12)
def test_power_cut_on_a_file_system(
    case: Case, amount: int, system: str, tmp_path: Path, figures: Any
) -> None:
    """What was acknowledged is on the disk at any moment at which its power may fail."""
    image, log = ready(system, tmp_path), tmp_path / "log"
    chance, acknowledged = random.Random(case.name), 0
    with mounted(image, tmp_path / "disk") as disk, Zygote() as zygote:
        common = {
            "case": case.name, "path": str(disk / "queue"), "log": str(log), "durability": "power",
        }  # fmt: skip
        workers = [
            zygote.fork("produce", name="p", count=-1, **common),
            zygote.fork("consume", name="c", threads=1, **common),
        ]
        try:
            for _ in range(amount):
                time.sleep(chance.uniform(0, 0.2))
                stop(workers)
                acknowledged = cut(case, image, tmp_path, log)
                for worker in workers:
                    os.kill(worker, signal.SIGCONT)
        finally:
            alive = [zygote.kill(worker) for worker in workers]
    figures(cuts=amount, acknowledged=acknowledged)
    assert [True, True] == alive, "see the traceback above"
